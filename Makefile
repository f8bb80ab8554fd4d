# Each target sets up what it needs and is safe to repeat. Start with `make demo`.

export PATH := $(CURDIR)/.venv/bin:$(PATH)

PYTHON_FILES := node scheduler provider_agent exact tests bench scripts examples contracts
ARGS :=
ONLY :=
GPU_PYTHON := python3

.DEFAULT_GOAL := help
.PHONY: help setup proof-tools demo test bench gpu-check matrix proof-corpus check prove mutants format docs lock clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install everything into .venv and contracts/node_modules
	@scripts/setup.sh

# slither and halmos, which nothing but the targets that name this needs
proof-tools: setup
	@scripts/setup.sh proofs

demo: setup ## run a whole market on this machine, watch it pay and punish
	@assay dev demo $(ARGS)

test: setup ## run all tests; ARGS="tests/unit -k settings" chooses
	@scripts/test.sh $(ARGS)

bench: setup ## run all benchmarks; ONLY=overhead chooses
	@python -m bench $(ONLY)

# setup's PyTorch is for CPUs
gpu-check: ## check exact_torch and tenants on this machine's GPU, measure; writes bench/gpu
	@PYTHONPATH=exact:node:provider_agent $(GPU_PYTHON) -m bench.gpu_check $(ARGS)

matrix: setup ## run the corpus of exact_torch in every setting, and with an older torch; writes docs
	@scripts/setup.sh older-torch
	@PYTHONPATH=exact python -m tests.exact.matrix $(ARGS)

proof-corpus: setup ## measure how often cheats pass the proof of hardware; writes docs
	@python -m tests.proof_corpus.corpus $(ARGS)

check: proof-tools ## run every rule: format, lint, types, imports, contracts, generated files
	@scripts/check.sh

prove: proof-tools ## check the tally and the books for all inputs; ONLY=Tally chooses
	@contracts/halmos $(ONLY)

mutants: setup ## break the contracts on purpose, count what the tests notice; ONLY=Vault chooses
	@python scripts/mutants.py $(ONLY)

format: setup ## format Python and Solidity
	@ruff format $(PYTHON_FILES)
	@ruff check --fix --quiet $(PYTHON_FILES) || true
	@contracts/forge fmt

docs: setup ## write the generated pages of docs/
	@python scripts/generate_docs.py

lock: ## write the lock files from what .venv and .venv-proofs have
	@.venv/bin/python scripts/lock.py
	@.venv-proofs/bin/python scripts/lock.py --proofs

clean: ## remove what setup and builds made; keeps your wallets and data
	rm -rf .venv .venv-proofs .venv-older-torch .stamps dist contracts/node_modules contracts/out contracts/cache contracts/broadcast
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
