"""Training without labels: the loss by other means, and a network that comes out of it without its projector."""

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from tests.training.test_loop import job, model, run, run_until, stripes

from bandbridge.model.architectures import create_model, find_architecture
from bandbridge.model.weights import head_keys
from bandbridge.training.loop import make_optimiser
from bandbridge.training.recipe import Phase
from bandbridge.training.vicreg import WIDTH, TwoViews, vicreg_loss


def unlabelled(**changes):
    """The job of the loop's own tests, without labels and with nothing held out."""
    task = job(**changes)
    recipe = task.recipe.model_copy(update={"objective": "vicreg"})
    return replace(task, recipe=recipe, held_out_rows=np.empty(0, dtype=np.int64))


def by_numpy(first: np.ndarray, second: np.ndarray) -> float:
    """Algorithm 1 of the publication, by loops and by numpy's own covariance."""
    count, width = first.shape
    invariance = sum((first[n, d] - second[n, d]) ** 2 for n in range(count) for d in range(width)) / (count * width)
    variance = covariance = 0.0
    for view in (first, second):
        matrix = np.cov(view, rowvar=False, ddof=1)
        variance += sum(max(0.0, 1 - np.sqrt(matrix[d, d] + 1e-4)) for d in range(width)) / width
        covariance += sum(matrix[i, j] ** 2 for i in range(width) for j in range(width) if i != j) / width
    return 25 * invariance + 25 * variance + covariance


@pytest.mark.parametrize(("count", "width", "scale"), [(2, 3, 1.0), (8, 5, 0.2), (40, 7, 3.0)])
def test_the_loss_is_that_of_the_publication(count, width, scale):
    rng = np.random.default_rng(count)
    first = rng.normal(2.0, scale, (count, width))
    second = first + rng.normal(0, 0.3, (count, width))
    found = vicreg_loss(torch.from_numpy(np.stack([first, second], axis=1)))
    assert found.item() == pytest.approx(by_numpy(first, second), rel=1e-12)


def test_the_loss_in_closed_form():
    collapsed = torch.full((6, 2, 4), 3.0, dtype=torch.float64)
    assert vicreg_loss(collapsed).item() == pytest.approx(2 * 25 * (1 - 0.01)), "all alike: only variance is missing"
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    both = torch.stack([signs, signs], dim=1)
    assert vicreg_loss(both).item() == 0, "alike, spread out, uncorrelated"
    twins = both[..., :1].expand(-1, -1, 2)
    assert vicreg_loss(twins).item() == pytest.approx(2 * (4 / 3) ** 2), "one output told twice: covariance 4/3, twice"
    apart = torch.stack([signs, -signs], dim=1)
    assert vicreg_loss(apart).item() == pytest.approx(25 * 4)


@pytest.mark.parametrize(
    "name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet", "tf_mobilenetv3_small_100"]
)
def test_all_but_the_classification_layer_learns(name):
    network = create_model(find_architecture(name), 5, 160, torch.Generator().manual_seed(0))
    two = TwoViews(network, torch.Generator().manual_seed(1))
    projections = two(torch.rand(4, 2, 3, 160, 160, generator=torch.Generator().manual_seed(2)))
    assert projections.shape == (4, 2, WIDTH)
    vicreg_loss(projections).backward()
    head = {f"network.{key}" for key in head_keys(network)}
    without = {key for key, parameter in two.named_parameters() if parameter.grad is None}
    assert without == head and head


def test_a_pair_of_projections_is_of_one_image():
    network = timm.create_model("test_resnet", num_classes=2).eval()
    two = TwoViews(network, torch.Generator()).eval()
    views = torch.rand(3, 2, 3, 32, 32)
    with torch.inference_mode():
        expected = [
            two.projector(network.forward_head(network.forward_features(views[:, v]), pre_logits=True)) for v in (0, 1)
        ]
        torch.testing.assert_close(two(views), torch.stack(expected, dim=1), rtol=1e-4, atol=1e-5)


def test_what_the_network_wants_undecayed_stays_so():
    network = create_model(find_architecture("test_vit"), 2, 160, torch.Generator())
    phase = Phase(optimiser="adamw", epochs=1, learning_rate=1, weight_decay=0.5)
    groups = make_optimiser(TwoViews(network, torch.Generator()), phase).param_groups
    decays = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert decays[id(network.pos_embed)] == 0 and decays[id(network.blocks[0].mlp.fc1.weight)] == 0.5


