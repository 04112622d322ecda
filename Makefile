# The commands of the README. Everything lives in .venv; nothing is installed outside this folder.
#   make quickstart   train, evaluate and report on a nano Qwen-VL (FRESH=1 starts over)
#   make test         the tests; lint and types: ruff and mypy
# On Linux the default torch wheel brings CUDA. For the small CPU build give pip the index of PyTorch's CPU wheels:
#   make quickstart PIP_FLAGS="--extra-index-url INDEX"

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= runs/quickstart
WORKERS ?= 2
PIP_FLAGS ?=
PIP_INSTALL = $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt $(PIP_FLAGS)

.PHONY: quickstart test test-slow lint types clean help
.DEFAULT_GOAL := help

help:
	@sed -n '1,6s/^# \{0,1\}//p' Makefile

$(VENV)/.made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "qwenvl needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV) || { echo "No venv module: on Debian, apt-get install python3-venv"; exit 1; }
	touch $@

$(VENV)/.installed-train: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing qwenvl into $(VENV) (once; minutes on a slow line)…"
	$(PIP_INSTALL) -e ".[train]"
	touch $@

# open_clip_torch by itself: the tests need its ViT alone, and what it asks for (torchvision, timm) is large.
$(VENV)/.installed-dev: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing qwenvl and its test tools into $(VENV) (once; minutes on a slow line)…"
	$(PIP_INSTALL) -e ".[dev]"
	$(PIP_INSTALL) --no-deps open_clip_torch
	touch $@ $(VENV)/.installed-train

quickstart: $(VENV)/.installed-train
	$(BIN)/qwenvl quickstart --out $(OUT) $(if $(filter-out 0,$(FRESH)),--fresh)

# One thread a worker: the tests are many small operations, and two workers already fill two cores.
test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) $(ARGS)

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q -m slow $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check src tests benchmarks scripts

types: $(VENV)/.installed-dev
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache
