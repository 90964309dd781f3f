//! The data directory as a whole: what it is, removing it, moving it aside (PG-34, PG-41).

use super::{PgError, Server, postmaster};
use crate::cluster::DataDir;
use crate::types::PgVersion;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::{debug, error, info};

/// How long programs of a stopped server (an archive command, say) may take to end, and how often that is looked at.
const SETTLE_PATIENCE: Duration = Duration::from_secs(5);
const SETTLE_STEP: Duration = Duration::from_millis(50);

/// What stands at this place. Hidden files and `lost+found` do not count as content.
#[must_use]
pub fn look(data_dir: &Path) -> DataDir {
    let inaccessible = |e: io::Error| DataDir::Inaccessible(format!("{}: {e}", data_dir.display()));
    let entries = match fs::read_dir(data_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return DataDir::Empty,
        Err(error) => return inaccessible(error),
    };
    for entry in entries {
        match entry {
            Ok(entry) => {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                if !name.starts_with('.') && name != "lost+found" {
                    return DataDir::Present(version(data_dir));
                }
            }
            Err(error) => return inaccessible(error),
        }
    }
    DataDir::Empty
}

fn version(data_dir: &Path) -> Option<PgVersion> {
    match fs::read_to_string(data_dir.join("PG_VERSION")) {
        Ok(text) => PgVersion::from_major(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(reason) => {
            error!("Failed to read PG_VERSION from {}: {reason}", data_dir.display());
            None
        }
    }
}

/// Links below a data directory that lead out of it: (link, target).
type Links = Vec<(PathBuf, PathBuf)>;

/// The WAL directory, when it is a link.
fn wal_links(data_dir: &Path) -> Links {
    ["pg_xlog", "pg_wal"].iter().filter_map(|name| link(data_dir.join(name))).collect()
}

/// Tablespaces: links named by a number. A tablespace inside the data directory is no link.
fn tablespace_links(data_dir: &Path) -> Links {
    let Ok(entries) = fs::read_dir(data_dir.join("pg_tblspc")) else { return Vec::new() };
    let numbered = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
    let entries = entries.flatten().filter(|e| e.file_name().to_str().is_some_and(numbered));
    entries.filter_map(|entry| link(entry.path())).collect()
}

fn link(path: PathBuf) -> Option<(PathBuf, PathBuf)> {
    let is_link = fs::symlink_metadata(&path).is_ok_and(|m| m.is_symlink());
    let target = if is_link { fs::canonicalize(&path).ok() } else { None };
    target.map(|target| (path, target))
}

/// Removes the data directory with the targets of its WAL and tablespace links; a link in its place is only unlinked. What
/// cannot be removed is moved aside.
///
/// # Errors
/// [`PgError::Program`] while a server runs on it, [`PgError::File`] when it could neither be removed nor moved.
pub async fn remove(server: &Server) -> Result<(), PgError> {
    refuse_while_running(server)?;
    let data_dir = server.data_dir();
    info!("Removing data directory: {}", data_dir.display());
    let place = data_dir.clone();
    let removed = tokio::task::spawn_blocking(move || remove_all(&place)).await;
    server.postmaster.set(None);
    match removed.map_err(|e| PgError::File(e.to_string()))? {
        Ok(()) => Ok(()),
        Err(reason) => {
            error!("Could not remove data directory {}: {reason}", data_dir.display());
            move_aside(server).await.map(|_| ())
        }
    }
}

/// An immediate stop leaves backends, and programs that they run, behind for a moment: the former are killed, the latter
/// waited for. Whether any are left is for the one to refuse who needs the directory.
pub(super) async fn settle(server: &Server) -> Result<(), PgError> {
    postmaster::end_orphans(server).await?;
    let gone = async {
        while refuse_while_running(server).is_err() && postmaster::find(server).is_none() {
            tokio::time::sleep(SETTLE_STEP).await;
        }
    };
    if tokio::time::timeout(SETTLE_PATIENCE, gone).await.is_err() {
        debug!("programs of the stopped server are still there");
    }
    Ok(())
}

/// Neither a postmaster nor what outlived one (a backend, a single-user server) may stand on it.
pub(super) fn refuse_while_running(server: &Server) -> Result<(), PgError> {
    let dir = server.data_dir();
    let program = server.bin("postgres");
    let name = program.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let left = || crate::sys::server_processes(&dir, &name, None).first().map(|process| process.pid);
    match postmaster::find(server).map(|p| p.pid).or_else(left) {
        Some(pid) => Err(PgError::Program(format!("PostgreSQL runs on the data directory (pid={pid})"))),
        None => Ok(()),
    }
}

fn remove_all(data_dir: &Path) -> io::Result<()> {
    let meta = match fs::symlink_metadata(data_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        meta => meta?,
    };
    if !meta.is_dir() {
        return fs::remove_file(data_dir);
    }
    for (_, target) in wal_links(data_dir) {
        info!("Removing WAL directory: {}", target.display());
        remove_tree(&target)?;
    }
    for (_, target) in tablespace_links(data_dir) {
        info!("Removing user defined tablespace directory: {}", target.display());
        if let Err(reason) = remove_tree(&target) {
            error!("Could not remove tablespace directory {}: {reason}", target.display());
        }
    }
    remove_tree(data_dir)
}

/// Removes a directory. One that cannot go itself (a mount point) is emptied, which is as good.
fn remove_tree(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(_) if fs::read_dir(directory).is_ok_and(|mut d| d.next().is_none()) => Ok(()),
        result => result,
    }
}

