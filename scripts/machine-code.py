#!/usr/bin/env python3
"""What the compiler makes of the loops that draw and multiply.

    cargo build --release --package tch-dropout && python3 scripts/machine-code.py

checks on x86-64 that they are vectorised, for each instruction set. It needs objdump, which comes with every C compiler
for Linux.

    python3 scripts/machine-code.py --cycles znver4 skylake-avx512
    RUSTC=/usr/bin/rustc sh scripts/other-machines.sh build && python3 scripts/machine-code.py --cycles neoverse-n1 \\
        --library target/other-machines/aarch64-unknown-linux-gnu/release/libtch_dropout.rlib

print how many cycles such a CPU takes for a plane (a random bit for each element of a tile, and its comparison with
`p`'s), as llvm-mca predicts. They need llvm-mca and llvm-objdump, of LLVM 22: `apt install llvm-22` and `--llvm
/usr/lib/llvm-22/bin/`. A unit's name shows whose model it is. LLVM 14 has none of Neoverse N1 and takes that of
Cortex-A57; for Apple's CPUs, LLVM 22 has only that of Cyclone, of 2013.

A plane is one turn of a loop: the instructions up to the branch that leads back, in their order, as if no branch
between them were taken. llvm-mca knows no caches and no mispredictions, and what was stored it can load at once.
"""

import argparse
import pathlib
import re
import subprocess
import sys

LIBRARY = pathlib.Path(__file__).resolve().parent.parent / "target/release/libtch_dropout.rlib"
# `draw` of an instruction set draws a tile, as `portable` does without one; `write` makes a mask or a product of it.
FUNCTION = re.compile(
    r"^[0-9a-f]+ <tch_dropout::cpu::dispatch::(?:(avx512|avx2)::)?(draw|write|portable)(?:::.*)?>:\n",
    re.MULTILINE,
)
INSTRUCTION = re.compile(r"^ *([0-9a-f]+): *\t(.*)$", re.MULTILINE)
REGISTER = {"avx512": "zmm", "avx2": "ymm", "": "xmm"}
# The multiplications in one of Philox's ten rounds: two of each of 16 lanes of 64 bits, side by side in a register.
ROUND = {"avx512": 4, "avx2": 8, "": 16}
# The fewest multiplications in vectors that count as vectorised, if a round has fewer.
LEAST = 8
# A multiplication of one lane: none is left where all rounds are vectorised.
SCALAR = re.compile(r"i?mulx?\s")
# A loop has a few instructions on full registers at least. Shorter functions only copy.
WIDE, SHORT = 6, 60

TRIPLE = {"elf64-x86-64": "x86_64", "elf64-littleaarch64": "aarch64"}
# A branch within a function, and its target. The function's name, which follows, no assembler would understand.
BRANCH = re.compile(r"((?:j\w+|b(?:\.\w+)?|[ct]bn?z)\s.*?(?:0x)?([0-9a-f]+)) <.*")
MULTIPLICATION = re.compile(r"v?pmul(?:udq|lq)|umull")
BLOCKS = 16  # of Philox, for a plane
TURNS = 100


def output(command, **options):
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, **options)
    return result.stdout if result.returncode == 0 else sys.exit(f"{command[0]} failed")


def disassembly(objdump, library):
    return output([objdump, "--disassemble", "--no-show-raw-insn", "--demangle", library])


def functions(text):
    """Instruction set, name and instructions of each, with their addresses."""
    parts = FUNCTION.split(text)[1:]
    for instructions, name, rest in zip(parts[::3], parts[1::3], parts[2::3]):
        body = rest.split("\n\n")[0]
        yield instructions or "", name, [(int(address, 16), text) for address, text in INSTRUCTION.findall(body)]


def is_vectorised(instructions, name, body):
    wide = [line for line in body if REGISTER[instructions] in line]
    if name == "write":
        return len(wide) >= WIDE or len(body) < SHORT
    if any(map(SCALAR.match, body)):
        return False
    return sum(line.lstrip("v").startswith("pmuludq") for line in wide) >= max(LEAST, ROUND[instructions])


def check_vectors(text):
    counts = {}
    for instructions, name, body in functions(text):
        counts[instructions, name] = counts.get((instructions, name), 0) + 1
        body = [line for _, line in body]
        if not is_vectorised(instructions, name, body):
            sys.exit(f"{instructions} {name}".strip() + " is not vectorised:\n" + "\n".join(body))
    expected = {("avx512", "draw"), ("avx512", "write"), ("avx2", "draw"), ("avx2", "write"), ("", "portable")}
    if not expected <= counts.keys():
        sys.exit(f"expected the functions {expected}, found {counts}")
    print(f"vectorised: {sum(counts.values())} functions")


def multiplications(lines):
    return sum(bool(MULTIPLICATION.match(line)) for line in lines)


def planes_loop(instructions, body):
    """What draws a plane in each turn: the outermost of the loops with the most multiplications."""
    branches = [(int(found[2], 16), address) for address, line in body if (found := BRANCH.match(line))]
    loops = [[line for address, line in body if to <= address <= at] for to, at in branches if to <= at]
    loop = max(loops, key=lambda loop: (multiplications(loop), len(loop)))
    # The compiler may compute some of the first round in advance, once for all planes.
    if multiplications(loop) < 8 * ROUND[instructions]:
        sys.exit("the ten rounds of Philox are not unrolled, and so a plane is not one turn of a loop")
    return [BRANCH.sub(r"\1", line) for line in loop]


def cycles_and_unit(llvm_mca, triple, cpu, loop):
    """Of a turn of the loop; a unit's name begins with that of the CPU's model."""
    command = [llvm_mca, f"-mtriple={triple}", f"-mcpu={cpu}", f"-iterations={TURNS}", "-"]
    report = output(command, input="\n".join(loop))
    return int(re.search(r"Total Cycles: +(\d+)", report)[1]) / TURNS, re.search(r"\[0(?:\.0)?\] +- (\w+)", report)[1]


def print_cycles(library, cpus, llvm):
    text = disassembly(llvm + "llvm-objdump", library)
    triple = TRIPLE[re.search(r"file format (\S+)", text)[1]]
    llvm_mca = llvm + "llvm-mca"
    compiler = re.search(rb"rustc version [\w.]+", library.read_bytes())[0].decode()
    version = re.search(r"version ([\d.]+)", output([llvm_mca, "--version"]))[1]
    print(f"{compiler}, {triple}, llvm-mca {version}")
    for instructions, name, body in functions(text):
        # Normal numbers take a word for two, and loops of their own.
        if name == "write" or any("sqrt" in line for _, line in body):
            continue
        loop = planes_loop(instructions, body)
        for cpu in cpus:
            cycles, unit = cycles_and_unit(llvm_mca, triple, cpu, loop)
            per_block = f"{cycles:.0f} cycles for a plane, {cycles / BLOCKS:.1f} for a block"
            print(f"{instructions or name} on {cpu} ({unit}): {per_block}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", type=pathlib.Path, default=LIBRARY)
    parser.add_argument("--cycles", nargs="+", metavar="CPU", help="as llvm-mca names it")
    parser.add_argument("--llvm", default="", help="what to write before llvm-mca and llvm-objdump: a folder, with its /")
    arguments = parser.parse_args()
    if arguments.cycles:
        print_cycles(arguments.library, arguments.cycles, arguments.llvm)
    else:
        check_vectors(disassembly("objdump", arguments.library))


if __name__ == "__main__":
    main()
