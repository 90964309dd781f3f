//! `patroni.log`, rotated by size (LOG-03): `patroni.log.1` is the newest of the old ones.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Name of the file in `log.dir`.
pub(super) const NAME: &str = "patroni.log";

/// The file that is written.
pub(super) struct RotatingFile {
    path: PathBuf,
    file: File,
    size: u64,
    /// Bytes from which on a new file is begun; 0: never.
    pub limit: u64,
    /// Old files that are kept; 0: the file is never rotated.
    pub backups: u32,
    mode: Option<u32>,
}

impl RotatingFile {
    /// Opens the file for appending. Without a mode new files have what the umask leaves.
    pub fn open(directory: &Path, mode: Option<u32>) -> std::io::Result<Self> {
        let path = directory.join(NAME);
        let file = append(&path, mode)?;
        let size = file.metadata()?.len();
        Ok(Self { path, file, size, limit: 0, backups: 0, mode })
    }

    /// Whether this is the file in that directory.
    pub fn is_in(&self, directory: &Path) -> bool {
        self.path.parent() == Some(directory)
    }

    /// The mode of files that are begun from now on.
    pub fn set_mode(&mut self, mode: Option<u32>) {
        self.mode = mode;
    }

    /// Writes a line, in a new file if it would reach the limit.
    pub fn write(&mut self, line: &[u8]) -> std::io::Result<()> {
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.limit > 0 && self.backups > 0 && self.size.saturating_add(length) >= self.limit && self.is_regular() {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.size = self.size.saturating_add(length);
        Ok(())
    }

    /// A pipe or device in the file's place is not rotated.
    fn is_regular(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.is_file())
    }

    fn rotate(&mut self) -> std::io::Result<()> {
        for number in (1..self.backups).rev() {
            rename_if_there(&self.backup(number), &self.backup(number + 1))?;
        }
        rename_if_there(&self.path, &self.backup(1))?;
        self.file = append(&self.path, self.mode)?;
        self.size = self.file.metadata()?.len();
        Ok(())
    }

    fn backup(&self, number: u32) -> PathBuf {
        self.path.with_file_name(format!("{NAME}.{number}"))
    }
}

fn rename_if_there(from: &Path, to: &Path) -> std::io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn append(path: &Path, mode: Option<u32>) -> std::io::Result<File> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    if let Some(mode) = mode {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::read_to_string;

    #[test]
    fn files_are_rotated_by_size_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = RotatingFile::open(folder.path(), Some(0o640)).unwrap();
        (file.limit, file.backups) = (10, 2);
        for line in ["one\n", "two\n", "three\n", "four\n", "five-and-more\n"] {
            file.write(line.as_bytes()).unwrap();
        }
        let text = |name: &str| read_to_string(folder.path().join(name)).ok();
        assert_eq!(text("patroni.log").as_deref(), Some("five-and-more\n"));
        assert_eq!(text("patroni.log.1").as_deref(), Some("four\n"));
        assert_eq!(text("patroni.log.2").as_deref(), Some("three\n"));
        assert_eq!(text("patroni.log.3"), None);
        let mode = std::fs::metadata(folder.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
    }

    #[test]
    fn an_old_file_is_continued_and_without_backups_never_rotated() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(NAME), "old\n").unwrap();
        let mut file = RotatingFile::open(folder.path(), None).unwrap();
        (file.limit, file.backups) = (5, 0);
        file.write(b"new\n").unwrap();
        assert_eq!(read_to_string(folder.path().join(NAME)).unwrap(), "old\nnew\n");
        file.backups = 1;
        file.write(b"third\n").unwrap();
        assert_eq!(read_to_string(folder.path().join("patroni.log.1")).unwrap(), "old\nnew\n");
    }
}
