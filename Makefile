# Four commands: setup, check, test, run. And four long ones: bench, bench-scale, soak, phoenix.
# The second start of each is instant: .venv/.ready is rebuilt only when the lock or pyproject changes.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
JOBS   ?= 2

.PHONY: setup check format test run bench bench-scale soak phoenix lock clean help
help:
	@echo "make run    start the bridge on http://127.0.0.1:8001"
	@echo "make test   run every test          make check  format, lint, types, architecture"
	@echo "make bench  print the measurements  make soak   the long forms (100 kills, ...)"
	@echo "make bench-scale  pages, statistics and a cleanup of ten million records, an hour"
	@echo "make phoenix  what Arize Phoenix shows of an execution; installs half a gigabyte"
	@echo "make setup  set up only             make lock   pin the dependencies anew"

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; '$(PYTHON)' is $$($(PYTHON) --version). Try: make setup PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "Could not make $(VENV). On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv || exit 1
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $(READY)

setup: $(READY)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: setup
	$(BIN)/python -m pytest -m "not soak" -n $(JOBS) --dist loadfile $(ARGS)

soak: setup
	$(BIN)/python -m pytest -m soak --timeout=7200 $(ARGS)

phoenix: setup
	test -x .venv-phoenix/bin/phoenix || { $(PYTHON) -m venv .venv-phoenix && .venv-phoenix/bin/pip install --quiet arize-phoenix; }
	PHOENIX=$(CURDIR)/.venv-phoenix/bin/phoenix $(BIN)/python -m pytest tests/acceptance/test_phoenix.py $(ARGS)

run: setup
	$(BIN)/webhook-bridge serve

bench: setup
	$(BIN)/python -m benchmarks

bench-scale: setup
	$(BIN)/python -m benchmarks scale

lock:
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-header --quiet --output-file requirements.lock

clean:
	rm -rf $(VENV) .venv-phoenix .mypy_cache .ruff_cache .pytest_cache .hypothesis
