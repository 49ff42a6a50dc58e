# `make` lists what there is. Everything lives in .venv; delete it (make clean) to start anew.

PYTHON ?= python3
# Test processes side by side; each has a PostgreSQL database of its own.
JOBS ?= 2
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
BENCHMARKS := $(filter-out __init__ harness payout_simulation settlement_books,$(basename $(notdir $(wildcard benchmarks/*.py))) \
  $(patsubst benchmarks/%/__main__.py,%,$(wildcard benchmarks/*/__main__.py)))

.DEFAULT_GOAL := help
.PHONY: help setup setup-test demo test serve bench lint clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/.installed ## install everything into .venv (once; a second call is quick)

setup-test: $(VENV)/.installed-test ## install what the tests need as well
	@.ci/install-tools

demo: setup ## images, attribution, statements, ledger and payout, end to end (ARGS="--model DIRECTORY" for real weights)
	@$(BIN)/royalty demo $(ARGS)

serve: setup ## serve the API (ARGS="--port 8001")
	@$(BIN)/royalty serve $(ARGS)

bench: setup ## run every benchmark briefly; one alone: .venv/bin/python -m benchmarks.NAME
	@set -e; for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name --quick $(ARGS); done

lint: $(VENV)/.installed-test ## check style, types and floors
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports >$(VENV)/lint-imports.log 2>&1 || { cat $(VENV)/lint-imports.log; exit 1; }
	@echo "Style, types and floors: clean"

# pytest runs last, so that its count is the last line.
test: setup-test lint ## check everything (ARGS="-k ledger" narrows the tests; -m slow runs the long ones)
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(JOBS) --dist loadscope $(ARGS)

clean: ## remove the environment and every cache; the data in ROYALTY_HOME stays
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 or newer is needed: install it, or name it: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment: on Debian, apt install python3-venv" >&2; exit 1; }

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV): some minutes and about 2 GB the first time"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(VENV)/.installed
	@echo "Installing the test tools into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test]"
	@touch $@
