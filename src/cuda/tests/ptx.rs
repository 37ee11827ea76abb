//! What the driver loads.

use super::emulated::source;
use crate::cuda::driver::Job;
use crate::cuda::kernels::Kernel;

/// A driver refuses PTX that is newer than itself, or for a newer GPU.
#[test]
fn every_driver_since_cuda_11_8_and_every_gpu_since_volta_loads_the_ptx() {
    for kernel in Kernel::ALL {
        let ptx = kernel.ptx().to_str().unwrap();
        assert!(ptx.starts_with(".version 7.8\n.target sm_70\n"), "{kernel:?}");
        let entry = format!(".visible .entry {}(", kernel.name().to_str().unwrap());
        assert_eq!(ptx.matches(".entry").count(), 1, "{kernel:?}");
        assert!(ptx.contains(&entry), "{kernel:?}");
        let parameter = format!("_param_0[{}]\n)", size_of::<Job>());
        assert!(ptx.contains(&parameter), "{kernel:?}: its Job is not driver.rs's");
    }
}

#[test]
fn every_kernel_of_the_source_is_known_and_no_other() {
    let source = std::fs::read_to_string(source()).unwrap();
    let lines = source.lines().filter_map(|line| line.strip_prefix("KERNEL("));
    let mut there: Vec<_> = lines.map(|line| line.split(',').next().unwrap().to_owned()).collect();
    let mut known: Vec<_> =
        Kernel::ALL.iter().map(|kernel| kernel.name().to_str().unwrap().to_owned()).collect();
    there.sort();
    known.sort();
    assert_eq!(there, known);
}

/// A CPU rounds after each operation.
#[test]
fn no_multiplication_is_fused_with_an_addition() {
    for kernel in Kernel::ALL {
        assert!(!kernel.ptx().to_str().unwrap().contains("fma."), "{kernel:?}");
    }
}
