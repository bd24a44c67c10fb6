#!/bin/sh
# Stands before rustc for this crate alone (RUSTC_WORKSPACE_WRAPPER): what libFuzzer watches is compiled in, by flags that
# stable compilers take, and dependencies are those of the ordinary build.
exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares
