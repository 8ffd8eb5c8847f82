"""Studies on small sets, as the tests of studies have them."""

from tests.study.conftest import study_file as study_file
