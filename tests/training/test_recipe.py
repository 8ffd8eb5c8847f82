"""Recipes: epochs, phases and the learning rate at known points."""

import math

import pytest

from bandbridge.errors import UserError
from bandbridge.training.recipe import Growth, RecipeSpec, image_side, learning_rate_factor, recipe_for


def test_the_papers_recipe_has_eighty_epochs_of_adam_then_sgd():
    recipe = recipe_for(RecipeSpec(base="paper"), "resnet50", pretrained=True)
    assert recipe.epochs == 80
    assert [phase.optimiser for phase in recipe.phases] == ["adam", "sgd"]
    assert recipe.phase_of(59) == (0, 0) and recipe.phase_of(60) == (1, 60)
    with pytest.raises(ValueError, match="past the last"):
        recipe.phase_of(80)


@pytest.mark.parametrize("epochs", [2, 3, 7, 20, 79])
def test_fewer_epochs_are_shared_among_the_phases(epochs):
    recipe = recipe_for(RecipeSpec(base="paper", epochs=epochs), "resnet50", pretrained=True)
    assert recipe.epochs == epochs and all(phase.epochs >= 1 for phase in recipe.phases)


def test_too_few_epochs_for_the_phases_are_refused():
    with pytest.raises(UserError, match="too few"):
        recipe_for(RecipeSpec(base="paper", epochs=1), "resnet50", pretrained=True)


def test_a_stated_learning_rate_scales_every_phase():
    plain = recipe_for(RecipeSpec(base="paper"), "resnet50", pretrained=True).phases
    changed = recipe_for(
        RecipeSpec(base="paper", learning_rate=2 * plain[0].learning_rate), "resnet50", pretrained=True
    ).phases
    assert [b.learning_rate / a.learning_rate for a, b in zip(plain, changed, strict=True)] == pytest.approx([2, 2])


def test_cosine_is_half_in_the_middle_and_symmetric():
    assert learning_rate_factor("cosine", 50, 101) == pytest.approx(0.5)
    assert learning_rate_factor("cosine", 10, 101) + learning_rate_factor("cosine", 90, 101) == pytest.approx(1)


def test_one_cycle_rises_to_its_peak_at_a_fifth_and_falls_to_nothing():
    factors = [learning_rate_factor("one-cycle", step, 1000) for step in range(1000)]
    assert factors.index(max(factors)) in (199, 200)
    assert max(factors) == pytest.approx(1, abs=1e-2) and factors[0] == pytest.approx(0.1, abs=1e-2)
    assert factors[-1] < 1e-4
    middle = learning_rate_factor("one-cycle", 599, 1000)
    assert middle == pytest.approx(0.5 * (1 + math.cos(math.pi * (0.5995 - 0.2) / 0.8)))
    assert learning_rate_factor("constant", 3, 10) == 1


def test_trained_weights_get_a_gentler_rate_than_random_ones():
    for name in ("resnet50", "vit_small_patch16_224", "mobilenetv3_large_100"):
        random, trained = (recipe_for(RecipeSpec(), name, pretrained=pretrained) for pretrained in (False, True))
        assert trained.phases[0].learning_rate < random.phases[0].learning_rate


def test_images_grow_to_the_full_side_and_stay_there():
    spec = RecipeSpec(epochs=10, growth=Growth(start=0.5, end=0.5))
    recipe = recipe_for(spec, "resnet50", pretrained=True)
    assert [image_side(recipe, epoch, 128) for epoch in range(10)] == [64, 80, 96, 96, 112, 128, 128, 128, 128, 128]
    assert [image_side(recipe, epoch, 40) for epoch in (0, 9)] == [16, 40]
    assert image_side(recipe, 0, 12) == 12  # smaller than a step: nothing to shrink
    without = recipe_for(RecipeSpec(growth=False), "resnet50", pretrained=True)
    assert without.growth is None and image_side(without, 0, 128) == 128


def test_settings_that_are_not_used_leave_no_trace_in_the_record():
    """The ids of runs made before there were such settings stay as they were."""
    plain = RecipeSpec(base="paper", averaging=False, growth=False)
    facts = recipe_for(plain, "resnet50", pretrained=True).model_dump(mode="json")
    assert not {"averaging", "growth", "keep_statistics", "steps"} & facts.keys()
    used = recipe_for(RecipeSpec(base="paper", averaging=0.9), "resnet50", pretrained=True)
    assert used.model_dump()["averaging"] == 0.9 and "growth" not in used.model_dump()
    assert type(used).model_validate(used.model_dump()) == used


def test_a_stated_schedule_is_every_phases():
    recipe = recipe_for(RecipeSpec(base="paper", schedule="constant"), "resnet50", pretrained=True)
    assert {phase.schedule for phase in recipe.phases} == {"constant"}


def test_the_recipe_for_other_laboratories_is_one_cycle_with_images_changed_as_theirs_are():
    recipe = recipe_for(RecipeSpec(base="laboratory", epochs=4), "tf_mobilenetv3_small_100", pretrained=True)
    (phase,) = recipe.phases
    assert (recipe.name, phase.optimiser, phase.schedule, phase.epochs) == ("laboratory", "adamw", "one-cycle", 4)
    assert (phase.learning_rate, phase.weight_decay, recipe.clip_norm) == (6e-4, 0.05, 1.0)
    changes = recipe.augmentation
    assert changes.flip_vertical == 0.1 and min(changes.aspect, changes.rotation, changes.bend, changes.tone) > 0
    assert changes.cell_scale == 0


@pytest.mark.parametrize(
    ("steps", "images", "expected"), [(None, 100, (32, 3)), (None, 20, (20, 1)), (7, 100, (32, 7)), (7, 20, (20, 7))]
)
def test_an_epoch_has_as_many_steps_as_the_recipe_says_or_as_there_are_full_batches(steps, images, expected):
    recipe = recipe_for(RecipeSpec(steps=steps), "resnet50", pretrained=True)
    assert (recipe.batch_of(images), recipe.steps_of(images)) == expected
