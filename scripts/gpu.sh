#!/bin/sh
# Tests and measures the library on an NVIDIA GPU:
#
#     sh scripts/gpu.sh             # builds everything, and runs it
#     sh scripts/gpu.sh pack DIR    # builds everything, and packs it into DIR, for another machine
#     sh DIR/gpu.sh run DIR         # runs it there: needs the driver and a libtorch, but no Rust and no network
#
# It takes eight minutes after the build, and ends with the tables; all output is in DIR/results (target/gpu/results). What
# takes too long is cut, and said. Options, before all else:
#
#     --device cpu                  # tries everything out without a GPU; the bench only with --quick
#     --seconds N                   # instead of 480
#
# To build, libtorch must have CUDA (sh scripts/libtorch.sh cuda; or LIBTORCH). To run what was packed, it must have the same
# version: export LD_LIBRARY_PATH=/path/to/torch/lib. MNIST is read from MNIST_DIR, or else digits are made up.
set -eu

# They ask nothing of a GPU, but for files of the repository; the last two would take hours.
elsewhere="architecture pages pictures programs libtorch_script gpu_script statistics language_model"

fail() {
    echo "gpu.sh: $*" >&2
    exit 1
}

# Builds the tests, the bench and the examples, and copies them without what debuggers want.
collect() {
    libtorch=${LIBTORCH:-.libtorch/torch}
    [ "$device" = cpu ] || [ -n "${LIBTORCH_USE_PYTORCH:-}" ] || [ -f "$libtorch/lib/libtorch_cuda.so" ] ||
        fail "libtorch in $libtorch has no CUDA: sh scripts/libtorch.sh cuda"
    rm -rf "$1/release"
    mkdir -p "$1/release/deps" "$1/release/examples"
    {
        cargo --color never test --release --package tch-dropout --lib --tests --no-run &&
            cargo --color never bench --bench speed --no-run &&
            cargo --color never build --release --examples
    } >"$1/build.log" 2>&1 || fail "the build failed: see $1/build.log"
    sed -nE 's/^ *Executable .* \((.*)\)$/\1/p' "$1/build.log" | while read -r path; do
        name=$(basename "$path")
        strip -o "$1/release/deps/${name%-*}" "$path"
        echo "${path%/deps/*}/examples" >"$1/examples"
    done
    for path in "$(cat "$1/examples")"/*; do
        case $(basename "$path") in
        *-* | *.*) ;;
        *) strip -o "$1/release/examples/$(basename "$path")" "$path" ;;
        esac
    done
    rm "$1/examples"
}

pack() {
    mkdir -p "$1"
    collect "$1"
    (cd "$1" && find release -type f | sort >list && tar -cJf programs.tar.xz release && rm -r release)
    cp "$script" "$1/gpu.sh"
    echo "$(wc -l <"$1/list") programs are in $1: copy it, and there: sh $(basename "$1")/gpu.sh run $(basename "$1")"
}

left() {
    echo $((end - $(date +%s)))
}

# Runs a command with a time limit, and what is left of the whole.
step() {
    name=$1
    limit=$2
    shift 2
    [ "$limit" -le "$(left)" ] || limit=$(left)
    if [ "$limit" -lt 1 ]; then
        echo "$name: left out, no time" >>results/cut
        return
    fi
    echo "$name ..." >&2
    timeout "$limit" "$@" >"results/$name.log" 2>&1 && return
    status=$?
    if [ "$status" = 124 ]; then
        echo "$name: cut after $limit s" >>results/cut
    else
        echo "$name: status $status, see results/$name.log" >>results/failed
    fi
}

# One of the library's tests.
one_test() {
    start=$(date +%s)
    status=0
    skip=
    # Most of these emulate a GPU, for which they need a compiler; the step `kernels` runs the others.
    [ "$1" != tch_dropout ] || skip="--skip cuda::tests"
    # In the foreground, so that the step's limit ends it, too.
    # shellcheck disable=SC2086 # an option and a name, or nothing
    timeout --foreground "$2" "release/deps/$1" $skip >"results/test-$1.log" 2>&1 || status=$?
    seconds=$(($(date +%s) - start))
    result=$(grep '^test result' "results/test-$1.log" | tail -n 1)
    echo "$status $1 $seconds s ${result:-no result}" >>results/tests
}

names() {
    for path in release/deps/*; do
        name=$(basename "$path")
        case " $elsewhere speed cuda " in
        *" $name "*) ;;
        *) echo "$name" ;;
        esac
    done
}

# All of the library's tests, some at a time.
all_tests() {
    jobs=$(env -u OMP_NUM_THREADS nproc) # which nproc obeys
    [ "$jobs" -lt 6 ] || jobs=6
    export OMP_NUM_THREADS=2
    names | xargs -I NAME -P "$jobs" sh "$script" one-test NAME "$1"
}

mnist() {
    if [ -n "${MNIST_DIR:-}" ]; then
        set -- --data-dir "$MNIST_DIR"
    else
        set -- --synthetic
    fi
    step mnist 60 release/examples/mnist --device "$device" --runs 2 --json "$PWD/results/mnist.json" "$@"
}

bench() {
    step "bench-$1" "$2" release/deps/speed --device "$device" $quick --only "$1"
}

run_tests() {
    : >results/tests
    step tests 170 sh "$script" all-tests $((seconds / 4))
    for name in $(names); do
        grep -q " $name " results/tests || echo "test $name: not finished" >>results/cut
    done
    while read -r status name seconds _; do
        case $status in
        0) ;;
        124) echo "test $name: cut after $seconds s" >>results/cut ;;
        *) echo "test $name: see results/test-$name.log" >>results/failed ;;
        esac
    done <results/tests
}

tables() {
    for name in kernels mnist bench-shapes bench-residual bench-chain bench-family bench-transformer bench-curve; do
        [ ! -f "results/$name.log" ] || { echo "== $name" && cat "results/$name.log" && echo; }
    done
    echo "== $(cat results/device)"
    [ ! -f results/cuda.log ] || grep -h '^test result' results/cuda.log | sed 's/^/tests\/cuda.rs: /'
    echo "$(grep -c '^0 ' results/tests) of $(names | wc -l) files of tests pass"
    for kind in failed cut; do
        [ ! -f "results/$kind" ] || sed "s/^/$kind: /" "results/$kind"
    done
    echo "$(($(date +%s) - begin)) s in all"
}

run() {
    cd "$1" 2>/dev/null || fail "there is no folder $1"
    [ -d release ] || tar -xJf programs.tar.xz 2>/dev/null || fail "$1 has no programs: sh scripts/gpu.sh pack $1"
    rm -rf results
    mkdir results
    begin=$(date +%s)
    end=$((begin + seconds))
    export TCH_DROPOUT_DEVICE="$device"
    quick=
    [ "$device" = cuda ] || quick=--quick
    # Whether libtorch is there, and finds the GPU.
    timeout 100 release/deps/speed --device "$device" --quick --only curve >results/device 2>&1 ||
        fail "it does not run here: $(tail -n 1 results/device)"
    sed -i 1q results/device
    # First, while the driver has not compiled the kernels yet.
    step kernels 60 release/deps/tch_dropout on_a_gpu_too is_compiled_in --nocapture
    step cuda 60 release/deps/cuda
    run_tests
    mnist
    bench shapes 150
    bench residual 40
    bench chain 60
    bench family 60
    bench transformer 40
    bench curve 30
    tables | tee results/tables
    [ ! -f results/failed ]
}

case $0 in
/*) script=$0 ;;
*) script=$PWD/$0 ;;
esac
device=cuda
seconds=480
while :; do
    case ${1:-}:${2:-} in
    --device:cpu | --device:cuda) device=$2 ;;
    --device:*) fail "--device must be cpu or cuda, got '${2:-}'" ;;
    --seconds:[1-9]*) seconds=$2 ;;
    --seconds:*) fail "--seconds must be a number, got '${2:-}'" ;;
    *) break ;;
    esac
    shift 2
done
case ${1:-}:$# in
:0)
    cd "$(dirname "$script")/.."
    collect target/gpu
    run target/gpu
    ;;
pack:2)
    mkdir -p "$2"
    folder=$(cd "$2" && pwd)
    cd "$(dirname "$script")/.."
    pack "$folder"
    ;;
run:2) run "$2" ;;
all-tests:2) all_tests "$2" ;;
one-test:3) one_test "$2" "$3" ;;
*) fail "expected nothing, pack DIR or run DIR, got '$*'" ;;
esac
