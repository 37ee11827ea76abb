//! Which tiles are drawn together, and where.

use tch::Device;

/// Tiles `start` to `start + count - 1` of a mask, on a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiles {
    pub(super) start: u64,
    pub(super) count: i64,
    pub(super) device: Device,
}
