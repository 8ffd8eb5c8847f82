"""One classifier or several as one: runs, exported models and graphs, calibrated, on images as they were taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from scipy.special import softmax

from bandbridge.boxes import at_home
from bandbridge.dataset.by_cell import lacks_scale, prepare_and_trust, shows_nothing
from bandbridge.dataset.prepare import Preparation
from bandbridge.errors import ManyErrors, UserError
from bandbridge.evaluation.count_rates import CountRates
from bandbridge.evaluation.predictions import read_predictions
from bandbridge.extras import is_installed
from bandbridge.machine import require_device, sees_gpu
from bandbridge.model.config import read_config
from bandbridge.predict.box_rates import rates_of_box
from bandbridge.predict.confidence import Confidence, Promise, energies, fit_confidence, read_confidence
from bandbridge.predict.graph import graph_file, open_graph
from bandbridge.predict.likeness import Likeness, read_likeness
from bandbridge.predict.runtime import MODEL_FILES, knows_gpu
from bandbridge.predict.trained_on import TrainedOn, remark_on_training, trained_of
from bandbridge.predict.way_up import weigh_ways
from bandbridge.seal import COPY_AGAIN, EXPORTED_WEIGHTS, read_done, read_run, require_unaltered

#: Images that are decoded and judged together.
BATCH = 64


#: Prepared images, uint8 [N, *preparation.shape], and how far the scale of their cells can be trusted, float64 [N].
Prepared = dict[Preparation, tuple[np.ndarray, np.ndarray]]


class Member(Protocol):
    """A classifier of prepared images: :class:`bandbridge.model.classifier.Classifier`, or an exported graph."""

    @property
    def folder(self) -> Path:
        """Where it was read from."""

    @property
    def facts(self) -> dict[str, Any]:
        """What ``run.json`` holds."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names in the order of the logits."""

    @property
    def preparation(self) -> Preparation:
        """How images are prepared for it."""

    @property
    def temperature(self) -> float:
        """What its logits are divided by where nothing else is known of its confidence."""

    def held_out(self) -> frozenset[str]:
        """Return the names of the images that it was not trained on."""

    def logits(self, prepared: np.ndarray) -> np.ndarray:
        """Return float32 [B, K] of uint8 ``prepared`` [B, *preparation.shape]."""


