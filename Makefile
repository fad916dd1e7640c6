# Assay. `make` alone lists what there is.
VENV := .venv
PY := $(VENV)/bin/python
PORT ?= 8000
DATA_DIR ?= .data
ARGS ?=
SECONDS ?= 600
SEED ?=

# Values for commands that need settings but neither database nor Redis.
NO_SERVERS = SECRET_KEY=lint DEBUG=false DATABASE_URL=postgresql://nobody:none@127.0.0.1:9/none \
	DATABASE_OWNER_URL=postgresql://nobody:none@127.0.0.1:9/none REDIS_URL=redis://127.0.0.1:9/0

.DEFAULT_GOAL := help
.PHONY: help run test check lint bench chaos screenshot venv lock

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile
	@echo "  PORT=8001 and DATA_DIR=/somewhere move 'make run'; ARGS='-k name' goes to pytest."
	@echo "  SECONDS=60 SEED=7 make a short 'make chaos', which can be repeated."

run: $(VENV)/.installed-run ## Start Assay with demo data on http://localhost:8000
	@PORT=$(PORT) DATA_DIR="$(DATA_DIR)" exec $(PY) -m compliance.embedded run

test: $(VENV)/.installed-dev ## Run all tests, with a real browser, and print the coverage
	@CHROMIUM="$$(VENV="$(VENV)" scripts/browser)" || exit 1; export CHROMIUM; \
	$(PY) -m pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered $(ARGS)

check: lint ## Run lint, and the tests that need neither a browser nor other programs
	$(PY) -m pytest -n 2 --dist loadfile -m "not browser and not processes and not chaos" $(ARGS)

lint: $(VENV)/.installed-dev ## Check style, types, import rules, migrations, the API's document and templates
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(NO_SERVERS) $(PY) -m mypy compliance dashboard
	$(VENV)/bin/lint-imports
	$(NO_SERVERS) $(PY) manage.py check
	$(NO_SERVERS) $(PY) -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	$(NO_SERVERS) $(PY) manage.py openapi --check
	$(VENV)/bin/djlint --lint --quiet templates

bench: $(VENV)/.installed-dev ## Measure what must stay fast
	$(PY) -m benchmarks $(ARGS)

chaos: $(VENV)/.installed-dev ## Kill, freeze and cut off everything at random, then check the record
	$(PY) -m tests.chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(ARGS)

screenshot: $(VENV)/.installed-dev ## Take docs/screenshot.png anew
	$(PY) scripts/screenshot

venv: $(VENV)/.installed-dev ## Make .venv with everything for tests and lint

lock: $(VENV)/.installed-dev ## Write the requirements*.txt anew from the requirements*.in
	$(VENV)/bin/pip-compile requirements.in -o requirements.txt
	$(VENV)/bin/pip-compile requirements-dev.in -o requirements-dev.txt
	for set in requirements older newer; do \
		$(VENV)/bin/pip-compile tests/agents/$$set.in -o tests/agents/$$set.txt || exit 1; \
	done

$(VENV)/bin/python:
	@scripts/make-venv $(VENV)

$(VENV)/.installed-run: requirements.txt | $(VENV)/bin/python
	@scripts/install $(VENV) requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt requirements.txt $(wildcard tests/agents/*.txt tests/node/package-lock.json) | $(VENV)/bin/python
	@scripts/install $(VENV) requirements-dev.txt
	@touch $(VENV)/.installed-run $@
