# On a fresh machine, `make demo` or `make test` is all you need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test test-long check sample clean

help:            ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | sort

demo: $(VENV)/.run   ## install the requirements, fine-tune a tiny model on the sample, print its scores and write a report
	$(BIN)/python run_seq_cls.py --task nsmc --config_file tiny.json --data_dir data/sample --output_dir demo --overwrite_output_dir --html_report

test: check      ## install the development tools, check the code and run the tests (minutes)
	$(BIN)/python -m pytest -n 2

test-long: check ## run all tests, the long ones too (half an hour)
	$(BIN)/python -m pytest -n 2 -m ""

check: $(VENV)/.dev  ## check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

sample: $(VENV)/.run ## regenerate data/sample (the same bytes)
	$(BIN)/python data/sample/make_sample.py

clean:           ## remove the virtual environment and the caches
	rm -rf $(VENV) data/cache .mypy_cache .ruff_cache .pytest_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; try: make PYTHON=python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch first and alone, so that no other package chooses its version. The packages of the HTML report are optional, but next to
# torch they are small: 110 MB of 1.5 GB.
$(VENV)/.run: requirements.txt requirements-report.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet "$$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements.txt)"
	$(BIN)/python -m pip install --quiet -r requirements.txt -r requirements-report.txt
	touch $@

$(VENV)/.dev: $(wildcard requirements-*.txt) $(VENV)/.run
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@
