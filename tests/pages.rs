//! The documentation pages: their links work, and the page for a package registry links to no other file.

use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PAGES: [&str; 6] = [
    "README.md",
    "build.md",
    "CHANGELOG.md",
    "docs/cost.md",
    "docs/experiments.md",
    "docs/testing.md",
];

/// What stands between these, outside of code blocks.
fn between<'a>(text: &'a str, open: &'a str, close: char) -> impl Iterator<Item = &'a str> {
    text.split("```").step_by(2).flat_map(move |prose| {
        prose.split(open).skip(1).filter_map(move |rest| rest.split(close).next())
    })
}

fn targets(page: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(ROOT).join(page)).unwrap();
    let links = between(&text, "](", ')').chain(between(&text, "src=\"", '"'));
    links.chain(between(&text, "srcset=\"", '"')).map(str::to_owned).collect()
}

fn is_relative(target: &str) -> bool {
    !target.contains("://") && !target.starts_with('#')
}

/// As a heading's link is made on the web: lower case, dashes for spaces, nothing else but letters.
fn anchors(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    headings
        .map(|heading| {
            let words = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            words.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
        })
        .collect()
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut count = 0;
    for page in PAGES {
        let folder = Path::new(ROOT).join(page).parent().unwrap().to_owned();
        for target in targets(page).iter().filter(|target| is_relative(target)) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = folder.join(file);
            assert!(file.exists(), "{page} links to {target}, which is not there");
            let has_anchor = anchor.is_empty() || anchors(&file).iter().any(|a| a == anchor);
            assert!(has_anchor, "{page} links to {target}, which has no such heading");
            count += 1;
        }
    }
    assert!(count > 10, "found {count} links");
}

/// A registry shows this page alone, and cannot tell where the other files are.
#[test]
fn the_registrys_page_links_to_nothing_beside_it() {
    let targets = targets("docs/registry.md");
    assert!(!targets.is_empty());
    for target in targets {
        assert!(!is_relative(&target), "{target}");
    }
}

/// Both pages begin with the same example, and CI compiles README's.
#[test]
fn the_registrys_example_is_the_readmes() {
    let example = |page: &str| {
        let text = fs::read_to_string(Path::new(ROOT).join(page)).unwrap();
        text.split("```rust\n").nth(1).unwrap().split("```").next().unwrap().to_owned()
    };
    assert_eq!(example("docs/registry.md"), example("README.md"));
}
