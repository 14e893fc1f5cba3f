# What a person can do here. Each target does its own set-up; `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PYTHONPATH := $(CURDIR)

.DEFAULT_GOAL := help
.PHONY: help setup demo check test nightly lint bench clean

help: ## list what can be done here
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## install everything into .venv in this checkout

$(STAMP): setup.py requirements/run.txt requirements/test.txt requirements/pandas.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade --no-deps --target $(VENV)/pandas -r requirements/pandas.txt
	@if command -v java >/dev/null; then $(BIN)/python -c 'from runners.delta import delta_jars; delta_jars()' && \
	 $(BIN)/python -m runners.class_archive; \
	 else echo 'no Java found: all works but changes (cdc), master data (scd2) and clustering, which need Java 17 or later'; fi
	@touch $(STAMP)

demo: $(STAMP) ## sample data to a report: demo/report.html
	$(BIN)/beam-grid demo

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint ## the quick lane: lint, types, and the tests that run neither a pipeline nor Spark
	$(BIN)/python -m pytest -q -m 'not pipeline and not spark and not component and not nightly' -n 2 --dist loadfile tests/data_sources tests/transforms

test: lint ## everything: unit, properties, Spark, a real Kafka broker, a real SparkRunner
	@command -v java >/dev/null || { echo 'make test needs Java 17 or later: install it and put java on the PATH'; exit 2; }
	@command -v mvn >/dev/null || { echo 'make test needs Maven for the component tests (a Kafka broker, a Spark job server): install it and put mvn on the PATH'; exit 2; }
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

nightly: lint ## hours: all tests with more examples, every step on disk failed in every way, a thousand seeds, forty kills on a real broker
	@command -v java >/dev/null || { echo 'make nightly needs Java 17 or later: install it and put java on the PATH'; exit 2; }
	@command -v mvn >/dev/null || { echo 'make nightly needs Maven for its Kafka broker: install it and put mvn on the PATH'; exit 2; }
	BEAM_GRID_TEST_EXAMPLES=24 BEAM_GRID_TEST_CODEGEN=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m pytest -q -m nightly -n 2 --dist load tests

bench: $(STAMP) ## this product beside its peers, one run, ratios
	@command -v java >/dev/null || { echo 'make bench needs Java 17 or later for its peers on Spark: install it and put java on the PATH'; exit 2; }
	@command -v mvn >/dev/null || { echo 'make bench needs Maven for its Kafka broker: install it and put mvn on the PATH'; exit 2; }
	$(BIN)/python -m benchmarks.run

clean: ## remove what the targets made, .venv included
	rm -rf $(VENV) .jars demo bench-data build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
