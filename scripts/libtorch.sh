#!/bin/sh
# Puts libtorch, taken from PyTorch's own package, under .libtorch/ of this repository:
#
#     sh scripts/libtorch.sh [cpu|cuda] [VERSION]
#
# cpu (the default) leaves CUDA out: 0.7 GB in place of 5. The version is the one that the locked tch
# wants, unless said otherwise. Linux on x86-64; build.md tells the ways for other systems. Needs
# python3 with pip, of any version: nothing of Python is used afterwards.
set -eu

version=${2:-2.13.0}
# The two packages that libtorch_cpu.so itself links.
runtime="nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85"

fail() {
    echo "libtorch.sh: $*" >&2
    exit 1
}

variant=${1:-cpu}
case $variant in
cpu | cuda) ;;
*) fail "expected cpu or cuda, got '$variant'" ;;
esac
case $version in
[0-9]*.[0-9]*.[0-9]*) ;;
*) fail "expected a version such as 2.13.0, got '$version'" ;;
esac

for name in LIBTORCH LIBTORCH_USE_PYTORCH; do
    eval "value=\${$name:-}"
    if [ -n "$value" ]; then
        echo "$name is set to '$value': that libtorch is used, there is nothing to do."
        exit 0
    fi
done

cd "$(dirname "$0")/.."
if [ "$(cat .libtorch/variant 2>/dev/null)" = "$version $variant" ]; then
    exit 0
fi

system="$(uname -s) $(uname -m)"
[ "$system" = "Linux x86_64" ] || fail "made for Linux on x86-64, this is $system; see build.md for other ways"
command -v python3 >/dev/null ||
    fail "python3 is missing; install it (on Debian: apt install python3 python3-pip) or see build.md"
python3 -m pip --version >/dev/null 2>&1 ||
    fail "python3 has no pip; install it (on Debian: apt install python3-pip) or see build.md"

# Everything happens in a directory beside the final one, which is renamed when it is complete.
for left_over in .libtorch.partial.*; do
    [ -d "$left_over" ] && ! kill -0 "${left_over##*.}" 2>/dev/null && rm -rf "$left_over"
done
partial=.libtorch.partial.$$
trap 'rm -rf "$partial"' EXIT
trap 'exit 130' HUP INT TERM
mkdir -p "$partial/tmp" || fail "cannot write to $(pwd)"

# The wheels are asked for by their tags, so that they need not fit the python3 that is here.
set -- --target "$partial" --only-binary=:all: --python-version 3.12 --platform manylinux2014_x86_64
for glibc in 17 18 24 25 26 27 28; do
    set -- "$@" --platform "manylinux_2_${glibc}_x86_64"
done
if [ "$variant" = cpu ]; then
    # shellcheck disable=SC2086 # two words
    set -- "$@" --no-deps $runtime
fi

echo "Getting libtorch $version ($variant) ..."
if ! TMPDIR="$PWD/$partial/tmp" python3 -m pip install --no-cache-dir --disable-pip-version-check \
    --root-user-action ignore "torch==$version" "$@" 2>"$partial/errors"; then
    if grep -qi "no space left" "$partial/errors"; then
        fail "the disk is full: libtorch ($variant) needs $([ "$variant" = cpu ] && echo 4 || echo 12) GB while it is unpacked"
    elif grep -qiE "connection|resolution|network|timed out|proxy|ssl" "$partial/errors"; then
        fail "no connection to the Python package index; connect, or see build.md for other ways"
    fi
    fail "pip could not install torch $version: $(tail -n 1 "$partial/errors")"
fi

lib=$partial/torch/lib
if [ "$variant" = cpu ]; then
    rm -f "$lib"/libtorch_cuda*.so "$lib"/libc10_cuda.so "$lib"/libtorch_nvshmem.so
fi
[ -f "$lib/libtorch_cpu.so" ] || fail "torch $version came without libtorch_cpu.so; see build.md for other ways"

rm -rf "$partial/tmp" "$partial/errors"
echo "$version" >"$partial/torch/build-version"
echo "$version $variant" >"$partial/variant"
rm -rf .libtorch
mv "$partial" .libtorch
echo "libtorch $version ($variant) is in .libtorch."
