#!/usr/bin/env bash
# Runs every rule of the project, shows what the broken ones say, and fails if one is broken.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH"

PYTHON_FILES=(node scheduler provider_agent exact tests bench scripts examples contracts)
broken=()

# rule NAME COMMAND...
rule() {
    local name=$1 started=$SECONDS output
    shift
    printf 'check: %-32s' "$name"
    if output=$("$@" 2>&1 </dev/null); then
        printf 'ok (%s s)\n' $((SECONDS - started))
    else
        printf 'BROKEN\n%s\n' "$output"
        broken+=("$name")
    fi
}

# forge exits 0 when nothing was to be compiled, so stale ABIs are compared after a build
abi_is_fresh() { contracts/forge build --quiet && python contracts/export_abi.py --check; }

solidity_lint() (
    cd contracts &&
        node node_modules/solhint/solhint.js --max-warnings 0 \
            'src/**/*.sol' 'script/**/*.sol' 'test/**/*.sol'
)

rule "Python format" ruff format --check --quiet "${PYTHON_FILES[@]}"
rule "Python lint" ruff check --quiet "${PYTHON_FILES[@]}"
rule "Python types" mypy
rule "import rules" lint-imports --no-logo
rule "generated documentation" python scripts/generate_docs.py --check
rule "lock file" python scripts/lock.py --check
rule "lock file of the proof tools" .venv-proofs/bin/python scripts/lock.py --proofs --check
rule "Solidity format" contracts/forge fmt --check
rule "Solidity lint (forge)" contracts/forge lint
rule "Solidity lint (solhint)" solidity_lint
rule "Solidity analysis (slither)" python scripts/slither.py
rule "ABI files" abi_is_fresh
rule "contract bindings" python contracts/generate_bindings.py --check

if [ ${#broken[@]} -gt 0 ]; then
    printf 'check: %d of the rules above are broken:' ${#broken[@]}
    printf ' %s;' "${broken[@]}"
    printf '\n'
    exit 1
fi
echo "check: every rule holds"
