# Each chore is one short recipe. `make setup` once, or let any other target do it.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH ?= auto
TORCH_INDEX ?=
BIN := .venv/bin
STAMP := .venv/.done-$(TORCH)

.PHONY: help setup demo check test chaos corpus bench clean

help:  ## show this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(STAMP)  ## make .venv with everything (TORCH=auto|cpu|cuda, TORCH_INDEX=… for another PyTorch index)

$(STAMP): pyproject.toml constraints.txt tools/setup.sh
	PYTHON="$(PYTHON)" TORCH="$(TORCH)" TORCH_INDEX="$(TORCH_INDEX)" bash tools/setup.sh
	@rm -f .venv/.done-* && touch $@

demo: setup  ## make a film of nobody, give its faces new ones, and show before and after
	$(BIN)/veilfarm demo --out demo

check: setup  ## style, types, import rules, documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/unit/test_docs.py

test: setup  ## all tests but those that need a GPU
	$(BIN)/python -m pytest tests/unit tests/integration

chaos: setup  ## break things under farms at random and compare what comes out (ARGS="--faults 200 --seed 1")
	$(BIN)/python tests/support/chaos.py $(ARGS)

corpus: setup  ## carry films of every kind through, and broken ones (ARGS="--cases 400 --seed 1")
	$(BIN)/python tests/support/corpus.py $(ARGS)
	$(BIN)/python tests/support/fuzz.py

bench: setup  ## measure speed and recall, with deface as peer (ARGS=… for its options)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python bench/run.py $(ARGS)

clean:  ## remove what was built, the virtual environment too
	rm -rf .venv demo build dist bench/out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
