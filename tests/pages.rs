//! The documentation pages: their links work, and the page for a package registry links to no other file.

use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PAGES: [&str; 8] = [
    "README.md",
    "build.md",
    "CHANGELOG.md",
    "docs/comparison.md",
    "docs/cost.md",
    "docs/experiments.md",
    "docs/masks.md",
    "docs/testing.md",
];

/// What stands between these, outside of code blocks.
fn between<'a>(text: &'a str, open: &'a str, close: char) -> impl Iterator<Item = &'a str> {
    text.split("```").step_by(2).flat_map(move |prose| {
        prose.split(open).skip(1).filter_map(move |rest| rest.split(close).next())
    })
}

fn text(page: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(page)).unwrap()
}

/// The links that are defined in lines of their own, such as `[cost]: docs/cost.md`: names and targets.
fn definitions(page: &str) -> Vec<(String, String)> {
    let text = text(page);
    let lines = text.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: "));
    lines.map(|(name, target)| (name.to_owned(), target.to_owned())).collect()
}

fn targets(page: &str) -> Vec<String> {
    let text = text(page);
    let links = between(&text, "](", ')').chain(between(&text, "src=\"", '"'));
    let links = links.chain(between(&text, "srcset=\"", '"')).map(str::to_owned);
    links.chain(definitions(page).into_iter().map(|(_, target)| target)).collect()
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

/// A guide's links to files would lead nowhere in the documentation: each is defined, and docs/links.md has its page there.
#[test]
fn the_links_of_guides_have_a_page_in_the_documentation() {
    let known: Vec<String> =
        definitions("docs/links.md").into_iter().map(|(name, _)| name).collect();
    let guides = fs::read_to_string(Path::new(ROOT).join("src/guide.rs")).unwrap();
    let guides: Vec<&str> = between(&guides, ": \"../", '"').collect();
    assert!(guides.len() > 5, "{guides:?}");
    for guide in guides {
        let text = text(guide);
        let defined = definitions(guide);
        let inline = between(&text, "](", ')').filter(|target| is_relative(target)).count();
        assert_eq!(
            inline, 0,
            "{guide} has a relative link that is not defined in a line of its own"
        );
        for (name, target) in defined.iter().filter(|(_, target)| is_relative(target)) {
            let is_picture = *target == format!("images/{name}.svg");
            assert!(
                is_picture || known.contains(name),
                "{guide}: [{name}] is not in docs/links.md"
            );
        }
    }
}

/// A reader's first half minute is not longer for what the crate can do.
#[test]
fn the_readme_is_short() {
    let words = text("README.md").split_whitespace().count();
    assert!(words <= 1350, "{words} words");
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
        text(page).split("```rust\n").nth(1).unwrap().split("```").next().unwrap().to_owned()
    };
    assert_eq!(example("docs/registry.md"), example("README.md"));
}
