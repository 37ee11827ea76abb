#!/bin/sh
# Downloads libtorch, from PyTorch's own package, to .libtorch/ in this repository:
#
#     sh scripts/libtorch.sh [cpu|cuda] [VERSION [MACHINE]]
#
# cpu (the default) leaves out CUDA: 0.7 GB instead of 5. VERSION defaults to the one that the locked tch
# needs. MACHINE defaults to this one; linux-x86_64, linux-aarch64 or macos-arm64 select another, whose
# libtorch goes to .libtorch-MACHINE/. For other systems, see build.md. Needs python3 (any version) with
# pip (20.3 or newer); Python is not used afterwards.
set -eu

variant=${1:-cpu}
version=${2:-2.13.0}
machine=${3:-}
folder=.libtorch${machine:+-$machine}

fail() {
    echo "libtorch.sh: $*" >&2
    exit 1
}

this_machine() {
    case "$(uname -s) $(uname -m)" in
    "Linux "*) echo "linux-$(uname -m)" ;;
    "Darwin "*) echo "macos-$(uname -m)" ;;
    *) echo "$(uname -s)-$(uname -m)" ;;
    esac
}

# The wheels are asked for by their tags, so that they need not fit the python3 that is here. pip takes
# each tag by the letter: manylinux_2_28 does not stand for those before it.
wheel_tags() {
    arch=${machine#*-}
    case $machine in
    linux-x86_64 | linux-aarch64)
        tags="manylinux1 manylinux2014"
        for glibc in 17 18 24 25 26 27 28; do tags="$tags manylinux_2_$glibc"; done
        ;;
    macos-arm64) tags="macosx_11_0 macosx_12_0 macosx_13_0 macosx_14_0" ;;
    *) fail "made for linux-x86_64, linux-aarch64 and macos-arm64, got '$machine'; see build.md for other ways" ;;
    esac
    for tag in $tags; do echo "--platform ${tag}_$arch"; done
}

# Into $partial.
pip_install() {
    # pip before 22.1, which Xcode and Ubuntu 22.04 have, refuses --root-user-action, but not its variable.
    # shellcheck disable=SC2086 # an option and a tag for each
    TMPDIR="$PWD/$partial/tmp" PIP_ROOT_USER_ACTION=ignore python3 -m pip install --target "$partial" \
        --only-binary=:all: --python-version 3.12 $platforms --no-cache-dir --disable-pip-version-check \
        "$@" 2>"$partial/errors" || explain_failure
}

explain_failure() {
    if grep -qi "no space left" "$partial/errors"; then
        fail "the disk is full: libtorch ($variant) needs $([ "$variant" = cpu ] && echo 4 || echo 12) GB while it is unpacked"
    elif grep -qiE "connection|resolution|network|timed out|proxy|ssl" "$partial/errors"; then
        fail "no connection to the Python package index; connect, or see build.md for other ways"
    fi
    fail "pip could not install torch $version: $(tail -n 1 "$partial/errors")"
}

# The packages of NVIDIA that libtorch_cpu.so itself links, as PyTorch's package names them: two of their
# own for CUDA 12, two parts of cuda-toolkit for CUDA 13.
cuda_runtime() {
    sed -nE -e 's/^Requires-Dist: (nvidia-cuda-(runtime|cupti)-cu12) *\(?==([0-9.]+).*/\1==\3/p' \
        -e 's/^Requires-Dist: cuda-toolkit\[.*==([0-9.]+).*/cuda-toolkit[cudart,cupti]==\1/p' \
        "$partial"/torch-*.dist-info/METADATA
}

# Without these libraries, torch-sys links no CUDA. libtorch.so is nothing but an envelope that needs both
# libtorch_cpu.so and libtorch_cuda.so, and that GNU's linker, unlike lld, keeps in a program.
take_cuda_out() {
    runtime=$(cuda_runtime)
    [ -n "$runtime" ] || fail "torch $version does not name its CUDA runtime; see build.md for other ways"
    # shellcheck disable=SC2086 # a word for each package
    pip_install $runtime
    rm -f "$lib"/libtorch_cuda*.so "$lib"/libc10_cuda.so "$lib"/libtorch_nvshmem.so "$lib"/libcusparseLt*
    ln -sf libtorch_cpu.so "$lib/libtorch.so"
}

# 0 where libtorch's functions take the std::string of before GCC 5: in torch 2.4 to 2.6, by machine.
cxx11_abi() {
    if grep -q torchCheckFailEPKcS2_jRKSs "$lib/libc10.so" 2>/dev/null; then echo 0; else echo 1; fi
}

say_what_is_there() {
    echo "libtorch $version ($variant) is in $folder."
    if [ "$(cat "$folder/cxx11-abi" 2>/dev/null)" = 0 ]; then
        echo "It has the old C++ ABI. Before you build: export LIBTORCH_CXX11_ABI=0"
    fi
}

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
if [ "$(cat "$folder/variant" 2>/dev/null)" = "$version $variant" ]; then
    say_what_is_there
    exit 0
fi

: "${machine:=$(this_machine)}"
platforms=$(wheel_tags)
[ "$machine $variant" != "macos-arm64 cuda" ] || fail "there is no CUDA for macOS"
command -v python3 >/dev/null ||
    fail "python3 is missing; install it (on Debian: apt install python3 python3-pip) or see build.md"
python3 -m pip --version >/dev/null 2>&1 ||
    fail "python3 has no pip; install it (on Debian: apt install python3-pip) or see build.md"

# Everything happens in a directory beside the final one, which is renamed when it is complete.
for left_over in .libtorch.partial.*; do
    [ -d "$left_over" ] && ! kill -0 "${left_over##*.}" 2>/dev/null && rm -rf "$left_over"
done
partial=.libtorch.partial.$$
lib=$partial/torch/lib
trap 'rm -rf "$partial"' EXIT
trap 'exit 130' HUP INT TERM
mkdir -p "$partial/tmp" || fail "cannot write to $(pwd)"

echo "Getting libtorch $version ($variant) ..."
if [ "$variant" = cuda ]; then
    pip_install "torch==$version"
    [ -f "$lib/libtorch_cuda.so" ] || fail "torch $version has no CUDA for $machine"
else
    pip_install --no-deps "torch==$version"
    [ ! -f "$lib/libtorch_cuda.so" ] || take_cuda_out
fi
[ -f "$lib/libtorch_cpu.so" ] || [ -f "$lib/libtorch_cpu.dylib" ] ||
    fail "torch $version came without libtorch_cpu; see build.md for other ways"

rm -rf "$partial/tmp" "$partial/errors"
echo "$version" >"$partial/torch/build-version"
echo "$version $variant" >"$partial/variant"
cxx11_abi >"$partial/cxx11-abi"
rm -rf "$folder"
mv "$partial" "$folder"
say_what_is_there
