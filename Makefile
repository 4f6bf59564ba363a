# Everything runs in .venv; make creates it if it is missing. PYTHON names the interpreter.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: pretrain test test-slow check format tensorboard clean

pretrain: .venv/installed  ## pretrains an encoder on the embedded digits and judges it: the main job
	$(BIN)/python examples/pretrain.py $(ARGS)

test: .venv/installed  ## runs the fast tests, about five minutes on two cores
	$(BIN)/python -m pytest $(ARGS)

test-slow: .venv/installed  ## runs the long tests
	$(BIN)/python -m pytest -m slow -n 0 $(ARGS)

check: .venv/installed  ## checks format, lint, types, and the examples in the docstrings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --doctest-modules keras_ssl -q -n 0

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

tensorboard: .venv/installed  ## shows all runs in TensorBoard
	$(BIN)/tensorboard --logdir runs

clean:
	rm -rf .venv build dist *.egg-info

.venv/installed: setup.cfg pyproject.toml
	@echo "== Making the virtual environment .venv and installing keras_ssl (a few minutes, once) =="
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq --upgrade pip
	$(BIN)/python -m pip install -qq --editable ".[test,dev]"
	@touch $@
