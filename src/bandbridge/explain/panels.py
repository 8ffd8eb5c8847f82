"""Case studies of a study: the chosen images with what each approach sees in them (the paper's Figures 3 and 4)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bandbridge.dataset.imagefolder import ImageFolder
from bandbridge.dataset.read_prepared import read_prepared
from bandbridge.explain.cases import (
    broken_errors,
    confident_errors,
    confused_pairs,
    correct_by_all,
    examples_of_pairs,
    judge,
    mended_errors,
)
from bandbridge.explain.overlay import COLOUR_MAPS, DISPLAY_SIDE, display_factor, enlarge, overlay, place
from bandbridge.explain.runs import FoldRuns, comparable_runs, every_fold
from bandbridge.explain.seen import SeeingClassifier, open_seeing
from bandbridge.study.plan import Study


@dataclass(frozen=True, eq=False)
class ApproachView:
    """What one approach makes of a case; pictures uint8 RGB [H, W, 3], of the size of the case's own.

    predicted, probability: its class and how probable it finds it, from the run's predictions; truth_probability: of
    the true class. predicted_overlay, truth_overlay: the CAM of either class over the chromosome, each map stretched
    to [0, 1] by itself. predicted_maximum, truth_maximum: of the raw maps, in the unit of the logit; 0 is "no positive
    evidence", and the overlay then shows the bare chromosome. correct: whether predicted is the true class.
    """

    approach: str
    predicted: str
    probability: float
    truth_probability: float
    correct: bool
    predicted_overlay: np.ndarray
    truth_overlay: np.ndarray
    predicted_maximum: float
    truth_maximum: float


@dataclass(frozen=True, eq=False)
class CasePanel:
    """One image chosen by a rule, and what every finished approach sees in it.

    kind: a key of :data:`bandbridge.explain.cases.KINDS`. rule: how it was chosen, in words. about: the approach whose
    error it is, "" where the case is about all. picture: the chromosome, uint8 RGB [H, W, 3], enlarged by ``factor``.
    missing: approaches that are planned and not finished on this fold.
    """

    kind: str
    rule: str
    task: str
    architecture: str
    fold: int
    image: str
    cell: str
    truth: str
    about: str
    picture: np.ndarray
    factor: int
    views: tuple[ApproachView, ...]
    missing: tuple[str, ...]


def study_cases(
    study: Study,
    root: Path,
    *,
    fold: int | None = None,
    seed: int = 0,
    limit: int = 3,
    architectures: Sequence[str] | None = None,
    colour_map: str = COLOUR_MAPS[0],
    side: int = DISPLAY_SIDE,
    centred: bool = False,
    device: str = "auto",
) -> list[CasePanel]:
    """Return the case studies of every task and architecture of ``study``, at most ``limit`` of each kind.

    ``root`` is the folder of runs. Images are chosen from the predictions of one fold (``fold``, else the first of
    those with the most finished approaches), because only its models have not been trained on them; the pairs of
    classes most confused are counted over all finished folds. The checkpoint is the protocol's. Each model is loaded
    once. Runs that are not finished are left out and named in :attr:`CasePanel.missing`; tasks without any finished
    run, or whose dataset is not here, give no panel (:func:`bandbridge.explain.runs.missing_runs` names them).
    ``side`` is about the longer side of the pictures, pixels; ``centred`` shows :meth:`SeeingClassifier.centred_maps`
    instead of the maps as published.
    """
    panels: list[CasePanel] = []
    for runs in comparable_runs(study, root, fold):
        dataset = study.tasks[runs.task].dataset
        if dataset is None or (architectures is not None and runs.architecture not in architectures):
            continue
        judged = judge(runs.predictions(), study.spec.kept_checkpoint)
        pooled = [
            judge(one.predictions(), study.spec.kept_checkpoint)
            for one in every_fold(study, root, runs.task, runs.architecture)
        ]
        cases = choose_cases(judged, pd.concat(pooled, ignore_index=True), limit, seed)
        drawings = _Drawings(dataset, cases["image"].unique().tolist(), colour_map, side, centred)
        views = {
            approach: drawings.views(
                open_seeing(folder, study.spec.kept_checkpoint, device), judged[judged["approach"] == approach]
            )
            for approach, folder in runs.folders.items()
        }
        panels += [_panel(case, runs, drawings, views) for case in cases.to_dict("records")]
    return panels


def choose_cases(judged: pd.DataFrame, pooled: pd.DataFrame, limit: int, seed: int) -> pd.DataFrame:
    """Return at most ``limit`` cases of each kind from the ``judged`` predictions of one fold, in reading order.

    ``pooled`` are those of all folds, for counting confusions. "Mended" and "broken" compare every two-step approach
    with ImageNet.
    """
    detours = [name for name in judged["approach"].unique() if name.partition(" ")[0] == "two-step"]
    return pd.concat(
        [
            correct_by_all(judged, limit, seed),
            confident_errors(judged, limit),
            examples_of_pairs(judged, confused_pairs(pooled, limit)),
            *(mended_errors(judged, name, "imagenet", limit) for name in detours),
            *(broken_errors(judged, name, "imagenet", limit) for name in detours),
        ],
        ignore_index=True,
    )


class _Drawings:
    """The images of the chosen cases, decoded once, and what classifiers see in them."""

    def __init__(self, dataset: ImageFolder, names: list[str], colour_map: str, side: int, centred: bool) -> None:
        self.dataset, self.names, self.colour_map, self.centred = dataset, names, colour_map, centred
        self.images = [dataset.gray(name) for name in names]
        self.factors = [display_factor(image, side) for image in self.images]

    def picture(self, name: str) -> tuple[np.ndarray, int]:
        row = self.names.index(name)
        return enlarge(self.images[row], self.factors[row]), self.factors[row]

    def views(self, classifier: SeeingClassifier, judged: pd.DataFrame) -> dict[str, ApproachView]:
        """What ``classifier``, whose ``judged`` predictions are given, sees in every image it has predicted."""
        told = judged.set_index("image").loc[[name for name in self.names if name in set(judged["image"])]]
        rows = [self.names.index(name) for name in told.index]
        if not rows:
            return {}
        prepared = read_prepared(self.dataset, [self.names[row] for row in rows], classifier.preparation)
        guessed, true = (
            self._overlays(classifier, prepared, rows, told[column].tolist()) for column in ("predicted", "label")
        )
        views = {}
        for position, (name, facts) in enumerate(zip(told.index, told.to_dict("records"), strict=True)):
            views[str(name)] = ApproachView(
                approach=facts["approach"],
                predicted=facts["predicted"],
                probability=float(facts["probability"]),
                truth_probability=float(facts["truth_probability"]),
                correct=bool(facts["correct"]),
                predicted_overlay=guessed[position][0],
                truth_overlay=true[position][0],
                predicted_maximum=guessed[position][1],
                truth_maximum=true[position][1],
            )
        return views

    def _overlays(
        self, classifier: SeeingClassifier, prepared: np.ndarray, rows: list[int], labels: list[str]
    ) -> list[tuple[np.ndarray, float]]:
        """The overlay and the raw maximum of each image, for the class of each."""
        targets = np.array([classifier.classes.index(label) for label in labels])
        maps, maxima = classifier.shown_maps(prepared, targets, centred=self.centred)
        drawn = []
        for values, maximum, row in zip(maps, maxima, rows, strict=True):
            placement = place(self.images[row], classifier.preparation)
            picture = overlay(self.images[row], values, placement, self.factors[row], self.colour_map)
            drawn.append((picture, float(maximum)))
        return drawn


def _panel(
    case: Mapping[Hashable, str], runs: FoldRuns, drawings: _Drawings, views: dict[str, dict[str, ApproachView]]
) -> CasePanel:
    picture, factor = drawings.picture(case["image"])
    return CasePanel(
        kind=case["kind"],
        rule=case["rule"],
        task=runs.task,
        architecture=runs.architecture,
        fold=runs.fold,
        image=case["image"],
        cell=case["cell"],
        truth=case["label"],
        about=case["approach"],
        picture=picture,
        factor=factor,
        views=tuple(by_image[case["image"]] for by_image in views.values() if case["image"] in by_image),
        missing=runs.missing,
    )
