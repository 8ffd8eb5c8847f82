"""A finished classifier, or several as one, as a value to type with."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bandbridge.api.images import hand_over_anything
from bandbridge.api.predictions import Predictions
from bandbridge.dataset.findings import counted
from bandbridge.errors import UserError
from bandbridge.predict.classify import classify
from bandbridge.predict.confidence import Promise, without_errors
from bandbridge.predict.ensemble import Ensemble, open_models
from bandbridge.predict.through import Network, through_network
from bandbridge.predict.trained_on import notes_on_training
from bandbridge.progress import Listener, listening

if TYPE_CHECKING:
    from bandbridge.dataset.imagefolder import ImageFolder
    from bandbridge.evaluation.appraisal import Evaluation


class Model:
    """One classifier, or several whose calibrated probabilities are averaged.

    >>> model = load_model("models/mine")
    >>> model.classes[:3]
    ('1', '2', '3')
    >>> model
    Model(models/mine: 24 classes, q test_resnet scratch, calibrated on 184 out-of-fold images)
    """

    def __init__(self, ensemble: Ensemble, folders: Sequence[Path]) -> None:
        self._ensemble = ensemble
        self._folders = tuple(folders)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names in karyotype order."""
        return self._ensemble.classes

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where the members were read from."""
        return self._folders

    @property
    def ensemble(self) -> Ensemble:
        """The members themselves, with what is known of their confidence."""
        return self._ensemble

    def __repr__(self) -> str:
        facts = self._ensemble.members[0].facts
        named = " ".join(str(facts[key]) for key in ("task", "architecture", "approach") if facts.get(key))
        confidence = self._ensemble.confidence
        known = f"calibrated on {confidence.images:,} out-of-fold images" if confidence else "not calibrated"
        several = f" and {len(self._folders) - 1} more" if len(self._folders) > 1 else ""
        parts = [counted(len(self.classes), "class"), named, known]
        return f"Model({self._folders[0]}{several}: {', '.join(part for part in parts if part)})"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>"

    def notes(self) -> list[str]:
        """Return what to know of the model's probabilities and flags, a sentence each."""
        confidence, found = self._ensemble.confidence, [*notes_on_training(self._ensemble.trained)]
        if len(self._ensemble.members) > 1:
            found.append(f"{len(self._ensemble.members)} models; their probabilities are averaged")
        if confidence is None:
            found.append(
                "no out-of-fold predictions come with these models: probabilities are not calibrated, "
                "no image is flagged for its own"
            )
            return found
        temperature = f"(temperature {confidence.temperature:.2f})"
        known = f"calibrated on {confidence.images:,} out-of-fold images {temperature}"
        below = self._ensemble.review_below
        if below is None or below > 1:
            found.append(f"{known}; every chromosome is flagged, because these models can promise no error rate")
        else:
            rest = f"so that at most {confidence.wanted_error:.0%} of the others are wrong"
            found.append(f"{known}; flagged are probabilities below {_below_one(below)}, {rest}")
        return found + [text for text in [without_errors(confidence)] if text]

    def predict(
        self,
        images: Any,
        *,
        flips: bool = False,
        cells: bool = True,
        keep_images: bool = True,
        bit_depth: int | None = None,
        grades: bool = False,
        progress: Listener = False,
    ) -> Predictions:
        """Classify every chromosome of ``images`` and say which ones a person should look at.

        images: a path (folder with a folder for each cell, or of one cell; zip, dataset, single image; a folder that
        metaphases were cut into), what :func:`bandbridge.cut` returned, a dataset, a
        uint8 array [H, W] or [H, W, 3], a PIL image, a list of these, or a mapping from cell names to lists of these.
        flips: average over the four mirror images. cells: place the chromosomes of each cell together. keep_images:
        keep the pictures, which karyograms need, in memory. bit_depth: how many bits the camera used, 8 to 16, of
        images of 16 bits that do not say it; None: those of the training, or as few as hold the brightest pixel of all.
        grades: say how good each cell is for karyotyping, which takes about as long again. progress: True for a display
        on the console, or a function of a :class:`bandbridge.progress.Step`.

        Images that cannot be read are listed in :attr:`Predictions.refused`. Raises :class:`UserError` where there is
        no image at all.

        >>> import numpy as np
        >>> load_model("models/mine").predict(np.zeros((60, 20), dtype=np.uint8))
        Predictions(1 chromosome, 1 flagged)
        """
        handed = hand_over_anything(images, bit_depth)
        with listening(progress):
            return Predictions(
                classify(self._ensemble, handed, flips=flips, joint=cells, keep_images=keep_images, grades=grades)
            )

    def through(self, network: Network) -> Model:
        """Return this model with ``network`` in the place of its own: the same weights, opened by another library.

        network: a function from pixels, float32 [N, 3, S, S], prepared and normalised as in the training, to logits,
        [N, K]; it may be called several times, and with mirror images. What is known of the model's confidence holds
        for its own weights alone. Raises :class:`UserError` for several models in one, and for a graph that was
        exported by itself.

        >>> import numpy as np
        >>> model = load_model("models/mine").through(lambda pixels: np.zeros((len(pixels), 24), dtype=np.float32))
        >>> bool(model.predict("new-cells").table()["by_itself_probability"].max() < 0.05)
        True
        """
        if len(self._ensemble.members) > 1:
            raise UserError("these are several models in one", "Open the one whose network is meant.")
        member = through_network(self._ensemble.members[0], network)
        return Model(replace(self._ensemble, members=(member,)), self._folders)

    def evaluate(
        self, dataset: str | Path | ImageFolder, *, flips: bool = False, progress: Listener = False
    ) -> Evaluation:
        """Measure what the model is worth on the labelled cells of ``dataset``.

        Images that the model was trained on are left out, and :attr:`Evaluation.notes` says so. Intervals take whole
        patients, else whole cells, as the units of chance. Raises :class:`UserError` where nothing is left, where
        labels are not the model's classes, and where it cannot be told what the model was trained on.

        >>> score = load_model("models/mine").evaluate("new-cells")
        >>> score.images, score.cells
        (92, 2)
        """
        from bandbridge.api.evaluate import evaluate

        with listening(progress):
            return evaluate(self, dataset, flips=flips)