/// Renames the data directory and the targets of its WAL and tablespace links to names that end in `.failed`, replacing
/// earlier ones. Returns the data directory's new place.
///
/// # Errors
/// [`PgError::Program`] while a server runs on it, [`PgError::File`] when something cannot be renamed.
pub async fn move_aside(server: &Server) -> Result<PathBuf, PgError> {
    refuse_while_running(server)?;
    let data_dir = server.data_dir();
    let place = data_dir.clone();
    let moved = tokio::task::spawn_blocking(move || move_all(&place)).await;
    server.postmaster.set(None);
    moved
        .map_err(|e| PgError::File(e.to_string()))?
        .map_err(|reason| PgError::File(format!("Could not rename data directory {}: {reason}", data_dir.display())))
}

fn move_all(data_dir: &Path) -> io::Result<PathBuf> {
    for (source, target) in wal_links(data_dir) {
        info!("renaming WAL directory and updating symlink: {}", target.display());
        relink(&source, &target)?;
    }
    for (source, target) in tablespace_links(data_dir) {
        info!("renaming user defined tablespace directory and updating symlink: {}", target.display());
        relink(&source, &target)?;
    }
    let new = failed_name(data_dir);
    info!("renaming data directory to {}", new.display());
    replace(data_dir, &new)?;
    Ok(new)
}

/// Moves a link's target aside and lets the link lead to its new place. A target that was moved already (by an attempt
/// that failed later) stays where it is.
fn relink(source: &Path, target: &Path) -> io::Result<()> {
    if target.extension().is_some_and(|e| e == "failed") {
        return Ok(());
    }
    let new = failed_name(target);
    replace(target, &new)?;
    fs::remove_file(source)?;
    std::os::unix::fs::symlink(&new, source)
}

fn replace(old: &Path, new: &Path) -> io::Result<()> {
    if fs::symlink_metadata(new).is_ok_and(|m| m.is_dir()) {
        fs::remove_dir_all(new)?;
    }
    fs::rename(old, new)
}

