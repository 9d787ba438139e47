#!/usr/bin/env bash
# Make .venv with the project, its tests and its checks in it. Run by `make setup`; running it again changes nothing
# that is right already.
#
# PYTHON       interpreter, 3.11 to 3.13
# TORCH        auto: the CUDA build of PyTorch where an NVIDIA GPU is, the CPU build elsewhere; or cpu, or cuda
# TORCH_INDEX  a package index to take PyTorch from; empty: see `torch_for_cpu`
# EXTRAS       which of the project's extras; empty: none
set -euo pipefail
cd "$(dirname "$0")/.."

torch="torch==$(sed -n 's/^torch==//p' constraints.txt)"
venv=.venv/bin/python

say() { printf 'setup: %s\n' "$*" >&2; }

install() {  # uv is some ten times faster than pip, where it is there
    if command -v uv >/dev/null; then
        UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}" uv pip install --quiet --python "$venv" "$@"
    else
        "$venv" -m pip install --quiet --disable-pip-version-check "$@"
    fi
}

has_gpu() { command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; }

cuda_by_default() {  # where the package registry's own torch is a CUDA build of some 3 GB
    [ "$(uname -s)" = Linux ] && [ "$(uname -m)" = x86_64 ]
}

torch_for_cpu() {
    if [ -n "${TORCH_INDEX:-}" ]; then
        install --index-url "$TORCH_INDEX" "$torch"
    elif "$venv" -m pip install --quiet --no-index --no-deps --dry-run "$torch" 2>/dev/null; then
        "$venv" -m pip install --quiet --disable-pip-version-check "$torch"  # a wheel lies in pip's own find-links folder
    else
        # uv knows PyTorch's CPU index by itself.
        "$venv" -m pip install --quiet --disable-pip-version-check uv
        "$venv" -m uv pip install --quiet --python "$venv" --torch-backend cpu "$torch" ||
            say "could not reach PyTorch's CPU index; the CUDA build works, too, but takes 3 GB (see TORCH_INDEX)"
    fi
}

# Ends when the interpreter can't be used.
"$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' ||
    { say "Python 3.11 to 3.13 is needed; give one with: make setup PYTHON=python3.11"; exit 2; }
[ -x "$venv" ] || "$PYTHON" -m venv .venv

case "${TORCH:-auto}" in
    auto) if cuda_by_default && ! has_gpu; then torch_for_cpu; fi ;;
    cpu) if cuda_by_default; then torch_for_cpu; fi ;;
    cuda) "$venv" -m pip uninstall --quiet --yes torch 2>/dev/null || true
          [ -z "${TORCH_INDEX:-}" ] || install --index-url "$TORCH_INDEX" "$torch" ;;
    *) say "TORCH is auto, cpu or cuda, not $TORCH"; exit 2 ;;
esac

extras=${EXTRAS-test,dev}
install --constraint constraints.txt --editable ".${extras:+[$extras]}"
say "ready: $("$venv" -c 'import torch; print("torch", torch.__version__)')"
