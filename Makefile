# make demo: explain the embedded photograph with the embedded network.   make test: every check and test.
# Both set up everything they need in .venv; nothing else on the machine is touched.
PYTHON ?= $(shell command -v python3.13 || command -v python3.12 || command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test check docs bench format clean
help:  ## these lines
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

.venv/made: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "phosphene wants Python 3.11 or newer: make PYTHON=python3.12 …")'
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
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict --quiet

test: check  ## every check, then every test
	$(BIN)/python -m pytest

docs: .venv/tested  ## build the documentation into site/
	DISABLE_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict

bench: .venv/tested  ## side by side with the peers; prints ratios
	$(BIN)/python benchmarks/attribution.py

format: .venv/tested  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove all that was made here
	rm -rf .venv site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
