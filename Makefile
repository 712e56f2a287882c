# Commands for users and contributors. `make` alone lists them.
STUDY ?=
MODEL ?=
DATA ?=
ARGS ?=
BOARD_MEMORY_MIB ?= 2048
BOARD_PORT ?= 22022
BOARD_SOURCES ?=
BOARD_RUNTIMES ?=
# Processes that run tests, 2 GB of memory each. Tests wait for devices and clocks, so two processors have work for four.
TEST_WORKERS ?= 4
# The interpreter of .venv; default: the newest supported one. Set-up uses uv where it is installed, else pip.
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Flower needs older versions of some packages than the lock.
FLOWER := .venv-flower
# The CPU build of torch is ten times smaller than that of PyPI, which is installed where this index cannot be reached.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

.DEFAULT_GOAL := help
.PHONY: help setup runtimes lock repro bench board board-down test test-thorough test-board unit pipeline lint docs format vendor flower clean

help: ## show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## create .venv with the locked dependencies (5 GB, some minutes); PYTHON=python3.12 chooses

$(READY): requirements.lock pyproject.toml
	@PYTHON="$(PYTHON)" TORCH_INDEX="$(TORCH_INDEX)" sh scripts/setup.sh

runtimes: $(READY) ## add the runtimes that are extras, all of them (docs/runtimes.md)
	@$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements-runtimes.lock

lock: ## resolve pyproject.toml and write both lock files; needs uv
	@$(or $(wildcard $(BIN)/python),python3) scripts/write_lock.py $(ARGS)

repro: $(READY) ## run the default study, or STUDY=name, and print its table
	@$(BIN)/edgeproof repro $(STUDY)

bench: $(READY) ## measure a model file of your own: MODEL=file, optionally DATA=inputs.npz and ARGS="--preset quick"
	@test -n "$(MODEL)" || { echo "error: name a file: make bench MODEL=model.tflite (docs/bring_your_own.md)"; exit 2; }
	@$(BIN)/edgeproof bench $(MODEL) $(if $(DATA),--data $(DATA)) $(ARGS)

board: $(READY) ## build and start an emulated arm64 board with ssh: BOARD_MEMORY_MIB=1024 (docs/devices.md)
	@$(BIN)/python -m edgeproof.board up --memory-mib $(BOARD_MEMORY_MIB) --port $(BOARD_PORT) $(if $(BOARD_SOURCES),--sources $(BOARD_SOURCES)) $(if $(BOARD_RUNTIMES),--runtimes $(BOARD_RUNTIMES)) $(if $(BOARD_CUDA),--allow-cuda)

board-down: $(READY) ## stop the emulated board
	@$(BIN)/python -m edgeproof.board down

test: $(READY) ## run the tests, including the quick study; every part runs, also after a failure
	@failed=; \
	$(MAKE) --no-print-directory unit || failed="$$failed unit"; \
	$(MAKE) --no-print-directory pipeline || failed="$$failed pipeline"; \
	test -z "$$failed" || { echo "error: these parts failed:$$failed. Run one alone: make$$failed"; exit 1; }

test-thorough: $(READY) ## run the tests that 'make test' leaves out, because they take long (docs/contributing.md)
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile -m "thorough and not board" tests

test-board: $(READY) ## build an emulated board and run the quick study on it (half an hour, fetches 200 MB)
	$(BIN)/python -m pytest -m board tests/pipeline/test_board.py

unit: $(READY) ## run the unit and contract tests (some minutes)
	$(BIN)/python -m pytest -n $(TEST_WORKERS) -m "not end_to_end and not thorough and not board" tests/unit tests/contracts

pipeline: $(READY) ## run the tests that build and measure from end to end (some minutes)
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile -m "(pipeline or end_to_end) and not thorough and not board" tests/pipeline tests/unit

lint: $(READY) ## check format, lint, types, layers, names and sizes
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/check_style.py

docs: $(READY) ## build the documentation site, build/docs/index.html; warnings are errors
	$(BIN)/python -m sphinx -EaWq --keep-going docs build/docs

format: $(READY) ## format the code and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

vendor: $(READY) ## compare each runtime's Session with the vendor's own tool (run a study first)
	$(BIN)/python experiments/compare_with_vendor_tools.py

flower: $(FLOWER)/.ready ## create .venv-flower, in which federations run as a Flower app (docs/federated.md)

$(FLOWER)/.ready: distributions/edgeproof-flower/requirements.txt requirements.lock
	rm -rf $(FLOWER)
	$(or $(PYTHON),$(wildcard $(BIN)/python),python3) -m venv $(FLOWER)
	sed -n '/^torch==/,/[^\\]$$/p' requirements.lock | sed '1s/^\(torch==[^ ]*\)/\1+cpu/' >$(FLOWER)/torch.lock
	$(FLOWER)/bin/pip install -q --require-hashes --no-deps --extra-index-url $(TORCH_INDEX) -r $(FLOWER)/torch.lock
	$(FLOWER)/bin/pip install -q --require-hashes -r distributions/edgeproof-flower/requirements.txt
	touch $@

clean: ## remove built files, but keep the environment and DVC's cache
	rm -rf models artifacts data .edgeproof results/records