@dataclass(frozen=True, eq=False)
class Opinion:
    """What an ensemble makes of n images: calibrated ``probabilities`` float64 [n, K]; three bool [n] besides.

    An image is unlike when every member that knows its training images finds it unlike them: by the statistics of the
    photograph (:mod:`bandbridge.predict.likeness`), or by scores that are lower than theirs. It is unscaled when a
    member judges by the scale of the cell, and that is not known; empty when a member cuts chromosomes from their
    ground and finds none. scale_error: standard error of the logarithm of the scale of its cell, float64 [n], NaN where
    no member judges by it or it is not known.
    """

    probabilities: np.ndarray
    unlike: np.ndarray
    unscaled: np.ndarray
    empty: np.ndarray
    scale_error: np.ndarray


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Classifiers of the same classes.

    confidences, likenesses: one for each member, None where nothing is known of it; no likenesses where none has any.
    trained: what those of them were trained on that have a record of it beside them, read once.
    """

    members: tuple[Member, ...]
    confidences: tuple[Confidence | None, ...]
    likenesses: tuple[Likeness | None, ...] = ()
    trained: tuple[TrainedOn, ...] = ()

    @property
    def remark(self) -> str:
        """What stands on everything that they sort, "" for nothing."""
        return remark_on_training(self.trained)

    @property
    def drawn_stain(self) -> str:
        """The stain of the drawn cells that it was trained on alone, "" for any other."""
        stains = {source.stain for one in self.trained for source in one.sources if one.drawn_alone}
        alone = bool(self.trained) and all(one.drawn_alone for one in self.trained)
        return stains.pop() if alone and len(stains) == 1 else ""

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names in karyotype order."""
        return self.members[0].classes

    @property
    def bits(self) -> int | None:
        """The bits of the deep images it was trained on, the most of any member; None where there were none."""
        return max((one.preparation.bits for one in self.members if one.preparation.bits), default=None)

    @property
    def confidence(self) -> Confidence | None:
        """The confidence whose promises are printed: the first member's that has one."""
        return next((one for one in self.confidences if one is not None), None)

    @property
    def rates(self) -> CountRates | None:
        """How often the counts of a cell are right: as measured for a model in the box, else as its confidence has it.

        None for several models, whose counts together nobody has measured, and where it is not known.
        """
        if len(self.members) > 1:
            return None
        measured = rates_of_box(self.members[0].folder)
        counts = self.confidence.counts if self.confidence is not None else None
        return measured or (counts.rates.rates() if counts is not None and counts.rates is not None else None)

    @property
    def review_below(self) -> float | None:
        """The probability below which a person should look, of the most cautious member; None if none knows."""
        known = [one.review_below for one in self.confidences if one is not None]
        return max(known) if known else None

    @property
    def thresholds(self) -> np.ndarray | None:
        """The largest 1 - p with which each class enters a prediction set, float64 [K], of the most cautious member."""
        known = [one.thresholds for one in self.confidences if one is not None]
        return np.max(known, axis=0) if known else None

    @property
    def upside_down(self) -> float:
        """Share of the training images that were flipped vertically, the least of any member that says so; else 1/2.

        Far below one half, chromosomes that lie upside down are recognised less often (docs/results/speed.md), unless
        they are judged both ways up.
        """
        asked = [one for one in self.members if not one.preparation.upright]
        shares = [one.facts.get("record", {}).get("recipe", {}).get("augmentation", {}) for one in asked]
        return min((float(share.get("flip_vertical", 0.5)) for share in shares), default=0.5)

    def prepare(self, images: Sequence[np.ndarray], cells: Sequence[str]) -> Prepared:
        """Return uint8 ``images`` [H, W] prepared as each member was trained; ``cells`` as :meth:`judge` has them."""
        different = {member.preparation for member in self.members} if len(images) else set()
        return {preparation: prepare_and_trust(images, cells, preparation) for preparation in different}

    def judge(
        self,
        images: Sequence[np.ndarray],
        flips: bool = False,
        cells: Sequence[str] | None = None,
        prepared: Prepared | None = None,
    ) -> Opinion:
        """Classify uint8 ``images`` [H, W], prepared as each member was trained; ``flips`` adds the mirror images.

        cells: the cell of each image, "" unknown; None: all unknown. Whole cells must be given together. prepared: what
        :meth:`prepare` made of the same images, where that is done already.
        The opinion is the mean of the members' calibrated probabilities, over the four mirror images with ``flips``.
        Chromosomes that were stood along their axis are judged both ways up (:mod:`bandbridge.predict.way_up`).
        """
        total, unlike = np.zeros((len(images), len(self.classes))), np.ones(len(images), dtype=bool)
        unscaled, empty = np.zeros((2, len(images)), dtype=bool)
        scale_error = np.full(len(images), np.nan)
        origins = [""] * len(images) if cells is None else cells
        ready = self.prepare(images, origins) if prepared is None else prepared
        for _, errors in ready.values():
            scale_error = np.fmax(scale_error, errors)
        likenesses = self.likenesses or (None,) * len(self.members)
        looks: dict[Likeness, np.ndarray] = {}
        for member, confidence, likeness in zip(self.members, self.confidences, likenesses, strict=True):
            seen = ready[member.preparation][0]
            unscaled |= lacks_scale(seen, member.preparation)
            empty |= shows_nothing(seen, member.preparation)
            temperature = confidence.temperature if confidence is not None else member.temperature
            likely, energy = _judged(member, seen, temperature, origins, flips)
            total += likely
            strange = np.zeros(len(images), dtype=bool)
            if confidence is not None:
                strange |= energy < confidence.energy_low
            if likeness is not None:
                if likeness not in looks:
                    looks[likeness] = likeness.unlike(images, seen)
                strange |= looks[likeness]
            if confidence is not None or likeness is not None:
                unlike &= strange
        known = any(one is not None for one in (*self.confidences, *likenesses))
        return Opinion(total / len(self.members), unlike & known, unscaled & ~empty, empty, scale_error)


