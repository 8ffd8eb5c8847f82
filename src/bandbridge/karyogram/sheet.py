"""One metaphase as it goes from the classifier to the karyogram and the person who checks it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bandbridge.karyogram.grade import CellGrade


@dataclass(frozen=True)
class Pose:
    """How to turn a chromosome upright, short arm up.

    angle: degrees to rotate counter-clockwise so that its long axis is vertical, -90 to 90. flipped: whether it must
    then be turned by 180 degrees. certainty: the probability that the short arm is up afterwards, 0.5 to 1.
    """

    angle: float = 0.0
    flipped: bool = False
    certainty: float = 0.5


@dataclass(frozen=True, eq=False)
class Chromosome:
    """One image with what is thought of it.

    file: its name in what was given. image: uint8 [H, W], as photographed. predicted: the most probable class by
    itself. placed: the class it is sorted into, "" for none: the joint assignment's, or a person's. probabilities:
    float64 [K], calibrated, in the order of the cell's ``classes``. labels: the prediction set. reasons: why a person
    should look, none where nobody needs to. corrected: whether a person has placed it. margin: what the next best
    placing of the whole cell that puts it elsewhere costs more, in nats; NaN where no cell was assigned as a whole.
    scale_error: standard error of the logarithm of the scale of its cell that it was judged by, NaN for none.
    """

    file: str
    image: np.ndarray
    predicted: str
    placed: str
    probabilities: np.ndarray
    labels: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    pose: Pose = Pose()
    corrected: bool = False
    margin: float = float("nan")
    scale_error: float = float("nan")


@dataclass(frozen=True)
class CountFinding:
    """A class with another number of chromosomes than expected: something for a person to look at, no diagnosis.

    log_odds: by how much the evidence speaks for ``copies`` rather than ``expected``, natural logarithm. Below 0 the
    cell is sorted as if the count were normal, and the finding says what may have been sorted away.
    """

    label: str
    copies: int
    expected: int
    log_odds: float

    @property
    def overruled(self) -> bool:
        """Whether the cell is sorted as if this were not so."""
        return self.log_odds <= 0

    @property
    def text(self) -> str:
        """Return "3 of chromosome 21, 2 expected", or "possibly 3 of chromosome 21, sorted as 2"."""
        if self.overruled:
            return f"possibly {self.copies} of chromosome {self.label}, sorted as {self.expected}"
        return f"{self.copies} of chromosome {self.label}, {self.expected} expected"


@dataclass(frozen=True, eq=False)
class CountEvidence:
    """How much speaks for more, and for fewer, copies of each class than normal, whatever was decided: in nats.

    gains, losses: float64 [K], of :class:`bandbridge.evaluation.assignment.Assignment`, NaN for the sex chromosomes.
    sex: the evidence that the cell is neither XX nor XY.
    """

    gains: np.ndarray
    losses: np.ndarray
    sex: float


@dataclass(frozen=True, eq=False)
class CellSheet:
    """The chromosomes of one cell. ``classes``: the names behind the probabilities, in karyotype order.

    unknown: why the model does not know cells like this one, a sentence, "" where it does; its counts are then withheld
    (``findings`` is empty) until a person has placed every chromosome. evidence: of its counts, None where its
    chromosomes were not placed together. grade: how good it is for karyotyping, None where it was not graded. remark:
    what whoever reads it has to know of the model, a sentence, "" for nothing.
    """

    name: str
    classes: tuple[str, ...]
    chromosomes: tuple[Chromosome, ...]
    findings: tuple[CountFinding, ...] = ()
    unknown: str = ""
    evidence: CountEvidence | None = None
    grade: CellGrade | None = None
    remark: str = ""

    def of(self, label: str) -> tuple[Chromosome, ...]:
        """Return the chromosomes placed in class ``label`` ("": those placed nowhere), the most certain first."""
        found = [one for one in self.chromosomes if one.placed == label]
        return tuple(sorted(found, key=lambda one: -self.probability(one)))

    def probability(self, one: Chromosome) -> float:
        """Return the probability of the class that ``one`` is placed in; of the predicted one where it has no place."""
        return float(one.probabilities[self.classes.index(one.placed or one.predicted)])

    def move(self, file: str, label: str) -> CellSheet:
        """Return the sheet after a person has placed ``file`` in class ``label`` ("": nowhere).

        Raises KeyError when there is no such chromosome, ValueError when there is no such class.
        """
        if label and label not in self.classes:
            raise ValueError(f"no class {label!r}")
        if file not in {one.file for one in self.chromosomes}:
            raise KeyError(file)
        moved = tuple(
            replace(one, placed=label, corrected=True) if one.file == file else one for one in self.chromosomes
        )
        return replace(self, chromosomes=moved)
