# The one door. On a fresh machine `make up` or `make test` is all there is to type:
# both build .venv first, from Python >= 3.11 and the pins in requirements.lock.

BIN := .venv/bin
READY := .venv/.ready
SHELL := /bin/bash

.PHONY: .venv up demo down test check bench docs schemas soak

.venv: $(READY)

$(READY): requirements.lock pyproject.toml libs/contracts/pyproject.toml
	@python=$$(.ci/python) && { [ -x $(BIN)/python ] || $$python -m venv .venv; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--no-build-isolation -e libs/contracts -e .
	@touch $(READY)

up: .venv  ## everything on this machine, in the foreground
	$(BIN)/trunkline up

demo: .venv  ## a day at a small desk, live, on an instance of its own; make demo ARGS="--seed 7"
	$(BIN)/trunkline demo $(ARGS)

down: .venv  ## stop what `trunkline up --detach` left running
	$(BIN)/trunkline down

test: .venv  ## all tests, against real NATS and PostgreSQL; make test ARGS="-k door"
	$(BIN)/python -m pytest -n 2 $(ARGS)

soak: .venv  ## the tests that take minutes
	$(BIN)/python -m pytest -m soak --timeout 1800 $(ARGS)

bench: .venv  ## the figures of docs/performance.md
	$(BIN)/python -m bench $(ARGS)

schemas: .venv  ## the wire's JSON Schemas, from the classes
	$(BIN)/python -m trunkline_contracts.schema libs/contracts/schemas

docs: .venv schemas  ## everything else that is generated and committed
	$(BIN)/python docs/documents.py
	$(BIN)/python docs/adr/index.py
	$(BIN)/python tests/counts.py

check: .venv  ## everything that can be said without running the system; all of it, then the verdict
	@.ci/check
