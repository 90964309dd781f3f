//! Writing files so that each is whole at any moment: the old content or the new one, also on a full disk or after a crash.

use super::PgError;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Permission bits of the data directory with group access (`initdb --allow-group-access`).
const GROUP_ACCESS: u32 = 0o750;

/// Mode of new files in the data directory (PG-38): 0600, or 0640 when the directory admits its group.
#[must_use]
pub fn data_file_mode(data_dir: &Path) -> u32 {
    let mode = fs::metadata(data_dir).map_or(0, |m| m.mode());
    if mode & GROUP_ACCESS == GROUP_ACCESS { 0o640 } else { 0o600 }
}

/// Mode of a configuration file: as the data directory's files if it is one, else by the process's mask.
#[must_use]
pub fn config_file_mode(data_dir: &Path, path: &Path) -> u32 {
    if is_below(data_dir, path) { data_file_mode(data_dir) } else { 0o666 & !crate::sys::umask() }
}

/// Whether `path` lies in `directory`, links resolved.
#[must_use]
pub fn is_below(directory: &Path, path: &Path) -> bool {
    let real = |p: &Path| fs::canonicalize(p).or_else(|_| std::path::absolute(p)).unwrap_or_else(|_| p.to_owned());
    let parent = path.parent().map_or_else(PathBuf::new, real);
    let target = path.file_name().map_or_else(|| parent.clone(), |name| parent.join(name));
    real(&target).starts_with(real(directory))
}

/// Replaces a file's content at once, through a temporary file beside it. A link is followed. Where the directory admits
/// no new file but the file itself may be written, it is overwritten in place.
///
/// # Errors
/// [`PgError::File`], naming the file; the old content is then still there.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), PgError> {
    let failed = |e: io::Error| PgError::File(format!("could not write {}: {e}", path.display()));
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match replace(&target, content, mode) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && target.is_file() => {
            overwrite(&target, content).map_err(failed)
        }
        result => result.map_err(failed),
    }
}

fn replace(target: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let directory = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary_name = name.to_owned();
    temporary_name.push(format!(".{}.tmp", std::process::id()));
    let temporary = directory.join(temporary_name);
    let result = write_new(&temporary, content, mode).and_then(|()| fs::rename(&temporary, target));
    if result.is_err() && temporary.is_file() {
        fs::remove_file(&temporary)?;
    }
    result?;
    // The rename itself must survive a crash too. Some file systems refuse to sync a directory; the file is there all the same.
    File::open(directory).and_then(|d| d.sync_all()).or(Ok(()))
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // What a crashed predecessor with our pid left is not worth keeping.
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()
}

fn overwrite(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Writes only if the content differs. Returns whether it did.
///
/// # Errors
/// As [`write()`].
pub fn write_changed(path: &Path, content: &[u8], mode: u32) -> Result<bool, PgError> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(false);
    }
    write(path, content, mode)?;
    Ok(true)
}

