"""The counts that are kept are those that building the networks gives."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bandbridge.model.architectures import ARCHITECTURES, find_architecture, measure, pretrained_config
from bandbridge.model.complexity import CLASSES, IMAGE_SIZE, KEPT, complexity_table, weights_licence


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda each: each.slug)
def test_what_is_kept_is_what_is_counted(architecture) -> None:
    *counts, licence = KEPT[architecture.pinned_name]
    assert tuple(counts) == measure(architecture, CLASSES, IMAGE_SIZE)
    assert licence == pretrained_config(architecture).license == weights_licence(architecture)


def test_all_eleven_are_kept_and_nothing_else() -> None:
    assert set(KEPT) == {each.pinned_name for each in ARCHITECTURES}
    assert [(row.parameters, row.macs) for row in complexity_table()] == [counts[:2] for counts in KEPT.values()]


def test_other_classes_sizes_and_options_are_counted() -> None:
    (row,) = complexity_table(["MobileNetV3-L"], classes=3)
    assert (
        (row.parameters, row.macs) == measure(row.architecture, 3, IMAGE_SIZE) != KEPT[row.architecture.pinned_name][:2]
    )
    (row,) = complexity_table(["MobileNetV3-L+pad_type=same"])
    assert (row.parameters, row.macs) == measure(find_architecture("MobileNetV3-L+pad_type=same"), CLASSES, IMAGE_SIZE)


def test_the_list_needs_no_torch() -> None:
    program = (
        "import sys; from bandbridge.model.complexity import complexity_table; complexity_table();"
        "print(sorted({'torch', 'timm'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"
