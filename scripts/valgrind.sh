#!/bin/sh
# Runs the tests of masks in memory, where `unsafe` is, under valgrind's memcheck. Fails on any error,
# whether ours or libtorch's.
#
# Last result, 2026-11-24, valgrind 3.19.0, libtorch 2.13.0: "ERROR SUMMARY: 0 errors from 0 contexts
# (suppressed: 0 from 0)". Valgrind has no AVX-512, so that it sees the AVX2 and the portable code.
set -eu
cd "$(dirname "$0")/.."
tests=$(cargo test --release --package tch-dropout --lib --no-run 2>&1 | sed -n 's/.*Executable.*(\(.*\))/\1/p')
exec valgrind --error-exitcode=1 "$tests" --test-threads=1 random::
