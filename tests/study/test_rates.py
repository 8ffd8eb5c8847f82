"""How fast an architecture trains: measured where that is quick, told from its likes where it is not."""

from __future__ import annotations

import tempfile

import pytest

from bandbridge.model.architectures import ARCHITECTURES, build_shapes, count_macs, find_architecture
from bandbridge.study import rates
from bandbridge.study.execute import environment
from bandbridge.study.ledger import TrainingSpeed
from bandbridge.study.rates import Trained, find_rates
from bandbridge.training.device import open_fabric
from bandbridge.training.recipe import RecipeSpec, recipe_for

ELEVEN = [each.name for each in ARCHITECTURES]


@pytest.fixture
def fabric():
    """As a training of the tiny network has it: bf16 where this machine gains by it."""
    return open_fabric("cpu", "auto", build_shapes(find_architecture("test_resnet"), 24, 32))


def wanted(*names: str, size: int = 128) -> dict[str, Trained]:
    found = {name: find_architecture(name) for name in names}
    return {
        name: Trained(each.timm_name, size, recipe_for(RecipeSpec(), each.timm_name, pretrained=True))
        for name, each in found.items()
    }


class Machine:
    """Trains so many multiply-accumulates a second, by architecture, on a clock of its own."""

    def __init__(self, monkeypatch, pace: float, paces: dict[str, float] | None = None) -> None:
        self.now, self.pace, self.paces, self.trials = 0.0, pace, paces or {}, []
        monkeypatch.setattr(rates, "measure_speed", self.measure)
        monkeypatch.setattr(rates.time, "monotonic", lambda: self.now)

    def speed(self, architecture: str, size: int) -> float:
        return self.paces.get(architecture, self.pace) / count_macs(find_architecture(architecture), 24, size)

    def measure(self, architecture, size, fabric, recipe, batch):
        speed = self.speed(architecture, size)
        self.now += 2 * batch / speed
        self.trials.append((architecture, size, batch))
        return speed


def test_a_quick_architecture_is_measured_on_whole_batches(monkeypatch):
    machine = Machine(monkeypatch, pace=1e12)
    found = find_rates(wanted("ResNet-34", "MobileNetV3-L", size=224), [], "cpu", "32-true")
    # How quick it is, the first four images tell.
    assert machine.trials == [("mobilenetv3_large_100", 224, batch) for batch in (4, 32)] + [("resnet34", 224, 32)]
    for name, each in found.items():
        assert each.source == "measured now" and each.overhead == 0
        assert each.images_per_second == machine.speed(find_architecture(name).timm_name, 224)


def test_a_slow_one_is_measured_on_few_images_and_a_very_slow_one_on_small_ones(monkeypatch):
    machine = Machine(monkeypatch, pace=4e9)
    find_rates(wanted("MobileNetV3-L", size=224), [], "cpu", "32-true")
    # 32 images of 0.215 G multiply-accumulates, twice, are 3.4 s; four of them 0.4 s.
    assert machine.trials == [("mobilenetv3_large_100", 224, 4)]
    machine.trials.clear()
    found = find_rates(wanted("ResNet-50", size=224), [], "cpu", "32-true")
    # Four of 4.09 G, twice, are 8.2 s; of a quarter of the pixels, 2 s.
    assert machine.trials == [("resnet50", 112, 4)]
    assert found["ResNet-50"].source == "measured now on 4 images of 112 px"
    assert found["ResNet-50"].images_per_second == pytest.approx(machine.speed("resnet50", 112) / 4)