def test_the_projector_is_the_runs_own_draw_and_leaves_the_global_generator_alone():
    network = model()
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    one, same, other = (TwoViews(network, torch.Generator().manual_seed(seed)).projector for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(one[0].weight, same[0].weight) and not torch.equal(one[0].weight, other[0].weight)


def test_the_loss_falls_and_there_is_no_accuracy(tmp_path):
    task = unlabelled(epochs=8)
    # In many outputs of few images, what is spread out is correlated too: such a loss has nowhere to fall.
    task = replace(task, recipe=task.recipe.model_copy(update={"batch_size": 64, "steps": 8}))
    _, state, last = run(tmp_path, task)
    losses = [entry["training_loss"] for entry in state.history]
    assert losses[-1] < 0.93 * losses[0]
    assert not any("accuracy" in key for entry in state.history for key in entry)
    assert last is not None and state.best.epoch == 8 and len(last.logits) == 0


def test_what_is_kept_is_the_network_alone_with_its_layer_of_classes_as_it_was(tmp_path):
    begun = model().state_dict()
    _, state, last = run(tmp_path, unlabelled())
    assert last.weights.keys() == state.best.weights.keys() == begun.keys()
    head = head_keys(model())
    for name, value in begun.items():
        assert torch.equal(value, last.weights[name]) == (name in head), name
    model().load_state_dict(last.weights, strict=True)


def test_labels_and_held_out_images_have_no_part_in_it(tmp_path):
    images, targets = stripes()
    *_, plain = run(tmp_path / "plain", unlabelled())
    spoilt = images.copy()
    spoilt[72:] = 255
    *_, other = run(
        tmp_path / "other", unlabelled(targets=np.random.default_rng(1).permutation(targets), images=spoilt)
    )
    assert all(torch.equal(plain.weights[name], other.weights[name]) for name in plain.weights)
    spoilt[0] = 255
    *_, moved = run(tmp_path / "moved", unlabelled(images=spoilt))
    assert any(not torch.equal(plain.weights[name], moved.weights[name]) for name in plain.weights), "the test can tell"


@pytest.mark.parametrize(("stopped_after", "averaging"), [(1, None), (3, None), (2, 0.9)])
def test_a_resumed_training_is_bit_identical(tmp_path, stopped_after, averaging):
    task = unlabelled()
    task = replace(task, recipe=task.recipe.model_copy(update={"averaging": averaging}))
    *_, whole = run(tmp_path / "whole", task)

    run_until(tmp_path / "parts", task, stopped_after)
    *_, resumed = run(tmp_path / "parts", task)
    assert all(torch.equal(whole.weights[name], resumed.weights[name]) for name in whole.weights)


def test_the_two_views_are_two_draws_of_the_one_augmentation(tmp_path, monkeypatch):
    from bandbridge.training import loop

    drawn, seen = [], []
    augment, forward = loop.augment, TwoViews.forward

    def noted(*arguments):
        drawn.append(augment(*arguments).clone())
        return drawn[-1].clone()

    def watched(self, views):
        seen.append(views.clone())
        return forward(self, views)

    monkeypatch.setattr(loop, "augment", noted)
    monkeypatch.setattr(TwoViews, "forward", watched)
    task = unlabelled(epochs=2)
    run(tmp_path, task)
    assert len(drawn) == 2 * len(seen) == 2 * 2 * task.steps_per_epoch
    for step, views in enumerate(seen):
        for view in (0, 1):
            expected = ((drawn[2 * step + view] - 0.5) / 0.5).expand(-1, 3, -1, -1)
            torch.testing.assert_close(views[:, view], expected, rtol=0, atol=1e-6)
    assert not torch.equal(seen[0][:, 0], seen[0][:, 1])


def test_short_of_memory_pairs_stay_together(tmp_path, monkeypatch):
    sizes = []
    forward = TwoViews.forward

    def short(self, views):
        if len(views) > 4:
            raise torch.OutOfMemoryError("out of memory")
        sizes.append(tuple(views.shape[:2]))
        return forward(self, views)

    monkeypatch.setattr(TwoViews, "forward", short)
    _, state, last = run(tmp_path, unlabelled(epochs=2))
    assert state.micro_batch == 4 and set(sizes) == {(4, 2)} and last is not None


def test_speed_counts_every_pass(tmp_path):
    task = unlabelled(epochs=2)
    _, state, _ = run(tmp_path, task)
    for entry in state.history:
        passed = 2 * 16 * task.steps_per_epoch
        assert entry["images_per_second"] >= 0.99 * passed / (entry["seconds"] + 0.001)
