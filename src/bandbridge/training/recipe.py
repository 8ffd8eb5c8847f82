"""Recipes: how a model is trained, as values.

``paper`` follows the publication, ``fast`` takes fewer passes, ``laboratory`` is for models that are to judge images of
other laboratories than those they were trained on.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from bandbridge.errors import UserError

Optimiser = Literal["adam", "adamw", "sgd"]
Schedule = Literal["constant", "cosine", "one-cycle"]
Objective = Literal["classes", "vicreg"]
#: Share of a one-cycle phase spent raising the learning rate, and how far below the peak it starts (Smith 2018).
_RISE, _START = 0.2, 0.1
#: Half the coarsest stride of common convolutional networks, which pad to whole strides, pixels.
_STEP = 16
#: Pixels at 256 px; a kernel is cut at three of them, which then is the whole image.
_LARGEST_SIGMA = 85.0


#: Settings of augmentation that came after the first records.
_LATER = ("without_scale", "aspect", "cell_scale", "rotation", "bend", "tone")


def _no_yes(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"should be a number, and not {'yes' if value else 'no'}")
    return value


#: To YAML 1.1 yes, on, no and off are true and false, which would count as 1 and 0.
NO_YES = BeforeValidator(_no_yes)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Phase(_Frozen):
    """One stretch of training with one optimiser. ``learning_rate`` is the peak of its ``schedule``."""

    optimiser: Optimiser
    epochs: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    schedule: Schedule = "cosine"


class Augmentation(_Frozen):
    """Random changes to training images: each flip, and a Gaussian blur, with its own probability per image.

    Images of two views (:class:`bandbridge.dataset.prepare.Preparation`) are changed in further ways, as other
    laboratories' are: ``without_scale`` is the share whose view to scale is emptied, so that the model also judges
    images of which no cell is known. ``aspect`` and ``cell_scale`` bound the uniform draw of the logarithm of a factor,
    of the width in both views and of all of the view to scale; ``rotation`` that of an angle, degrees; ``bend`` that of
    how far the ends of a chromosome that fills the square go aside, beside its middle, in halves of the side; ``tone``
    that of t in the curve x + t x (1 - x) of gray values x.

    ``blur_sigma`` bounds the uniform draw of the standard deviation, in pixels of the prepared image at 256 px; it
    shrinks and grows with the image size.
    """

    flip_horizontal: Annotated[float, NO_YES] = Field(default=0.5, ge=0, le=1)
    flip_vertical: Annotated[float, NO_YES] = Field(default=0.5, ge=0, le=1)
    blur: Annotated[float, NO_YES] = Field(default=0.5, ge=0, le=1)
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    without_scale: Annotated[float, NO_YES] = Field(default=0.1, ge=0, le=1)
    aspect: Annotated[float, NO_YES] = Field(default=0.0, ge=0, le=1)
    cell_scale: Annotated[float, NO_YES] = Field(default=0.0, ge=0, le=1)
    rotation: Annotated[float, NO_YES] = Field(default=0.0, ge=0, le=180)
    bend: Annotated[float, NO_YES] = Field(default=0.0, ge=0, le=1)
    tone: Annotated[float, NO_YES] = Field(default=0.0, ge=0, le=1)

    @model_serializer(mode="wrap")
    def _without_later_fields(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what earlier records did not have, where it is as usual: their ids stay as they were."""
        value: dict[str, Any] = handler(self)
        usual = {name: type(self).model_fields[name].default for name in _LATER}
        return {key: item for key, item in value.items() if key not in usual or item != usual[key]}

    @field_validator("blur_sigma")
    @classmethod
    def _rises(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= bounds[0] <= bounds[1] <= _LARGEST_SIGMA:
            raise ValueError(f"two numbers of 0 to {_LARGEST_SIGMA:g}, the smaller one first")
        return bounds


class Growth(_Frozen):
    """Small images first: from ``start`` of the image side, growing linearly until ``end`` of the epochs are over.

    Sides are rounded to whole multiples of 16 pixels; the epochs after
    ``end`` are at full size. After Tan and Le, "EfficientNetV2" (ICML 2021), without their growing regularisation.
    """

    start: float = Field(default=0.5, gt=0, le=1)
    end: float = Field(default=0.5, gt=0, le=1)


class Recipe(_Frozen):
    """Everything that shapes a training besides data, architecture and initial weights.

    averaging: decay per step of an exponential moving average of weights and statistics, which is then what is scored
    and kept (Polyak and Juditsky 1992). growth: of the image size. keep_statistics: batch norm keeps the means and
    variances that come with the initial weights, also while training; a few dozen images would give it worse ones.
    steps: of an epoch, however many images there are: a few are passed several times, of many each epoch sees a part.
    Trainings on sets of different sizes then take equally long. None passes every image once. objective: to name the
    class of an image, or, without labels, VICReg: to know two views of it for one (:mod:`bandbridge.training.vicreg`).
    """

    name: str
    phases: tuple[Phase, ...] = Field(min_length=1)
    batch_size: int = Field(default=32, ge=1)
    augmentation: Augmentation = Augmentation()
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    clip_norm: float | None = Field(default=None, gt=0)
    averaging: float | None = Field(default=None, gt=0, lt=1)
    growth: Growth | None = None
    keep_statistics: bool = False
    steps: int | None = Field(default=None, ge=1)
    objective: Objective = "classes"

    @model_serializer(mode="wrap")
    def _without_later_fields(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what earlier records did not have and this one does not use: their ids stay as they were."""
        value: dict[str, Any] = handler(self)
        later = ("averaging", "growth", "keep_statistics", "steps", "objective")
        return {key: item for key, item in value.items() if key not in later or item not in (None, False, "classes")}

    @property
    def views(self) -> int:
        """How many random views of each image a step takes."""
        return 2 if self.objective == "vicreg" else 1

    @property
    def epochs(self) -> int:
        """Epochs of all phases together."""
        return sum(phase.epochs for phase in self.phases)

    def batch_of(self, images: int) -> int:
        """Images in a step of a training on ``images`` of them: ``batch_size``, or all where there are fewer."""
        return min(self.batch_size, images)

    def steps_of(self, images: int) -> int:
        """Steps in an epoch of a training on ``images`` of them: ``steps``, or as many as there are full batches."""
        return self.steps or images // self.batch_of(images)

    def phase_of(self, epoch: int) -> tuple[int, int]:
        """Return (index of the phase that holds 0-based ``epoch``, first epoch of that phase)."""
        first = 0
        for index, phase in enumerate(self.phases):
            if epoch < first + phase.epochs:
                return index, first
            first += phase.epochs
        raise ValueError(f"epoch {epoch} is past the last, {self.epochs - 1}")


class RecipeSpec(_Frozen):
    """What a study file says of a recipe: a named base, and what to change in it.

    ``averaging: off`` and ``growth: off`` (False to YAML; also 0 and a start of 1) take away what the base has.
    """

    base: Literal["paper", "fast", "laboratory"] = "fast"
    epochs: Annotated[int, NO_YES] | None = Field(default=None, ge=1, le=100_000)
    batch_size: Annotated[int, NO_YES] | None = Field(default=None, ge=2, le=2**20)
    steps: Annotated[int, NO_YES] | None = Field(default=None, ge=1, le=1_000_000)
    learning_rate: Annotated[float, NO_YES] | None = Field(default=None, ge=1e-9, le=1e36, allow_inf_nan=False)
    augmentation: Augmentation | None = None
    label_smoothing: Annotated[float, NO_YES] | None = Field(default=None, ge=0, lt=1)
    schedule: Schedule | None = None
    averaging: float | None = Field(default=None, ge=0, lt=1)
    growth: Growth | None = None

    @field_validator("growth", mode="before")
    @classmethod
    def _off_is_full_size(cls, value: object) -> object:
        return Growth(start=1) if value is False else value


# The publication gives its per-architecture settings in a supplement that is not public; these peak learning rates
# are ours, by architecture prefix, the first that fits: Adam or AdamW from random weights, the same from trained
# weights, and SGD. At the rate that suits random weights, fine-tuning forgets what the first step taught: two-step
# then ended where ImageNet alone did (docs/results/first-light.md).
_LEARNING_RATES: tuple[tuple[str, float, float, float], ...] = (
    ("vit", 5e-4, 2e-4, 1e-3),
    ("deit", 5e-4, 2e-4, 1e-3),
    ("swin", 5e-4, 2e-4, 1e-3),
    ("convnext", 5e-4, 2e-4, 1e-3),
    ("vgg", 2e-4, 1e-4, 1e-3),
    ("resne", 1e-3, 4e-4, 2e-3),
    ("", 2e-3, 6e-4, 2e-3),
)


#: What other laboratories' images differ in. Jitter of the cell's scale (cell_scale) is left out: it is shown to cost
#: points at the other laboratory, the rest is not (docs/results/laboratories.md).
OTHER_LABORATORIES = Augmentation(
    flip_vertical=0.1,
    blur=0.5,
    blur_sigma=(0.8, 6.0),
    aspect=0.3,
    rotation=10.0,
    bend=0.3,
    tone=0.7,
)


def recipe_for(spec: RecipeSpec, timm_name: str, *, pretrained: bool) -> Recipe:
    """Return the recipe of ``spec`` for one architecture, by its timm name, from random or from trained weights."""
    random_rate, trained_rate, sgd_rate = next(
        rates for prefix, *rates in _LEARNING_RATES if timm_name.startswith(prefix)
    )
    rate = trained_rate if pretrained else random_rate
    if spec.base == "paper":
        phases: tuple[Phase, ...] = (
            Phase(optimiser="adam", epochs=60, learning_rate=rate / 2, schedule="cosine"),
            Phase(optimiser="sgd", epochs=20, learning_rate=sgd_rate, weight_decay=1e-4, schedule="cosine"),
        )
        recipe = Recipe(name="paper", phases=phases)
    elif spec.base == "fast":
        phase = Phase(optimiser="adamw", epochs=16, learning_rate=rate, weight_decay=0.02, schedule="one-cycle")
        recipe = Recipe(name="fast", phases=(phase,), clip_norm=1.0)
    else:
        phase = Phase(optimiser="adamw", epochs=16, learning_rate=rate, weight_decay=0.05, schedule="one-cycle")
        recipe = Recipe(name="laboratory", phases=(phase,), clip_norm=1.0, augmentation=OTHER_LABORATORIES)
    return _changed(recipe, spec)


def _changed(recipe: Recipe, spec: RecipeSpec) -> Recipe:
    changes: dict[str, object] = {
        key: value
        for key in ("batch_size", "steps", "augmentation", "label_smoothing", "averaging", "growth")
        if (value := getattr(spec, key)) is not None
    }
    if spec.averaging == 0:
        changes["averaging"] = None
    if spec.growth is not None and spec.growth.start == 1:
        changes["growth"] = None
    phases = recipe.phases
    if spec.epochs is not None:
        phases = _share_epochs(phases, spec.epochs)
    if spec.learning_rate is not None:
        factor = spec.learning_rate / phases[0].learning_rate
        phases = tuple(p.model_copy(update={"learning_rate": p.learning_rate * factor}) for p in phases)
    if spec.schedule is not None:
        phases = tuple(p.model_copy(update={"schedule": spec.schedule}) for p in phases)
    return recipe.model_copy(update={**changes, "phases": phases})


def _share_epochs(phases: tuple[Phase, ...], epochs: int) -> tuple[Phase, ...]:
    """Divide ``epochs`` among ``phases`` in their own proportions, at least one each."""
    if epochs < len(phases):
        raise UserError(
            f"epochs: {epochs} is too few for a recipe of {len(phases)} phases", f"Use {len(phases)} or more."
        )
    total = sum(phase.epochs for phase in phases)
    counts = [max(1, round(epochs * phase.epochs / total)) for phase in phases]
    counts[0] += epochs - sum(counts)
    return tuple(p.model_copy(update={"epochs": count}) for p, count in zip(phases, counts, strict=True))


def image_side(recipe: Recipe, epoch: int, full: int) -> int:
    """Return the side of training images in 0-based ``epoch``, pixels, where ``full`` is the prepared side."""
    growth = recipe.growth
    if growth is None or epoch >= growth.end * recipe.epochs:
        return full
    position = epoch / (growth.end * recipe.epochs)
    side = full * (growth.start + (1 - growth.start) * position)
    return min(full, max(_STEP, round(side / _STEP) * _STEP))


def learning_rate_factor(schedule: Schedule, step: int, steps: int) -> float:
    """Return the share of the peak learning rate at 0-based ``step`` of a phase of ``steps`` steps, in (0, 1].

    ``cosine`` falls from 1 to nearly 0; ``one-cycle`` rises linearly from 0.1 over the first fifth, then falls as a
    cosine.
    """
    if schedule == "constant":
        return 1.0
    position = (step + 0.5) / steps
    if schedule == "one-cycle":
        if position < _RISE:
            return _START + (1 - _START) * position / _RISE
        position = (position - _RISE) / (1 - _RISE)
    return 0.5 * (1 + math.cos(math.pi * position))
