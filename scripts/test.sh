#!/usr/bin/env bash
# Runs the contracts' tests and then pytest; with arguments, pytest alone with those arguments.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH"

if [ $# -eq 0 ]; then
    # forge keeps its compiler's noise to itself unless something fails
    contracts/forge test --summary
fi
exec python -m pytest "$@"
