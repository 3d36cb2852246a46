# Two commands do everything on a machine that has Python 3.11+, pip and make:
#   make serve    environment, then the engine on port 8080 with a real model in its catalog
#   make test     environment, then every check and every test
#
# TORCH=torch      another build of torch than the pinned one, for instance with
# UV_ARGS='--extra-index-url …'   where that build lies. A local wheel in PIP_FIND_LINKS is used when there is one.

PYTHON  ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV    := .venv
BIN     := $(VENV)/bin
TORCH   ?= torch==2.13.0
UV_ARGS ?=
UV      := $(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python $(if $(PIP_FIND_LINKS),--find-links $(PIP_FIND_LINKS)) $(UV_ARGS)

.PHONY: serve test test-slow simulate mutations fuzz bench check setup clean

# Once, and not by each of the processes that the tests start: where bytecode is not written, those take half as long
# again. Costs nothing where nothing has changed.
COMPILED = $(BIN)/python -m compileall -q sie spec

serve: $(VENV)/.serve
	$(COMPILED)
	$(BIN)/sie serve --host 127.0.0.1 --port 8080

# Two at a time, each file in one process: they wait for servers and clocks more than they compute. In the order of their
# names: by how many tests they have, the longest would come last.
test: check
	$(COMPILED)
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/.test
	$(COMPILED)
	$(BIN)/pytest -m slow --timeout 1200

# Simulated clusters, each another one; a seed that breaks a guarantee is told with the command that repeats it.
SEEDS ?= 100000
simulate: $(VENV)/.test
	$(COMPILED)
	$(BIN)/python -m sie.testing.simulation --seeds $(SEEDS)

# Fresh seeds, round after round, until the time is over or something is found: tests/fuzz/__main__.py.
MINUTES ?= 60
fuzz: $(VENV)/.test
	$(COMPILED)
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES)

# Known ways to lose, planted one after the other: how many schedules it takes to see each, for spec/README.md.
mutations: $(VENV)/.test
	$(COMPILED)
	$(BIN)/python -m tests.simulation.table
	$(BIN)/python -m tests.planted.table

# What is measured and how to read it: bench/README.md. About half an hour, on an otherwise idle machine.
bench: $(VENV)/.test
	$(BIN)/python -m bench propagation --save
	$(BIN)/python -m bench propagation --save --store s3
	for name in fanout scale restore listener backends hop throughput latency memory hangups; do \
	  $(BIN)/python -m bench $$name --save || exit 1; \
	done

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/flake8 sie spec tests bench conftest.py
	$(BIN)/mypy

setup: $(VENV)/.test

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

# uv makes the set-up eight times faster than pip does.
$(BIN)/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check uv

$(VENV)/.serve: pyproject.toml Makefile | $(BIN)/uv
	$(UV) "$(TORCH)" -e '.[models,minilm]'
	touch $@

$(VENV)/.test: $(VENV)/.serve
	$(UV) "$(TORCH)" -e '.[models,onnx,minilm,s3,gcs,bench,dev]'
	@# The real client asks for Python 3.12 in its metadata and runs on 3.11; two versions, each in a folder of its own.
	for version in 0.1.10 0.10.1; do \
	  $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --ignore-requires-python --upgrade \
	    --target $(VENV)/sie-sdk-$$version sie-sdk==$$version || exit 1; \
	done
	touch $@
