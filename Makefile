# Everything runs from a fresh clone: Python 3.11 or newer with venv, git and make.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# One more than there are cores: end-to-end tests wait for servers.
WORKERS := $(shell expr $$(nproc 2>/dev/null || echo 2) + 1)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Tests start dozens of interpreters: each would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo demo-compare up unit test kill scale mutants check bench tools lock clean

help:  ## Show this list.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

install: $(STAMP)  ## Set up .venv.

demo: $(STAMP)  ## Run the shipped sample on one model in the local sandbox.
	$(BIN)/bedrock-batch run deployments/samples/support_tickets.jsonl \
	  --model us.anthropic.claude-haiku-4-5-20251001-v1:0 --sandbox --output-dir demo-output

demo-compare: $(STAMP)  ## Compare three models on the shipped, labelled sample in the local sandbox, with a judge.
	$(BIN)/bedrock-batch compare deployments/samples/support_tickets.jsonl \
	  --model us.anthropic.claude-haiku-4-5-20251001-v1:0 --model us.amazon.nova-pro-v1:0 --model us.amazon.nova-micro-v1:0 \
	  --reference deployments/samples/support_tickets_labels.csv --judge us.anthropic.claude-sonnet-4-5-20250929-v1:0 \
	  --sandbox --output-dir demo-output

up: $(STAMP)  ## Prefect server, sandbox, served deployments and the API server; then click "Run" in the UI.
	$(BIN)/python -m deployments.up

unit: $(STAMP)  ## Run the tests that need no server: a minute and a half on two cores.
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not e2e"

test: $(STAMP)  ## Run all tests.
	$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder --durations=25

kill: $(STAMP)  ## Kill a run before each single one of its calls to AWS (make test: here and there), and resume it.
	KILL_STRIDE=1 $(BIN)/python -m pytest --timeout=0 tests/flows/test_kill.py

mutants: $(STAMP)  ## Try 300 small wrong changes, drawn at random: would a unit test notice? Prints those that none does.
	$(BIN)/python -m tests.mutants

scale: $(STAMP)  ## 100,000 and 1,000,000 lines end to end in the sandbox: wall time of each stage, memory.
	$(BIN)/python -m tests.scale

check: $(STAMP)  ## Formatting, lint, types and the import contract.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)  ## Measure convert and normalise beside two floors, in one run.
	$(BIN)/python -m tests.bench

tools: $(STAMP)  ## Other people's tools (inspect_ai, LiteLLM, langbatch, instructor, Airflow, Node's clients, schemathesis) on the API server.
	$(PYTHON) -m venv .tools/venv
	.tools/venv/bin/python -m pip install --quiet -r tests/api/tools/requirements.txt
	.tools/venv/bin/python -m pip install --quiet --upgrade --no-deps openai==3.57.0
	.tools/venv/bin/python -m uv venv --quiet --allow-existing --python .tools/venv/bin/python .tools/airflow
	.tools/venv/bin/python -m uv pip install --quiet --python .tools/airflow/bin/python -r tests/api/tools/airflow.txt
	if command -v npm > /dev/null; then npm install --silent --prefix .tools openai@6 portkey-ai@3; fi
	.tools/venv/bin/python tests/api/tools/run.py --server $(CURDIR)/$(BIN)/python

lock:  ## Compile requirements.lock anew (needs uv).
	uv pip compile pyproject.toml --extra dev --generate-hashes --universal --python-version 3.11 \
	  --no-emit-index-url --no-emit-find-links --no-annotate --no-strip-extras --custom-compile-command "make lock" -q -o requirements.lock

clean:  ## Remove what the other targets made.
	rm -rf .venv .tools demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis .mutants
