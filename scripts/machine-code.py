#!/usr/bin/env python3
"""Checks on x86-64 that the compiler has vectorised the loops that draw and multiply, for each instruction set:

    cargo build --release --package tch-dropout && python3 scripts/machine-code.py

Needs objdump, which comes with every C compiler for Linux.
"""

import pathlib
import re
import subprocess
import sys

LIBRARY = pathlib.Path(__file__).resolve().parent.parent / "target/release/libtch_dropout.rlib"
# `draw` of an instruction set draws a tile, as `portable` does without one; `write` makes a mask or a product of it.
FUNCTION = re.compile(r"^[0-9a-f]+ <tch_dropout::cpu::dispatch::(?:(avx512|avx2)::)?(draw|write|portable)>:\n", re.MULTILINE)
REGISTER = {"avx512": "zmm", "avx2": "ymm", "": "xmm"}
# One round of Philox multiplies 16 lanes twice, four at a time in the narrowest registers that are a set's own.
MULTIPLICATIONS = 8
# A loop has a few instructions on full registers at least. Shorter functions only copy.
WIDE, SHORT = 6, 60


def functions():
    """Instruction set, name and instructions of each."""
    dump = ["objdump", "--disassemble", "--no-show-raw-insn", "--demangle", LIBRARY]
    text = subprocess.run(dump, check=True, capture_output=True, text=True).stdout
    parts = FUNCTION.split(text)[1:]
    for instructions, name, rest in zip(parts[::3], parts[1::3], parts[2::3]):
        body = rest.split("\n\n")[0]
        yield instructions or "", name, [line.split("\t")[-1] for line in body.splitlines() if "\t" in line]


def is_vectorised(instructions, name, body):
    wide = [line for line in body if REGISTER[instructions] in line]
    if name == "write":
        return len(wide) >= WIDE or len(body) < SHORT
    return sum(line.lstrip("v").startswith("pmuludq") for line in wide) >= MULTIPLICATIONS


def main():
    found = list(functions())
    counts = {(instructions, name): 0 for instructions, name, _ in found}
    for instructions, name, body in found:
        counts[instructions, name] += 1
        if not is_vectorised(instructions, name, body):
            sys.exit(f"{instructions} {name}".strip() + " is not vectorised:\n" + "\n".join(body))
    expected = {("avx512", "draw"), ("avx512", "write"), ("avx2", "draw"), ("avx2", "write"), ("", "portable")}
    if not expected <= counts.keys():
        sys.exit(f"expected the functions {expected}, found {counts}")
    print(f"vectorised: {sum(counts.values())} functions")


if __name__ == "__main__":
    main()
