//! The kernels on a GPU that is a CPU: the C++ compiler compiles dropout.cu for the emulator beside this file, and a
//! driver over it stands in for NVIDIA's.

mod driver;
mod emulated;
mod kernels;
mod mutants;
mod ptx;
