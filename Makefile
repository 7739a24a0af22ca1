# demo, test and ui each set everything up by themselves on a machine that has Python 3.11+, pip and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet
PORT ?= 3000
JOURNEYS := tests/test_ui_journeys.py tests/test_ui_journeys_mouse.py
export PYTHONUNBUFFERED := 1

.PHONY: help install demo ui test journeys lint types docs bench
.DEFAULT_GOAL := help

help:
	@echo "make demo        replay real flights and purchases through every stage (a second time: a no-op)"
	@echo "make ui          browse it in Dagster at http://127.0.0.1:$(PORT)"
	@echo "make test        the test suite"
	@echo "make journeys    the UI by mutation and, where there is a browser, by mouse"
	@echo "make docs        the documentation as pages, in .site"
	@echo "make lint types  style and types"
	@echo "make bench       the benchmarks, as ratios"

install: $(INSTALLED)

# torch first and by itself: asked for by another name or range it brings gigabytes of GPU packages.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python {v.major}.{v.minor} came, wanted 3.11 or newer; set PYTHON=")'
	@echo "Setting up $(VENV): about two minutes, once."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) torch==2.13.0 --constraint constraints.txt
	@$(PIP) --editable '.[dev]' --constraint constraints.txt
	@touch $@

demo: $(INSTALLED)
	@$(BIN)/ml-assets demo

ui: $(INSTALLED)
	@$(BIN)/ml-assets ui --port $(PORT)

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(JOURNEYS:%=--ignore=%)

# Five minutes of a real web server, daemon and browser: by themselves, so that the suite stays short.
journeys: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(JOURNEYS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

docs: $(INSTALLED)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo "The documentation is in .site: open .site/index.html"

bench: $(INSTALLED)
	$(BIN)/python benchmarks/event_records.py
	$(BIN)/python benchmarks/range_run.py
	$(BIN)/python benchmarks/code_location.py
	$(BIN)/python benchmarks/check.py
	$(BIN)/python benchmarks/plan.py
	$(BIN)/python benchmarks/sensor_ticks.py
	$(BIN)/ml-assets demo
	$(BIN)/python benchmarks/repair.py
	$(BIN)/python benchmarks/point_in_time.py
	$(BIN)/python benchmarks/big_day.py
	$(BIN)/python benchmarks/policies.py
