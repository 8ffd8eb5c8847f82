"""The training benchmark's table, its pairing of rounds and its counting of steps; not its numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.scripts import load_script

pytest.importorskip("psutil", reason="comes with the bench extra")
BENCHMARK = load_script("benchmarks/training.py")


def make_round(bandbridge: float, rival: float) -> Any:
    speeds = {way: bandbridge if way == "Bandbridge" else rival for way in BENCHMARK.WAYS}
    return BENCHMARK.Round(speeds, dict.fromkeys(BENCHMARK.WAYS, 3 * 2**29))


def make_plan(steps: int = 3) -> Any:
    return BENCHMARK.Plan("ViT-S/16", Path("nowhere"), 64, 32, "cpu", "auto", "fp32", workers=2, rounds=3, steps=steps)


def test_ratios_are_taken_within_a_round() -> None:
    """Load halves all speeds of the second round: best over best would give 1.0, the median of pairs 0.8."""
    rounds = [make_round(80.0, 100.0), make_round(40.0, 50.0), make_round(100.0, 100.0)]
    assert BENCHMARK.median_ratio(rounds, "timm") == pytest.approx(0.8, rel=1e-12)
    assert BENCHMARK.format_row("ViT-S/16", "32-true", rounds) == (
        "| ViT-S/16 | 32-true | " + "100/s, 1.50 GiB | " * 5 + "0.800 | " * 3 + "0.800 |"
    )


def test_a_table_goes_on_where_it_was_stopped() -> None:
    rows = {
        name: BENCHMARK.format_row(name, "32-true", [make_round(speed, 100.0)])
        for name, speed in (("ViT-S/16", 90.0), ("Swin-T", 85.0))
    }
    sentence = BENCHMARK.lowest_ratios(rows)
    assert sentence == "Lowest: 0.850 of the ceiling (Swin-T), 0.850 times a peer (Trainer, Swin-T)."
    table = BENCHMARK.format_head("2 threads") + "\n".join(rows.values()) + f"\n\n{sentence}\n"
    assert BENCHMARK.read_rows(table, "2 threads") == rows
    assert BENCHMARK.read_rows("", "2 threads") == {}
    with pytest.raises(ValueError, match="4 threads"):
        BENCHMARK.read_rows(table, "4 threads")


class ScriptedLine:
    """Gives orders from a list and keeps what is answered."""

    def __init__(self, orders: list[tuple[int, int] | None]) -> None:
        self.orders, self.answers = orders, []  # type: ignore[var-annotated]

    def recv(self) -> tuple[int, int] | None:
        return self.orders.pop(0)

    def send(self, answer: object) -> None:
        self.answers.append(answer)


def test_steps_are_counted_and_timed_without_the_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that a step of the lead moves by 100 s and any other by 2 s: 32 images in 2 s are 16 a second."""
    now = [0.0]
    monkeypatch.setattr(BENCHMARK.time, "perf_counter", lambda: now[0])
    line = ScriptedLine([(2, 3), (0, 4), None])
    turns = BENCHMARK.Turns(line, make_plan())
    turns.begin("fp32")
    for seconds in (100, 100, 2, 2, 2, 2, 2, 2):
        now[0] += seconds
        turns.step()
    now[0] += 2
    with pytest.raises(BENCHMARK.Finished):
        turns.step()
    assert line.answers[0] == "fp32"
    assert [speed for speed, _ in line.answers[1:]] == [16.0, 16.0]


@pytest.mark.parametrize(("steps", "lead"), [(3, 0), (20, 2), (400, 4)])
def test_the_lead_takes_a_tenth_at_most_and_peers_have_batches_enough(steps: int, lead: int) -> None:
    plan = make_plan(steps)
    assert plan.lead == lead
    assert plan.total_steps >= 4 * (steps + lead)
