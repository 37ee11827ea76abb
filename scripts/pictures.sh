#!/bin/sh
# Redraws the pictures of docs/images, and reports how much they differ from the committed ones:
#
#     sh scripts/pictures.sh [NAME ...]           # fails if one differs by too much
#     sh scripts/pictures.sh --update [NAME ...]  # replaces them
#
# Without a NAME, it draws masks and speed, and uncertainty if it finds MNIST (in MNIST_DIR, or in the
# example's own directory). masks and speed must be identical to the byte. Training rounds differently on
# another processor: uncertainty must have the same words and lines, and its numbers may differ by at most 2
# on average (another seed, and libtorch's code for older processors, gave 1). For mnist, language-model and the
# papers' experiments (errors, data-size, rate, features, drop-connect, regression, calibration, depth), which
# take minutes each (errors 150 of them), and for attention-memory, whose machine matters, the difference is only reported.
set -eu
cd "$(dirname "$0")/.."
data=${MNIST_DIR:-data/mnist}
export OMP_NUM_THREADS=1 # as another number of threads rounds otherwise, too

run() {
    cargo run --quiet --release --example "$@"
}

draw() {
    case $1 in
    masks) run masks -- --out "$2" ;;
    speed) run speed_chart -- docs/images/speed.json --out "$2" ;;
    uncertainty) run uncertainty -- --data-dir "$data" --out "$2" ;;
    mnist)
        run mnist -- --data-dir "$data" --model mlp --train-limit 2000 --epochs 30 --runs 10 \
            --layers none,elements,libtorch --plot "$2"
        ;;
    attention-memory)
        env -u OMP_NUM_THREADS cargo bench --quiet --bench speed -- --only attention --plot "$2"
        ;;
    language-model) run language_model -- --out "$2" ;;
    errors)
        for epochs in 25 200; do
            run papers -- errors --data-dir "$data" --epochs $epochs --runs 1 --networks none,elements,max-norm \
                --json "$folder/$epochs.json"
        done
        run papers -- errors --from "$folder/25.json,$folder/200.json" --plot "$2"
        ;;
    drop-connect)
        run papers -- drop-connect --data-dir "$data" --units 400 --images 1000 --epochs 100 --batch-size 50 \
            --plot "$2"
        ;;
    data-size | rate | features | regression | calibration | depth)
        run papers -- "$1" --data-dir "$data" --plot "$2"
        ;;
    *)
        echo "pictures.sh: expected masks, speed, uncertainty, mnist, language-model or a paper's experiment, got '$1'" >&2
        exit 2
        ;;
    esac
}

# What differs by more than it may is a failure.
compare() {
    case $1 in
    uncertainty) run compare_pictures -- --within 2 "docs/images/$1.svg" "$2" ;;
    masks | speed) run compare_pictures -- "docs/images/$1.svg" "$2" ;;
    *) run compare_pictures -- "docs/images/$1.svg" "$2" || true ;;
    esac
}

update=
if [ "${1:-}" = --update ]; then
    update=1
    shift
fi
if [ $# -eq 0 ]; then
    set -- masks speed
    if [ -e "$data/train-images-idx3-ubyte.gz" ]; then
        set -- "$@" uncertainty
    else
        echo "uncertainty is left out: no MNIST in $data; MNIST_DIR may name another place"
    fi
fi

folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
failed=
for name in "$@"; do
    draw "$name" "$folder/$name.svg" >"$folder/output"
    if [ -n "$update" ]; then
        cp "$folder/$name.svg" "docs/images/$name.svg"
    else
        compare "$name" "$folder/$name.svg" || failed="$failed $name"
    fi
done
if [ -n "$failed" ]; then
    echo "pictures.sh: not as committed:$failed; sh scripts/pictures.sh --update$failed draws them" >&2
    exit 1
fi
