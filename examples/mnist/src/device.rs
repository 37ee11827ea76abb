//! Where to train.

use anyhow::{Result, ensure};
use tch::Device;

/// A device as requested on the command line.
#[derive(Clone, Copy, Debug)]
pub enum Choice {
    Auto,
    Device(Device),
}

impl std::str::FromStr for Choice {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let device = match text {
            "auto" => return Ok(Choice::Auto),
            "cpu" => Some(Device::Cpu),
            "cuda" => Some(Device::Cuda(0)),
            "mps" => Some(Device::Mps),
            _ => text.strip_prefix("cuda:").and_then(|n| n.parse().ok()).map(Device::Cuda),
        };
        device.map(Choice::Device).ok_or_else(|| {
            anyhow::anyhow!("unknown device, expected auto, cpu, cuda, cuda:N or mps")
        })
    }
}

impl Choice {
    /// The device, if this libtorch and this machine have it.
    pub fn resolve(self) -> Result<Device> {
        let Choice::Device(device) = self else {
            return Ok(if tch::utils::has_mps() {
                Device::Mps
            } else {
                Device::cuda_if_available()
            });
        };
        match device {
            Device::Cuda(index) => {
                ensure!(
                    tch::utils::has_cudart(),
                    "this libtorch is built without CUDA; `sh scripts/libtorch.sh cuda` gets one with it"
                );
                let count = tch::Cuda::device_count();
                ensure!(count > 0, "libtorch has CUDA, but finds no GPU");
                ensure!(
                    (index as i64) < count,
                    "there is no cuda:{index}: libtorch finds {count} GPU(s)"
                );
            }
            Device::Mps => ensure!(tch::utils::has_mps(), "this libtorch finds no MPS device"),
            _ => {}
        }
        Ok(device)
    }
}
