"""What the table of a dataset says by itself: labels, cells, patients, and how far the cells are karyotypes."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from bandbridge.dataset.findings import Finding, counted, decision, note
from bandbridge.dataset.names import ATTRIBUTE, GROUPS, near_spellings
from bandbridge.errors import ManyErrors, UserError
from bandbridge.karyotype import AUTOSOMES, CLASS_INDEX, CLASSES, parse_label

#: Patients, cells or images from which on it is told which classes only one of them has.
_FEWEST_DIVIDED = 3


def take_census(samples: pd.DataFrame) -> list[Finding]:
    """Return the findings on the table of a dataset (columns ``imagefolder.COLUMNS``); images are not read."""
    found = _check_labels(samples)
    human = samples[samples["label"].isin(CLASSES)]
    found += _check_groups(samples)
    if len(human):
        found += _check_classes(human)
        found += _check_karyotypes(human[human["cell"] != ""])
    return found


def require_one_patient(samples: pd.DataFrame) -> None:
    """Raise :class:`ManyErrors` for cells that are named for several patients: dividing by these tears them apart."""
    known = samples.loc[(samples["cell"] != "") & (samples["patient"] != "")]
    patients = known.groupby("cell")["patient"].nunique()
    problems = [f"{cell}: {counted(int(count), 'patient')}" for cell, count in patients[patients > 1].items()]
    if problems:
        remedy = "Give every cell a name of its own, and write each patient in one way (bandbridge data check)."
        raise ManyErrors("cells of more than one patient:", problems, remedy)


def _check_labels(samples: pd.DataFrame) -> list[Finding]:
    counts = Counter(samples["label"])
    strange = {label: count for label, count in counts.items() if label not in CLASS_INDEX}
    spelled = {label: parsed for label in strange if (parsed := _parsed(label))}
    alien = [f"{label!r}: {counted(count, 'image')}" for label, count in strange.items() if label not in spelled]
    if len(alien) == len(counts):
        return note(
            "labels-not-chromosomes",
            "label",
            alien,
            "none is a human chromosome, so karyotypes are not checked.",
            "Nothing to do, if these are not meant to be chromosomes.",
        )
    return [
        *decision(
            "labels-not-chromosomes",
            "label",
            alien,
            "not a human chromosome.",
            "Correct these rows of metadata.csv, or remove them.",
        ),
        *decision(
            "label-spelling",
            "label",
            [f"{label!r}: write {parsed!r}" for label, parsed in spelled.items()],
            "a chromosome in another spelling, which would become a class of its own.",
            "Write labels as 1 to 22, X and Y in metadata.csv; in a spreadsheet, format the column as text first.",
        ),
    ]


def _parsed(label: str) -> str:
    try:
        return parse_label(label)
    except UserError:
        return ""


def _check_groups(samples: pd.DataFrame) -> list[Finding]:
    without_cell = samples.loc[samples["cell"] == "", "file_name"].tolist()
    without_patient = samples.loc[samples["patient"] == "", "file_name"].tolist()
    named = samples[(samples["cell"] != "") & (samples["patient"] != "")]
    patients = named.groupby("cell")["patient"].unique()
    shared = [f"{cell}: {', '.join(names)}" for cell, names in patients.items() if len(names) > 1]
    stains = Counter(samples["stain"])
    return [
        *_check_names(samples),
        *note(
            "cell-unknown",
            "image",
            without_cell,
            "the cell is not known; folds grouped by cell cannot be made with them.",
            "Fill the column cell of metadata.csv, if you know it.",
            without_cell if len(without_cell) < len(samples) else [],
        ),
        *note(
            "patient-unknown",
            "image",
            without_patient,
            "the patient is not known; two cells of one patient may fall into two folds.",
            "Fill the column patient of metadata.csv, if you know it.",
            without_patient if len(without_patient) < len(samples) else [],
        ),
        *decision(
            "cell-of-two-patients",
            "cell",
            shared,
            "named for two patients or more.",
            "Give each cell a name of its own, such as <patient>.<cell>.",
        ),
        *note(
            "several-stains",
            "stain",
            [f"{stain or 'unknown'}: {counted(count, 'image')}" for stain, count in stains.items()] * (len(stains) > 1),
            "in one dataset.",
            "Make one dataset for each stain.",
        ),
    ]


def _check_names(samples: pd.DataFrame) -> list[Finding]:
    """Cells and patients that are written as unknown, and such that are written in several ways."""
    unknown = [
        f"{column} {name!r}: {counted(number, 'image')}" for column, name, number in samples.attrs.get(ATTRIBUTE, [])
    ]
    found = note(
        "name-means-unknown",
        "spelling",
        unknown,
        "of a cell or patient that is not known, and is taken so; it is nobody's name here.",
        "Leave the field empty, or fill in the name, if you know it.",
    )
    for column in GROUPS:
        groups = near_spellings(set(samples[column]))
        counts = Counter(samples[column])
        found += decision(
            f"{column}-spelling",
            column,
            [", ".join(f"{name!r} ({counts[name]:,})" for name in spellings) for spellings in groups],
            f"written in several ways, which count as several {column}s: folds may divide what is one.",
            f"Write each {column} in one way in metadata.csv; where they are two, name them more differently.",
        )
    return found


def _check_classes(human: pd.DataFrame) -> list[Finding]:
    present = set(human["label"])
    return [
        *note(
            "absent-class",
            "class",
            [label for label in CLASSES if label not in present],
            "no image.",
            "A class without images is neither learned nor scored.",
        ),
        *_check_spread(human),
    ]


def _check_spread(human: pd.DataFrame) -> list[Finding]:
    """Classes that a single patient, cell or image has: whatever the folds, the one that holds it out trains none."""
    known = [unit for unit in ("patient", "cell") if (human[unit] != "").all()]
    unit = known[0] if known else "file_name"
    if human[unit].nunique() < _FEWEST_DIVIDED:
        return []  # of a set for trying things out nearly every class would be named
    name = "image" if unit == "file_name" else unit
    alone = [
        f"{label}: {counted(len(rows), 'image')} of {name} {rows[unit].iloc[0]}"
        for label, rows in human.groupby("label")
        if len(set(rows[unit])) == 1
    ]
    return note(
        "class-of-one-" + name,
        "class",
        alone,
        f"only one {name} has it: the fold that holds that {name} out never trains the class and gets it wrong.",
        f"Add {name}s that have it, or leave the class out.",
    )


def _check_karyotypes(human: pd.DataFrame) -> list[Finding]:
    """Compare each cell with a normal karyotype: two of each autosome, and XX or XY."""
    missing, extra, exchanged, sex = [], [], [], []
    for cell, labels in human.groupby("cell", sort=False)["label"]:
        counts = Counter(labels)
        more = [f"{label} x{counts[label]}" for label in AUTOSOMES if counts[label] > 2]
        fewer = [f"{label} x{counts[label]}" for label in AUTOSOMES if counts[label] < 2]
        sexes = "X" * counts["X"] + "Y" * counts["Y"]
        odd_sex = [] if sexes in ("XX", "XY") else [sexes or "no X or Y"]
        if (more or len(sexes) > 2) and (fewer or len(sexes) < 2):
            exchanged.append(f"{cell}: {_shortened(more + fewer + odd_sex)}")
            continue
        if more:
            extra.append(f"{cell}: {_shortened(more)}")
        if fewer:
            missing.append(f"{cell}: {_shortened(fewer)}")
        if odd_sex:
            sex.append(f"{cell}: {odd_sex[0]}")
    return [
        *decision(
            "exchanged-homologues",
            "cell",
            exchanged,
            "too many of one chromosome and too few of another: a wrong label, or an abnormal cell cut out in part.",
            "Look at these cells; correct metadata.csv where a label is wrong.",
        ),
        *note(
            "extra-homologues",
            "cell",
            extra,
            "an autosome three times or more: a trisomy, or a wrong label.",
            "Look at these cells, if only normal karyotypes are wanted.",
        ),
        *note(
            "missing-homologues",
            "cell",
            missing,
            "homologues of autosomes are missing: a monosomy, or not every chromosome was cut out.",
            "Nothing to do for training; assignment within a cell must allow for it.",
        ),
        *note(
            "sex-chromosomes",
            "cell",
            sex,
            "sex chromosomes other than XX or XY.",
            "Look at these cells, if only normal karyotypes are wanted.",
        ),
    ]


def _shortened(items: list[str], shown: int = 4) -> str:
    rest = len(items) - shown
    return ", ".join(items[:shown]) + (f" and {rest} more" if rest > 0 else "")
