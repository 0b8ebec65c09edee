# `make` alone lists what there is. Works with GNU make 3.81 (macOS) and newer.
# PYTHON=/path/to/python3 names the Python for .venv; JOBS=N the number of tests at once, which mostly wait for processes.

AGENTS := @openai/codex@0.169.0 @anthropic-ai/claude-code@2.1.329 opencode-ai@1.18.33
JOBS ?= 6
TESTS ?= tests
SOAK_ROUNDS ?= 1000

PIP := .venv/bin/python -m pip install -qq --disable-pip-version-check --no-build-isolation --constraint constraints.txt
PYTEST := .venv/bin/python -P -m pytest --quiet --numprocesses=$(JOBS) --dist=worksteal

# Folders are among the sources, so that a file taken away counts as a change too.
SOURCES := pyproject.toml constraints.txt $(wildcard README.md START_HERE.md LICENSE) \
	$(shell find aiframe prompts templates -name __pycache__ -prune -o \( -type f -o -type d \) -print)

# A virtual environment has its own place written into it: one whose folder was moved, or whose Python is gone, is made anew.
ifneq ($(shell .venv/bin/python -c '' 2>/dev/null && cat .venv/place 2>/dev/null),$(shell pwd))
NEW_VENV := new-venv
endif

export PYTHON
export HYPOTHESIS_STORAGE_DIRECTORY := $(CURDIR)/.cache/hypothesis

.DELETE_ON_ERROR:
.PHONY: help demo test lint format docs record bench soak install clean new-venv

help:
	@echo "make demo     run the whole pipeline once, on a sample idea, with the built-in scripted agent"
	@echo "make test     format, lint, types, import contracts and all tests"
	@echo "make install  put the command aiframe on your PATH"
	@echo
	@echo "make lint     all of 'make test' but the tests     make format   lay the code out"
	@echo "make bench    measure the speed                    make soak     $(SOAK_ROUNDS) rounds of kills"
	@echo "make docs     write the generated documents        make clean    remove .venv and the caches"

demo: .venv/installed
	@.venv/bin/aiframe demo

test: lint
	@echo "Tests"
	@tools/install_agents.sh "$(CURDIR)/.cache/npm" $(AGENTS)
	@$(PYTEST) $(TESTS)

lint: .venv/dev
	@echo "Format"
	@.venv/bin/ruff format --quiet --check . || { echo "cure: make format"; exit 1; }
	@echo "Lint"
	@.venv/bin/ruff check --quiet .
	@echo "Types"
	@.venv/bin/mypy --no-error-summary
	@echo "Import contracts"
	@said=$$(.venv/bin/lint-imports --no-logo --cache-dir .cache/imports 2>&1) || { echo "$$said"; exit 1; }
	@echo "Generated documents"
	@.venv/bin/python tools/gen_docs.py --check

format: .venv/dev
	@.venv/bin/ruff check --quiet --fix-only .
	@.venv/bin/ruff format .

docs: .venv/dev
	@.venv/bin/python tools/gen_docs.py

record: .venv/dev
	@.venv/bin/python tools/record_demo.py .venv/bin/aiframe

bench: .venv/installed
	@.venv/bin/python -m bench

soak: .venv/dev
	@echo "$(SOAK_ROUNDS) rounds of kills; this takes hours"
	@SOAK_ROUNDS=$(SOAK_ROUNDS) $(PYTEST) -m soak --timeout=0 $(TESTS)

install:
	@tools/install_aiframe.sh

clean:
	@rm -rf .venv .cache .hypothesis .pytest_cache build dist
	@find . -name .git -prune -o -path ./projects -prune -o -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

new-venv:
	@tools/make_venv.sh

# The package is installed as its users get it, not linked to the sources: what is tested and timed is what is shipped.
.venv/installed: $(SOURCES) $(NEW_VENV)
	@echo "Installing aiframe into .venv"
	@$(PIP) hatchling
	@$(PIP) .
	@touch $@

.venv/dev: pyproject.toml constraints.txt $(NEW_VENV) | .venv/installed
	@echo "Installing what the checks and tests need"
	@$(PIP) '.[dev]'
	@touch $@
