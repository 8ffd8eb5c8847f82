"""The loop: it learns, resumes bit for bit, leaves the global generator alone and survives lack of memory."""

import time
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from tests.networks import move_parameters
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from bandbridge.training import loop
from bandbridge.training.checkpoint import load_state
from bandbridge.training.device import open_fabric
from bandbridge.training.loop import OutOfMemory, TrainingDiverged, TrainingJob, run_generator, share, train
from bandbridge.training.recipe import Augmentation, Growth, Phase, Recipe

HALF = (0.5, 0.5, 0.5)


def stripes(count: int = 96, size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Images of two classes, upright and lying stripes, in noise."""
    generator = np.random.default_rng(0)
    targets = np.arange(count) % 2
    wave = np.where(np.arange(size) // 4 % 2, 170, 80)
    images = np.where(targets[:, None, None], wave[None, :, None], wave[None, None, :])
    noise = generator.integers(-40, 40, (count, size, size))
    return (images + noise).clip(0, 255).astype(np.uint8), targets.astype(np.int64)


def job(epochs: int = 4, run_id: str = "a", **changes) -> TrainingJob:
    images, targets = stripes()
    phases = (
        Phase(optimiser="adamw", epochs=epochs - 1, learning_rate=5e-3, schedule="one-cycle"),
        Phase(optimiser="sgd", epochs=1, learning_rate=1e-3),
    )
    recipe = Recipe(name="test", phases=phases, batch_size=16, clip_norm=1.0)
    rows = np.arange(len(images))
    values = {"recipe": recipe, "images": images, "targets": targets}
    values |= {"training_rows": rows[:72], "held_out_rows": rows[72:], "mean": HALF, "std": HALF}
    return TrainingJob(run_id, **{**values, **changes})


@cache
def _made() -> nn.Module:
    with torch.random.fork_rng():
        return move_parameters(timm.create_model("test_resnet", num_classes=2, drop_rate=0.3))


@pytest.fixture(autouse=True, scope="module")
def _made_before_its_layers_are_short_of_memory() -> None:
    _made()


def model() -> nn.Module:
    """A tiny network with batch norm and dropout, so that resume has statistics and global draws to get right."""
    return deepcopy(_made())


def run(tmp_path: Path, task: TrainingJob | None = None, **options):
    network = model()
    state, last = train(network, task or job(), open_fabric("cpu"), tmp_path / "checkpoint.pt", **options)
    return network, state, last


def test_it_learns_what_can_be_learned(tmp_path):
    _, state, last = run(tmp_path, job(epochs=8))
    assert last is not None and last.accuracy > 0.9
    assert state.history[-1]["training_loss"] < 0.5 * state.history[0]["training_loss"]
    assert [entry["epoch"] for entry in state.history] == list(range(1, 9))


def test_the_best_snapshot_is_the_first_with_the_highest_accuracy(tmp_path):
    _, state, _ = run(tmp_path, job(epochs=6))
    accuracies = [entry["held_out_accuracy"] for entry in state.history]
    assert state.best.epoch == accuracies.index(max(accuracies)) + 1
    truth = stripes()[1][72:]
    assert (state.best.logits.argmax(1).numpy() == truth).mean() == max(accuracies)


def run_until(folder, task, stopped_after):
    """Train until an exception interrupts the epoch after the checkpoint of ``stopped_after``."""

    class Interruption(Exception):
        pass

    def interrupt(entry):
        if entry["epoch"] == stopped_after + 1:
            raise Interruption

    with pytest.raises(Interruption):
        run(folder, task, report=interrupt, checkpoint_interval=0)
    assert load_state(folder / "checkpoint.pt").epoch == stopped_after


@pytest.mark.parametrize(("stopped_after", "averaging"), [(1, None), (2, None), (3, None), (2, 0.9)])
def test_a_resumed_training_is_bit_identical(tmp_path, stopped_after, averaging):
    """Interrupted by an exception in the epoch after a checkpoint, in both phases and at their border."""
    task = job()
    task = replace(task, recipe=task.recipe.model_copy(update={"averaging": averaging}))
    _, whole, last = run(tmp_path / "whole", task)

    run_until(tmp_path / "parts", task, stopped_after)
    _, resumed, resumed_last = run(tmp_path / "parts", task)
    assert torch.equal(last.logits, resumed_last.logits)
    assert all(torch.equal(last.weights[name], resumed_last.weights[name]) for name in last.weights)
    assert torch.equal(whole.best.logits, resumed.best.logits) and whole.best.epoch == resumed.best.epoch
    timings = {"seconds", "images_per_second"}
    for one, other in zip(whole.history, resumed.history, strict=True):
        assert {k: v for k, v in one.items() if k not in timings} == {
            k: v for k, v in other.items() if k not in timings
        }


def test_averaged_weights_are_kept_and_scored_in_place_of_the_last(tmp_path):
    """Against an average taken step by step from the optimiser's own hook."""
    decay, task = 0.8, job()
    task = replace(task, recipe=task.recipe.model_copy(update={"averaging": decay}))
    network, averages, steps = model(), {}, []

    def follow(optimiser, *_):
        # The warm-up of the average: nothing remembered for two steps, then 1 - n^(-2/3), at most the decay.
        share = 0.0 if len(steps) < 2 else min(decay, 1 - len(steps) ** (-2 / 3))
        for name, value in network.named_parameters():
            averages[name] = share * averages.get(name, 0) + (1 - share) * value.detach().double()
        steps.append(1)

    handle = register_optimizer_step_post_hook(follow)
    try:
        _, last = train(network, task, open_fabric("cpu"), tmp_path / "c.pt")
    finally:
        handle.remove()
    for name, value in averages.items():
        torch.testing.assert_close(last.weights[name].double(), value, rtol=1e-5, atol=1e-6)
    network.load_state_dict(last.weights)
    images = (torch.from_numpy(stripes()[0][72:])[:, None].float() / 255 - 0.5) / 0.5
    with torch.no_grad():
        torch.testing.assert_close(last.logits, network.eval()(images.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("steps", [2, 11])
def test_of_stated_steps_every_image_is_seen_once_before_any_is_seen_twice(tmp_path, steps):
    """There are 72 images and batches of 16: two steps see a part, eleven see all twice and some three times."""
    plain = job()
    stated = replace(plain, recipe=plain.recipe.model_copy(update={"steps": steps}))
    for epoch in range(2):
        times = np.bincount(stated.order(epoch).numpy(), minlength=72)
        assert times.sum() == 16 * steps and np.ptp(times) <= 1
    assert not torch.equal(stated.order(0), stated.order(1))
    _, state, _ = run(tmp_path, stated)
    assert state.history[0]["images_per_second"] > 0 and np.isfinite(state.history[-1]["training_loss"])
    assert torch.equal(plain.order(3)[:32], replace(stated, recipe=plain.recipe).order(3)[:32])


def test_kept_statistics_are_those_of_the_initial_weights_and_the_weights_are_trained(tmp_path):
    """The gradients are those of batch norm in evaluation mode: one step by hand gives the same weights."""
    phase = Phase(optimiser="sgd", epochs=1, learning_rate=0.1, momentum=0, schedule="constant")
    augmentation = Augmentation(flip_horizontal=0, flip_vertical=0, blur=0)
    recipe = Recipe(name="t", phases=(phase,), batch_size=72, augmentation=augmentation, keep_statistics=True)
    images, targets = stripes()
    network = move_parameters(timm.create_model("test_resnet", num_classes=2))
    by_hand = timm.create_model("test_resnet", num_classes=2).eval()
    by_hand.load_state_dict(network.state_dict())
    before = {name: value.clone().double() for name, value in by_hand.state_dict().items()}
    _, last = train(network, job(recipe=recipe), open_fabric("cpu"), tmp_path / "c.pt")
    batch = ((torch.from_numpy(images[:72])[:, None].float() / 255 - 0.5) / 0.5).expand(-1, 3, -1, -1)
    nn.functional.cross_entropy(by_hand(batch), torch.from_numpy(targets[:72])).backward()
    torch.optim.SGD(by_hand.parameters(), lr=0.1).step()
    for name, value in by_hand.state_dict().items():
        # Sums in another order turn a few units on or off: the step is the same but for a fiftieth of its length.
        off, step = last.weights[name].double() - value.double(), value.double() - before[name]
        assert off.norm() <= 0.02 * step.norm() + 1e-6, name


def test_growing_images_are_trained_on_small_and_scored_at_full_size(tmp_path):
    sides = []

    class Probe(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2))

        def forward(self, batch):
            sides.append((self.training, batch.shape[-1]))
            return batch.mean((1, 2, 3))[:, None] * self.scale

    images = np.repeat(np.repeat(stripes()[0], 2, axis=1), 2, axis=2)
    task = job(images=images)
    task = replace(task, recipe=task.recipe.model_copy(update={"growth": Growth(start=0.5, end=0.5)}))
    train(Probe(), task, open_fabric("cpu"), tmp_path / "c.pt")
    steps = task.steps_per_epoch
    assert [side for training, side in sides if training] == [32] * steps + [48] * steps + [64] * (2 * steps)
    assert {side for training, side in sides if not training} == {64}


def test_another_run_id_draws_otherwise(tmp_path):
    _, _, one = run(tmp_path / "a", job(run_id="a"))
    _, _, other = run(tmp_path / "b", job(run_id="b"))
    assert not torch.equal(one.logits, other.logits)


def test_a_deadline_stops_between_epochs_and_the_next_call_goes_on(tmp_path):
    _, state, last = run(tmp_path, deadline=time.monotonic() - 1)
    assert last is None and state.epoch == 0
    _, state, last = run(tmp_path)
    assert last is not None and state.epoch == 4


def test_the_global_generator_is_left_as_it_was(tmp_path):
    before = torch.random.get_rng_state()
    run(tmp_path)
    assert torch.equal(before, torch.random.get_rng_state())


def test_generators_differ_by_purpose_and_epoch():
    draws = {
        tuple(torch.rand(2, generator=run_generator("run", purpose, epoch)).tolist())
        for purpose in ("order", "augmentation")
        for epoch in range(3)
    }
    assert len(draws) == 6


def test_without_held_out_rows_the_last_epoch_is_kept(tmp_path):
    _, state, last = run(tmp_path, job(held_out_rows=np.empty(0, dtype=np.int64)))
    assert state.best.epoch == last.epoch == 4 and last.weights


@pytest.mark.parametrize(("batch", "limit", "micro_batch"), [(16, 5, 4), (25, 3, 2), (24, 24, None)])
def test_lack_of_memory_halves_the_micro_batch_and_keeps_the_gradient(
    tmp_path, monkeypatch, capsys, batch, limit, micro_batch
):
    """A network without batch statistics takes the same steps in micro-batches as in whole batches."""

    def linear() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))

    task = job(
        recipe=Recipe(name="t", phases=(Phase(optimiser="sgd", epochs=2, learning_rate=1e-3),), batch_size=batch)
    )
    _, whole = train(linear(), task, open_fabric("cpu"), tmp_path / "whole.pt")
    original = nn.Linear.forward

    def limited(layer, batch):
        if layer.training and len(batch) > limit:
            raise torch.OutOfMemoryError("out of memory")
        return original(layer, batch)

    monkeypatch.setattr(nn.Linear, "forward", limited)
    state, parts = train(linear(), task, open_fabric("cpu"), tmp_path / "parts.pt")
    assert state.micro_batch == micro_batch
    assert ("out of memory" in capsys.readouterr().out) == (micro_batch is not None)
    torch.testing.assert_close(parts.logits, whole.logits, rtol=0, atol=1e-5)


