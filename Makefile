# Two commands do everything on a fresh machine, each alone: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test test-long check sample clean

help:            ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | sort

demo: $(VENV)/.run   ## install what a run needs, fine-tune a tiny model on the sample and show its scores
	$(BIN)/python run_seq_cls.py --task nsmc --config_file tiny.json --data_dir data/sample --output_dir demo --overwrite_output_dir

test: check      ## install what development needs, check the code and run the tests that take minutes
	$(BIN)/python -m pytest -n 2

test-long: check ## run every test
	$(BIN)/python -m pytest -n 2 -m ""

check: $(VENV)/.dev  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

sample: $(VENV)/.run ## write data/sample anew; the bytes stay the same
	$(BIN)/python data/sample/make_sample.py

clean:           ## remove the virtual environment and the caches
	rm -rf $(VENV) data/cache .mypy_cache .ruff_cache .pytest_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; try: make PYTHON=python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch on its own first: no other package may choose its version.
$(VENV)/.run: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet "$$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements.txt)"
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@
