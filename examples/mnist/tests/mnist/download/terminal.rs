//! What a user sees on a terminal.

use super::*;
use crate::program::on_terminal;

#[test]
fn on_a_terminal_a_fault_has_a_line_of_its_own() {
    let (directory, mirror) = (empty_directory(), serve(wrong(b"not a digit")));
    let mut example = brief_example(std::slice::from_ref(&mirror));
    example.args(["--data-dir", "."]).current_dir(&directory);
    let Some(text) = on_terminal(&example, 100) else { return };
    assert!(text.contains("11 B/11 B"), "there should be a bar: {text}");
    let (before, _) = text.split_once(&mirror).expect(&text);
    let erased_or_new = before.ends_with("\x1b[2K") || before.ends_with(['\r', '\n']);
    assert!(erased_or_new, "{before:?} goes before the line");
}
