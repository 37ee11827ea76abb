#!/bin/sh
# Runs the tests of the modules with `unsafe` code, src/cpu and src/autograd, under valgrind's memcheck. Fails
# on any error, ours or libtorch's, except the one in valgrind.supp. Skips the autograd tests that measure the
# process's own memory, as they would measure valgrind's.
#
# Last result, 2026-11-25, valgrind 3.19.0, libtorch 2.13.0: "ERROR SUMMARY: 0 errors from 0 contexts
# (suppressed: 2 from 1)", and nothing lost. Valgrind has no AVX-512, so it tests the AVX2 and the
# portable code.
set -eu
cd "$(dirname "$0")/.."
tests=$(cargo test --release --package tch-dropout --lib --no-run 2>&1 | sed -n 's/.*Executable.*(\(.*\))/\1/p')
exec valgrind --error-exitcode=1 --leak-check=full --errors-for-leak-kinds=definite,indirect \
    --num-callers=20 --suppressions=scripts/valgrind.supp \
    "$tests" --test-threads=1 cpu:: autograd:: --skip autograd::tests::memory
