//! A libtorch that has CUDA is loaded with it, with or without a GPU.
#![cfg(target_os = "linux")]

use std::path::Path;

use tch_dropout as _;

#[test]
fn cuda_is_loaded_where_libtorch_has_it() {
    println!("CUDA is available: {}", tch::Cuda::is_available());
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let paths: Vec<&str> = maps.lines().filter_map(|line| Some(&line[line.find('/')?..])).collect();
    let loaded = |name| paths.iter().find(|path| path.ends_with(name));
    let libtorch = Path::new(loaded("/libtorch_cpu.so").expect("libtorch is loaded"));
    let has_cuda = libtorch.with_file_name("libtorch_cuda.so").exists();
    assert_eq!(loaded("/libtorch_cuda.so").is_some(), has_cuda, "beside {}", libtorch.display());
}
