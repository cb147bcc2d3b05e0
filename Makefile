# The same few commands everywhere. Each makes its own environment in .venv when it is missing or out of date.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || echo python3)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
LIGHT  := $(VENV)/.light

.PHONY: demo test test-all check bench serve docs clean lock
.DEFAULT_GOAL := help

help:
	@echo "make demo | test | test-all | check | bench | serve | docs | clean"

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[server,grpc,torch,timm,smp,transformers,tensorboard,mlflow,optimize,openvino,import,keras,flask,django,dev]'
	@touch $@

$(LIGHT): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[server,torch]'
	@touch $@

demo: $(LIGHT)          ## train, evaluate, seal, serve and ask, on real photos
	$(BIN)/saccade demo

serve: $(LIGHT)         ## the demo's model, served until Ctrl-C
	$(BIN)/saccade demo --serve

test: $(STAMP)          ## the whole suite but the long proofs
	$(BIN)/python -m benchmarks.interop --prepare
	$(BIN)/python -m pytest -m 'not long'

test-all: $(STAMP)
	$(BIN)/python -m benchmarks.interop --prepare
	$(BIN)/python -m pytest

check: $(STAMP)         ## lint, format, types
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/mypy

bench: $(STAMP)         ## the short form of every figure
	$(BIN)/python -m benchmarks

docs: $(STAMP)
	$(BIN)/python -m pytest tests/test_docs.py

lock: $(STAMP)          ## write constraints.txt from what is installed
	( echo "# Every version that a fresh install gets, today and in a year. Made by 'make lock'; extras decide what is installed."; $(BIN)/python -m pip freeze --exclude-editable --all --exclude pip | sed 's/+cpu//' | awk '/^tensorflow[-_]cpu==/{other = $$0; sub(/[-_]cpu/, "", other); print other} {print}' ) > constraints.txt

clean:
	rm -rf $(VENV) build dist demo-run .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
