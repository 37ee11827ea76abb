#!/bin/sh
# Runs the library's tests (not those of the MNIST experiment) with each tch that Cargo.toml allows and the
# libtorch that it needs, with and without the feature `recompute`:
#
#     sh scripts/test-versions.sh [VERSION ...]
#
# Without arguments: all of scripts/tch-versions; else those named, such as 0.17.0. Prints a row for each, as
# in build.md. Each uses its own copy of this repository, with its own libtorch and lock file, in
# target/versions. Copies and builds are kept: the first run takes ten minutes and 1 GB for each.
set -eu

fail() {
    echo "test-versions.sh: $*" >&2
    exit 1
}

all_tch() {
    awk '/^[0-9]/ { print $1 }' scripts/tch-versions
}

libtorch_of() {
    awk -v tch="$1" '$1 == tch { print $2; found = 1 } END { exit !found }' scripts/tch-versions ||
        fail "expected one of $(all_tch | tr '\n' ' ')but got '$1'"
}

# What git would commit now.
copy_repository() {
    mkdir -p "$1"
    find "$1" -mindepth 1 -maxdepth 1 ! -name .libtorch -exec rm -rf {} +
    git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x -C "$1"
}

test_copy() {
    cd "$1" &&
        sh scripts/libtorch.sh cpu "$3" &&
        LIBTORCH_CXX11_ABI=$(cat .libtorch/cxx11-abi) &&
        export LIBTORCH_CXX11_ABI &&
        cargo update --package tch --precise "$2" &&
        cargo update --package torch-sys --precise "$2" &&
        cargo build --release --package tch-dropout --examples && # which some tests run
        cargo test --release --package tch-dropout --no-fail-fast --tests &&
        cargo test --release --package tch-dropout --no-fail-fast --tests --no-default-features
}

test_version() {
    libtorch=$(libtorch_of "$1")
    folder=target/versions/$1
    copy_repository "$folder"
    result=pass
    (test_copy "$folder" "$1" "$libtorch") >"$folder.log" 2>&1 || result=FAIL
    passed=$(awk '/^test result:/ { sum += $4 } END { print sum + 0 }' "$folder.log")
    echo "| $1 | $libtorch | $result, $passed tests, $(date +%F) |"
    [ "$result" = pass ] || { tail -n 50 "$folder.log" >&2 && return 1; }
}

cd "$(dirname "$0")/.."
# What the environment says of libtorch holds for one version only.
unset LIBTORCH LIBTORCH_CXX11_ABI LIBTORCH_USE_PYTORCH LD_LIBRARY_PATH
# One for all: cargo keeps the versions apart, and has most crates in common.
CARGO_TARGET_DIR=$PWD/target/versions/target
export CARGO_TARGET_DIR
# shellcheck disable=SC2046 # a word for each
[ $# -gt 0 ] || set -- $(all_tch)
for tch in "$@"; do
    libtorch_of "$tch" >/dev/null
done
failed=
for tch in "$@"; do
    test_version "$tch" || failed="$failed $tch"
done
[ -z "$failed" ] || fail "failed with tch$failed: see target/versions/*.log"
