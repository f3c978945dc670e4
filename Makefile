# `make demo` trains on the built-in data and draws the report; `make test` runs the tests.
# Both set up what they need. `make help` lists the rest.

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types wheel smoke lock clean

MAKEFLAGS += --no-print-directory
unexport PYTHONDONTWRITEBYTECODE  # each process would compile torch anew, which takes seconds
BIN := .venv/bin
READY := .venv/.ready-$(shell cat requirements.lock pyproject.toml | cksum | tr ' ' -)
COMPILE := pip compile pyproject.toml -o requirements.lock --universal --python-version 3.11 \
	--all-extras --group dev --group peers --generate-hashes --no-emit-index-url --quiet \
	--custom-compile-command 'make lock'

# the first Python that is new enough and can make environments; looked for only when needed
PYTHON = $(shell for name in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$name -c 'import ensurepip, sys, venv; sys.version_info >= (3, 11) or sys.exit(1); \
	print(sys.executable)' 2>/dev/null && break; done)
NEEDS_PYTHON = test -n "$(PYTHON)" || { echo 'No Python >= 3.11 with venv is on the PATH.'; exit 1; }
UV := $(or $(shell command -v uv 2> /dev/null),.tools/bin/uv)

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*  ## /\1	/p' $(MAKEFILE_LIST) | expand -t 10

setup: $(READY)  ## make .venv from the lock: a minute or two the first time, nothing after that

demo: setup  ## train on the built-in digits, evaluate, and draw runs/digits/report.html
	$(BIN)/patchword train digits --out runs/digits

test: setup  ## run the default tests; others: make test ARGS='-m slow'
	$(BIN)/python -m pytest -q -n auto --maxprocesses 8 --dist worksteal $(ARGS)

lint: setup  ## check style and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: setup  ## check the types of src
	$(BIN)/basedpyright

wheel: setup  ## build dist/*.whl
	@rm -rf dist
	$(BIN)/python -m build --wheel --no-isolation > /dev/null
	@ls dist/*.whl

smoke: wheel  ## install the wheel alone in an empty environment and take the demo's first step
	@rm -rf build/smoke && mkdir -p build/smoke
	$(UV) venv --quiet --python $(BIN)/python build/smoke/venv
	$(UV) pip install --quiet --python build/smoke/venv --constraint requirements.lock dist/*.whl
	cd build/smoke && venv/bin/patchword --version
	cd build/smoke && venv/bin/patchword train digits --epochs 1 --out run
	@test -s build/smoke/run/report.html && rm -rf build/smoke

lock: $(UV)  ## write requirements.lock anew from pyproject.toml, with the newest versions
	$(UV) $(COMPILE) --upgrade

clean:  ## remove what was built and cached; .venv and runs stay
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -prune -exec rm -rf {} +

$(READY): | $(UV)
	@$(NEEDS_PYTHON)
	@echo 'Making .venv from requirements.lock; the first time this takes a minute or two.'
	@$(BIN)/python -c '' 2>/dev/null || $(UV) venv --quiet --clear --python '$(PYTHON)' .venv
	@$(UV) pip sync --quiet --python .venv --require-hashes requirements.lock
	@$(UV) pip install --quiet --python .venv --no-deps --no-build-isolation --editable .
	@rm -f .venv/.ready-* && touch $@

.tools/bin/uv:
	@$(NEEDS_PYTHON)
	@'$(PYTHON)' -m venv .tools && .tools/bin/pip install --quiet --disable-pip-version-check uv
