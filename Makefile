# make repro   the environment, then every stage that is out of date
# make test    the environment, then lint, types and tests
# VENV=/path   use or make the environment elsewhere

PYTHON ?= python3
VENV ?= .venv
BIN = $(abspath $(VENV))/bin
RUN = PATH="$(BIN):$$PATH"

.PHONY: repro test lint clean readme

repro: $(VENV)/.ready
	$(RUN) dvc repro

test: $(VENV)/.ready-dev lint
	$(RUN) mypy
	$(RUN) pytest

lint: $(VENV)/.ready-dev
	$(RUN) ruff check .
	$(RUN) ruff format --check .

readme: $(VENV)/.ready
	$(RUN) python -m earlyexit.readme README.md

clean:
	rm -rf $(VENV) data models .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.ready: requirements.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	@echo "Installing into $(VENV): about 5 GB, a few minutes"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -q -r requirements.txt
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready requirements-dev.txt
	$(BIN)/pip install --disable-pip-version-check -q -r requirements-dev.txt
	touch $@
