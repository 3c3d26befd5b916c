# Every task of the project; `make` alone lists them.

VENV ?= .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
# What .env says wins over what the shell has, as it does for the services.
WITH_ENV = if [ -f .env ]; then set -a; . ./.env; set +a; unset AWS_PROFILE AWS_SESSION_TOKEN; fi;
export PYTHONDONTWRITEBYTECODE :=

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

up: $(INSTALLED)  ## Start the whole stack on 127.0.0.1 and serve the first release
	@$(PYTHON) -m local.stack up

down: $(INSTALLED)  ## Stop every process; the data stays
	@$(PYTHON) -m local.stack down

status: $(INSTALLED)  ## Show each service, the API's health and the memory in use
	@$(PYTHON) -m local.stack status

logs:  ## Show the last lines of each service's log
	@test -d .stack/logs || { echo "make logs: there are none yet; start the stack with: make up" >&2; exit 1; }
	@tail -n 15 .stack/logs/*.log

run: $(INSTALLED)  ## Do the daily run from the shell, without Airflow
	@$(WITH_ENV) $(PYTHON) -m src.pipeline

data: $(INSTALLED)  ## Validate, version and push a new table: make data CSV=path
	@$(WITH_ENV) $(PYTHON) -m src.publish_data "$(CSV)"

check: $(INSTALLED)  ## Check every pointer against the bytes in the bucket
	@$(WITH_ENV) $(PYTHON) -m src.checker

lint: $(INSTALLED)  ## Check style and types
	@$(PYTHON) -m flake8
	@$(PYTHON) -m mypy

test: lint  ## Run lint and every test
	@$(PYTHON) -m pytest -n 2 --dist loadfile

bench-dag: $(INSTALLED)  ## Compare the wall time of the DAG with that of six empty tasks
	@$(PYTHON) -m local.bench_dag

bench-search: $(INSTALLED) data/winequality-red.csv  ## Compare the search's time with that of bare scikit-learn
	@$(PYTHON) -m bench.search

lock: $(INSTALLED)  ## Compile requirements/*.in into requirements.txt
	@$(VENV)/bin/uv pip compile requirements/dev.in --quiet --upgrade --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --custom-compile-command "make lock" --output-file requirements.txt

data/winequality-red.csv:
	@$(VENV)/bin/dvc pull --quiet

clean:  ## Stop the stack and delete its data, .venv and caches; .env stays
	@if [ -e $(INSTALLED) ]; then $(PYTHON) -m local.stack down; fi
	@rm -rf .stack $(VENV) .dvc/cache .dvc/tmp .mypy_cache .pytest_cache
	@echo "Deleted .stack, $(VENV) and the caches; .env stays."

$(INSTALLED): requirements.txt
	@echo "Installing the locked packages into $(VENV) ..."
	@command -v python3.11 >/dev/null || { echo "make: python3.11 is not installed; install Python 3.11" >&2; exit 1; }
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || python3.11 -m venv --clear $(VENV)
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check "$$(grep -o '^uv==[^ ]*' requirements.txt)"
	@$(VENV)/bin/uv pip install --quiet --python $(PYTHON) --require-hashes -r requirements.txt
	@touch $@

.PHONY: help up down status logs run data check lint test bench-dag bench-search lock clean
.DEFAULT_GOAL := help