def test_lack_of_memory_in_evaluation_takes_smaller_batches_for_the_same_logits(tmp_path, monkeypatch):
    _, _, whole = run(tmp_path / "whole")
    original = nn.Linear.forward

    def limited(layer, batch):
        if not layer.training and len(batch) > 5:
            raise torch.OutOfMemoryError("out of memory")
        return original(layer, batch)

    monkeypatch.setattr(nn.Linear, "forward", limited)
    _, state, parts = run(tmp_path / "parts")
    assert state.micro_batch is None
    torch.testing.assert_close(parts.logits, whole.logits, rtol=0, atol=1e-5)


def test_no_memory_for_a_single_image_or_for_the_model_is_said(tmp_path, monkeypatch):
    def none(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    original = nn.Linear.forward
    with monkeypatch.context() as patch:
        patch.setattr(nn.Linear, "forward", lambda layer, x: original(layer, x) if layer.training else none())
        with pytest.raises(OutOfMemory, match="a single image"):
            run(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "augment", none)
        with pytest.raises(OutOfMemory, match="does not hold a batch of 16 images"):
            run(tmp_path)
    monkeypatch.setattr(loop, "ImageBank", none)
    with pytest.raises(OutOfMemory, match="does not fit into the memory of cpu"):
        run(tmp_path)


def test_no_memory_for_even_two_images_is_said(tmp_path, monkeypatch):
    def none(*_, **__):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(loop.functional, "cross_entropy", none)
    with pytest.raises(OutOfMemory, match="two images at a time"):
        run(tmp_path)


def test_other_runtime_errors_are_not_mistaken_for_lack_of_memory(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("sizes do not match")

    monkeypatch.setattr(loop.functional, "cross_entropy", broken)
    with pytest.raises(RuntimeError, match="sizes do not match"):
        run(tmp_path)


def test_divergence_is_an_error_that_says_where(tmp_path):
    phase = Phase(optimiser="sgd", epochs=2, learning_rate=1e30)
    recipe = Recipe(name="wild", phases=(phase,), batch_size=16, augmentation=Augmentation(blur=0))
    with pytest.raises(TrainingDiverged, match="epoch 1"):
        run(tmp_path, job(recipe=recipe))


def test_grey_becomes_three_normalised_channels(tmp_path):
    seen = []

    class Probe(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2))

        def forward(self, batch):
            seen.append(batch.detach().clone())
            return batch.mean((1, 2, 3))[:, None] * self.scale

    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    train(Probe(), job(mean=mean, std=std), open_fabric("cpu"), tmp_path / "c.pt")
    images = torch.from_numpy(stripes()[0][72:]).double()[:, None] / 255
    expected = (images - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    held_out = next(batch for batch in seen if len(batch) == 24)
    torch.testing.assert_close(held_out.double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("count", "world"), [(16, 1), (16, 4), (15, 4), (7, 3), (2, 2)])
def test_shares_are_every_image_once_in_order_and_of_like_size(count, world):
    shares = [list(range(count))[share(count, rank, world)] for rank in range(world)]
    assert [image for part in shares for image in part] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
