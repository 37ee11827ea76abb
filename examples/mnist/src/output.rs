//! Files that are written completely or not at all.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::NamedTempFile;

/// How the names of files begin that are not whole yet.
const UNFINISHED: &str = ".tch-dropout-unfinished-";

/// Checks, before training, whether [`write()`] can work.
pub fn check_writable(path: &Path) -> Result<()> {
    ensure!(!path.is_dir(), "cannot write {}: it is a directory", path.display());
    if is_special(path) {
        return Ok(());
    }
    // To replace a file takes no right to write to it, but ought to.
    let opened = match OpenOptions::new().append(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        opened => opened.map(drop),
    };
    opened
        .and_then(|()| temporary_beside(&destination(path)).map(drop))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Writes to a temporary file and renames it. So a reader always sees the old file or the new one, even if
/// this program is stopped.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let written =
        if is_special(path) { pass_on(path, bytes) } else { replace(&destination(path), bytes) };
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// A device or a pipe, such as /dev/stdout: it is written to directly, as it must not be replaced.
fn is_special(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| !file.is_file() && !file.is_dir())
}

/// Writes to a pipe or device; a closed pipe is no error.
fn pass_on(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::write(path, bytes) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = temporary_beside(path)?;
    if let Ok(old) = path.metadata() {
        file.as_file().set_permissions(old.permissions())?;
    }
    file.as_file_mut().write_all(bytes)?;
    // Some file systems notice only now that they are full.
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// The canonical path of the file that is written in the end. A link stays a link: its target is what counts,
/// even if it does not exist yet.
pub fn destination(path: &Path) -> PathBuf {
    const MOST_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(target) = fs::read_link(&path) else { break };
        path = directory_of(&path).join(target);
    }
    match (directory_of(&path).canonicalize(), path.file_name()) {
        (Ok(directory), Some(name)) => directory.join(name),
        _ => path,
    }
}

fn directory_of(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// A file beside another one, which is locked as long as it is written. Its name tells users nothing, so errors
/// leave it out.
fn temporary_beside(path: &Path) -> io::Result<NamedTempFile> {
    let directory = directory_of(path);
    sweep(directory);
    let mut unfinished = tempfile::Builder::new();
    unfinished.prefix(UNFINISHED);
    loop {
        let file = unfinished.make_in(directory, |name| File::create_new(name))?;
        // A file system without locks has no sweep either.
        let _ = file.as_file().lock();
        // Before it was locked, another process may have taken it for one that was left.
        if file.path().exists() {
            return Ok(file);
        }
    }
}

/// Removes what programs left in a directory when they were killed while writing: files that nobody has locked.
fn sweep(directory: &Path) {
    let is_unfinished = |name: &OsStr| name.to_string_lossy().starts_with(UNFINISHED);
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if is_unfinished(&entry.file_name())
            && let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            // In a directory that can only be read it stays, and is as harmless as before.
            let _ = fs::remove_file(entry.path());
        }
    }
}
