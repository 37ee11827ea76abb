//! The four IDX files of a data set in a directory.

use std::fs;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use tch::Device;

use super::{Dataset, Split};

/// A file of MNIST and the SHA-256 of its content, decompressed.
pub struct Known {
    pub name: &'static str,
    pub sha256: &'static str,
}

/// MNIST's files: training images and labels, test images and labels.
pub const MNIST: [Known; 4] = [
    Known {
        name: "train-images-idx3-ubyte",
        sha256: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    },
    Known {
        name: "train-labels-idx1-ubyte",
        sha256: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    },
    Known {
        name: "t10k-images-idx3-ubyte",
        sha256: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    },
    Known {
        name: "t10k-labels-idx1-ubyte",
        sha256: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
];

const MOST_BYTES: u64 = 64 << 20;

impl Known {
    /// Compares the SHA-256 of a file's decompressed content with this one's.
    pub fn check(&self, mut file: impl BufRead) -> Result<()> {
        let mut digest = Sha256::new();
        idx::content(&mut file)
            .and_then(|content| io::copy(&mut content.take(MOST_BYTES), &mut digest))
            .context("it is damaged")?;
        let digest = format!("{:x}", digest.finalize());
        ensure!(
            digest == self.sha256,
            "it is not MNIST's {}: its SHA-256 is {digest}, expected {}",
            self.name,
            self.sha256
        );
        Ok(())
    }
}

/// The content of a directory.
pub enum Found {
    Files(Files),
    /// MNIST can be downloaded into it: it lacks these files of MNIST, and has no other data set.
    Missing(Vec<&'static str>),
}

/// Paths of the four files, in `MNIST`'s order.
pub struct Files {
    directory: PathBuf,
    paths: [PathBuf; 4],
}

/// Looks for the four files, plain or `.gz`.
///
/// If only some of them are there, that is an error, so that files of two data sets are never mixed. The
/// exception is files of MNIST: another download is writing them, or was interrupted, and a new one
/// replaces them with the same.
pub fn find(directory: &Path) -> Result<Found> {
    let readable = match fs::metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) => {
            ensure!(metadata.is_dir(), "{} is not a directory", directory.display());
            fs::read_dir(directory).map(drop)
        }
    };
    readable.with_context(|| format!("cannot read the data directory {}", directory.display()))?;

    let found = MNIST.map(|known| existing(directory, known.name));
    let [Some(a), Some(b), Some(c), Some(d)] = &found else {
        return missing(directory, &found);
    };
    let paths = [a, b, c, d].map(PathBuf::to_owned);
    Ok(Found::Files(Files { directory: directory.to_owned(), paths }))
}

fn missing(directory: &Path, found: &[Option<PathBuf>; 4]) -> Result<Found> {
    let files = || MNIST.iter().zip(found);
    let names: Vec<_> = files().filter(|(_, path)| path.is_none()).map(|(it, _)| it.name).collect();
    for (known, path) in files().filter_map(|(known, path)| Some((known, path.as_ref()?))) {
        let is_mnist = known.check(idx::open(path)?).is_ok();
        ensure!(is_mnist, "{}", has_no(directory, &names));
    }
    Ok(Found::Missing(names))
}

/// Which files a directory lacks, in words.
pub fn has_no(directory: &Path, names: &[&str]) -> String {
    format!("{} has no {} (or .gz)", directory.display(), names.join(", no "))
}

/// A file under any of its usual names: plain or compressed, with a hyphen or a dot.
fn existing(directory: &Path, name: &str) -> Option<PathBuf> {
    let dotted = name.replace("-idx", ".idx");
    [name, &dotted]
        .into_iter()
        .flat_map(|name| [name.to_owned(), format!("{name}.gz")])
        .map(|name| directory.join(name))
        .find(|path| path.exists())
}

impl Files {
    /// Reads and checks all four before any goes to the device.
    pub fn load(&self, device: Device) -> Result<Dataset> {
        let [train_images, train_labels, test_images, test_labels] = &self.paths;
        let (train_images, train_labels) = (idx::images(train_images)?, idx::labels(train_labels)?);
        let (test_images, test_labels) = (idx::images(test_images)?, idx::labels(test_labels)?);
        let split = |images: &[u8], labels: &[u8], part| {
            Split::new(images, labels, device)
                .with_context(|| format!("the {part} set in {}", self.directory.display()))
        };
        Ok(Dataset {
            name: self.name(&train_images),
            train: split(&train_images, &train_labels, "training")?,
            test: split(&test_images, &test_labels, "test")?,
        })
    }

    /// "MNIST" only for MNIST itself; another data set is named after its directory.
    fn name(&self, train_images: &[u8]) -> String {
        let header = [0x803u32, 60_000, 28, 28].map(u32::to_be_bytes);
        let digest = Sha256::new().chain_update(header.as_flattened()).chain_update(train_images);
        if format!("{:x}", digest.finalize()) == MNIST[0].sha256 {
            return "MNIST".to_owned();
        }
        let name = self.directory.file_name().unwrap_or(self.directory.as_os_str());
        name.to_string_lossy().into_owned()
    }
}
