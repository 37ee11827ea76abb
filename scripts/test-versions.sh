#!/bin/sh
# The library's tests (not those of the MNIST experiment) with every tch that Cargo.toml allows, each with
# the libtorch that it wants:
#
#     sh scripts/test-versions.sh [0.24] [0.26]
#
# Both without arguments. Each has a copy of this repository, with a libtorch and a lock file of its
# own, in target/versions. That is kept: the first run takes ten minutes and 2 GB for each. Prints a
# row for each, as in build.md. There is no tch 0.25 on crates.io.
set -eu

fail() {
    echo "test-versions.sh: $*" >&2
    exit 1
}

libtorch_of() {
    case $1 in
    0.24) echo 2.11.0 ;;
    0.26) echo 2.13.0 ;;
    *) fail "expected 0.24 or 0.26, got '$1'" ;;
    esac
}

# What git would commit now. What was built in the copy before stays.
copy_repository() {
    mkdir -p "$1"
    find "$1" -mindepth 1 -maxdepth 1 ! -name .libtorch ! -name target -exec rm -rf {} +
    git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x -C "$1"
}

library_tests() {
    for path in tests/*.rs tests/*/main.rs; do
        name=${path#tests/}
        name=${name%.rs}
        echo --test "${name%/main}"
    done
}

test_copy() {
    cd "$1" &&
        sh scripts/libtorch.sh cpu "$3" &&
        cargo update --package tch --precise "$2.0" && # takes torch-sys along
        cargo build --release --package tch-dropout --examples && # which some tests run
        # shellcheck disable=SC2046 # an option and a name for each
        cargo test --release --package tch-dropout --no-fail-fast --lib $(library_tests)
}

test_version() {
    libtorch=$(libtorch_of "$1")
    folder=target/versions/$1
    copy_repository "$folder"
    result=pass
    (test_copy "$folder" "$1" "$libtorch") >"$folder.log" 2>&1 || result=FAIL
    passed=$(awk '/^test result:/ { sum += $4 } END { print sum + 0 }' "$folder.log")
    echo "| $1.0 | $libtorch | $result, $passed tests | $(date +%F) |"
    [ "$result" = pass ]
}

cd "$(dirname "$0")/.."
# What the environment says of libtorch and of the target directory holds for one version only.
unset LIBTORCH LIBTORCH_USE_PYTORCH LD_LIBRARY_PATH CARGO_TARGET_DIR
[ $# -gt 0 ] || set -- 0.24 0.26
for tch in "$@"; do
    libtorch_of "$tch" >/dev/null
done
failed=
for tch in "$@"; do
    test_version "$tch" || failed="$failed $tch"
done
[ -z "$failed" ] || fail "failed with tch$failed: see target/versions/*.log"
