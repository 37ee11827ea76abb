//! What the reader promises for any bytes. The tests and the fuzzer check it.

use std::io::{Cursor, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

/// The memory that a reader may use beyond the content's own size.
pub const HALF_A_MIB: usize = 512 << 10;

/// Asserts that both readers return exactly the content, or an error of one line with the file's name, and
/// stay within the memory limit. Returns whether either of them accepts the file.
pub fn check(file: &[u8]) -> bool {
    let content = Content::of(file);
    let images = content.images();
    let labels = content.labels();
    assert_reads(idx::images_in, file, &content, images)
        | assert_reads(idx::labels_in, file, &content, labels)
}

type Reader<'a> = fn(Cursor<&'a [u8]>, &Path) -> anyhow::Result<Vec<u8>>;

fn assert_reads<'a>(
    read: Reader<'a>,
    file: &'a [u8],
    content: &Content,
    expected: Option<&[u8]>,
) -> bool {
    let name = Path::new("some/file");
    let (result, taken) = memory(|| read(Cursor::new(file), name));
    let most = content.bytes.len() + HALF_A_MIB;
    assert!(taken <= most, "{taken} bytes were taken, at most {most} expected: {result:?}");
    match &result {
        Ok(numbers) => assert_eq!(Some(&numbers[..]), expected),
        Err(error) => {
            let text = format!("{error:#}");
            assert!(expected.is_none(), "a good file is refused: {text}");
            assert!(text.starts_with("some/file ") && !text.contains('\n'), "{text}");
        }
    }
    result.is_ok()
}

/// A file's content, read in the simplest way, as far as the file goes.
struct Content {
    bytes: Vec<u8>,
    is_whole: bool,
}

impl Content {
    fn of(file: &[u8]) -> Self {
        let mut bytes = Vec::new();
        if !file.starts_with(&[0x1F, 0x8B]) {
            return Content { bytes: file.to_vec(), is_whole: true };
        }
        let is_whole = MultiGzDecoder::new(file).read_to_end(&mut bytes).is_ok();
        Content { bytes, is_whole }
    }

    fn images(&self) -> Option<&[u8]> {
        self.numbers(&[0, 0, 8, 3], &[0, 0, 0, 28, 0, 0, 0, 28])
    }

    fn labels(&self) -> Option<&[u8]> {
        self.numbers(&[0, 0, 8, 1], &[]).filter(|labels| labels.iter().all(|&label| label <= 9))
    }

    /// The numbers after the magic number, the count and the size of an item, if their length is right.
    fn numbers(&self, magic: &[u8], item: &[u8]) -> Option<&[u8]> {
        let (count, rest) = self.bytes.strip_prefix(magic)?.split_first_chunk::<4>()?;
        let numbers = rest.strip_prefix(item)?;
        let item_bytes = if item.is_empty() { 1 } else { 28 * 28 };
        let promised = u64::from(u32::from_be_bytes(*count)) * item_bytes;
        (self.is_whole && promised > 0 && promised == numbers.len() as u64).then_some(numbers)
    }
}

/// The peak memory of a function, in its own thread. A block that grows counts twice, as it does when it has
/// to move.
pub fn memory<T>(f: impl FnOnce() -> T) -> (T, usize) {
    let mut result = None;
    let taken = allocation_counter::measure(|| result = Some(f()));
    (result.expect("it was called"), taken.bytes_max as usize)
}
