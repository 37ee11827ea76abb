//! Small slips in the kernels, each of which a check above notices.

use std::fs;
use std::path::Path;

use tch::Kind;

use super::emulated::{Emulator, Settings, alone, source};
use super::kernels::{
    ROUNDS, THRESHOLDS, check, check_definition, check_planes, check_rounding, check_unaligned,
    thresholds_with_equal_words,
};
use crate::numbers::PLANES;

/// What is replaced, which occurrence of it (from 0), and by what.
const MUTANTS: &[(&str, usize, &str)] = &[
    // A missing barrier: after drawing, and after deciding.
    ("__syncthreads();", 0, ""),
    ("__syncthreads();", 1, ""),
    ("rank -= count;", 0, "rank -= count - 1;"),
    ("rank += lane >= step ? before : 0;", 0, "rank += lane > step ? before : 0;"),
    // The second word is never taken, or always.
    ("word == first ? next_word() < second : word < first", 0, "word < first"),
    ("is_equal || all > WORDS", 0, "all > WORDS"),
    ("is_equal || all > WORDS", 0, "is_equal || all > WORDS + 1"),
    ("2 * lane + 1 < all && words >> 32 == first", 0, "false"),
    // The pool is not filled again.
    ("is_equal || all > WORDS", 0, "is_equal"),
    ("index / WORDS * plane_step", 0, "0 * plane_step"),
    ("u32 word = index % WORDS / BLOCKS;", 0, "u32 word = index % 4;"),
    ("for (; rank > 0; --rank)", 0, "for (; rank > 1; --rank)"),
    // A plane is left out, and the most and the least significant bit exchanged.
    ("int plane = job.planes - 1;", 0, "int plane = job.planes - 2;"),
    ("job.threshold >> (63 - plane) & 1", 0, "job.threshold >> (56 + plane) & 1"),
    ("u64 rest = job.threshold << PLANES;", 0, "u64 rest = job.threshold;"),
    ("TILES * (job.planes + job.has_ties)", 0, "TILES * job.planes"),
    // The wrong tile, word, bit and element.
    ("(first + tile) * BLOCKS + block", 0, "first * BLOCKS + block"),
    ("compare(job, first + tile, drawn", 0, "compare(job, first, drawn"),
    ("int bit = element / WORDS % 32", 0, "int bit = element / WORDS % 16"),
    ("word >> element / WORDS % 32 & 1", 0, "word >> element / WORDS % 16 & 1"),
    ("element < GROUP && start + element < job.elements", 0, "element < GROUP"),
    ("start + GROUP <= job.elements", 0, "start <= job.elements"),
    ("all_aligned && start", 0, "start"),
    ("is_aligned(x) && ", 0, ""),
    ("is_aligned(residual) && ", 0, ""),
    ("group += gridDim.x", 0, "group += gridDim.x + 1"),
    // What is written.
    (
        "K::widen(residual) + K::widen(product(x, residual, is_kept))",
        0,
        "K::widen(product(x, residual, is_kept))",
    ),
    ("is_kept ? kept : dropped", 0, "kept"),
    ("bits >> 16 & 1)) >> 16", 0, "0)) >> 16"),
    ("(bits & 0x7FFFFFFF) > 0x7F800000", 0, "false"),
    (
        "T factor = K::round(1.0f + deviation * number);",
        0,
        "float factor_ = 1.0f + deviation * number; T factor = K::round(factor_ * 1.0001f);",
    ),
    ("write(element + WORDS, sine);", 0, "write(element + WORDS, cosine);"),
    ("if (element >= job.elements)", 0, "if (element > job.elements)"),
];

/// Those of which the kernels are compiled, since all would take too long.
const KINDS: &[Kind] = &[Kind::Uint8, Kind::Float, Kind::BFloat16];
const SUFFIXES: [&str; 5] = ["_8,", "_16,", "_32,", "_f32,", "_bf16,"];

fn is_compiled(line: &&str) -> bool {
    !line.starts_with("KERNEL(") || SUFFIXES.iter().any(|suffix| line.contains(suffix))
}

fn mutant(text: &str, (from, occurrence, to): (&str, usize, &str)) -> String {
    let (at, _) = text.match_indices(from).nth(occurrence).unwrap_or_else(|| panic!("no {from}"));
    format!("{}{to}{}", &text[..at], &text[at + from.len()..])
}

/// All checks, the quick ones first.
fn check_all(kernels: &Path) -> Result<(), String> {
    let emulator = Emulator::compile(kernels, &[]);
    emulator.set(Settings::USUAL);
    check_rounding(emulator)?;
    let gpu = emulator.gpu();
    for threshold in thresholds_with_equal_words().into_iter().chain(THRESHOLDS) {
        check_definition(&gpu, threshold, PLANES)?;
    }
    [130, 4097, ROUNDS].into_iter().try_for_each(|size| check(&gpu, 0.1, size, KINDS))?;
    check_unaligned(&gpu, &KINDS[1..])?;
    check_planes(kernels)
}

#[test]
fn every_slip_is_noticed() {
    let _alone = alone();
    check_all(&source()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(source()).unwrap();
    let text = text.lines().filter(is_compiled).collect::<Vec<_>>().join("\n");
    let kernels = folder.path().join("mutant.cu");
    let survives = |&&slip: &&(&str, usize, &str)| {
        fs::write(&kernels, mutant(&text, slip)).unwrap();
        check_all(&kernels).is_ok()
    };
    let survivors: Vec<_> = MUTANTS.iter().filter(survives).collect();
    assert!(survivors.is_empty(), "{survivors:#?}");
}
