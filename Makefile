# Everything runs in .venv, which the first command creates.  `make` alone lists the commands.
PYTHON ?= python3
TORCH ?= torch==2.13.0
PORT ?= 8000
CHAPTER ?=
BIN := .venv/bin
INSTALLED := .venv/.installed
BUILT := _build/.complete

.DEFAULT_GOAL := help
# Two processes of one thread each; one, where the caller asks for more threads.
WORKERS ?= $(if $(filter-out 1,$(OMP_NUM_THREADS)),1,2)
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --durations 5 -r fEs
BOOK = tests/test_book.py tests/test_reader.py $(wildcard tests/test_living*.py)
UNIT = --dist worksteal $(addprefix --ignore ,$(BOOK)) --doctest-modules metalearn tests
CHAPTERS = --dist loadfile --nbval --nbval-cell-timeout 240 chapters

.PHONY: help book test unit chapters check pdf lab serve outputs spread bench weights colab release clean

help:  ## List the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

book: $(INSTALLED)  ## Build the book into _build/html
	@# Sphinx reports a fault only when it reads a page, and copies the style only when it writes one: read all again
	@# after a failure, and when the style or an extension changed; or the API's pages, to which the source code links.
	@[ -e $(BUILT) ] && [ -z "$$(find book/_static book/_ext book/api*.md -newer $(BUILT))" ] || \
	  rm -rf _build/.doctrees _build/html/_modules
	@rm -f $(BUILT)
	@$(BIN)/jupyter-book build . --toc book/_toc.yml -W -n --keep-going -q >/dev/null
	@touch $(BUILT)
	@echo "The book is built. Open file://$(CURDIR)/_build/html/index.html"

test: book  ## Run the tests, every chapter and the checks of the built book
	@$(PYTEST) $(UNIT)
	@$(PYTEST) $(CHAPTERS) $(BOOK)

unit: $(INSTALLED)  ## Run the tests of the package that are not slow (90 seconds)
	@$(PYTEST) -m "not slow" $(UNIT)

# Under the caller's conditions: OMP_NUM_THREADS=2 make chapters. With METALEARN_SEED=1 the asserts run, and no output is
# compared.
chapters: $(INSTALLED)  ## Run every chapter and compare its outputs
	@$(PYTEST) $(CHAPTERS)

check: $(INSTALLED)  ## Lint, check the format and the types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

pdf: book  ## Print the book as one PDF, _build/metalearn.pdf (two minutes)
	@$(BIN)/python -m tools.pdf

lab: .venv/.lab  ## Open the chapters in JupyterLab
	@PATH="$(CURDIR)/$(BIN):$$PATH" jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root)

serve: book  ## Serve the built book on this machine (PORT=8000)
	@echo "Serving the book at http://127.0.0.1:$(PORT)/ (Ctrl-C stops)"
	@$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

outputs: $(INSTALLED)  ## Execute a chapter in place as the tests do (CHAPTER=05)
	@$(BIN)/python tools/outputs.py --chapter "$(CHAPTER)"

spread: $(INSTALLED)  ## Measure how far a chapter's numbers move elsewhere (CHAPTER=05)
	@$(BIN)/python -m tools.spread --chapter "$(CHAPTER)"

bench: .venv/.bench  ## Measure speed and memory, and store the numbers (five minutes)
	@$(BIN)/python tests/benchmarks/run.py

weights: $(INSTALLED)  ## Compare trained weights with all that their studies recorded
	@WEIGHTS=all $(BIN)/python -m pytest tests/test_pretrained.py -k recorded_values

colab:  ## Install as a chapter's first cell does, into the Python at hand, and run every chapter's asserts
	@$(PYTHON) -m pip install -q '.[chapters]' nbclient ipykernel
	@$(PYTHON) tools/alone.py

release: .venv/.release  ## Build source archive and wheel, and try them in an empty environment
	@$(BIN)/python tools/release.py --torch "$(TORCH)"

clean:  ## Remove the built book and caches (the environment stays; remove .venv to start over)
	@rm -rf _build .pytest_cache .mypy_cache .ruff_cache

# The stamp comes last. An install that was cut short leaves .interrupted behind, and the next one starts over.
$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "metalearn needs Python 3.11 or newer, but $(PYTHON) is: $$($(PYTHON) --version 2>&1 | tail -n 1)" >&2; \
	  echo "Name another one:  make $(or $(MAKECMDGOALS),book) PYTHON=python3.11" >&2; exit 1; }
	@[ ! -e .venv/.interrupted ] || rm -rf .venv
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@touch .venv/.interrupted
	@echo "Installing PyTorch, then the rest: one to three minutes, about 2 GB on disk (6 GB with CUDA)."
	@$(BIN)/python -m pip install -q $(TORCH) && $(BIN)/python -m pip install -q -e '.[book,test]' || { \
	  rm -f .venv/.interrupted; echo "The installation failed; the lines above say why." >&2; exit 1; }
	@rm -f .venv/.interrupted
	@touch $@

.venv/.bench: $(INSTALLED)
	@$(BIN)/python -m pip install -q -e '.[bench]'
	@touch $@

.venv/.release: $(INSTALLED)
	@$(BIN)/python -m pip install -q -e '.[release]'
	@touch $@

.venv/.lab: $(INSTALLED)
	@$(BIN)/python -m pip install -q -e '.[lab]'
	@touch $@
