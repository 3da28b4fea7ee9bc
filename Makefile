# `make help` lists what can be made. Variables worth knowing:
#   PYTHON         the interpreter the environment is made with (3.11 or newer)
#   PYTHON_LATEST  the interpreter for test-jax-latest (3.12 or newer)
#   ARGS           further arguments for pytest, as in `make test ARGS="-k lif"`
#   JOBS           how many processes share the tests; 0 for this one only

PYTHON ?= python3
PYTHON_LOCK ?= python3.11
PYTHON_LATEST ?= python3.12
JAX_LATEST ?= 0.11.2
ARGS ?=
JOBS ?= auto

VENV := .venv
VENV_LATEST := .venv-latest
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_LATEST := $(VENV_LATEST)/.installed
PYTEST := -m pytest --numprocesses $(JOBS) --maxprocesses 8 --dist loadfile
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check

SOURCES := $(wildcard eventjax experiments paper_repro tests)

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-jax-latest lint format bench tables peers docs lock clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## Train a network on Yin-Yang
	$(BIN)/python -m experiments.yin_yang

test: $(INSTALLED)  ## Run the fast tests
	$(BIN)/python $(PYTEST) $(ARGS)

test-all: $(INSTALLED)  ## Run the fast and the slow tests
	$(BIN)/python $(PYTEST) -m "slow or not slow" $(ARGS)

test-jax-latest: $(INSTALLED_LATEST)  ## Run the fast tests with the newest supported JAX
	$(VENV_LATEST)/bin/python $(PYTEST) $(ARGS)

lint: $(INSTALLED)  ## Check the format, the lint rules and the types
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/pyright

format: $(INSTALLED)  ## Put the source files into the project's format
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

bench: peers  ## Measure all workloads beside the other libraries
	$(BIN)/python -m experiments.benchmark W1 --peers --store
	$(BIN)/python -m experiments.benchmark W2 --peers --store
	$(BIN)/python -m experiments.benchmark W2F --peers --store
	$(BIN)/python -m experiments.benchmark W3 --peers --store
	$(BIN)/python -m experiments.benchmark WD --peers --store
	$(BIN)/python -m experiments.benchmark.delays --store
	$(BIN)/python -m experiments.benchmark.scaling --store
	$(BIN)/python -m experiments.benchmark.devices --store
	$(BIN)/python -m experiments.benchmark.load --store

tables: $(INSTALLED)  ## Write what is stored into the tables of README.md
	$(BIN)/python -m experiments.tables

peers: $(INSTALLED)  ## Make one environment for each library we compare with
	$(BIN)/python -m experiments.benchmark.make_peers

docs: export NO_MKDOCS_2_WARNING = 1
docs: $(INSTALLED)  ## Build the documentation; any warning is an error
	$(BIN)/mkdocs build --strict

# The oldest supported Python makes the lock, since newer ones may take packages that it lacks.
lock:  ## Renew requirements.lock
	$(PYTHON_LOCK) -m venv .venv-lock
	.venv-lock/bin/python $(PIP_INSTALL) pip-tools
	.venv-lock/bin/pip-compile --quiet --upgrade --extra dev --strip-extras \
	    --no-header --no-annotate \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	    --output-file .venv-lock/pins pyproject.toml
	{ sed -n '/^#/p' requirements.lock; sed '/^eventjax /d' .venv-lock/pins; } > .venv-lock/lock
	mv .venv-lock/lock requirements.lock
	rm -r .venv-lock

clean:  ## Remove caches and builds; environments and results stay
	rm -rf build dist site .hypothesis .pytest_cache .ruff_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -r {} +

$(INSTALLED): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP_INSTALL) -r requirements.lock
	$(BIN)/python $(PIP_INSTALL) --no-deps -e .
	touch $@

$(INSTALLED_LATEST): pyproject.toml requirements.lock
	$(PYTHON_LATEST) -m venv $(VENV_LATEST)
	grep -vE '^(jax|jaxlib)==' requirements.lock > $(VENV_LATEST)/pins
	$(VENV_LATEST)/bin/python $(PIP_INSTALL) -r $(VENV_LATEST)/pins jax==$(JAX_LATEST)
	$(VENV_LATEST)/bin/python $(PIP_INSTALL) --no-deps -e .
	touch $@
