//! Gives the reader all kinds of files that are not IDX.

mod mutations;
mod promise;

use std::fs;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use idx::{images, images_in, labels, labels_in};
use mutations::{good_files, gzip, gzip_with_fields, idx as file_of, mutate, random_file};
use promise::{HALF_A_MIB, check, memory};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const SEED: u64 = 20_121_018;

/// Reports which file it was if its test panics.
struct Case(u64);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("file {} of seed {SEED}", self.0);
        }
    }
}

#[test]
fn random_and_mutated_files() {
    // Whoever wants backtraces of panics does not want 200,000 of errors.
    // SAFETY: all that reads the environment here is the standard library, which has a lock for it.
    unsafe { std::env::set_var("RUST_LIB_BACKTRACE", "0") };
    let files = good_files(&mut StdRng::seed_from_u64(SEED));
    for file in &files {
        assert!(check(file), "a good file");
    }
    let (mut accepted, mut refused) = (0, 0);
    for i in 0..200_000 {
        let _case = Case(i);
        let mut rng = StdRng::seed_from_u64(SEED + i);
        let mut file = files[rng.gen_range(0..files.len())].clone();
        if rng.gen_ratio(1, 10) {
            file = random_file(&mut rng);
        }
        for _ in 0..rng.gen_range(0..4) {
            mutate(&mut file, &files, &mut rng);
        }
        *if check(&file) { &mut accepted } else { &mut refused } += 1;
    }
    println!("seed {SEED}: {accepted} files accepted, {refused} refused");
    assert!(accepted > 20_000 && refused > 20_000, "both must be tried");
}

/// The files that fuzzing found worth keeping.
#[test]
fn files_of_the_fuzzers_corpus() {
    let corpus = fs::read_dir("fuzz/corpus/idx").unwrap();
    let files: Vec<_> = corpus.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    let accepted = files.iter().filter(|file| check(file)).count();
    println!("{} files, {accepted} accepted", files.len());
    assert!((1..files.len()).contains(&accepted), "both must be tried");
}

/// Counts the bytes that are read from a file.
struct Counted<'a> {
    file: Cursor<&'a [u8]>,
    read: &'a mut usize,
}

impl Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        *self.read += read;
        Ok(read)
    }
}

impl Seek for Counted<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

#[test]
fn a_gzip_bomb_is_cut_off_at_its_promise() {
    let bomb = gzip(&file_of(&[100_000], &vec![0; 200 << 20]));
    assert!(bomb.len() > 500_000);
    let mut read = 0;
    let (result, taken) = memory(|| {
        let file = Counted { file: Cursor::new(&bomb[..]), read: &mut read };
        labels_in(BufReader::new(file), Path::new("bomb.gz"))
    });
    let text = format!("{:#}", result.unwrap_err());
    assert!(text.contains("bomb.gz") && text.contains("more than the 100000 bytes"), "{text}");
    assert!(read < 64 << 10, "{read} bytes were read");
    assert!(taken < HALF_A_MIB, "{taken} bytes were taken");
}

#[test]
fn a_promise_alone_takes_no_memory() {
    for (images, words) in [
        (1_369_568, "promises 1073741312 bytes, but there are only 784"),
        (1_369_569, "promises [1369569, 28, 28] bytes, more than 1 GiB"),
        (u32::MAX, "promises [4294967295, 28, 28] bytes, more than 1 GiB"),
    ] {
        let file = file_of(&[images, 28, 28], &[0; 784]);
        for file in [&file, &gzip(&file)] {
            let (result, taken) = memory(|| images_in(Cursor::new(&file[..]), Path::new("file")));
            let text = format!("{:#}", result.unwrap_err());
            assert!(text.contains(words), "{text}");
            assert!(taken < HALF_A_MIB, "{taken} bytes were taken");
        }
    }
}

#[test]
fn a_whole_file_takes_its_own_size() {
    let content = file_of(&[20_000, 28, 28], &vec![7; 20_000 * 784]);
    for file in [&content, &gzip(&content), &gzip_with_fields(&content, &[b'x'; 65_535])] {
        let (result, taken) = memory(|| images_in(Cursor::new(&file[..]), Path::new("file")));
        assert!(result.unwrap() == content[16..]);
        println!("{taken} bytes for a content of {}", content.len());
        assert!(taken <= content.len() + HALF_A_MIB, "{taken} bytes were taken");
    }
}

#[test]
fn a_name_in_a_gzip_header_that_never_ends_takes_no_memory() {
    let header_with_a_name = [0x1F, 0x8B, 8, 8, 0, 0, 0, 0, 0, 0];
    let file = [&header_with_a_name[..], &vec![b'x'; 10 << 20]].concat();
    let (result, taken) = memory(|| labels_in(Cursor::new(&file[..]), Path::new("file")));
    assert!(result.is_err());
    assert!(taken < HALF_A_MIB, "{taken} bytes were taken");
}

#[test]
fn what_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    for path in [directory.path().join("missing"), directory.path().to_owned()] {
        for error in [images(&path).unwrap_err(), labels(&path).unwrap_err()] {
            let text = format!("{error:#}");
            assert!(text.contains(path.to_str().unwrap()), "{text}");
        }
    }
}
