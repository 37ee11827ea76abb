//! A SAFETY comment is read alone, by whoever changes the lines below it: it names what it relies on, and sends nobody
//! elsewhere.

mod common;

use std::fs;
use std::path::Path;

/// Words that send the reader to another comment.
const ELSEWHERE: [&str; 7] =
    ["as above", "as before", "as for ", "said above", "likewise", ": see ", "the same as"];

/// The SAFETY comments of a file, each on one line.
fn comments(text: &str) -> Vec<String> {
    let blocks = text.split("// SAFETY").skip(1);
    let comment = |block: &str| {
        let first = block.lines().next().unwrap_or_default();
        let rest = block.lines().skip(1).map_while(|line| line.trim_start().strip_prefix("//"));
        std::iter::once(first).chain(rest).collect::<Vec<_>>().join(" ")
    };
    blocks.map(comment).collect()
}

#[test]
fn safety_comments_stand_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for folder in ["src", "benches", "examples"] {
        for file in common::files(&root.join(folder)) {
            if file.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            for comment in comments(&fs::read_to_string(&file).unwrap()) {
                let found = ELSEWHERE.iter().find(|words| comment.contains(**words));
                assert!(found.is_none(), "{}: SAFETY{comment}", file.display());
                count += 1;
            }
        }
    }
    assert!(count > 50, "found {count} comments");
}
