"""Studies whose runs are made up."""

from tests.made_up import made_up as made_up
