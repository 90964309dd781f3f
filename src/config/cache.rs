//! `patroni.dynamic.json` in the data directory: the last dynamic configuration, should the store lose it (CFG-04).

use super::error::ConfigError;
use serde_json::{Map, Value};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The file's name in the data directory.
pub const FILE: &str = "patroni.dynamic.json";

/// The cached configuration; `None` when there is no file.
pub(super) fn load(data_dir: &Path) -> Result<Option<Map<String, Value>>, ConfigError> {
    let path = data_dir.join(FILE);
    let failed = |reason: String| ConfigError::File { path: path.clone(), reason };
    let text = match fs::read_to_string(&path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        read => read.map_err(|error| failed(error.to_string()))?,
    };
    serde_json::from_str(&text).map(Some).map_err(|error| failed(error.to_string()))
}

/// Writes beside the file and renames. The mode is that of files in this data directory: readable by the group if the
/// directory is.
pub(super) fn save(data_dir: &Path, dynamic: &Map<String, Value>) -> Result<bool, ConfigError> {
    let path = data_dir.join(FILE);
    let failed = |error: std::io::Error| ConfigError::File { path: path.clone(), reason: error.to_string() };
    let empty = match fs::read_dir(data_dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => true,
        entries => entries.map_err(failed)?.next().is_none(),
    };
    if empty {
        return Ok(false);
    }
    let directory_mode = fs::metadata(data_dir).map_err(failed)?.permissions().mode();
    let mode = if directory_mode & 0o050 == 0o050 { 0o640 } else { 0o600 };
    let temporary = data_dir.join(format!("{FILE}.{}", std::process::id()));
    let text = serde_json::to_string(dynamic).map_err(|error| failed(error.into()))?;
    let written = write(&temporary, mode, text.as_bytes()).and_then(|()| fs::rename(&temporary, &path));
    if let Err(error) = written {
        if let Err(error) = fs::remove_file(&temporary) {
            tracing::debug!("{} cannot be removed: {error}", temporary.display());
        }
        return Err(failed(error));
    }
    Ok(true)
}

fn write(path: &Path, mode: u32, bytes: &[u8]) -> std::io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}
