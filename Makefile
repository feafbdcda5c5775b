# make demo: explain the embedded photograph with the embedded network.   make test: every check and test.
# Both set up everything they need in .venv; nothing else on the machine is touched.
# The first Python that runs and is new enough: a name on the path may be a shim of one that is not installed.
NEW := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p $(NEW) 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test check docs bench format clean
help:  ## these lines
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

.venv/made: pyproject.toml constraints.txt
	@$(PYTHON) $(NEW) || { echo "phosphene wants Python 3.11 or newer, and found none: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) install -c constraints.txt -e .
	touch $@

.venv/tested: .venv/made
	$(PIP) install -c constraints.txt -e '.[test,docs,figures]'
	touch $@

demo: .venv/made  ## explain the embedded photograph; prints the best classes and where the report is
	$(BIN)/phosphene explain sample:cat

check: .venv/tested  ## format, lint, types, imports, docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

test: check  ## every check, then every test
	$(BIN)/python -m pytest

docs: .venv/tested  ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: .venv/tested  ## side by side with the peers; prints ratios
	$(BIN)/python benchmarks/attribution.py

format: .venv/tested  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove all that was made here
	rm -rf .venv site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
