# Everything a person types. Needs Python 3.11, git and make; the rest is installed into .venv.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help install demo repro test test-pipeline services-test team-test test-gpu drills lmms-eval reproduce-paper docs \
        lint types ui clean

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LMMS := integrations/lmms_eval
LMMS_BIN := $(LMMS)/.venv/bin
LMMS_STAMP := $(LMMS)/.venv/.installed
# Of the tests: a fourth of their time they wait, so that two cores are busy with three.
WORKERS ?= 3
PROFILE ?= $(shell sed -n 's/^profile: *//p' params.yaml)
# Of reproduce-paper: the profile whose benchmarks are asked, and the folder with the authors' files.
REPRODUCED ?= reproduce-paper
CHECKPOINTS ?= checkpoints
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# An active environment of the caller must not decide which interpreter runs a step.
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
unexport PYTHONPATH PYTHONHOME CONDA_PREFIX TINYGPTV_PYTHON
# Nor may it have every process of the tests and of the pipeline compile the same modules anew.
unexport PYTHONDONTWRITEBYTECODE

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## make .venv and install the project with its pinned dependencies

$(STAMP): pyproject.toml constraints.txt
	@python=""; \
	for candidate in python3.11 python3 python; do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then \
	    python=$$candidate; break; \
	  fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "make: Python 3.11 was not found; install it so that python3.11 is on the PATH" >&2; exit 2; \
	fi; \
	if [ -x $(BIN)/python ] && ! $(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then \
	  echo "make: $(VENV) is not of Python 3.11; run make clean first" >&2; exit 2; \
	fi; \
	[ -x $(BIN)/pip ] || "$$python" -m venv $(VENV)
	@echo "installing the pinned dependencies into $(VENV) (once; a few minutes)"
	@$(BIN)/pip install -qq --no-compile -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)  ## run the whole pipeline, print the results and what to try next
	@$(BIN)/python -m flows.pipeline
	@echo
	@$(BIN)/tinygptv results
	@echo
	@echo "Next:"
	@echo "  $(BIN)/tinygptv ask IMAGE \"what shape is in the image?\"   ask the 8-bit model about a picture"
	@echo "  ls reports/$(PROFILE)                                       loss curves and answered test images"
	@echo "  make ui                                                look at the runs in MLflow and Prefect"
	@echo "  $(BIN)/tinygptv doctor                                   check this machine and its versions"

repro: $(STAMP)  ## the same steps with DVC alone, without Prefect
	@$(BIN)/dvc repro

test: $(STAMP)  ## the default tests (minutes)
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile

test-pipeline: $(STAMP)  ## the tests that run whole pipelines (minutes)
	@$(BIN)/python -m pytest -q -m pipeline

services-test: $(STAMP)  ## the tests that start real servers (minutes)
	@$(BIN)/python -m pytest -q -m services

team-test: $(STAMP)  ## the smoke profile on PostgreSQL and S3, from nothing (minutes)
	@$(BIN)/python -m pytest -q -m services tests/services/test_team.py

test-gpu: $(STAMP)  ## the tests that need a CUDA device of 24 GB or more (minutes)
	@$(BIN)/python -m pytest -q -m gpu

drills: $(STAMP)  ## every fault drill, with a table in reports/drills.json (hours)
	@$(BIN)/python -m pytest -q -m "drills or drill" --drill-report reports/drills.json

lmms-eval: $(LMMS_STAMP)  ## TinyGPT-V in lmms-eval: an environment of its own, tested on what `make demo` made (minutes)
	@cd $(LMMS) && .venv/bin/python -m pytest -q

# lmms-eval's dependencies cannot live beside DVC's, so of this project the code alone is installed, and without torchvision,
# which no part of this needs: PyPI's does not fit every torch of the same number.
$(LMMS_STAMP): $(LMMS)/pyproject.toml $(LMMS)/constraints.txt $(STAMP)
	@[ -x $(LMMS_BIN)/pip ] || $(BIN)/python -m venv $(LMMS)/.venv
	@echo "installing lmms-eval into $(LMMS)/.venv (once; minutes, 2.5 GB)"
	@$(LMMS_BIN)/pip install -qq -c $(LMMS)/constraints.txt -e '$(LMMS)[dev]'
	@$(LMMS_BIN)/pip uninstall -qq -y torchvision
	@$(LMMS_BIN)/pip install -qq --no-deps -e .
	@touch $@

# The shards are made again where the raw files were changed: `download` leaves its folder alone where they were not.
reproduce-paper: $(STAMP)  ## the authors' checkpoints on their paper's benchmarks, CHECKPOINTS=folder (GPU: hours)
	@$(BIN)/python -m tinygptv.steps download --profile $(REPRODUCED)
	@[ data/$(REPRODUCED)/shards/summary.json -nt data/$(REPRODUCED)/download/init.json ] || \
	  $(BIN)/python -m tinygptv.steps shards --profile $(REPRODUCED)
	@$(BIN)/tinygptv reproduce --profile $(REPRODUCED) --checkpoints $(CHECKPOINTS)

lint: $(STAMP)  ## style (ruff), and imports that run one way (import-linter, pyproject.toml)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache --no-logo

# Not with -q, which silences the warnings that strict counts.
docs: $(STAMP)  ## the documentation as a site, in site/; dead links, anchors and references are errors
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "site/index.html; with its search: $(BIN)/python -m http.server -b 127.0.0.1 -d site"

types: $(STAMP)  ## mypy --strict on src and flows
	@$(BIN)/mypy

ui: $(STAMP)  ## start MLflow (port 5000), Prefect (port 4200) and its worker; `tinygptv down` ends them
	@$(BIN)/tinygptv up

clean:  ## remove .venv and caches; results, unfinished runs and DVC's cache stay
	@rm -rf $(VENV) $(LMMS)/.venv build site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
