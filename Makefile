# The commands of a working day. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNS := $(VENV)/.runs
DEVELOPS := $(VENV)/.develops
# Each waits for the disk and for servers most of the time.
WORKERS ?= $(shell expr `nproc` + 1)
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadgroup

# The servers of the tests are started again and again: without compiled modules half of that is compiling.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
PART ?=
.PHONY: help install run test test-fast torture bench bench-full lint docs format lock audit clean

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' Makefile | awk -F ':.*## ' '{ printf "make %-10s %s\n", $$1, $$2 }'

install: $(RUNS) ## make .venv with what running needs, pinned, and the tidegate command

run: $(RUNS) ## serve config/tidegate.toml with its demo sources
	@echo "When the server says that it is ready, try in another shell:"
	@printf '%s\n' "  curl -sS -w '\n' -H 'Authorization: Bearer for-trying-only' \
	-d '{\"inbound_event_id\":\"order-1\",\"event_type\":\"order.created\"}' http://127.0.0.1:8080/ingest/inbound/demo"
	@echo "  $(BIN)/tidegate receipt --config config/tidegate.toml demo order-1"
	@echo "  http://127.0.0.1:8081/ in a browser"
	@exec $(BIN)/tidegate serve --config config/tidegate.toml

test: lint ## lint, types and all tests, the HTTP ones with either front end
	$(PYTEST)
	$(PYTEST) --front-end complete tests/integration/http

test-fast: $(DEVELOPS) ## the tests of the working day: unit and property
	$(PYTEST) tests/unit tests/property

torture: $(DEVELOPS) ## faults for long, every part or PART=kills: each under an hour, goes on where it was; then the table
	$(BIN)/python -m tests.torture $(PART)

bench: $(DEVELOPS) ## measure beside the peers, which are built first: about three minutes
	@PYTHON=$(PYTHON) bench/peers/setup.sh
	$(BIN)/python -m bench.micro
	$(BIN)/python -m bench.compare --quick
	$(BIN)/python -m bench.latency --quick
	$(BIN)/python -m bench.growth --quick
	@$(BIN)/python -m bench.goals

bench-full: $(DEVELOPS) ## the same with every workload, medians of three, 10 M ids, soak and plots: about 100 minutes
	@PYTHON=$(PYTHON) bench/peers/setup.sh
	$(BIN)/python -m bench.micro
	$(BIN)/python -m bench.compare
	$(BIN)/python -m bench.latency
	$(BIN)/python -m bench.growth
	$(BIN)/python -m bench.soak
	@$(BIN)/python -m bench.goals
	bench/.venv/bin/python -m bench.plots

# Material's note about its successor is nothing that anybody here can act upon.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs

lint: $(DEVELOPS) ## ruff, mypy, and a strict build of the pages
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(MKDOCS) build --strict --quiet

docs: $(DEVELOPS) ## serve the pages of docs/ on http://127.0.0.1:8000
	$(MKDOCS) serve

format: $(DEVELOPS) ## let ruff rewrite what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

LOCK := uv --no-config pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-header --no-annotate pyproject.toml

lock: ## pin the newest allowed versions anew (needs uv)
	@for file in requirements.lock requirements-dev.lock; do head -n 1 $$file > $$file.new; done
	$(LOCK) >> requirements.lock.new
	$(LOCK) --extra dev --constraints requirements.lock.new >> requirements-dev.lock.new
	@for file in requirements.lock requirements-dev.lock; do mv $$file.new $$file; done

AUDIT := build/audit
PIP_AUDIT ?= pip-audit==2.10.1

audit: ## ask PyPI's advisories about what is pinned (needs that service: not a part of `make test`)
	@test -x $(AUDIT)/bin/pip-audit || { $(PYTHON) -m venv $(AUDIT) && $(AUDIT)/bin/python -m pip install --quiet $(PIP_AUDIT); }
	@for file in requirements.lock requirements-dev.lock; do \
		$(AUDIT)/bin/pip-audit --strict --disable-pip --require-hashes --requirement $$file || exit 1; done

clean: ## remove .venv and the caches; the demo's data stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is older than what it was made from: install again. Nothing is built: a line in a .pth file names this folder,
# and the command is a script that needs no more than that.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes

$(RUNS): requirements.lock Makefile server/cli/tidegate | $(BIN)/python
	@echo "installing what running needs into $(VENV): half a minute ..."
	@$(PIP) --requirement requirements.lock
	@echo "$(CURDIR)" > "`$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'`/tidegate.pth"
	@{ printf '%s\n' "$$TIDEGATE"; tail -n +2 server/cli/tidegate; } > $(BIN)/tidegate
	@chmod 755 $(BIN)/tidegate
	@touch $@

$(DEVELOPS): $(RUNS) requirements-dev.lock
	@echo "installing what tests, lint and benchmarks need into $(VENV): half a minute ..."
	@$(PIP) --requirement requirements-dev.lock
	@touch $@

# The second line is a command to the shell and a text to Python, so the path of this folder may be any.
define TIDEGATE
#!/bin/sh
'''exec' "$(CURDIR)/$(BIN)/python" "$$0" "$$@"
' '''
endef
export TIDEGATE

WRONG_PYTHON := Tidegate needs Python 3.11, 3.12, 3.13 or 3.14. Name one: make install PYTHON=python3.12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' || { \
		echo "$(PYTHON) is `$(PYTHON) --version 2>&1`. $(WRONG_PYTHON)" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }
