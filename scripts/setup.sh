#!/bin/sh
# Create .venv with the versions and hashes of requirements.lock: 'make setup' runs this.
#
# An interrupted set-up is started again with the same command. Downloads are in the cache of pip or uv by then.
#   PYTHON       the interpreter; default: that of .venv, else the newest supported one
#   TORCH_INDEX  the index that has torch's CPU build
set -eu

VENV=.venv
READY=$VENV/.ready           # written last
UNFINISHED=$VENV/.unfinished # there while this script fills .venv
LOCK=requirements.lock
VERSIONS="3.13 3.12 3.11"
TORCH_INDEX=${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}
PYTHON=${PYTHON:-}
export PIP_DISABLE_PIP_VERSION_CHECK=1

main() {
    # uv's warnings would name choices that are made here on purpose; its progress is for a terminal.
    if [ -t 2 ]; then UV_QUIET=; else UV_QUIET=--quiet; fi
    choose_python
    create_venv
    # Not /tmp, which may be a part of the memory. What an interrupted pip leaves here goes with .venv.
    TMPDIR=$PWD/$VENV/tmp
    export TMPDIR
    mkdir -p "$TMPDIR"
    find_torch
    if [ "$installed_torch" != "${cpu_torch%+cpu}" ] && install_cpu_torch; then
        sed '/^# CUDA/,$d' $LOCK >$VENV/packages.lock
        say "Installing the other packages: about 1.3 GB to download, unless cached."
    else
        # Without triton, a compiler for GPUs: loaded after TensorFlow, it ends the process with a segmentation fault.
        sed '/^triton==/,/[^\\]$/d' $LOCK >$VENV/packages.lock
        [ "$installed_torch" = "${cpu_torch%+cpu}" ] ||
            say "torch's CPU build (0.2 GB) is not to be had for this Python at $TORCH_INDEX." \
                "PyPI's build and its CUDA packages are installed instead: 2.7 GB to download, with the other packages 4 GB," \
                "unless cached."
    fi
    # Build tools first: one package is source code, which must not be built by tools that the lock doesn't hold.
    sed -n '/^setuptools==/,/[^\\]$/p; /^wheel==/,/[^\\]$/p' $LOCK >$VENV/build_tools.lock
    install --require-hashes -r $VENV/build_tools.lock
    install --require-hashes --no-build-isolation -r $VENV/packages.lock
    install --no-build-isolation -e .
    rm -rf "$TMPDIR" $UNFINISHED
    touch $READY
    say "$VENV is ready."
}

say() {
    echo "edgeproof: $*"
}

fail() {
    echo "error: $*" >&2
    exit 2
}

# Succeed if the interpreter runs and has a supported version. A pyenv shim may exist and not run.
is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

has_uv() {
    command -v uv >/dev/null 2>&1
}

# An environment needs pip, which Debian and Ubuntu have in a package of its own.
can_create_venv() {
    has_uv || "$1" -c 'import ensurepip, venv' >/dev/null 2>&1
}

choose_python() {
    if [ -n "$PYTHON" ]; then
        command -v "$PYTHON" >/dev/null 2>&1 || fail "$PYTHON is not there. Name a Python of version 3.11, 3.12 or 3.13:" \
            "make PYTHON=/path/to/python3.12"
        is_supported "$PYTHON" || fail "$PYTHON is '$("$PYTHON" -V 2>&1 | head -n 1)', but edgeproof needs Python 3.11," \
            "3.12 or 3.13. Name another: make PYTHON=/path/to/python3.12"
        can_create_venv "$PYTHON" || fail_without_venv "$PYTHON"
        return
    fi
    incomplete=
    # shellcheck disable=SC2086 # one word a version
    for name in $VENV/bin/python $(printf 'python%s ' $VERSIONS) python3; do
        is_supported "$name" || continue
        PYTHON=$name
        # The interpreter of an environment, not the environment's link to it, survives a new environment.
        [ "$name" != $VENV/bin/python ] || PYTHON=$("$name" -c 'import sys; print(sys._base_executable)')
        ! can_create_venv "$PYTHON" || return 0
        incomplete=${incomplete:-$PYTHON}
        PYTHON=
    done
    [ -z "$incomplete" ] || fail_without_venv "$incomplete"
    has_uv || fail "edgeproof needs Python 3.11, 3.12 or 3.13, and none is installed. Ubuntu 24.04: sudo apt-get install" \
        "python3.12-venv. Debian 13: sudo apt-get install python3.13-venv. Debian 12: sudo apt-get install python3.11-venv." \
        "Or install uv (https://docs.astral.sh/uv/), which fetches a Python: then run 'make setup'. Or name yours:" \
        "make PYTHON=/path/to/python3.12"
    PYTHON=${VERSIONS%% *} # uv fetches it
}

