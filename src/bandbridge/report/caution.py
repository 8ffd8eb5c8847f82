"""Cautions: what a reader must know before believing a study's numbers, each kind under a code that never changes.

``KINDS`` is the one list of them. A code is never given to anything else, also not after its kind has gone; each has a
page, ``docs/cautions/<code>.md``. :mod:`bandbridge.report.sections.cautions` finds which of them a study deserves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Gravity = Literal["serious", "note"]

#: Tables by name: what a classifier reaches, what the detour gains, and what a laboratory would have of it.
_SCORES = ("table2", "folds", "selection", "confusions", "class-f1", "calibration")
_GAINS = ("differences", "comparison", "mixed", "classes")
_LABORATORY = ("laboratory-cells", "laboratory-confidence", "abnormal")


@dataclass(frozen=True)
class Caution:
    """One thing to know of a study: ``serious`` ones can change the answer. :meth:`Kind.caution` makes them.

    code: such as "BB003". text: one to three sentences with the study's own numbers. details: lines for who wants all.

    >>> caution = Study.read("mine.yaml").cautions()[0]
    >>> caution.code, caution.gravity, caution.page
    ('BB009', 'note', 'docs/cautions/BB009.md')
    """

    code: str
    gravity: Gravity
    title: str
    text: str
    details: tuple[str, ...] = ()

    @property
    def page(self) -> str:
        """Where the documentation says what triggers it, why it matters and what to do."""
        return page_of(self.code)

    def __str__(self) -> str:
        """Code, gravity, title and text on one line, whatever a dataset is called."""
        return " ".join(f"{self.code} {self.gravity}: {self.title}. {self.text}".split())


@dataclass(frozen=True)
class Kind:
    """A kind of caution. ``tables`` names the tables whose numbers it bears upon."""

    code: str
    title: str
    gravity: Gravity
    tables: tuple[str, ...]

    def caution(self, text: str, details: tuple[str, ...] = (), *, task: str = "") -> Caution:
        """Return the caution of this kind for a study, or for one ``task`` of it."""
        title = f"{task}: {self.title[0].lower()}{self.title[1:]}" if task else self.title
        return Caution(self.code, self.gravity, title, text, details)


UNFINISHED = Kind("BB001", "The study is not finished", "serious", (*_SCORES, *_GAINS))
MISSING_DATA = Kind("BB002", "Datasets are missing", "note", ("datasets", "splits"))
SHARED_PATIENTS = Kind(
    "BB003", "Training and held-out images share patients", "serious", (*_SCORES, *_GAINS, *_LABORATORY)
)
SHARED_CELLS = Kind("BB004", "Training and held-out images share cells", "serious", (*_SCORES, *_GAINS, *_LABORATORY))
UNKNOWN_CELLS = Kind("BB005", "Cells are not known", "serious", (*_SCORES, *_GAINS, *_LABORATORY))
REPEATED_FILES = Kind("BB006", "The same image on both sides", "serious", (*_SCORES, *_GAINS, *_LABORATORY))
TARGET_IN_INTERMEDIATE = Kind("BB007", "The intermediate domain holds target images", "serious", (*_SCORES, *_GAINS))
CHOSEN_EPOCH = Kind("BB008", "The epoch was chosen on the reported fold", "serious", (*_SCORES, *_GAINS))
FEW_FOLDS = Kind("BB009", "Few folds", "note", ("table2", *_GAINS))
MIXED_MACHINES = Kind(
    "BB010", "Runs of different machines or versions", "note", (*_SCORES, *_GAINS, "machines", "runs")
)
FEW_GROUPS = Kind("BB011", "Few patients or cells", "note", ("comparison", "mixed", "classes", "laboratory-cells"))
ABSENT_CLASSES = Kind("BB012", "Folds lack whole classes", "note", ("table2", "folds", "selection", "differences"))
TRAINED_UPRIGHT = Kind("BB013", "Few images were upside down in training", "note", (*_SCORES, *_LABORATORY))
OWN_LABORATORY = Kind(
    "BB014", "Only the laboratories trained on were measured", "note", ("table2", "folds", *_GAINS, *_LABORATORY)
)
UNTRAINED_CLASSES = Kind(
    "BB015",
    "A fold holds a class out whole",
    "note",
    ("table2", "folds", "selection", "confusions", "class-f1", "differences", "classes"),
)

KINDS = (
    *(UNFINISHED, MISSING_DATA, SHARED_PATIENTS, SHARED_CELLS, UNKNOWN_CELLS, REPEATED_FILES, TARGET_IN_INTERMEDIATE),
    *(CHOSEN_EPOCH, FEW_FOLDS, MIXED_MACHINES, FEW_GROUPS, ABSENT_CLASSES, TRAINED_UPRIGHT, OWN_LABORATORY),
    UNTRAINED_CLASSES,
)


def kind_of(code: str) -> Kind:
    """Return the kind with ``code``. Raises :class:`KeyError` where there is none."""
    return {kind.code: kind for kind in KINDS}[code]


def page_of(code: str) -> str:
    """Return the path of a code's page in the repository."""
    return f"docs/cautions/{code}.md"
