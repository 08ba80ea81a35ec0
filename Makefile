# On a new machine run `make up` or `make test`: both first create .venv, from Python >= 3.11 and
# the pins in requirements.lock.

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

up: .venv  ## run an instance on this machine, in the foreground
	$(BIN)/trunkline up

demo: .venv  ## show a generated day on a separate instance; make demo ARGS="--seed 7"
	$(BIN)/trunkline demo $(ARGS)

down: .venv  ## stop the instance started by `trunkline up --detach`
	$(BIN)/trunkline down

test: .venv  ## run all tests against real NATS and PostgreSQL; make test ARGS="-k routing"
	$(BIN)/python -m pytest -n 2 $(ARGS)

soak: .venv  ## run the tests that take minutes
	$(BIN)/python -m pytest -m soak --timeout 1800 $(ARGS)

bench: .venv  ## measure the figures of docs/performance.md
	$(BIN)/python -m bench $(ARGS)

schemas: .venv  ## generate the JSON Schemas of the contracts
	$(BIN)/python -m trunkline_contracts.schema libs/contracts/schemas

docs: .venv schemas  ## generate all other committed documents
	$(BIN)/python docs/documents.py
	$(BIN)/python docs/adr/index.py
	$(BIN)/python tests/counts.py

check: .venv  ## run all static checks and list those that fail
	@.ci/check
