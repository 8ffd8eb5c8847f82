# Each target does its own set-up; all it needs is Python 3.11 or newer and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# ImageNet weights for the demo, if there are any: <timm name>.safetensors
WEIGHTS ?= $(or $(BANDBRIDGE_WEIGHTS),$(wildcard ../shared/weights))

.PHONY: demo test test-rest test-all lint clean

demo: $(STAMP)
	$(BIN)/bandbridge data synth demo/q --stain Q --cells 12 --seed 1
	$(BIN)/bandbridge data synth demo/g --stain G --cells 12 --seed 2
	$(BIN)/bandbridge study run studies/demo.yaml --data-dir demo --runs demo/runs --skip-unavailable \
	  $(if $(WEIGHTS),--weights-dir $(WEIGHTS))
	$(BIN)/bandbridge study report studies/demo.yaml --data-dir demo --runs demo/runs --out demo/report --limit 2 \
	  --architecture tf_mobilenetv3_small_100 $(if $(WEIGHTS),--weights-dir $(WEIGHTS))
	@echo "Open demo/report/report.html in a browser."

# Before a commit: all but the tests that are marked slow, in five minutes on two cores.
test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

# What "make test" leaves out, and nothing of what it runs: killed processes, the large architectures, simulations.
test-rest: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow

# Every test.
test-all: $(STAMP)
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
