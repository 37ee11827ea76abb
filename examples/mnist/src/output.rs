//! Files that are written whole, or not at all.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::NamedTempFile;

/// Finds out before the training whether [`write`] can work.
pub fn check_writable(path: &Path) -> Result<()> {
    ensure!(!path.is_dir(), "cannot write {}: it is a directory", path.display());
    if !is_special(path) {
        temporary_beside(&behind_links(path))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Writes to a temporary file and renames it, so that whoever reads, and whenever this program is
/// stopped, the file is the old one or the new one.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = if is_special(path) { fs::write(path, bytes) } else { replace(path, bytes) };
    written.with_context(|| format!("cannot write {}", path.display()))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = behind_links(path);
    let mut file = temporary_beside(&path)?;
    file.write_all(bytes)?;
    file.persist(&path)?;
    Ok(())
}

/// A device or a pipe, such as /dev/stdout: it is written to, as it must not be replaced.
fn is_special(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| !file.is_file() && !file.is_dir())
}

/// A link stays a link: the file behind it is replaced.
fn behind_links(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or(path.to_owned())
}

fn temporary_beside(path: &Path) -> io::Result<NamedTempFile> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    // The umask decides who may read it, as for other files.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let file = builder.tempfile_in(directory.unwrap_or(Path::new(".")));
    // Without the temporary name, which says nothing to anybody.
    file.map_err(|error| error.raw_os_error().map_or(error, io::Error::from_raw_os_error))
}

/// Prints a text for whoever still reads.
pub fn print(text: &str) -> Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}
