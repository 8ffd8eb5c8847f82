"""Errors as a person reads them."""

import pytest

from bandbridge.errors import in_one_line


@pytest.mark.parametrize(
    ("message", "remedy", "line"),
    [
        ("a is damaged", "Delete it.", "a is damaged. Delete it."),
        ("a is damaged.", "", "a is damaged."),
        ("two faults:\n  one\n  other", "Look.", "two faults: one other. Look."),
    ],
)
def test_message_and_remedy_become_one_line(message, remedy, line):
    assert in_one_line(message, remedy) == line
