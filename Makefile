# The two commands of the README: `make demo` and `make test`.
#
# Both make the virtual environment .venv and use it again until pyproject.toml or constraints.txt
# changes. Where torch's default build is too large, PIP_EXTRA_INDEX_URL may name an index with
# a smaller one.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
NAME ?= diffusion2d

# Vectors are too short here for threads of BLAS, which would only wait for each other.
demo test test-mpi results bench map-small: export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-mpi lint train results bench docs map-small clean

demo: $(VENV)/demo.stamp
	$(BIN)/python examples/demo.py

test: lint
	$(BIN)/python -m pytest

# neuprecond.petsc on one to four MPI ranks, in .venv-mpi with Debian's PETSc: minutes the first time.
test-mpi:
	scripts/install-mpi.sh
	PETSC_DIR="$$(sed -n 's/^real //p' .venv-mpi/petsc-builds)" .venv-mpi/bin/python -m pytest \
		-o addopts="--import-mode=importlib -ra" tests/mpi

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# A small map, in a minute or two: families × sizes × preconditioners, drawn and judged.
map-small: $(VENV)/dev.stamp
	$(BIN)/neuprecond map --small --fresh --out map

# A packaged model anew: make train NAME=heat
train: $(VENV)/dev.stamp
	$(BIN)/python -m neuprecond.training $(NAME)

# The tables of the README, measured anew.
results: $(VENV)/dev.stamp
	$(BIN)/python datasets/results/measure.py diffusion2d
	$(BIN)/python datasets/results/measure.py heat
	$(BIN)/python datasets/results/table.py
	$(BIN)/python datasets/results/published.py

# What docs/ takes from docstrings and measurements, and its picture.
docs: $(VENV)/dev.stamp
	$(BIN)/python scripts/docs.py

# Seconds and memory of setup, apply and solve beside all rivals; about half an hour.
bench: $(VENV)/dev.stamp
	$(BIN)/neuprecond bench --out datasets/results --plot

clean:
	rm -rf $(VENV) demo-output map

# Loading a packaged model needs no torch, so the demo does without.
$(VENV)/demo.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable '.[plots,problems]'
	touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable '.[dev]'
	touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
