//! Copies of logical slots: read from the primary, written into the data directory of a stopped standby (SLOT-15,
//! SLOT-16).

use super::connection::{Row, Session, SessionOptions, literal};
use super::files;
use super::replication::{aim_at_primary, member_connection};
use super::sql_error::SqlError;
use super::{PgError, Server};
use crate::cluster::{SlotCopy, SlotKind, Upstream, WantedSlot};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tracing::{error, info, warn};

/// 11 and later, on the primary only; the rewind user may call these functions.
const READ: &str = "SELECT slot_name, slot_type, datname, plugin, \
    pg_catalog.encode(pg_catalog.pg_read_binary_file('pg_replslot/' || slot_name || '/state'), 'hex') \
    FROM pg_catalog.pg_get_replication_slots() JOIN pg_catalog.pg_database ON datoid = oid \
    WHERE{failover} NOT pg_catalog.pg_is_in_recovery() AND slot_name IN ({names})";

/// Reads those of the wanted slots that the leader has in the same shape. A leader that cannot be asked has none.
pub async fn read(server: &Server, leader: &Upstream, wanted: &[WantedSlot]) -> Vec<SlotCopy> {
    match read_from(server, leader, wanted).await {
        Ok(copies) => copies,
        Err(reason) => {
            error!("Failed to copy logical slots from the {} via postgresql connection: {reason}", leader.name);
            Vec::new()
        }
    }
}

async fn read_from(server: &Server, leader: &Upstream, wanted: &[WantedSlot]) -> Result<Vec<SlotCopy>, SqlError> {
    let mut conn = member_connection(server, leader, &server.rewind_user());
    aim_at_primary(&mut conn);
    let session = Session::open(&conn, &SessionOptions::short("")).await?;
    let failover = if session.version().at_least(170_000) { " NOT failover AND" } else { "" };
    let names: Vec<String> = wanted.iter().map(|slot| literal(&slot.name)).collect();
    let sql = READ.replace("{failover}", failover).replace("{names}", &names.join(", "));
    let rows = session.query(&sql).await?;
    Ok(rows.iter().filter_map(|row| copy_of(row, wanted)).collect())
}

fn copy_of(row: &Row, wanted: &[WantedSlot]) -> Option<SlotCopy> {
    let text = |column| row.text(column).unwrap_or_default();
    let wanted = wanted.iter().find(|slot| slot.name == text(0))?;
    let actual = SlotKind::Logical { database: text(2).to_owned(), plugin: text(3).to_owned() };
    if text(1) != "logical" || actual != wanted.kind {
        warn!(
            "Will not copy the logical slot \"{}\" due to the configuration mismatch: configuration={:?}, slot on the \
             primary={actual:?}",
            wanted.name, wanted.kind
        );
        return None;
    }
    Some(SlotCopy { name: wanted.name.clone(), state: from_hex(text(4))? })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.map(byte).collect();
    bytes.filter(|bytes| !bytes.is_empty())
}

/// Writes the slots into the data directory. The server must be stopped. Each is whole or not there.
///
/// # Errors
/// [`PgError::File`], naming the file.
pub fn write(server: &Server, copies: &[SlotCopy]) -> Result<(), PgError> {
    let data_dir = server.data_dir();
    let slots = data_dir.join("pg_replslot");
    for copy in copies {
        write_slot(&data_dir, &slots, copy)?;
        info!("copied the logical slot {} from the primary", copy.name);
    }
    sync_directory(&slots)
}

fn write_slot(data_dir: &Path, slots: &Path, copy: &SlotCopy) -> Result<(), PgError> {
    let (place, temporary) = (slots.join(&copy.name), slots.join(format!("{}.tmp", copy.name)));
    let mode = files::data_file_mode(data_dir);
    remove_directory(&temporary)?;
    fs::create_dir(&temporary).map_err(failed("create", &temporary))?;
    // Whoever may read a file there may enter its directory.
    let enter = (mode & 0o444) >> 2 | 0o100;
    fs::set_permissions(&temporary, Permissions::from_mode(mode | enter)).map_err(failed("chmod", &temporary))?;
    files::write(&temporary.join("state"), &copy.state, mode)?;
    sync_directory(&temporary)?;
    remove_directory(&place)?;
    fs::rename(&temporary, &place).map_err(failed("rename", &temporary))?;
    sync_directory(&place)
}

fn remove_directory(path: &Path) -> Result<(), PgError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

fn sync_directory(path: &Path) -> Result<(), PgError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(failed("sync", path))
}

fn failed(what: &'static str, path: &Path) -> impl Fn(std::io::Error) -> PgError {
    let path: PathBuf = path.to_owned();
    move |error| PgError::File(format!("could not {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    // rows: SLOT-15
    #[test]
    fn a_copy_takes_the_place_of_what_was_there() {
        let data_dir = tempfile::tempdir().unwrap();
        fs::set_permissions(data_dir.path(), Permissions::from_mode(0o750)).unwrap();
        let slots = data_dir.path().join("pg_replslot");
        for leftover in ["a", "a.tmp"] {
            fs::create_dir_all(slots.join(leftover)).unwrap();
            fs::write(slots.join(leftover).join("old"), "x").unwrap();
        }
        let copy = SlotCopy { name: "a".to_owned(), state: from_hex("00ff10").unwrap() };
        write_slot(data_dir.path(), &slots, &copy).unwrap();
        assert_eq!(fs::read(slots.join("a/state")).unwrap(), [0, 255, 16]);
        assert!(!slots.join("a/old").exists() && !slots.join("a.tmp").exists());
        let mode = |name: &str| fs::metadata(slots.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("a"), mode("a/state")), (0o750, 0o640));
        for bad in ["", "0", "zz"] {
            assert_eq!(from_hex(bad).filter(|b| b.len() > 1), None, "{bad}");
        }
    }
}
