//! The IDX format of MNIST and its relatives, plain or gzip-compressed.
//!
//! A file is two zero bytes, a byte for the kind of number (8: unsigned bytes), a byte for the number
//! of dimensions, each dimension's size in 32 bits (big end first), and then the numbers.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{bail, ensure, Context, Result};
use flate2::read::MultiGzDecoder;

/// Height and width of the images that the model takes.
pub const SIDE: usize = 28;

/// A bound on what a few kilobytes of gzip may grow to; MNIST has 47 MB.
const MOST_BYTES: usize = 1 << 30;

/// Images of `SIDE` by `SIDE` bytes, one after the other.
pub fn images(path: &Path) -> Result<Vec<u8>> {
    named(path, |reader| {
        let sizes = header::<3>(reader)?;
        ensure!(
            sizes[1..] == [SIDE, SIDE],
            "the images are {}x{}, expected {SIDE}x{SIDE}",
            sizes[1],
            sizes[2]
        );
        body(reader, &sizes)
    })
}

/// Labels from 0 to 9.
pub fn labels(path: &Path) -> Result<Vec<u8>> {
    named(path, |reader| {
        let sizes = header::<1>(reader)?;
        let labels = body(reader, &sizes)?;
        if let Some(i) = labels.iter().position(|&label| label > 9) {
            bail!("label {} of item {i} is above 9", labels[i]);
        }
        Ok(labels)
    })
}

/// Opens a file, to be decompressed if its name ends in `.gz`.
pub fn open(path: &Path) -> Result<Box<dyn Read>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = BufReader::new(file);
    let compressed = path.extension().is_some_and(|extension| extension == "gz");
    Ok(if compressed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

/// Opens and reads a file; every error names it.
fn named<T>(path: &Path, read: impl FnOnce(&mut dyn Read) -> Result<T>) -> Result<T> {
    read(&mut open(path)?).with_context(|| format!("{} is not a good IDX file", path.display()))
}

/// Reads the header of a file of unsigned bytes in `N` dimensions, and gives their sizes.
fn header<const N: usize>(reader: &mut dyn Read) -> Result<[usize; N]> {
    let magic = word(reader)?;
    let expected = 0x0800 + N as u32;
    ensure!(magic == expected, "the magic number is {magic:#010x}, expected {expected:#010x}");
    let mut sizes = [0; N];
    for size in &mut sizes {
        *size = word(reader)? as usize;
    }
    ensure!(sizes[0] > 0, "it has no items");
    Ok(sizes)
}

fn word(reader: &mut dyn Read) -> Result<u32> {
    let mut bytes = [0; 4];
    reader.read_exact(&mut bytes).context("the header is cut off")?;
    Ok(u32::from_be_bytes(bytes))
}

/// Reads exactly as many bytes as the header says. Memory grows with what is read, not with what is
/// promised.
fn body(reader: &mut dyn Read, sizes: &[usize]) -> Result<Vec<u8>> {
    let promised = sizes
        .iter()
        .try_fold(1usize, |product, &size| product.checked_mul(size))
        .filter(|&bytes| bytes <= MOST_BYTES)
        .with_context(|| format!("the header promises {sizes:?} bytes, more than 1 GiB"))?;
    let mut bytes = Vec::new();
    reader.take(promised as u64 + 1).read_to_end(&mut bytes).context("the data is damaged")?;
    ensure!(
        bytes.len() >= promised,
        "the header promises {promised} bytes, but there are only {}",
        bytes.len()
    );
    ensure!(bytes.len() == promised, "there is more than the {promised} bytes of the header");
    Ok(bytes)
}
