#!/bin/sh
# Builds and runs projects that already have a tch, with this library added:
#
#     sh scripts/downstream-projects.sh [rust-bert] [burn-tch]
#
# Without arguments: both. Each is built in an empty folder outside this repository, from its sources in
# tests/downstream, with the versions that cargo finds today and the libtorch that its tch needs. Builds
# are kept in target/downstream: the first run takes ten minutes and 2 GB per project.
set -eu

fail() {
    echo "downstream-projects.sh: $*" >&2
    exit 1
}

# The tch in the lock file of the current directory.
locked_tch() {
    cargo metadata --quiet --format-version 1 >/dev/null
    awk '/^name = "tch"$/ { getline; gsub(/[^0-9.]/, ""); print }' Cargo.lock
}

# In the place where test-versions.sh has it too.
get_libtorch() {
    libtorch=$(awk -v tch="$1" '$1 == tch { print $2 }' "$repository/scripts/tch-versions")
    [ -n "$libtorch" ] || fail "scripts/tch-versions has no tch '$1'"
    folder=$repository/target/versions/$1
    mkdir -p "$folder/scripts"
    cp "$repository/scripts/libtorch.sh" "$folder/scripts"
    sh "$folder/scripts/libtorch.sh" cpu "$libtorch"
    LIBTORCH=$folder/.libtorch/torch
    LIBTORCH_CXX11_ABI=$(cat "$folder/.libtorch/cxx11-abi")
    LD_LIBRARY_PATH=$LIBTORCH/lib
}

build_and_run() (
    cp -R "$repository/tests/downstream/$1" "$outside/$1"
    cd "$outside/$1"
    sed "s|path = \"../../..\"|path = \"$repository\"|" "$repository/tests/downstream/$1/Cargo.toml" >Cargo.toml
    get_libtorch "$(locked_tch)"
    export LIBTORCH LIBTORCH_CXX11_ABI LD_LIBRARY_PATH CARGO_TARGET_DIR="$repository/target/downstream/$1"
    cargo run --release
    echo "$1 works."
)

repository=$(cd "$(dirname "$0")/.." && pwd)
unset LIBTORCH LIBTORCH_CXX11_ABI LIBTORCH_USE_PYTORCH LD_LIBRARY_PATH CARGO_TARGET_DIR
[ $# -gt 0 ] || set -- rust-bert burn-tch
for project in "$@"; do
    [ -d "$repository/tests/downstream/$project" ] || fail "expected rust-bert or burn-tch, got '$project'"
done
outside=$(mktemp -d)
trap 'rm -rf "$outside"' EXIT
trap 'exit 130' HUP INT TERM
for project in "$@"; do
    build_and_run "$project"
done
