# On a fresh machine, `make demo` or `make test` is all you need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test test-long check pytest audit lock sample clean

help:            ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | sort

demo: $(VENV)/.run   ## install the requirements, fine-tune a tiny model on the sample, print its scores and write a report
	$(BIN)/python run_seq_cls.py --task nsmc --config_file tiny.json --data_dir data/sample --output_dir demo --overwrite_output_dir --html_report
	@echo
	@echo "What next, after: source $(VENV)/bin/activate"
	@echo "  see the errors:  open ckpt/demo/report.html in a browser"
	@echo "  predict:         echo '정말 재미있어요' | python3 predict.py --checkpoint ckpt/demo/checkpoint-250"
	@echo "  your own data:   python3 run_seq_cls.py --task mine --train_file data/sample/reviews.csv --text_column review \\"
	@echo "                   --label_column stars --test_ratio 0.2 --config_file tiny.json"

# The tests start hundreds of processes, which are seconds faster with bytecode; types are checked beside them.
test test-long: export PYTHONDONTWRITEBYTECODE :=
test: $(VENV)/.dev       ## install the development tools, check the code and run the short tests (3 to 5 minutes)
	$(MAKE) --no-print-directory -j2 check pytest

test-long: $(VENV)/.dev  ## the same with the long tests (20 minutes)
	$(MAKE) --no-print-directory -j2 check pytest LONG='-m "" --dist load'

check: $(VENV)/.dev      ## check format, lint and types
	$(BIN)/ruff format --quiet --check .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy

pytest: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile $(LONG)

# --strict: without it, pip-audit finds no vulnerabilities in packages that the index knows nothing about.
audit:           ## look up known vulnerabilities of the locked packages (skipped if the index does not answer)
	$(PYTHON) -m venv $(VENV)/audit
	@$(VENV)/audit/bin/python -m pip install --quiet pip-audit==2.10.1 || { echo "audit skipped: pip-audit cannot be installed"; exit 0; }; \
	found=$$($(VENV)/audit/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off -r requirements.lock 2>&1); code=$$?; \
	case $$found in \
		*"could not be audited"* | *Traceback*) echo "audit skipped: the package index does not answer questions about vulnerabilities" ;; \
		*) echo "$$found"; exit $$code ;; \
	esac

# torch stays out of the lock: its CPU build does not come from PyPI, and the hashes of PyPI's file, a CUDA build, would forbid it.
lock: $(VENV)/.run    ## write requirements.lock: all versions of the demo's packages, with the hashes of PyPI's files
	$(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/python -m pip install --quiet pip-tools==7.6.2
	CUSTOM_COMPILE_COMMAND="make lock" $(VENV)/lock/bin/pip-compile --quiet --generate-hashes --unsafe-package torch --strip-extras \
		--no-annotate --no-emit-index-url --no-emit-find-links --output-file requirements.lock requirements.txt requirements-report.txt
	sed -i '/^# WARNING/,$$d' requirements.lock
	echo "# torch is not here: its CPU build does not come from PyPI. The Makefile installs it first." >> requirements.lock

sample: $(VENV)/.run ## regenerate data/sample (the same bytes)
	$(BIN)/python data/sample/make_sample.py

clean:           ## remove the virtual environment and the caches
	rm -rf $(VENV) data/cache .mypy_cache .ruff_cache .pytest_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; try: make PYTHON=python3.11 ..." >&2; exit 1; }
	@echo "Installing into $(VENV)/: PyTorch and transformers, 1.5 GB on disk with PyTorch for CPUs, 6 GB with the one for CUDA."
	$(PYTHON) -m venv $(VENV)

# torch first and alone, so that no other package chooses its version. The packages of the HTML report are optional, but next to
# torch they are small: 110 MB of 1.5 GB. On the platform of the lock, pip takes exactly the files that it names.
$(VENV)/.run: requirements.txt requirements-report.txt requirements.lock | $(BIN)/python
	@echo "1 of 2: PyTorch (200 MB to download for CPUs, 3 GB with CUDA)"
	$(BIN)/python -m pip install --disable-pip-version-check "$$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements.txt)"
	@echo "2 of 2: the other packages (120 MB to download)"
	if [ "$$(uname -sm)" = "Linux x86_64" ] && $(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then \
		$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.lock; \
	else \
		$(BIN)/python -m pip install --quiet -r requirements.txt -r requirements-report.txt; \
	fi
	touch $@

$(VENV)/.dev: $(wildcard requirements-*.txt) $(VENV)/.run
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@