def test_when_time_is_over_the_rest_is_told_from_its_likes(monkeypatch):
    """A clock on which everything takes its time: the lightest of each kind are measured, the others follow."""
    machine = Machine(monkeypatch, pace=8e9, paces={"mobilenetv3_large_100": 2e9})
    found = find_rates(wanted(*ELEVEN, size=256), [], "cpu", "32-true")
    assert list(found) == ELEVEN and all(each.images_per_second > 0 for each in found.values())
    measured = [name for name, each in found.items() if each.source.startswith("measured")]
    assert {"MobileNetV3-L", "ResNet-34"} <= set(measured) and "VGG-19" not in measured
    # No trial is begun that would not end in time at the best pace seen; the last may take somewhat longer.
    assert machine.now < 1.5 * rates.BUDGET_S
    told = found["ResNet-101"]
    assert told.source == "extrapolated from ResNet-34 by multiply-accumulates"
    work = {name: count_macs(find_architecture(name), 24, 224) for name in ("ResNet-34", "ResNet-101")}
    ratio = work["ResNet-34"] / work["ResNet-101"]
    assert told.images_per_second == pytest.approx(found["ResNet-34"].images_per_second * ratio)
    # None of its kind is known: the nearest in size.
    assert found["VGG-16"].source.startswith("extrapolated from ")


def test_with_no_time_at_all_the_first_is_measured_and_tells_the_others(monkeypatch):
    Machine(monkeypatch, pace=8e9)
    found = find_rates(wanted("ResNet-34", "ResNet-50", "ViT-S/16"), [], "cpu", "32-true", budget=0)
    assert [each.source.split(" by ")[0] for each in found.values()] == [
        "measured now on 4 images of 64 px",
        *["extrapolated from ResNet-34"] * 2,
    ]


def test_finished_runs_tell_others_too(monkeypatch):
    machine = Machine(monkeypatch, pace=8e9)
    asked = wanted("ResNet-34", "ResNet-50")
    here = environment(open_fabric("cpu", "32-true"))
    ran = TrainingSpeed("resnet34", 128, 40.0, True, 3.0, here["device"], here["precision"], here["threads"])
    found = find_rates(asked, [ran], "cpu", "32-true", budget=0)
    assert not machine.trials and found["ResNet-34"].source == "from 1 finished run"
    work = {name: count_macs(find_architecture(name), 24, 224) for name in asked}
    told = found["ResNet-50"]
    assert told.images_per_second == pytest.approx(40 * work["ResNet-34"] / work["ResNet-50"]) and told.overhead == 3


def test_few_images_are_trained_for_two_steps(fabric, monkeypatch):
    recipe, steps = recipe_for(RecipeSpec(batch_size=24), "test_resnet", pretrained=False), []

    def pretended(model, job, fabric, checkpoint, report, **_):
        assert job.batch_size == len(job.images) == 4
        for rate in (5.0, 50.0, 60.0):
            steps.append(rate)
            report({"images_per_second": rate})

    monkeypatch.setattr(rates, "train", pretended)
    assert rates.measure_speed("test_resnet", 32, fabric, recipe, 4) == 50
    assert steps == [5, 50]


def test_a_speed_is_that_of_the_training_loop_on_whole_batches(fabric, monkeypatch):
    recipe = recipe_for(RecipeSpec(batch_size=24), "test_resnet", pretrained=False)
    seen = []

    def pretended(model, job, fabric, checkpoint, report, **_):
        seen.append(
            (job.batch_size, job.steps_per_epoch, job.images.shape, len(job.held_out_rows), checkpoint.exists())
        )
        for rate in (5.0, 50.0, 60.0, 200.0):
            monkeypatch.setattr(rates, "_LEAST_S", 0.0 if rate == 200 else 1e9)
            report({"images_per_second": rate})
        raise AssertionError("goes on when it has been long enough")

    monkeypatch.setattr(rates, "train", pretended)
    assert rates.measure_speed("test_resnet", 32, fabric, recipe) == 60  # the median without the first step
    assert seen == [(24, 1, (24, 32, 32), 0, False)]


def test_a_measured_speed_is_positive_and_leaves_no_file(fabric, tmp_path, monkeypatch):
    monkeypatch.setattr(rates, "_LEAST_S", 0.05)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    recipe = recipe_for(RecipeSpec(batch_size=8, growth={"start": 0.5, "end": 1.0}), "test_resnet", pretrained=False)
    assert rates.measure_speed("test_resnet", 32, fabric, recipe) > 0
    assert not list(tmp_path.iterdir())