def load_model(
    models: str | Path | Sequence[str | Path],
    *,
    checkpoint: str = "last",
    device: str = "auto",
    coverage: float = Promise.coverage,
    wanted_error: float = Promise.wanted_error,
) -> Model:
    """Open a run, an exported model folder, an ONNX file, "box:G" or "box:Q", or a list of these as one model.

    The last two come with the package and were trained on drawn cells alone.

    checkpoint: which weights of a run, "last" or "best". device: "auto", "cpu", "cuda" or "mps". coverage,
    wanted_error: what is asked of a run's prediction sets and flags, shares in 0..1; an exported model keeps the
    promises it was exported with. Raises :class:`UserError` naming each folder that is no model, and where classes
    differ.

    >>> load_model(["models/mine", "models/mine"])
    Model(models/mine and 1 more: 24 classes, q test_resnet scratch, calibrated on 184 out-of-fold images)
    """
    places = [models] if isinstance(models, str | Path) else models
    if not isinstance(places, Sequence) or not all(isinstance(place, str | Path) for place in places):
        raise UserError(f"{models!r} names no model", "Give a path, or a list of paths.")
    for name, value in (("coverage", coverage), ("wanted_error", wanted_error)):
        if not isinstance(value, int | float) or not 0 < value < 1:
            raise UserError(f"{name} is {value!r}, expected a share between 0 and 1", "Such as 0.95 and 0.01.")
    folders = [Path(place) for place in places]
    return Model(open_models(folders, checkpoint, device, Promise(coverage, wanted_error)), folders)


def _below_one(threshold: float) -> str:
    """As many decimals, from two on, as it takes not to round a probability to 1."""
    digits = next((digits for digits in range(2, 7) if round(threshold, digits) < 1), 7)
    return f"{threshold:.{digits}f}"
