# `make help` lists what can be made here.

PYTHON ?= python3
CORES ?= all
TESTS ?= tests
# A study by its name, as in studies/NAME.yaml, or by its file; config.yaml alone where there is none.
STUDY ?=
FIND_STUDY = study=$$(test -z '$(STUDY)' || $(BIN)/progsem study '$(STUDY)')
CONFIGFILE = $${study:+--configfile "$$study"}
# Where .venv leads to, looked up after it has been made: what runs from there goes on when .venv leads elsewhere.
BIN = $(or $(shell readlink .venv),.venv)/bin
# Tests with an environment of their own, made as .venv is.
INTEROP := tests/interop
# What .venv is made from: the place it stands in, whatever other names that has, and every pinned package.
STAMP := { pwd -P; cat requirements.lock pyproject.toml; }
STAMP_INTEROP := { pwd -P; cat $(INTEROP)/requirements.lock pyproject.toml; }
# One line, where .venv has to be made and $(PYTHON) cannot do it; else nothing.
PYTHON_PROBLEM = $(shell \
    if $(STAMP) | cmp -s - .venv/stamp; then :; \
    elif ! command -v $(PYTHON) > /dev/null; then \
        echo "$(PYTHON) is not there: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python"; \
    elif ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then \
        echo "$(PYTHON) is $$($(PYTHON) -V 2>&1): Python 3.11 or newer is needed: make PYTHON=/path/to/python"; \
    elif ! $(PYTHON) -c 'import ensurepip, venv' 2> /dev/null; then \
        echo "$(PYTHON) has no venv module: install it (Debian, Ubuntu: apt install python3-venv)"; \
    fi)

# Models and tokenizers are made here and read from files: nothing is fetched.
export HF_HUB_OFFLINE := 1
export TRANSFORMERS_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONPATH :=
# Snakemake and what jobs import keep files in the home folder. A compute node or a container may have none.
ifneq ($(shell test -w "$$HOME" && echo writable),writable)
export HOME := $(CURDIR)/.snakemake/home
endif

.DEFAULT_GOAL := help
.PHONY: help figures plan report bench test test-slurm test-interop docs tutorials lint format schema env env-interop

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

figures: env  ## run the study in config.yaml up to results/figures (STUDY=NAME another; CORES=4 limits the cores)
	@$(FIND_STUDY) && $(BIN)/snakemake results/figures --cores $(CORES) $(CONFIGFILE)

plan: env  ## what `make figures` would run, how long that takes here, and why (STUDY=NAME)
	@$(BIN)/progsem plan $(if $(STUDY),'$(STUDY)')

report: figures  ## the figures with captions and numbers, as pages (results/report.zip; STUDY=NAME)
	@$(FIND_STUDY) && $(BIN)/snakemake --report results/report.zip $(CONFIGFILE)

bench: env  ## how fast each stage is, beside a baseline and the hardware's limit (some twenty minutes; results/bench.json)
	@$(BIN)/python -m benchmarks

test: lint  ## lint, then every test (TESTS=tests/test_plan.py picks some)
	@$(BIN)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder $(TESTS)

test-slurm: env  ## the workflow on a SLURM that is brought up for it (root, Debian; installs it, takes minutes)
	@$(BIN)/python -m pytest -q -rs tests/slurm

test-interop: env-interop  ## what other tools make of the results: TransformerLens, nnsight, SAELens, datasets, polars
	@$(INTEROP)/.venv/bin/python -m pytest -q $(INTEROP)

docs: env  ## the documentation as a site (docs/_build/index.html)
	@$(BIN)/python -m sphinx -n -W --keep-going -q docs docs/_build

tutorials: env  ## run the tutorials on the default study and `edits`, and keep what they show for the site
	@TQDM_DISABLE=1 $(BIN)/python docs/run_tutorials.py

lint: env  ## ruff, snakefmt and Snakemake's own linter
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { echo "ruff format: run 'make format'"; exit 1; }
	@$(BIN)/snakefmt --check Snakefile workflow/rules 2> /dev/null || { echo "snakefmt: run 'make format'"; exit 1; }
	@$(BIN)/snakemake --lint > .venv/lint.log 2>&1 || { cat .venv/lint.log; exit 1; }

format: env  ## format Python and Snakemake files
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .
	@$(BIN)/snakefmt Snakefile workflow/rules

schema: env  ## write what is generated: the config's schema and baseline, docs/config.md, docs/tables.md, envs/
	@$(BIN)/python -m reference

env:  ## make .venv from requirements.lock, unless it is that already
	$(if $(PYTHON_PROBLEM),$(error $(PYTHON_PROBLEM)))
	@$(STAMP) | cmp -s - .venv/stamp || $(STAMP) | $(PYTHON) workflow/environment.py

env-interop: env
	@$(STAMP_INTEROP) | cmp -s - $(INTEROP)/.venv/stamp || $(STAMP_INTEROP) | $(BIN)/python workflow/environment.py $(INTEROP)