fn failed_name(path: &Path) -> PathBuf {
    // Collecting components drops a closing slash.
    let mut name = path.components().collect::<PathBuf>().into_os_string();
    name.push(".failed");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::postgres::test_settings::settings;
    use std::os::unix::fs::symlink;
    use std::sync::Arc;

    struct Place {
        dir: tempfile::TempDir,
        server: Server,
    }

    /// A data directory with its WAL and a tablespace elsewhere.
    fn place() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        for name in ["data/pg_tblspc", "data/base", "wal", "space/PG_15"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        fs::write(data.join("PG_VERSION"), "15\n").unwrap();
        fs::write(dir.path().join("wal/000000010000000000000001"), "x").unwrap();
        fs::write(dir.path().join("keep"), "x").unwrap();
        symlink(dir.path().join("wal"), data.join("pg_wal")).unwrap();
        symlink(dir.path().join("space"), data.join("pg_tblspc/16384")).unwrap();
        symlink(dir.path().join("keep"), data.join("pg_tblspc/README")).unwrap();
        let server = Server::new(Arc::new(settings(&data)), Clock::system());
        Place { dir, server }
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn hidden_files_are_no_content() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(look(&dir.path().join("missing")), DataDir::Empty);
        assert_eq!(look(dir.path()), DataDir::Empty);
        fs::write(dir.path().join(".hidden"), "").unwrap();
        fs::create_dir(dir.path().join("lost+found")).unwrap();
        assert_eq!(look(dir.path()), DataDir::Empty);
        fs::write(dir.path().join("x"), "").unwrap();
        assert_eq!(look(dir.path()), DataDir::Present(None));
        fs::write(dir.path().join("PG_VERSION"), "9.6\n").unwrap();
        assert_eq!(look(dir.path()), DataDir::Present(Some(PgVersion(90_600))));
        assert!(matches!(look(&dir.path().join("x")), DataDir::Inaccessible(_)));
    }

    #[tokio::test]
    async fn everything_is_removed_with_what_links_lead_to() {
        let p = place();
        remove(&p.server).await.unwrap();
        assert_eq!(names(p.dir.path()), ["keep"]);
        remove(&p.server).await.unwrap();
    }

    #[tokio::test]
    async fn a_link_in_its_place_is_only_unlinked() {
        let p = place();
        let link = p.dir.path().join("link");
        symlink(p.server.data_dir(), &link).unwrap();
        let server = Server::new(Arc::new(settings(&link)), Clock::system());
        remove(&server).await.unwrap();
        assert_eq!(names(p.dir.path()), ["data", "keep", "space", "wal"]);
    }

    #[tokio::test]
    async fn it_is_moved_aside_as_a_whole() {
        let p = place();
        for round in 0..2 {
            let new = move_aside(&p.server).await.unwrap();
            assert_eq!(new, p.dir.path().join("data.failed"));
            assert_eq!(names(p.dir.path()), ["data.failed", "keep", "space.failed", "wal.failed"], "{round}");
            assert!(new.join("pg_wal/000000010000000000000001").exists());
            // Once more, over what was moved before.
            for name in ["data", "wal", "space"] {
                fs::rename(p.dir.path().join(format!("{name}.failed")), p.dir.path().join(name)).unwrap();
            }
            fs::create_dir(p.dir.path().join("wal.failed")).unwrap();
            let data = p.server.data_dir();
            for (source, target) in [("pg_wal", "wal"), ("pg_tblspc/16384", "space")] {
                fs::remove_file(data.join(source)).unwrap();
                symlink(p.dir.path().join(target), data.join(source)).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn nothing_is_removed_under_a_running_server() {
        let p = place();
        let process = crate::sys::detach::spawn_detached(std::process::Command::new("sleep").arg("60")).unwrap();
        let held = crate::sys::detach::hold(process).unwrap().unwrap();
        fs::write(p.server.data_dir().join("postmaster.pid"), format!("{}\n", process.pid)).unwrap();
        assert!(matches!(remove(&p.server).await, Err(PgError::Program(_))));
        assert!(matches!(move_aside(&p.server).await, Err(PgError::Program(_))));
        assert!(p.server.data_dir().join("PG_VERSION").exists());
        held.signal(rustix::process::Signal::KILL).unwrap();
    }
}
