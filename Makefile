# Evergreen. `make help` lists what there is.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo clean-demo test slow check format proof bench bench-challenge bench-drift bench-serving config-docs lock clean

help:  ## list the targets
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

$(STAMP): requirements.lock pyproject.toml
	@echo "Installing the locked packages into $(VENV) (about a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

setup: $(STAMP)  ## make .venv from the hash-checked lock

demo: $(STAMP)  ## the whole loop on generated card payments: train, keep out, promote, watch, retrain, replay, roll back, serve
	@$(BIN)/python -m evergreen.deployments.demo

clean-demo:  ## remove what the demo left
	rm -rf .evergreen-demo

# One thread each: they run side by side, and teams of threads in them would wait for one another.
# What only computes gives way to what waits for servers, browsers and processes, and has both cores when those end.
unexport PYTHONDONTWRITEBYTECODE  # the processes that tests start would compile the project anew
TEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q
QUICK := $(TEST) -m "not proof and not slow"
COMPUTED := tests/core tests/tasks evergreen/tasks/core
test: $(STAMP)  ## all tests but the slow ones and the proofs: flows on a Prefect server, and two other parts side by side
	@nice -n 10 env $(QUICK) -n 2 --dist loadfile $(COMPUTED) > $(VENV)/computed.log 2>&1 & computed=$$!; \
	$(QUICK) tests $(addprefix --ignore=tests/,flows tasks core) > $(VENV)/rest.log 2>&1 & rest=$$!; \
	$(QUICK) tests/flows; served=$$?; \
	wait $$computed; computed=$$?; wait $$rest; rest=$$?; \
	cat $(VENV)/computed.log $(VENV)/rest.log; \
	exit $$((served | computed | rest))

slow: $(STAMP)  ## the slow tests, which want the machine: end to end, services under load, rates of many trials (5 minutes)
	@$(TEST) -m "slow and not proof" tests

check: $(STAMP)  ## format, lint, types, architecture
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_architecture.py

format: $(STAMP)  ## format the code and mend what lint can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

proof: $(STAMP)  ## long simulations, kill and load tests
	@$(BIN)/python -m pytest -q -m proof --timeout 7200 tests

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
