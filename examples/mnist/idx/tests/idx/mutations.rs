//! Good IDX files, and mutations of them.

use std::io::Write;

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, RngCore};

pub fn idx(sizes: &[u32], numbers: &[u8]) -> Vec<u8> {
    let mut file = (0x0800 + sizes.len() as u32).to_be_bytes().to_vec();
    sizes.iter().for_each(|size| file.extend(size.to_be_bytes()));
    file.extend(numbers);
    file
}

pub fn gzip(content: &[u8]) -> Vec<u8> {
    finish(GzEncoder::new(Vec::new(), Compression::fast()), content)
}

/// With every optional field of a gzip header.
pub fn gzip_with_fields(content: &[u8], field: &[u8]) -> Vec<u8> {
    let builder = GzBuilder::new().extra(field).filename(field).comment(field);
    finish(builder.write(Vec::new(), Compression::fast()), content)
}

fn finish(mut encoder: GzEncoder<Vec<u8>>, content: &[u8]) -> Vec<u8> {
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Images and labels, plain, compressed, and compressed in two parts.
pub fn good_files(rng: &mut StdRng) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for count in [1, 2, 5] {
        // Half of each image is empty, so that there is something to compress.
        let pixels: Vec<u8> = (0..count * 784)
            .map(|i| if i % 784 < 392 { 0 } else { rng.next_u32() as u8 })
            .collect();
        let labels: Vec<u8> = (0..20 * count).map(|_| rng.gen_range(0..10)).collect();
        for content in [idx(&[count, 28, 28], &pixels), idx(&[20 * count], &labels)] {
            let (first, second) = content.split_at(rng.gen_range(0..content.len()));
            files.push(gzip(&content));
            files.push(gzip_with_fields(&content, b"name"));
            files.push([gzip(first), gzip(second)].concat());
            files.push(content);
        }
    }
    files
}

pub fn random_file(rng: &mut StdRng) -> Vec<u8> {
    const STARTS: [&[u8]; 4] = [&[], &[0, 0, 8, 1, 0, 0], &[0, 0, 8, 3, 0, 0], &[0x1F, 0x8B, 8]];
    let start = STARTS[rng.gen_range(0..STARTS.len())];
    let length = rng.gen_range(0..2000);
    start.iter().copied().chain((0..length).map(|_| rng.next_u32() as u8)).collect()
}

/// Numbers that a header should not have, and some that it should.
const EXTREMES: [u32; 14] = [
    0,
    1,
    2,
    27,
    28,
    29,
    0x801,
    0x803,
    1_369_568, // images in 1 GiB
    1_369_569,
    1 << 30,
    i32::MAX as u32,
    1 << 31,
    u32::MAX,
];

/// Changes a file in one way. It may get a part of one of the others, `files`.
pub fn mutate(file: &mut Vec<u8>, files: &[Vec<u8>], rng: &mut StdRng) {
    let other = files.choose(rng).expect("there are some");
    let any = rng.gen_range(0..=file.len());
    match rng.gen_range(0..11) {
        0 => change(file, any, |byte| *byte ^= 1 << rng.gen_range(0..8)),
        1 => file.truncate(any),
        2 => drop(file.splice(any..any, other.iter().copied().take(any % 20))),
        3 => drop(file.drain(any..file.len().min(any + 1 + any % 20))),
        4 => {
            let number = EXTREMES.choose(rng).expect("there are some").to_be_bytes();
            let start = file.len().min(4 * rng.gen_range(0..4));
            let end = file.len().min(start + 4);
            file.splice(start..end, number);
        }
        5 => file.extend(other),
        6 => {
            // Gzip ends with a check sum and a length, of 4 bytes each.
            let last = file.len().saturating_sub(rng.gen_range(1..=8));
            change(file, last, |byte| *byte = !*byte);
        }
        7 => {
            let header = other.len().min(rng.gen_range(4..=16));
            file.splice(..header.min(file.len()), other[..header].iter().copied());
        }
        // On both sides of the largest label.
        8 => change(file, any, |byte| *byte = rng.gen_range(9..=10)),
        // The flags that say which fields a gzip header has.
        9 => change(file, 3, |byte| *byte = rng.next_u32() as u8),
        _ => *file = gzip(file),
    }
}

fn change(file: &mut [u8], place: usize, f: impl FnOnce(&mut u8)) {
    if let Some(byte) = file.get_mut(place) {
        f(byte)
    }
}
