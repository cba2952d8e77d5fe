# Needs Linux or macOS, Python >= 3.10 and make. All files stay in this folder: the environment in .venv, an AiiDA
# profile of its own in .aiida.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(or $(shell command -v python3),python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

# The profile of this folder, for these commands only.
export AIIDA_PATH := $(CURDIR)/.aiida
export PATH := $(CURDIR)/$(BIN):$(PATH)
unexport AIIDA_PROFILE
# Each process of tests would compile the package and all tests again.
unexport PYTHONDONTWRITEBYTECODE

TORCH := torch==2.13.0
# number of processes that run tests; each takes whole files. More than two cores, since tests of daemons and jobs wait
WORKERS ?= 3
# of make fuzz
SECONDS ?= 600
SEED ?= 0
# of make faults: number of faults; kinds by parts of their names, split by |
FAULTS ?= 200
KINDS ?=
# data, logs and configuration of make test-services
SERVICES ?= $(or $(TMPDIR),/tmp)/aiida-goectp-services
STRUCTURES ?= examples/structures
PROPERTIES ?= $(wildcard $(STRUCTURES)/properties.csv)
CAMPAIGN ?= examples/campaign.yaml
# e.g. DFPT='--pseudos FOLDER --cutoffs FILE'; potentials are downloaded or generated if not given
DFPT ?=
SCREEN ?= --stable $(if $(PROPERTIES),--merit gap_total --min-gap 1 )--select 10

PROCESS_TESTS := $(addprefix tests/workflows/,test_predict.py test_screen.py test_verify.py)

.PHONY: help install quickstart campaign profile test test-services faults fuzz lint docs clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(VENV)/.package ## install the package and its command lines in .venv

quickstart: $(VENV)/.package .aiida/.ready ## screen the crystals of examples/structures; STRUCTURES=folder for your own
	aiida-goectp setup
	aiida-goectp import $(STRUCTURES) $(if $(PROPERTIES),--properties $(PROPERTIES))
	aiida-goectp screen --run $(SCREEN)
	@echo 'To continue in this shell, type'
	@echo '  source .venv/bin/activate'
	@echo '  export AIIDA_PATH=$$PWD/.aiida'

campaign: $(VENV)/.quantumespresso .aiida/.ready ## active learning with Quantum ESPRESSO: two rounds with retraining; CAMPAIGN=file
	aiida-goectp setup
	aiida-goectp setup dfpt $(DFPT)
	aiida-goectp campaign start --run $(CAMPAIGN)

test: lint .aiida/.ready ## run lint and the tests; CI=true includes the slow ones
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(if $(filter true 1,$(CI)),,-m "not slow and not services") $(PYTEST)

fuzz: $(VENV)/.fuzz ## run all readers on damaged files, guided by coverage; SECONDS=600 in all, SEED=0 (random)
	$(BIN)/python fuzz/run.py --seconds $(SECONDS) --seed $(SEED)

test-services: $(VENV)/.tests ## install PostgreSQL, RabbitMQ, Slurm, SSH (Debian, root); run tests on them
	$(BIN)/python -m tests.services start $(SERVICES)
	GOECTP_SERVICES=$(SERVICES) $(BIN)/python -m pytest $(or $(PYTEST),tests/services tests/faults $(PROCESS_TESTS)) \
	  && status=0 || status=$$?; $(BIN)/python -m tests.services stop $(SERVICES); exit $$status

faults: $(VENV)/.tests ## count the harm of kills, full disks, clock changes … (Debian, root); FAULTS=200 SEED=0 KINDS='…|…'
	$(BIN)/python -m tests.faults --count $(FAULTS) --seed $(SEED) --kinds '$(KINDS)'

lint: $(VENV)/.tests ## run ruff, format check and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.docs ## build the manual in docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	@echo 'open docs/_build/html/index.html'

profile: .aiida/.ready ## create the AiiDA profile of this folder

clean: ## remove all built files, the AiiDA profile and its data
	@if [ -x $(BIN)/verdi ] && [ -e .aiida/config.json ]; then $(BIN)/verdi daemon stop >/dev/null 2>&1 || true; fi
	rm -rf $(VENV) .aiida docs/_build build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.base:
	@command -v $(PYTHON) >/dev/null || { echo 'No $(PYTHON) found. Install Python 3.10 or later: apt-get install python3 python3-venv' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "$$($(PYTHON) --version) is too old: Python 3.10 or later is needed; choose another one with make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  version=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  echo "Python cannot create virtual environments. Install the package for it: apt-get install python$$version-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# Without a GPU, the CPU build of torch if the configured index has one; else the default wheel with gigabytes of CUDA
# libraries.
$(VENV)/.torch: $(VENV)/.base
	@if [ "$$(uname -sm)" != 'Linux x86_64' ]; then $(PIP) '$(TORCH)'; \
	elif command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; then \
	  echo 'GPU found: torch, default build'; $(PIP) torch; \
	else \
	  echo 'no GPU found: $(TORCH) for the CPU'; \
	  $(PIP) '$(TORCH)+cpu' 2>/dev/null \
	  || $(PIP) '$(TORCH)'; fi
	@touch $@

$(VENV)/.package: $(VENV)/.torch pyproject.toml constraints.txt
	$(PIP) --editable .
	@touch $@

$(VENV)/.tests: $(VENV)/.package
	$(PIP) --editable '.[tests,lint,quantumespresso]'
	@touch $@

$(VENV)/.fuzz: $(VENV)/.tests
	$(PIP) --editable '.[tests,fuzz]'
	@touch $@

$(VENV)/.quantumespresso: $(VENV)/.package
	$(PIP) --editable '.[quantumespresso]'
	@touch $@

$(VENV)/.docs: $(VENV)/.package
	$(PIP) --editable '.[docs,quantumespresso]'
	@touch $@

# With SQLite and the message broker of AiiDA, which need no service.
.aiida/.ready: | $(VENV)/.package
	@mkdir -p .aiida
	@[ -e .aiida/config.json ] && $(BIN)/verdi profile show goectp >/dev/null 2>&1 \
	  || $(BIN)/verdi presto --profile-name goectp --email quickstart@localhost --use-zeromq --non-interactive
	@$(BIN)/verdi config set daemon.timeout 20 >/dev/null
	@touch $@
