# Every target installs what it needs into .venv: a fresh clone and Python 3.11 are enough.
PYTHON ?= python3
DATA ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
export MLFLOW_DISABLE_TELEMETRY ?= true
export RAY_USAGE_STATS_ENABLED ?= 0

.PHONY: help quickstart check format test test-slow constraints clean
help:  ## Show this list.
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 16

quickstart: $(VENV)/.jobs  ## Run the whole pipeline on generated motion, or on your recordings with DATA=FOLDER.
	$(BIN)/python -m pipelines.quickstart $(if $(DATA),--data $(DATA))

check: $(VENV)/.dev  ## Check lint rules, format, types and spelling.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/codespell

format: $(VENV)/.dev  ## Fix lint errors and format with ruff.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(VENV)/.dev  ## Run all tests except the slow ones; under 15 minutes on 2 cores.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/.dev  ## Run the slow tests: whole jobs on a cluster, real recordings, clean environments.
	$(BIN)/python -m pytest -m slow

constraints: $(VENV)/.dev  ## Write the installed versions to constraints.txt, after an upgrade.
	@(head -1 constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//') > constraints.new
	mv constraints.new constraints.txt

clean:  ## Remove .venv and the results of the quickstart.
	rm -rf $(VENV) quickstart

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1); try: make PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "no venv module: on Debian, apt install python3-venv" >&2; exit 2; }

# torch is installed first, so that no other package can choose another build than the one in constraints.txt.
$(VENV)/.torch: $(BIN)/python constraints.txt
	@echo "Installing PyTorch into $(VENV) ..."
	@$(PIP) "$$(grep '^torch==' constraints.txt)"
	@touch $@

$(VENV)/.jobs: $(VENV)/.torch pyproject.toml
	@echo "Installing Ray, MLflow and the rest into $(VENV) ..."
	@$(PIP) --quiet --editable ".[pipelines]"
	@touch $@

$(VENV)/.dev: $(VENV)/.jobs
	@echo "Installing the development tools into $(VENV) ..."
	@$(PIP) --quiet --editable ".[pipelines,dev]"
	@touch $@
