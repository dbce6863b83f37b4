# Evergreen. `make help` lists what there is.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo clean-demo test slow house check format proof bench bench-challenge bench-drift bench-serving config-docs lock clean

help:  ## list the targets
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

$(STAMP): requirements.lock pyproject.toml
	@PYTHON=$(PYTHON) VENV=$(VENV) bash .ci/setup

setup: $(STAMP)  ## make .venv from the hash-checked lock

demo: $(STAMP)  ## the whole loop on generated card payments: train, keep out, promote, watch, retrain, replay, roll back, serve
	@$(BIN)/python -m evergreen.deployments.demo

clean-demo:  ## remove what the demo left
	rm -rf .evergreen-demo

test: $(STAMP)  ## the tests of every day, side by side: all but the slow ones and the proofs
	@$(BIN)/python -m pytest

slow: $(STAMP)  ## the slow tests, which want the machine: end to end, services under load, rates of many trials, both ends of the dependencies (13 minutes)
	@$(BIN)/python -m pytest -n 0 -m "slow and not proof" tests

house: $(STAMP)  ## count the house: files, lines, circles of imports, names
	@$(BIN)/python tests/house.py

check: $(STAMP)  ## format, lint, types, architecture
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q -n 0 tests/test_architecture.py

format: $(STAMP)  ## format the code and mend what lint can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

proof: $(STAMP)  ## long simulations, kill and load tests
	@$(BIN)/python -m pytest -n 0 -m proof --timeout 7200 tests

bench: $(STAMP)  ## benchmarks, with their tables under benchmarks/
	@$(BIN)/python -m benchmarks

bench-challenge: $(STAMP)  ## champion against challenger on 100,000 rows, ours beside a bootstrap
	@$(BIN)/python -m benchmarks challenge

bench-drift: $(STAMP)  ## drift of 1,000,000 rows x 100 columns, ours beside Evidently and a bare scan (10 minutes, 10 GB)
	@$(BIN)/python -m benchmarks drift

bench-serving: $(STAMP)  ## requests a second and latency, `evergreen serve` beside `mlflow models serve` (10 minutes)
	@$(BIN)/python -m benchmarks serving

config-docs: $(STAMP)  ## write config/base.yaml, config/schema.json and config/README.md from the typed models
	@$(BIN)/python -m evergreen.deployments.config_docs

lock:  ## resolve requirements.lock anew (needs uv)
	uv pip compile pyproject.toml --python-version 3.11 --extra dev --extra postgres --extra boost --extra browser \
	  --generate-hashes --custom-compile-command "make lock" \
	  -o requirements.lock

clean:  ## remove .venv and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
