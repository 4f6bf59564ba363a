# Everything runs in .venv; make creates it if it is missing. PYTHON names the interpreter.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: pretrain test test-torch test-long test-slow test-versions test-nightly check format docs dist figures notebooks tensorboard clean

pretrain: .venv/installed  ## pretrains an encoder on the embedded digits and judges it: the main job
	$(BIN)/keras-ssl pretrain digits --epochs 40 $(ARGS)

test: .venv/installed  ## runs the fast tests on TensorFlow, then those of every backend on JAX (and PyTorch, where it is installed): five to ten minutes on two cores
	$(BIN)/python -m pytest $(or $(ARGS),--ignore tests/backends)
ifndef ARGS
	KERAS_BACKEND=jax $(BIN)/python -m pytest tests/backends
	@if $(BIN)/python -c "import torch" 2>/dev/null; then KERAS_BACKEND=torch $(BIN)/python -m pytest tests/backends; fi
endif

test-torch: .venv/installed  ## installs PyTorch, and runs the tests of every backend on it
	$(BIN)/python -m pip install -qq torch
	KERAS_BACKEND=torch $(BIN)/python -m pytest tests/backends -m "not slow" $(ARGS)

test-long: .venv/installed  ## runs the tests that take seconds each, and those of every backend on TensorFlow: a quarter of an hour
	$(BIN)/python -m pytest -m "long and not slow" $(ARGS)
ifndef ARGS
	$(BIN)/python -m pytest tests/backends
	KERAS_BACKEND=jax $(BIN)/python -m pytest tests/backends -m "long and not slow"
endif

test-slow: .venv/installed  ## runs the tests that take minutes or need real images
	$(BIN)/python -m pytest -m slow -n 0 $(ARGS)

test-versions: .venv-lowest/installed .venv-newest/installed  ## runs all but the slow tests with the lowest and the newest versions allowed
	.venv-lowest/bin/python -m pytest -m "not slow" $(ARGS)
	.venv-newest/bin/python -m pytest -m "not slow" $(ARGS)

test-nightly: .venv-nightly/installed  ## runs the fast tests with Keras' nightly build, to see early what a new version breaks
	.venv-nightly/bin/python -m pytest $(ARGS)

check: .venv/installed  ## checks format, lint, types, and the examples in the docstrings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --doctest-modules keras_ssl --ignore keras_ssl/training/on_torch.py -q -n 0

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv-docs/installed  ## builds the site of the documentation in site/; a broken link or reference fails
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet

notebooks: .venv/installed  ## runs the scripts of examples/notebooks, and keeps them as notebooks with their output: a quarter of an hour, with PHOTOS=FOLDER
	$(BIN)/python -m pip install -qq --editable ".[notebooks]"
	$(BIN)/python examples/notebooks/execute.py $(ARGS)

dist: .venv/installed  ## builds the source distribution and the wheel in dist/, and checks both
	$(BIN)/python -m pip install -qq build twine
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

figures: .venv/installed  ## draws the pictures of the results again from the figures that are kept
	$(BIN)/python benchmarks/figures.py

tensorboard: .venv/installed  ## shows all runs in TensorBoard
	$(BIN)/tensorboard --logdir runs

clean:
	rm -rf .venv .venv-lowest .venv-newest .venv-nightly .venv-docs site build dist *.egg-info

.venv/installed: setup.cfg pyproject.toml
	@echo "== Making the virtual environment .venv and installing keras_ssl (a few minutes, once) =="
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq --upgrade pip
	$(BIN)/python -m pip install --disable-pip-version-check --editable ".[test,dev,jax]"
	@touch $@

.venv-lowest/installed: setup.cfg tests/constraints-lowest.txt
	@echo "== Making .venv-lowest, with the lowest versions that setup.cfg allows (a few minutes) =="
	$(PYTHON) -m venv --clear .venv-lowest
	.venv-lowest/bin/python -m pip install -qq --upgrade pip
	.venv-lowest/bin/python -m pip install -qq --constraint tests/constraints-lowest.txt --editable ".[test]"
	@touch $@

.venv-newest/installed: setup.cfg
	@echo "== Making .venv-newest, with the newest versions that setup.cfg allows (a few minutes) =="
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/python -m pip install -qq --upgrade pip
	.venv-newest/bin/python -m pip install -qq --editable ".[test,jax]"
	@touch $@

.venv-nightly/installed: setup.cfg
	@echo "== Making .venv-nightly, with Keras' nightly build (a few minutes) =="
	$(PYTHON) -m venv --clear .venv-nightly
	.venv-nightly/bin/python -m pip install -qq --upgrade pip
	.venv-nightly/bin/python -m pip install -qq --editable ".[test]"
	# It lies over Keras, whose metadata stay.
	.venv-nightly/bin/python -m pip install -qq --force-reinstall --no-deps keras-nightly
	@touch $@

.venv-docs/installed: docs/requirements.txt
	@echo "== Making .venv-docs, for the site =="
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install -qq --upgrade pip
	.venv-docs/bin/python -m pip install -qq --requirement docs/requirements.txt
	@touch $@
