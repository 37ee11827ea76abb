//! A reader of the IDX format of MNIST and its relatives, plain or gzip-compressed.
//!
//! A file is two zero bytes, a byte for the kind of number (8: unsigned bytes), a byte for the number
//! of dimensions, each dimension's size in 32 bits (big-endian), and then the numbers. A file that
//! starts like gzip is read as gzip, whatever its name.
//!
//! # Memory
//!
//! A header may promise any size, and gzip can turn one byte into a thousand. So a file is read twice.
//! The first pass discards what it decompresses, and stops at one byte more than promised, which shows
//! whether the promise holds. Only then is memory allocated, once, for exactly the content. In all,
//! the reader never takes more than the content's size and half a MiB.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use flate2::bufread::MultiGzDecoder;

/// Height and width of the model's input images.
pub const SIDE: usize = 28;

/// The first bytes of a gzip file.
pub const GZIP: [u8; 2] = [0x1F, 0x8B];

/// A limit on the size that a few kilobytes of gzip may expand to; MNIST has 47 MB.
const MOST_BYTES: usize = 1 << 30;

/// Images of `SIDE` by `SIDE` bytes, one after another.
pub fn images(path: &Path) -> Result<Vec<u8>> {
    images_in(open(path)?, path)
}

/// Labels from 0 to 9.
pub fn labels(path: &Path) -> Result<Vec<u8>> {
    labels_in(open(path)?, path)
}

pub fn open(path: &Path) -> Result<BufReader<File>> {
    let cannot = || format!("cannot read {}", path.display());
    // To open a pipe would wait for somebody to write into it.
    ensure!(path.metadata().with_context(cannot)?.is_file(), "{}: it is no regular file", cannot());
    Ok(BufReader::new(File::open(path).with_context(cannot)?))
}

/// The images in an open file; every error has the file's name.
pub fn images_in(file: impl BufRead + Seek, name: &Path) -> Result<Vec<u8>> {
    read(file, &[SIDE, SIDE]).with_context(|| not_good(name))
}

/// The labels in an open file; every error has the file's name.
pub fn labels_in(file: impl BufRead + Seek, name: &Path) -> Result<Vec<u8>> {
    let labels = read(file, &[]).with_context(|| not_good(name))?;
    match labels.iter().position(|&label| label > 9) {
        Some(i) => {
            Err(anyhow!("label {} of item {i} is above 9", labels[i])).context(not_good(name))
        }
        None => Ok(labels),
    }
}

fn not_good(name: &Path) -> String {
    format!("{} is not a good IDX file", name.display())
}

/// A file's content.
pub fn content<'a>(file: &'a mut impl BufRead) -> io::Result<Box<dyn Read + 'a>> {
    let is_gzip = file.fill_buf()?.starts_with(&GZIP);
    Ok(if is_gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

/// The numbers in a file of items of this size.
fn read(mut file: impl BufRead + Seek, item: &[usize]) -> Result<Vec<u8>> {
    let bytes = check(&mut *content(&mut file)?, item)?;
    file.rewind()?;
    let mut reader = content(&mut file)?;
    header(&mut reader, item)?;
    let mut numbers = vec![0; bytes];
    reader.read_exact(&mut numbers).context("it changed while it was read")?;
    Ok(numbers)
}

/// Checks that there are exactly as many bytes as the header promises, and returns their number.
fn check(reader: &mut dyn Read, item: &[usize]) -> Result<usize> {
    let promised = header(reader, item)?;
    let bytes = io::copy(&mut reader.take(promised as u64 + 1), &mut io::sink())
        .context("the data is damaged")? as usize;
    ensure!(bytes >= promised, "the header promises {promised} bytes, but there are only {bytes}");
    ensure!(bytes == promised, "there is more than the {promised} bytes of the header");
    Ok(bytes)
}

/// Reads the header of a file of unsigned bytes, and returns the number of bytes that it promises.
fn header(reader: &mut dyn Read, item: &[usize]) -> Result<usize> {
    let magic = word(reader)?;
    let expected = 0x0801 + item.len() as u32;
    ensure!(magic == expected, "the magic number is {magic:#010x}, expected {expected:#010x}");
    let mut sizes = vec![0; 1 + item.len()];
    for size in &mut sizes {
        *size = word(reader)? as usize;
    }
    let (is, expected) = (by(&sizes[1..]), by(item));
    ensure!(is == expected, "the images are {is}, expected {expected}");
    ensure!(sizes[0] > 0, "it has no items");
    sizes
        .iter()
        .try_fold(1usize, |product, &size| product.checked_mul(size))
        .filter(|&bytes| bytes <= MOST_BYTES)
        .with_context(|| format!("the header promises {sizes:?} bytes, more than 1 GiB"))
}

/// Sizes as text, such as 28x28.
fn by(sizes: &[usize]) -> String {
    sizes.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

fn word(reader: &mut dyn Read) -> Result<u32> {
    let mut bytes = [0; 4];
    reader.read_exact(&mut bytes).context("the header is cut off")?;
    Ok(u32::from_be_bytes(bytes))
}
