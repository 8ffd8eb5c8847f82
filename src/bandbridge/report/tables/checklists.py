"""Two checklists for reports of studies, filled in from the records as far as these go, with a mark at every gap.

CLAIM, update of 2024 (Tejani et al., Radiology: Artificial Intelligence 6(4), 2024, e240300), items 1 to 44, and
TRIPOD+AI (Collins et al., BMJ 385, 2024, e078378), items 1 to 27c. Their items are told here in other and fewer words;
what each of them wants is in those papers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bandbridge.report.rendering import Cell, Column, Row, Table

GAP = "GAP: for the authors to write"


@dataclass(frozen=True)
class Item:
    """An item of a checklist: its number, the heading it stands under, its topic, and the record that bears upon it.

    record: the name of a fact of :mod:`bandbridge.report.sections.checklists`; "" where no record can say it.
    """

    number: str
    section: str
    topic: str
    record: str = ""


def _items(text: str) -> tuple[Item, ...]:
    """Read items from lines of ``number | topic | record`` below headings, which begin with ``#``."""
    found, section = [], ""
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("#"):
            section = line.removeprefix("# ")
        else:
            number, topic, record = (part.strip() for part in f"{line} | ".split("|")[:3])
            found.append(Item(number, section, topic, record))
    return tuple(found)


CLAIM = _items("""
# Title, abstract, introduction
1 | Named as a study of AI, with the kind of technology
2 | Structured summary
3 | Background, intended use and role
4 | Aims, objectives, hypotheses | objective
# Methods: design
5 | Prospective or retrospective
6 | Goal of the study | objective
# Methods: data
7 | Sources of the data | data
8 | Who and what was included and excluded
9 | Preprocessing | preparation
10 | Selection of subsets | subsets
11 | De-identification
12 | Missing data | missing
13 | How images were acquired
# Methods: reference standard
14 | What the true classes are, and how they were obtained | outcome
15 | Why this reference standard
16 | Who annotated
17 | Annotation of the test set
18 | Variability between and within annotators
# Methods: partitions
19 | How data were assigned to partitions | division
20 | At which level partitions are disjoint | level
21 | Intended size of the test sample
# Methods: model
22 | The model in detail | model
23 | Software | software
24 | How parameters were initialised | initialisation
# Methods: training
25 | Training | training
26 | How the final model was chosen | selection
27 | Ensembles | ensembling
# Methods: evaluation
28 | Metrics | metrics
29 | Significance and uncertainty | uncertainty
30 | Robustness or sensitivity | robustness
31 | Explainability | explainability
32 | Evaluation on internal data | internal
33 | Testing on external data | external
34 | Registration of a trial
# Results
35 | How many were included and excluded | counts
36 | Demographic and clinical characteristics by partition
37 | Performance with uncertainty | performance
38 | Diagnostic performance and its precision
39 | Failures | failures
# Discussion
40 | Limitations | limitations
41 | Implications for practice
# Other
42 | Full protocol, further details | protocol
43 | Availability of software, model, data | availability
44 | Funding, role of funders
""")

TRIPOD_AI = _items("""
# Title, abstract
1 | Development or evaluation of a prediction model, population, outcome
2 | Abstract, after its own checklist
# Introduction
3a | Context of health care, rationale, existing models
3b | Target population, purpose, users
3c | Known inequalities in health
4 | Objectives; development, evaluation or both | objective
# Methods
5a | Sources of the data, why these, how representative | data
5b | Dates of the data
6a | Setting, number and place of centres | centres
6b | Eligibility
6c | Treatments
7 | Preparation and checks of the data | preparation
8a | Outcome that is predicted | outcome
8b | Who judged the outcome
8c | Blinding of that judgement
9a | Choice of predictors | predictors
9b | Definition of predictors | predictors
9c | Who judged the predictors
10 | Size of the study, and why it is enough
11 | Missing data | missing
12a | How data were used and divided | division
12b | How predictors were handled | preparation
12c | Kind of model, building, tuning, internal validation | training
12d | Differences between clusters | heterogeneity
12e | Measures and plots of performance | metrics
12f | Updating of the model
12g | How predictions were calculated | calculation
13 | Imbalance of classes | imbalance
14 | Fairness
15 | Output of the model, thresholds | output
16 | Differences between the data of development and evaluation | internal
17 | Ethical approval, consent
# Open science
18a | Funding
18b | Conflicts of interest
18c | Protocol | protocol
18d | Registration
18e | Sharing of data | fingerprints
18f | Sharing of code | availability
# Patients and the public
19 | Their involvement
# Results
20a | Flow of participants | counts
20b | Characteristics of participants
20c | Evaluation data compared with development data
21 | Numbers in each analysis | counts
22 | The full model | specification
23a | Performance with intervals, subgroups | performance
23b | Performance by clusters | heterogeneity
24 | Results of updating
# Discussion
25 | Interpretation
26 | Limitations | limitations
27a | Poor or missing inputs in use
27b | What users have to do and know
27c | Next steps
""")


def checklist_table(name: str, title: str, source: str, items: Sequence[Item], facts: Mapping[str, str]) -> Table:
    """Return a checklist with what ``facts`` say, by the name of the record, and a mark where none does."""
    said = [facts.get(item.record, "") for item in items]
    rows = tuple(
        Row(
            (Cell(item.number), Cell(item.topic), Cell(text or GAP, bold=not text)),
            item.section if number == 0 or items[number - 1].section != item.section else "",
        )
        for number, (item, text) in enumerate(zip(items, said, strict=True))
    )
    filled = sum(map(bool, said))
    sentence = (
        f"{source} {filled} of {len(items)} items are begun from the records; {len(items) - filled} are marked as "
        "gaps. What stands here is a draft: whether it answers the item, the authors decide."
    )
    data = pd.DataFrame(
        {
            "item": [item.number for item in items],
            "section": [item.section for item in items],
            "topic": [item.topic for item in items],
            "from the records": said,
            "gap": [not text for text in said],
        }
    )
    columns = (Column("Item", align="left"), Column("Topic", align="left"), Column("From the records", align="left"))
    return Table(name, title, sentence, columns, rows, data)


def records_named(items: Iterable[Item]) -> frozenset[str]:
    """Return the records that bear upon ``items``."""
    return frozenset(item.record for item in items if item.record)
