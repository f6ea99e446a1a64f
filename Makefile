# make repro   the environment, then every stage that is out of date
# make test    the environment, then lint, types and tests
# VENV=/path   use or make the environment elsewhere

PYTHON ?= python3
VENV ?= .venv
BIN = $(abspath $(VENV))/bin
RUN = PATH="$(BIN):$$PATH"
# Named by content, so that another clone with the same requirements finds the environment ready.
READY = $(VENV)/.ready-$(shell cat requirements.txt constraints.txt | cksum | cut -d ' ' -f 1)
READY_DEV = $(VENV)/.ready-dev-$(shell cat requirements.txt requirements-dev.txt constraints.txt | cksum | cut -d ' ' -f 1)

.PHONY: repro test lint clean readme

# From a clean clone it also notes how long everything took, for the README.
repro: $(READY)
	@clean=$$(test -e data || test -e models || echo yes); start=$$(date +%s); \
	$(RUN) dvc repro && { test -z "$$clean" || echo "\`make repro\` from a clean clone, the installation apart:" \
	"$$(($$(date +%s) - start)) seconds on $$(nproc) cores." > reports/wall_time.md; }
	@cat reports/table1.md reports/memory.md; test ! -f reports/wall_time.md || cat reports/wall_time.md
	@echo "Figures: reports/plots/*.png. INT8 segments: models/int8/early_exit. Next: README.md, 'Change something'."

test: $(READY_DEV) lint
	$(RUN) mypy
	$(RUN) pytest

lint: $(READY_DEV)
	$(RUN) ruff check .
	$(RUN) ruff format --check .

readme: $(READY)
	$(RUN) python -m earlyexit.readme README.md

clean:
	rm -rf $(VENV) data models .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	@echo "Installing into $(VENV): about 5 GB, a few minutes"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -q -r requirements.txt
	touch $@

$(READY_DEV): | $(READY)
	$(BIN)/pip install --disable-pip-version-check -q -r requirements-dev.txt
	touch $@
