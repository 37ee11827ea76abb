#!/bin/sh
# Checks other machines from Linux on x86-64:
#
#     sh scripts/other-machines.sh check            # the library compiles for them
#     sh scripts/other-machines.sh build            # the library for aarch64, which scripts/machine-code.py reads
#     sh scripts/other-machines.sh test [ARG ...]   # its tests on Linux for aarch64, under emulation
#
# The ARGs go to cargo test; `--lib` runs the unit tests only. Without any, all run but doctests, and `statistics`
# and `language_model`, which would take hours; the other tests show that the bits are the same as here.
#
# Rust's standard library for a target comes from rustup (`rustup target add`), or else is built from its
# sources: `rustup component add rust-src`, or on Debian `apt install rustc-web rust-web-src` and
# RUSTC=/usr/bin/rustc. On Debian, check needs binutils-mingw-w64-x86-64, and test needs
# g++-aarch64-linux-gnu, qemu-user-binfmt and binfmt-support, with which Linux runs the programs of aarch64.
set -eu

fail() {
    echo "other-machines.sh: $*" >&2
    exit 1
}

# The option with which cargo builds the standard library, where it has to.
standard_library() {
    [ ! -d "$($RUSTC --print target-libdir --target "$1")" ] || return 0
    [ -d "$($RUSTC --print sysroot)/lib/rustlib/src/rust/library" ] ||
        fail "no standard library for $1: rustup target add $1"
    echo -Zbuild-std=std,panic_abort
}

# cargo, for a target and the library alone. RUSTC_BOOTSTRAP gives the stable compiler an option of nightly's.
cargo_for() {
    target=$1
    command=$2
    shift 2
    std=$(standard_library "$target")
    # shellcheck disable=SC2086 # one option or none
    ${std:+env RUSTC_BOOTSTRAP=1} cargo "$command" $std --release --target "$target" --package tch-dropout "$@"
}

# A check links nothing, so that a C compiler that makes nothing will do. With doc-only, build.rs compiles no C++
# either: what calls it is checked, as in a build with the feature `recompute`.
check() {
    export RUSTFLAGS="${RUSTFLAGS:-} --cfg recompute"
    for target in aarch64-unknown-linux-gnu aarch64-apple-darwin x86_64-pc-windows-gnu; do
        name=$(echo "$target" | tr - _)
        export "CC_$name=true" "AR_$name=true"
        cargo_for "$target" check --features doc-only --lib
        echo "The library compiles for $target."
    done
}

# This links nothing either, and what C there is in its dependencies need not run: this machine's compiler will do.
build() {
    export RUSTFLAGS="${RUSTFLAGS:-} --cfg recompute" CC_aarch64_unknown_linux_gnu=cc AR_aarch64_unknown_linux_gnu=ar
    cargo_for aarch64-unknown-linux-gnu build --features doc-only --lib
}

# What a program of aarch64 finds in place of this machine's: Debian's libraries, and two descriptions of the CPU.
# Without the first, libtorch's library for that crashes (qemu has none before 8.1); without the other, it complains.
emulated_system() {
    identification=$1/sys/devices/system/cpu/cpu0/regs/identification
    mkdir -p "$1/proc" "$identification"
    echo 0x00000000413fd0c1 >"$identification/midr_el1"
    ln -sfn /usr/aarch64-linux-gnu/lib "$1/lib"
    for processor in 0 1; do
        echo "processor : $processor
Features : fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs
CPU implementer : 0x41
CPU architecture: 8
CPU variant : 0x3
CPU part : 0xd0c
CPU revision : 1
"
    done >"$1/proc/cpuinfo"
}

all_short_tests() {
    for file in tests/*.rs tests/*/main.rs; do
        name=$(basename "${file%/main.rs}" .rs)
        case $name in
        statistics | language_model) ;;
        *) echo "--test $name" ;;
        esac
    done
}

test_aarch64() {
    [ -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ] || fail "Linux does not run aarch64's programs: install qemu-user-binfmt"
    emulated_system "$CARGO_TARGET_DIR/aarch64"
    sh scripts/libtorch.sh cpu 2.13.0 linux-aarch64
    LIBTORCH=$PWD/.libtorch-linux-aarch64/torch
    CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
    CXX_aarch64_unknown_linux_gnu=aarch64-linux-gnu-g++
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    QEMU_LD_PREFIX=$CARGO_TARGET_DIR/aarch64
    export LIBTORCH CC_aarch64_unknown_linux_gnu CXX_aarch64_unknown_linux_gnu \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER QEMU_LD_PREFIX
    cargo_for aarch64-unknown-linux-gnu build --examples # which some tests run
    # shellcheck disable=SC2046 # an option and a name for each
    [ $# -gt 0 ] || set -- --no-fail-fast --lib $(all_short_tests)
    cargo_for aarch64-unknown-linux-gnu test "$@"
}

cd "$(dirname "$0")/.."
unset LIBTORCH LIBTORCH_CXX11_ABI LIBTORCH_USE_PYTORCH LD_LIBRARY_PATH
RUSTC=${RUSTC:-rustc}
# Apart from what is built for this machine, maybe by another compiler.
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target/other-machines}
export RUSTC CARGO_TARGET_DIR
case ${1:-} in
check | build) "$1" ;;
test) shift && test_aarch64 "$@" ;;
*) fail "expected check, build or test, got '${1:-}'" ;;
esac
