# The commands of a working day. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install run test test-fast test-tools bench bench-full lint format lock clean

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' Makefile | awk -F ':.*## ' '{ printf "make %-10s %s\n", $$1, $$2 }'

install: $(INSTALLED) ## make .venv with the pinned dependencies and the tidegate command

run: $(INSTALLED) ## serve config/tidegate.toml with its demo sources
	@echo "When the server says that it is ready, try in another shell:"
	@echo "  curl -i -H 'Authorization: Bearer for-trying-only' -d '{\"inbound_event_id\":\"order-1\",\"event_type\":\"order.created\"}'" \
		"http://127.0.0.1:8080/ingest/inbound/demo"
	@echo "  $(BIN)/tidegate receipt --config config/tidegate.toml demo order-1"
	@exec $(BIN)/tidegate serve --config config/tidegate.toml

PYTEST := $(BIN)/python -m pytest
SIDE_BY_SIDE := -n 2 --dist worksteal
# What the complete front end answers by itself; the rest of the suite does not tell the two apart.
BOTH_FRONT_ENDS := $(wildcard tests/integration/test_http_*.py) $(addprefix tests/integration/test_, \
	admin.py commands.py limits_flow.py log_lines.py segment_sdk.py start.py together.py unauthorized.py)

test: lint test-tools ## lint, types and the whole test suite: some minutes on two cores
	@echo "the whole suite, two processes side by side ..."
	$(PYTEST) $(SIDE_BY_SIDE)
	@echo "what the complete front end answers by itself ..."
	$(PYTEST) $(SIDE_BY_SIDE) --front-end complete $(BOTH_FRONT_ENDS)

test-fast: $(INSTALLED) ## unit and property tests, for the working day: under a minute
	$(PYTEST) $(SIDE_BY_SIDE) tests/unit tests/property

# wrk sends the load of some tests of the benchmarks, which are skipped without it.
test-tools:
	@command -v wrk > /dev/null || { echo "installing wrk for the tests ..."; apt-get update -qq && apt-get install -y -qq wrk; } \
		> /dev/null 2>&1 || echo "wrk cannot be installed: tests that need it are skipped"

bench: $(INSTALLED) ## measure beside the peers, which are built first: about three minutes
	@PYTHON=$(PYTHON) bench/peers/setup.sh
	$(BIN)/python -m bench.micro
	$(BIN)/python -m bench.compare --quick
	$(BIN)/python -m bench.latency --quick
	$(BIN)/python -m bench.growth --quick
	@$(BIN)/python -m bench.goals

bench-full: $(INSTALLED) ## the same with every workload, medians of three, 10 M ids, soak and plots: about 80 minutes
	@PYTHON=$(PYTHON) bench/peers/setup.sh
	$(BIN)/python -m bench.micro
	$(BIN)/python -m bench.compare
	$(BIN)/python -m bench.latency
	$(BIN)/python -m bench.growth
	$(BIN)/python -m bench.soak
	@$(BIN)/python -m bench.goals
	bench/.venv/bin/python -m bench.plots

lint: $(INSTALLED) ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(INSTALLED) ## let ruff rewrite what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

LOCK := uv --no-config pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-header --no-annotate pyproject.toml

lock: ## pin the newest allowed versions anew (needs uv)
	@for file in requirements.lock requirements-dev.lock; do head -n 1 $$file > $$file.new; done
	$(LOCK) >> requirements.lock.new
	$(LOCK) --extra dev --constraints requirements.lock.new >> requirements-dev.lock.new
	@for file in requirements.lock requirements-dev.lock; do mv $$file.new $$file; done

clean: ## remove .venv and the caches; the demo's data stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is older than what it was made from: install again. --no-build-isolation, so that the build backend is
# the pinned one too.
$(INSTALLED): pyproject.toml requirements-dev.lock | $(BIN)/python
	@echo "installing the pinned dependencies into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

WRONG_PYTHON := Tidegate needs Python 3.11, 3.12, 3.13 or 3.14. Name one: make install PYTHON=python3.12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' || { \
		echo "$(PYTHON) is `$(PYTHON) --version 2>&1`. $(WRONG_PYTHON)" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }
