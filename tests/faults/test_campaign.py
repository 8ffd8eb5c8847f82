"""A sample of each part of the campaign: see ``make faults`` for all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("resource", reason="needs a system with limits on the size of files")

from tests.faults.campaign import PARTS, carry_out, table
from tests.faults.home import Home, Part, make_home

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="follows processes by /proc"),
]
#: Of the whole campaign.
SCALE = {"kills": 0.01, "disk": 0.05, "together": 0.1, "mutants": 0.02}


@pytest.fixture(scope="module")
def home(made_once) -> Home:
    return Home(made_once("faults", make_home))


@pytest.mark.parametrize("name", PARTS)
def test_a_sample_of_the_campaign_breaks_no_promise(name, home, tmp_path):
    part = carry_out(name, home, tmp_path, SCALE.get(name, 0.05), 7)
    assert not part.faults, "\n".join(part.faults)


def test_a_broken_promise_is_seen():
    part = Part("kills")
    part.count("killed", 3)
    assert part.check(True, "a") and not part.check(False, "b") and part.faults == ["b"]
    assert "| kills | 3 killed | 1 | 0 |" in table([part])
