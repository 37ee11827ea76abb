#!/usr/bin/env python3
"""Makes src/cuda/ptx/*.ptx, which the CUDA driver loads, from src/cuda/dropout.cu.

    python3 scripts/ptx.py            # writes them
    python3 scripts/ptx.py --check    # fails if they are not what it would write, or if a GPU would spill registers

Needs pip, and neither a GPU nor a CUDA toolkit: NVIDIA's compiler for run time and its assembler come from the Python
package index, and are kept in target/nvrtc. Version 11.8 writes PTX that every driver since CUDA 11.8 loads; a driver
assembles it anew, but much as this assembler does.
"""

import concurrent.futures
import ctypes
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src/cuda/dropout.cu"
FOLDER = ROOT / "src/cuda/ptx"
COMPILER = ROOT / "target/nvrtc"
PACKAGES = ["nvidia-cuda-nvrtc-cu11==11.8.89", "nvidia-cuda-nvcc-cu11==11.8.89"]
ASSEMBLER = COMPILER / "nvidia/cuda_nvcc/bin/ptxas"
# The oldest GPU that loads the PTX, and the one that the kernels are measured on.
GPUS = ["sm_70", "sm_90"]
# What does not fit into 64 registers, in bytes for each thread. All other kernels fit.
SPILLS = {
    "product_bf16.ptx": 4,
    "product_f16.ptx": 4,
    "product_f32.ptx": 16,
    "sum_bf16.ptx": 4,
    "sum_f16.ptx": 4,
    "sum_f32.ptx": 16,
}
# No fused multiply-add: the CPU has none, and rounds after each operation.
OPTIONS = ["--gpu-architecture=compute_70", "--std=c++17", "--fmad=false"]
KERNEL = re.compile(r"^KERNEL\((\w+), .*\)\n", re.MULTILINE)


def compiler():
    library = COMPILER / "nvidia/cuda_nvrtc/lib/libnvrtc.so.11.2"
    if not library.exists() or not ASSEMBLER.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--target", str(COMPILER), "--no-deps"]
        subprocess.run([*pip, "--disable-pip-version-check", *PACKAGES], check=True)
        ASSEMBLER.chmod(0o755)
    # It looks for this one by its name.
    ctypes.CDLL(str(library.with_name("libnvrtc-builtins.so.11.8")), mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(library))


def compiled(nvrtc, source):
    program = ctypes.c_void_p()
    create = nvrtc.nvrtcCreateProgram
    create(ctypes.byref(program), source.encode(), SOURCE.name.encode(), 0, None, None)
    options = (ctypes.c_char_p * len(OPTIONS))(*(option.encode() for option in OPTIONS))
    if nvrtc.nvrtcCompileProgram(program, len(OPTIONS), options) != 0:
        sys.exit(text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program))
    return text(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX, program)


def text(get_size, get, program):
    size = ctypes.c_size_t()
    get_size(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    get(program, buffer)
    return buffer.value.decode()


def compact(ptx):
    """Without comments, blank lines and indentation."""
    lines = (re.sub(r"\s*//.*", "", line).strip() for line in ptx.splitlines())
    return "\n".join(line.replace("\t", " ") for line in lines if line) + "\n"


def modules():
    """Each kernel's PTX by its file's name: the source, compiled without all other kernels."""
    nvrtc, source = compiler(), SOURCE.read_text()
    for name in KERNEL.findall(source):
        alone = KERNEL.sub(lambda kernel: kernel[0] if kernel[1] == name else "\n", source)
        yield f"{name}.ptx", compact(compiled(nvrtc, alone))


def spills(path, gpu):
    """The bytes that each thread of this kernel would store for want of registers."""
    assemble = [ASSEMBLER, "-v", f"-arch={gpu}", "-o", "/dev/null", path]
    said = subprocess.run(assemble, check=True, capture_output=True, text=True).stderr
    return int(re.search(r"(\d+) bytes spill stores", said)[1])


def check_spills():
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        builds = [(path, gpu) for path in sorted(FOLDER.glob("*.ptx")) for gpu in GPUS]
        for (path, gpu), found in zip(builds, pool.map(lambda build: spills(*build), builds)):
            if found > SPILLS.get(path.name, 0):
                sys.exit(f"{path.name} spills {found} bytes on {gpu}, where {SPILLS.get(path.name, 0)} are known")


def main():
    made = dict(modules())
    there = {path.name: path.read_text() for path in FOLDER.glob("*.ptx")}
    different = sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))
    if sys.argv[1:] == ["--check"]:
        if different:
            sys.exit(f"not what {SOURCE.name} gives: {', '.join(different)}; run python3 scripts/ptx.py")
        check_spills()
        return
    FOLDER.mkdir(exist_ok=True)
    for name in there.keys() - made.keys():
        (FOLDER / name).unlink()
    for name in different:
        if name in made:
            (FOLDER / name).write_text(made[name])
    print(f"{len(made)} modules, {sum(map(len, made.values()))} bytes, {len(different)} changed")


if __name__ == "__main__":
    main()
