//! The data: from a directory, the public mirrors, or built in.

mod digits;
mod directory;
mod download;

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use tch::{Device, Kind, Tensor};

use crate::console::note;
use directory::Found;

/// Images and their labels: `[N, 784]` numbers from 0 to 1, and `[N]` integers from 0 to 9.
pub struct Split {
    pub images: Tensor,
    pub labels: Tensor,
}

/// A training set and a test set.
pub struct Dataset {
    pub name: String,
    pub train: Split,
    pub test: Split,
}

/// The name of the built-in digits, whose figures mean nothing.
pub const BUILT_IN: &str = "built-in digits";

/// The default data directory. Only for this one may the built-in digits stand in.
pub const DEFAULT_DIRECTORY: &str = "data/mnist";

/// The data set in `directory`; downloads MNIST into it if it has none. Without a network the built-in
/// digits stand in, but not for a directory that the user named.
pub fn load(directory: Option<&Path>, device: Device) -> Result<Dataset> {
    let path = directory.unwrap_or(Path::new(DEFAULT_DIRECTORY));
    download::sweep(path);
    let missing = match directory::find(path)? {
        Found::Files(files) => return files.load(device),
        Found::Missing(names) => names,
    };
    let downloaded = download::mnist(path);
    let downloaded = match missing.len() {
        4 => downloaded,
        _ => downloaded.with_context(|| directory::has_no(path, &missing)),
    };
    match downloaded {
        Ok(files) => files.load(device),
        Err(error) if directory.is_none() => {
            note(format_args!("NOTE: {error:#}; training on built-in digits, not on MNIST."));
            synthetic(device)
        }
        Err(error) => bail!("{error:#}; --synthetic takes built-in digits"),
    }
}

/// The built-in digits: 10,000 to train with and 2,000 to test with, always the same.
pub fn synthetic(device: Device) -> Result<Dataset> {
    let split = |count, seed| {
        let (images, labels) = digits::draw(count, seed);
        Split::new(&images, &labels, device)
    };
    Ok(Dataset { name: BUILT_IN.to_owned(), train: split(10_000, 1)?, test: split(2_000, 2)? })
}

impl Dataset {
    pub fn device(&self) -> Device {
        self.train.labels.device()
    }

    /// Whether this is all of MNIST, whose figures can be compared with a paper's.
    pub fn is_whole_mnist(&self) -> bool {
        self.name == "MNIST" && self.train.items() == 60_000
    }
}

impl Split {
    fn new(images: &[u8], labels: &[u8], device: Device) -> Result<Split> {
        let (items, pixels) = (labels.len() as i64, (idx::SIDE * idx::SIDE) as i64);
        ensure!(
            images.len() as i64 == items * pixels,
            "there are {} images, but {items} labels",
            images.len() as i64 / pixels
        );
        let images = Tensor::f_from_slice(images)?.f_to_device(device)?.f_to_kind(Kind::Float)?;
        let labels = Tensor::f_from_slice(labels)?.f_to_device(device)?.f_to_kind(Kind::Int64)?;
        Ok(Split { images: (images / 255.0).f_reshape([items, pixels])?, labels })
    }

    pub fn items(&self) -> i64 {
        self.labels.size()[0]
    }

    /// The first `count` items.
    pub fn first(&self, count: i64) -> Split {
        let Split { images, labels } = self;
        Split { images: images.narrow(0, 0, count), labels: labels.narrow(0, 0, count) }
    }
}
