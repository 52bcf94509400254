# make study            train and compare two architectures (DATA=<archive, folder or "kaggle">)
# make test             all checks: export, clean notebooks, README, library notebooks, pytest
# make lab              JupyterLab on nbs/
# make reader           look at films of your own with a run (RUN=<folder of a run>), on this machine only
# make docs             the site, in _docs/, by Quarto where it is installed, else by site/build.py
# make test-docs        the tests of the site, on what make docs wrote
# make prepare          after editing a notebook: export the package, clean, write README.md
# make constraints      resolve the ranges of settings.ini into constraints.txt, with hashes
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SHARED := $(abspath ../shared)

.DEFAULT_GOAL := help
.PHONY: help setup study test lab reader docs test-docs prepare constraints clean

help:
	@sed -n 's/^# make/make/p' Makefile

setup: $(STAMP)

$(STAMP): constraints.txt settings.ini setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "bonefrac needs Python 3.10 or newer; name one: make $(or $(MAKECMDGOALS),setup) PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@sed -n '/^uv==/,/[^\\]$$/p' constraints.txt > $(VENV)/uv.txt
	$(BIN)/python -m pip install -q -r $(VENV)/uv.txt
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev,dicom,kaggle,cluster,trust,ct,onnx,reader]'
	@touch $@

study: $(STAMP)
	$(BIN)/bonefrac study $(if $(DATA),--data '$(DATA)') $(ARGS)

test: export BONEFRAC_DATA ?= $(wildcard $(SHARED)/data/bone-fracture-detection.zip)
test: export BONEFRAC_WEIGHTS ?= $(wildcard $(SHARED)/weights)
test: $(STAMP)
	$(BIN)/python tests/gates.py
	$(BIN)/coverage erase
	COVERAGE_PROCESS_START='$(CURDIR)/pyproject.toml' COVERAGE_FILE='$(CURDIR)/.coverage' \
		$(BIN)/python -m pytest tests -n 2 --dist loadscope $(ARGS)
	$(BIN)/coverage combine -q && $(BIN)/coverage report

lab: $(STAMP)
	$(BIN)/jupyter lab --notebook-dir nbs

reader: $(STAMP)
	$(BIN)/bonefrac reader $(RUN) $(ARGS)

# nbdev_docs writes a README.md of its own where nbs/index.ipynb is newer; ours comes from make prepare.
docs: $(STAMP)
	@if command -v quarto >/dev/null; then touch README.md && $(BIN)/nbdev_docs && $(BIN)/python site/live.py; else $(BIN)/python site/build.py; fi

test-docs: export BONEFRAC_SITE = _docs
test-docs: $(STAMP)
	$(BIN)/python -m pytest tests/test_site.py $(ARGS)

prepare: $(STAMP)
	$(BIN)/python tests/gates.py --fix

constraints:
	$(BIN)/uv pip compile -q --universal --python-version 3.10 --no-header --no-annotate --generate-hashes --upgrade \
		--extra dev --extra dicom --extra kaggle --extra cluster --extra trust --extra ct --extra onnx --extra reader setup.py -o constraints.txt

clean:
	rm -rf build dist _docs _proc *.egg-info
