"""The targets of ``make fuzz`` read their seeds, and a few altered ones, without atheris."""

import random
from contextlib import suppress

import pytest
from tests.faults.mutants import altered
from tests.fuzz.targets import TARGETS, Target, finds

from bandbridge.errors import UserError


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_read_and_altered_ones_are_read_or_refused(name):
    target, chance = TARGETS[name], random.Random(0)
    seeds = target.seeds()
    read = 0
    for seed in seeds:
        assert finds(target, seed) is None
        with suppress(UserError):
            target.read(seed)
            read += 1
    assert read >= len(seeds) / 2
    for _ in range(30):
        data = altered(chance.choice(seeds), chance, tuple(seeds))
        fault = finds(target, data)
        assert fault is None, (data, fault)


def test_what_is_let_through_is_found():
    def read(data: bytes) -> None:
        raise KeyError(data)

    assert isinstance(finds(Target(read, list), b"a"), KeyError)