/// Removes a file or link if it is there.
///
/// # Errors
/// [`PgError::File`], naming the file.
pub fn remove(path: &Path) -> Result<(), PgError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(PgError::File(format!("could not remove {}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

/// One change to the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Replace the content if it differs.
    Write {
        /// Which file.
        path: PathBuf,
        /// Its whole content.
        content: Vec<u8>,
        /// Its mode.
        mode: u32,
    },
    /// Create an empty file unless it is there.
    Touch {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Remove a file if it is there.
    Remove(PathBuf),
    /// Rename a file.
    Rename {
        /// Old name.
        from: PathBuf,
        /// New name.
        to: PathBuf,
    },
}

impl Step {
    fn carry_out(self) -> Result<bool, PgError> {
        match self {
            Self::Write { path, content, mode } => write_changed(&path, &content, mode),
            Self::Touch { path, .. } if path.exists() => Ok(false),
            Self::Touch { path, mode } => write(&path, b"", mode).map(|()| true),
            Self::Remove(path) => remove(&path).map(|()| false),
            Self::Rename { from, to } => match fs::rename(&from, &to) {
                Ok(()) => Ok(true),
                Err(error) => {
                    let (from, to) = (from.display(), to.display());
                    Err(PgError::File(format!("could not rename {from} to {to}: {error}")))
                }
            },
        }
    }
}

/// Carries out steps in order, on a thread of its own (a slow disk holds nobody else up). Returns whether any content
/// changed.
///
/// # Errors
/// [`PgError::File`] of the first step that fails; later ones are not tried.
pub async fn carry_out(steps: Vec<Step>) -> Result<bool, PgError> {
    let work = move || steps.into_iter().try_fold(false, |changed, step| Ok(step.carry_out()? || changed));
    tokio::task::spawn_blocking(work).await.map_err(|e| PgError::File(e.to_string()))?
}

/// Makes sure that a directory exists and can be written to; creates it, with its parents, for the owner (PG-39).
/// The message names the setting that asks for it, as in "is defined in unix_socket_directories".
///
/// # Errors
/// [`PgError::File`].
pub fn ensure_directory(path: &Path, setting: &str, mode: u32) -> Result<(), PgError> {
    let problem = |what: &str| Err(PgError::File(format!("'{}' {setting}, {what}", path.display())));
    match fs::metadata(path) {
        Ok(found) if !found.is_dir() => problem("is not a directory"),
        Ok(_) if rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_err() => {
            problem("couldn't write to the directory")
        }
        Ok(_) => Ok(()),
        Err(_) => match fs::DirBuilder::new().recursive(true).mode(mode).create(path) {
            Ok(()) => Ok(()),
            Err(_) => problem("couldn't create the directory"),
        },
    }
}

/// Modification time (seconds, nanoseconds) of a file: what changes when it is written. `None`: it is not there.
#[must_use]
pub fn mtime(path: &Path) -> Option<(i64, i64)> {
    fs::metadata(path).ok().map(|m| (m.mtime(), m.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("postgresql.conf");
        write(&file, b"one", 0o640).unwrap();
        assert_eq!((fs::read(&file).unwrap(), mode_of(&file)), (b"one".to_vec(), 0o640));
        assert!(!write_changed(&file, b"one", 0o600).unwrap());
        assert!(write_changed(&file, b"two", 0o600).unwrap());
        assert_eq!(mode_of(&file), 0o600);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write(&link, b"three", 0o600).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"three");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_failed_write_leaves_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("postgresql.conf");
        fs::write(&file, "old").unwrap();
        let missing = dir.path().join("missing/postgresql.conf");
        assert!(
            matches!(write(&missing, b"new", 0o600), Err(PgError::File(m)) if m.contains("missing/postgresql.conf"))
        );
        // A directory in the temporary file's place makes the write fail half-way.
        fs::create_dir(dir.path().join(format!("postgresql.conf.{}.tmp", std::process::id()))).unwrap();
        assert!(write(&file, b"new", 0o600).is_err());
        assert_eq!(fs::read(&file).unwrap(), b"old");
    }

    #[test]
    fn modes_follow_the_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        for (mode, expected) in [(0o700, 0o600), (0o750, 0o640), (0o755, 0o640)] {
            fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
            assert_eq!(data_file_mode(dir.path()), expected);
        }
        assert_eq!(config_file_mode(dir.path(), &dir.path().join("x")), 0o640);
        let other = tempfile::tempdir().unwrap();
        assert_eq!(config_file_mode(dir.path(), &other.path().join("x")), 0o666 & !crate::sys::umask());
    }

    #[test]
    fn directories_are_created_when_missing() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = dir.path().join("a/b");
        ensure_directory(&wanted, "is defined in x", 0o700).unwrap();
        assert_eq!(mode_of(&wanted), 0o700);
        ensure_directory(&wanted, "is defined in x", 0o700).unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = ensure_directory(&file, "is defined in x", 0o700).unwrap_err().to_string();
        assert_eq!(error, format!("'{}' is defined in x, is not a directory", file.display()));
    }
}
