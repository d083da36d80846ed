# `make demo` and `make test` need Python 3.11 or newer, make and g++, and nothing else.
# PYTHON names another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
# Two files of tests at a time: most tests wait for processes.
PYTEST_ARGS ?= -n 2 --dist loadfile
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo zoo test test-fast lint format docs venv clean

help:
	@echo 'make demo       export, compile and verify a dozen models of manifests/zoo.toml'
	@echo 'make zoo        all of them'
	@echo 'make test       run the tests; PYTEST_ARGS="-k store" narrows them'
	@echo 'make test-fast  run the unit tests only'
	@echo 'make lint       ruff, mypy, import-linter'
	@echo 'make format     ruff, in place'
	@echo 'make docs       build the documentation into build/site'
	@echo 'make venv       make the environment in $(VENV) only'
	@echo 'make clean      remove the environment and every by-product, but not the cache'

demo: venv
	$(BIN)/batchexport run manifests/zoo.toml --tag demo

zoo: venv
	$(BIN)/batchexport run manifests/zoo.toml

test: venv
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-fast: venv
	$(BIN)/python -m pytest $(PYTEST_ARGS) tests/unit

lint: venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: venv
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# A link that leads nowhere fails.
docs: $(VENV)/.docs-stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --config-file tools/docs/mkdocs.yml
	@echo 'build/site/index.html'

$(VENV)/.docs-stamp: $(VENV)/.stamp
	$(BIN)/python -m pip install -c constraints.txt -e '.[docs]'
	@touch $@

venv: $(VENV)/.stamp

$(VENV)/.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python %d.%d is too old: make PYTHON=... names 3.11 or newer" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev,zoo]'
	$(BIN)/python -m compileall -q batchexport
	@touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find batchexport manifests tests -name __pycache__ -type d -prune -exec rm -rf {} +