def _judged(
    member: Member, images: np.ndarray, temperature: float, cells: Sequence[str], flips: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The calibrated probabilities of prepared ``images``, float64 [n, K], and their energies, [n].

    Chromosomes that were stood upright are judged both ways up.
    """
    if not member.preparation.upright:
        logits = [member.logits(view).astype(np.float64) for view in _mirrored(images, flips)]
        return np.mean([softmax(one / temperature, axis=1) for one in logits], axis=0), energies(logits[0])
    likely, energy = [], []
    for view in (images, images[..., ::-1]) if flips else (images,):
        ways = [member.logits(np.ascontiguousarray(way)).astype(np.float64) for way in (view, view[..., ::-1, ::-1])]
        weight = weigh_ways(ways[0] / temperature, ways[1] / temperature, cells)[:, None]
        up, turned = (softmax(one / temperature, axis=1) for one in ways)
        likely.append(weight * up + (1 - weight) * turned)
        energy.append(np.where(weight[:, 0] >= 0.5, energies(ways[0]), energies(ways[1])))
    return np.mean(likely, axis=0), energy[0]


def _mirrored(images: np.ndarray, flips: bool) -> Sequence[np.ndarray]:
    if not flips:
        return [images]
    return [images, images[..., ::-1, :], images[..., ::-1], images[..., ::-1, ::-1]]


def open_models(
    folders: Sequence[Path],
    checkpoint: str = "last",
    device: str = "auto",
    promise: Promise | None = None,
    *,
    graphs: bool = True,
) -> Ensemble:
    """Open every model of ``folders``: runs (their ``checkpoint``), model folders or exported graphs.

    ``graphs`` False: of a model folder the weights, by PyTorch, and not the graph that is made of them.

    A run's confidence comes from the out-of-fold predictions of its training's finished folds, and ``promise`` says
    what is asked of it; an exported model has its own. Raises
    :class:`ManyErrors` naming each folder that is no model, :class:`UserError` when their classes differ.
    """
    if not folders:
        raise UserError("no model is named", "Name a run, an exported model or a graph.")
    folders = [at_home(folder) for folder in folders]
    members: list[Member] = []
    confidences: list[Confidence | None] = []
    problems: list[UserError] = []
    fitted: dict[tuple[Path, ...], Confidence | None] = {}
    for folder in folders:
        try:
            members.append(open_member(folder, checkpoint, device, graphs=graphs))
            if is_run(folder):
                siblings = tuple(sibling_folds(folder))
                if siblings not in fitted:
                    fitted[siblings] = confidence_of_folds(siblings, checkpoint, promise)
                confidences.append(fitted[siblings])
            else:
                confidences.append(read_confidence(members[-1].folder))
            _require_own(confidences[-1], members[-1])
        except UserError as error:
            problems.append(error)
    if problems:
        if len(problems) == 1 and len(folders) == 1:
            raise problems[0]
        lines = [f"{error.message} {error.remedy}".strip() for error in problems]
        raise ManyErrors("models that cannot be opened:", lines)
    for member in members:
        if member.classes != members[0].classes:
            raise UserError(
                f"{member.folder} knows other classes than {members[0].folder}", "Combine models of the same classes."
            )
    likenesses = tuple(read_likeness(member.folder) for member in members)
    trained = trained_of(member.folder for member in members)
    return Ensemble(tuple(members), tuple(confidences), likenesses, trained)


def _require_own(confidence: Confidence | None, member: Member) -> None:
    if confidence is not None and confidence.classes != member.classes:
        raise UserError(
            f"{member.folder}: what is known of its confidence is of other classes, or of the same in another order",
            COPY_AGAIN,
        )


def open_member(place: Path, checkpoint: str, device: str, *, graphs: bool = True) -> Member:
    """Open one model: a graph by its runtime, a run and a model folder without a graph by PyTorch. Raises as either.

    A GPU is used by whichever of the two can: see :func:`_at_work`. graphs: as :func:`open_models` has it.
    """
    require_device(device)
    graph = graph_file(place)
    if graph is not None and (graphs or graph == place):
        by_graph = _at_work(graph, device)
        if by_graph is not None:
            return open_graph(graph, by_graph)
    if graph is None:
        require_unaltered(place / MODEL_FILES["onnx"])  # it is named where it was lost
    if not is_installed("torch"):
        read_config(place)  # what is no model is said to be none
        raise _without_torch(place)
    from bandbridge.model.classifier import open_classifier  # torch, which a graph does without

    return open_classifier(place, checkpoint, device)


def _at_work(graph: Path, device: str) -> Literal["cpu", "cuda"] | None:
    """Return on which device the runtime of ``graph`` is to work; None where PyTorch is to, with the weights beside it.

    Raises :class:`UserError` for a GPU that neither can use.
    """
    weights = (graph.parent / EXPORTED_WEIGHTS).is_file() and is_installed("torch")
    gpu = graph.suffix == ".onnx" and device in ("auto", "cuda") and sees_gpu()
    if gpu and knows_gpu():
        return "cuda"
    if device == "cpu" or (device == "auto" and not (gpu and weights)):
        return "cpu"
    if weights:
        return None
    raise UserError(
        f"{graph} cannot be run on {device}: no ONNX Runtime that knows it, and such a device, are here",
        "Use --device cpu."
        if device == "mps"
        else "Use --device cpu, or install onnxruntime-gpu in the place of onnxruntime, or bandbridge[train].",
    )


def _without_torch(place: Path) -> UserError:
    if is_run(place):
        return UserError(
            f"{place} is a training run, which takes PyTorch to open",
            "Hand it on with bandbridge models export, where bandbridge[train] is installed; or install that here.",
        )
    return UserError(
        f"{place} is a model of an earlier version, without the graph that stands in for PyTorch",
        f"Complete it once, where bandbridge[train] is installed: bandbridge models complete {place}",
    )


def is_run(folder: Path) -> bool:
    """Whether ``folder`` is that of a run, as opposed to an exported model."""
    return (folder / "run.json").exists()


def sibling_folds(folder: Path) -> list[Path]:
    """Return the finished folds of the cross-validation that the run in ``folder`` belongs to, itself included.

    They lie beside it and have the same record but for the fold (and the parent, which has folds of its own).
    """
    own = _training(read_run(folder))
    found = []
    for other in sorted(folder.resolve().parent.iterdir()):
        facts = read_run(other) if other.is_dir() else {}
        if facts and facts.get("fold") is not None and _training(facts) == own and read_done(other) is not None:
            found.append(other)
    return found


def _training(facts: dict[str, Any]) -> dict[str, Any]:
    record = dict(facts.get("record", {}))
    record.pop("fold", None)
    record["init"] = {**record.get("init", {}), "run": None}
    return record


def confidence_of_folds(folders: Sequence[Path], checkpoint: str, promise: Promise | None = None) -> Confidence | None:
    """Learn the confidence of a training from its folds; None without any."""
    frames = [read_predictions(folder / "predictions.parquet") for folder in folders]
    return fit_confidence(frames, checkpoint, promise) if frames else None
