//! What a user sees.

use super::*;
use crate::program::stdout;

/// `script` gives the example a terminal, on which it draws a bar.
#[test]
fn on_a_terminal_a_fault_has_a_line_of_its_own() {
    if Command::new("script").arg("--version").output().is_err() {
        println!("skipped: there is no script");
        return;
    }
    let (directory, mirror) = (empty_directory(), serve(wrong(b"not a digit")));
    let example = brief_example(std::slice::from_ref(&mirror));
    let line = format!("stty cols 100; {} --data-dir .", example.get_program().display());
    let mut command = Command::new("script");
    command.args(["--quiet", "--command", &line, "/dev/null"]).current_dir(&directory);
    command.envs(example.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.env("TERM", "xterm").output().unwrap();
    let text = stdout(&output);
    assert!(text.contains("11 B/11 B"), "there should be a bar: {text}");
    let (before, _) = text.split_once(&mirror).expect(&text);
    let erased_or_new = before.ends_with("\x1b[2K") || before.ends_with(['\r', '\n']);
    assert!(erased_or_new, "{before:?} goes before the line");
}
