#!/bin/sh
# Follows "In your own project" of build.md to the letter, in an empty folder outside this repository:
# the page's code blocks become a script, in order.
#
#     sh scripts/downstream.sh
#
# Uses the libtorch in LIBTORCH, or else the one from scripts/libtorch.sh. With CARGO_TARGET_DIR set, the
# build is kept, so that the next run is quick.
set -eu

fail() {
    echo "downstream.sh: $*" >&2
    exit 1
}

# Blocks marked `sh` as they are, while those marked `shell` are for the reader; a Rust block goes to the file that its first
# line names.
boxes() {
    awk '
        /^## /          { inside = $0 == "## In your own project" }
        !inside         { next }
        /^```$/         { if (box == "rust") print "END_OF_FILE"; box = ""; next }
        /^```/          { box = substr($0, 4); first = 1; next }
        box == "sh"     { print }
        box == "rust"   { if (first) print "cat >" $2 " <<\047END_OF_FILE\047"; print; first = 0 }
    ' "$1/build.md"
}

repository=$(cd "$(dirname "$0")/.." && pwd)
unset LIBTORCH_USE_PYTORCH LD_LIBRARY_PATH
sh "$repository/scripts/libtorch.sh"
LIBTORCH=${LIBTORCH:-$repository/.libtorch/torch}
TCH_DROPOUT=$repository
export LIBTORCH TCH_DROPOUT

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' HUP INT TERM
boxes "$repository" >"$folder/steps.sh"
grep -q TCH_DROPOUT "$folder/steps.sh" || fail "build.md has no line that adds tch-dropout"

mkdir "$folder/empty"
cd "$folder/empty"
sh -eux "$folder/steps.sh" >"$folder/output" || { cat "$folder/output"; fail "a step of build.md failed"; }
cat "$folder/output"

# Both programs of the page (path in a variable, path from a build script) train for ten steps.
awk '/^step 1:/ { first = $4 } /^step 10:/ && $4 < first { good++ } END { exit good != 2 }' \
    "$folder/output" || fail "the loss did not fall in ten steps, twice"

if [ -e "$LIBTORCH/lib/libtorch_cuda.so" ]; then
    readelf -d "${CARGO_TARGET_DIR:-digits/target}/release/digits" | grep torch_cuda ||
        fail "the linker dropped libtorch_cuda.so"
fi
echo "build.md works."
