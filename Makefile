# `make demo` and `make test` work on a fresh clone: they create .venv and install once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Tests run in so many processes of one thread each.
JOBS ?= 2
# Real benchmark data are optional; tests that need them skip when the folder is absent.
GRAPHCL_DATA ?= $(abspath $(wildcard ../shared/data))
export GRAPHCL_DATA

.PHONY: demo test lint install clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

demo: install
	$(BIN)/python examples/demo.py
	$(BIN)/python examples/demo_kg.py

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) runs build dist *.egg-info
