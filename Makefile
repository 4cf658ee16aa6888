# Every habit in one word. `make demo` and `make test` need Python 3.11 and make, and set up the rest themselves.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV ?= .venv
VENV_AIRFLOW ?= .venv-airflow
export PYTHONSAFEPATH := 1
# The platform without Docker. `exec`, so that Ctrl-C and signals reach it and nothing in between.
EMBEDDED = env PYTHONPATH=scripts $(VENV)/bin/python -m embedded --airflow $(VENV_AIRFLOW)/bin/airflow
# uv does not read pip's settings; where pip is told about a folder of wheels, uv is told too.
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
endif

.PHONY: help demo test check format serve mlflow airflow clean lock bench

help:  ## Show what there is.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/ready: requirements/development.txt pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements/development.txt)"
	$(VENV)/bin/uv pip install --quiet --python $(VENV) -r requirements/development.txt
	$(VENV)/bin/uv pip install --quiet --python $(VENV) --no-deps --editable .
	for script in services/use_cases/*/export.py; do $(VENV)/bin/python $$script || exit 1; done
	touch $@

# Airflow and the machine-learning libraries never share an environment: this one has Airflow and our bare package.
$(VENV_AIRFLOW)/ready: requirements/airflow.txt pyproject.toml $(VENV)/ready
	$(PYTHON) -m venv --clear $(VENV_AIRFLOW)
	$(VENV)/bin/uv pip install --quiet --python $(VENV_AIRFLOW) -r requirements/airflow.txt
	$(VENV)/bin/uv pip install --quiet --python $(VENV_AIRFLOW) --no-deps --editable .
	touch $@

KERNELS = services/aforo/export/kernels
COMPILED = $(KERNELS)/tree_ensemble.so

# Without it models are served all the same, with the same numbers, more slowly.
$(COMPILED): $(wildcard $(KERNELS)/*.[ch]) scripts/compile_kernels.py $(VENV)/ready
	$(VENV)/bin/python scripts/compile_kernels.py

demo: $(VENV)/ready $(VENV_AIRFLOW)/ready $(COMPILED)  ## From raw rows to a served, calibrated prediction: USE_CASE=digits for another one.
	@exec $(EMBEDDED) demo --use-case $(or $(USE_CASE),flight_delay)

test: $(VENV)/ready $(VENV_AIRFLOW)/ready $(COMPILED) check  ## Run all checks and all tests that need no Docker.
	$(VENV)/bin/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

check: $(VENV)/ready  ## Format, lint, types, layers.
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(VENV)/ready  ## Write the code as we write it.
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

serve: $(VENV)/ready $(COMPILED)  ## Serve the champions of .aforo on 127.0.0.1:8000, or on PORT.
	@exec $(VENV)/bin/aforo serve --port $(or $(PORT),8000)

mlflow: $(VENV)/ready  ## Open the MLflow of .aforo on 127.0.0.1:5000, or on PORT.
	@exec $(EMBEDDED) mlflow --port $(or $(PORT),5000)

airflow: $(VENV)/ready $(VENV_AIRFLOW)/ready $(COMPILED)  ## Open the Airflow of .aforo on 127.0.0.1:8080, or on PORT.
	@exec $(EMBEDDED) airflow --port $(or $(PORT),8080)

lock: $(VENV)/ready  ## Choose the versions anew.
	$(VENV)/bin/python scripts/lock.py

clean:  ## Remove what was built; keeps .aforo, where the models are.
	rm -rf $(VENV) $(VENV_AIRFLOW) $(COMPILED) build dist services/*.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

-include deploy/stack.mk