fail_without_venv() {
    version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    fail "$1 has no venv and ensurepip modules. Debian and Ubuntu: sudo apt-get install python$version-venv. Or install uv" \
        "(https://docs.astral.sh/uv/), which does not need them."
}

# Keep an environment that is whole and has the right Python; replace one whose set-up was interrupted.
create_venv() {
    rm -f $READY
    if [ -e $UNFINISHED ]; then
        say "The last set-up was interrupted. Starting again with what it has downloaded."
    elif is_same_python; then
        touch $UNFINISHED
        return
    fi
    rm -rf $VENV
    mkdir -p $VENV
    touch $UNFINISHED
    if has_uv; then
        uv venv --quiet --seed --allow-existing --python "$PYTHON" $VENV
    else
        "$PYTHON" -m venv $VENV
    fi
    say "Created $VENV with $($VENV/bin/python -V) and $(has_uv && uv --version || echo pip)."
}

is_same_python() {
    version='import sys; print(sys.version)'
    is_supported $VENV/bin/python || return 1
    has_uv || $VENV/bin/python -m pip --version >/dev/null 2>&1 || return 1
    [ "$($VENV/bin/python -c "$version")" = "$("$PYTHON" -c "$version" 2>/dev/null)" ]
}

install() {
    if has_uv; then
        # pip compiles too. Stages run with -B, so they would compile every module again each time.
        uv pip install $UV_QUIET --compile-bytecode --python $VENV/bin/python --no-deps "$@" || fail_installation
    else
        # Two q: pip's remarks on its configuration are left out, its errors and repeated downloads are shown.
        $VENV/bin/python -m pip install -qq --no-deps "$@" || fail_installation
    fi
}

fail_installation() {
    fail "the packages could not be installed, for the reason above. 'make setup' continues."
}

find_torch() {
    sed -n '/^torch==/,/[^\\]$/p' $LOCK | sed '1s/^\(torch==[^ ]*\)/\1+cpu/' >$VENV/torch.lock
    cpu_torch=$(sed -n '1s/ .*//p' $VENV/torch.lock)
    installed_torch=torch==$($VENV/bin/python -c 'from importlib.metadata import version; print(version("torch"))' \
        2>/dev/null) || :
}

# Install torch's CPU build, which is ten times smaller, or return 1 if there is none for this Python.
install_cpu_torch() {
    [ "$installed_torch" != "$cpu_torch" ] || return 0
    # The lock has the hashes of the x86-64 builds.
    [ "$(uname -m)" = x86_64 ] || return 1
    # First what is configured for pip or uv: a mirror or a directory of wheels may have it.
    for index in "" "$TORCH_INDEX"; do
        if offers_cpu_torch "$index"; then
            say "Installing torch's CPU build: about 0.2 GB to download, unless cached."
            install ${index:+"--extra-index-url=$index"} --require-hashes -r $VENV/torch.lock
            return 0
        fi
    done
    return 1
}

offers_cpu_torch() {
    if has_uv; then
        UV_HTTP_TIMEOUT=10 UV_HTTP_RETRIES=0 uv pip install --quiet --dry-run --no-deps --python $VENV/bin/python \
            ${1:+"--extra-index-url=$1"} "$cpu_torch" >/dev/null 2>&1
    else
        $VENV/bin/python -m pip index versions --retries 0 --timeout 10 ${1:+"--index-url=$1"} torch 2>/dev/null |
            grep -qwF "${cpu_torch#torch==}"
    fi
}

main
