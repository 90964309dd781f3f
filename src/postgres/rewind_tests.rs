//! pg_rewind, archive and restore commands, and the single-user server, with programs that write down how they are called.

use super::*;
use crate::clock::Clock;
use crate::config::Settings;
use crate::config::settings::{PgUser, Secret};
use crate::postgres::test_settings::settings;
use crate::postgres::{archive, single_user};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

const SEGMENT: &str = "000000010000000000000003";

struct Place {
    dir: tempfile::TempDir,
    server: Server,
    cancel: tokio::sync::watch::Receiver<bool>,
    _owner: tokio::sync::watch::Sender<bool>,
}

/// A stopped server of this major version, with its configuration elsewhere if `apart`.
fn place(version: &str, apart: bool, change: impl FnOnce(&mut Settings)) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let wal = if version == "9.6" { "pg_xlog" } else { "pg_wal" };
    fs::create_dir_all(data.join(wal).join("archive_status")).unwrap();
    fs::create_dir_all(data.join("pg_replslot/old")).unwrap();
    fs::create_dir_all(dir.path().join("bin")).unwrap();
    fs::write(data.join("PG_VERSION"), format!("{version}\n")).unwrap();
    let mut settings = settings(&data);
    settings.postgresql.bin_dir = Some(dir.path().join("bin"));
    if apart {
        settings.postgresql.config_dir = dir.path().join("etc");
    }
    change(&mut settings);
    let (owner, cancel) = tokio::sync::watch::channel(false);
    Place { server: Server::new(Arc::new(settings), Clock::system()), dir, cancel, _owner: owner }
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program that notes its arguments and the variables of its environment that matter, and goes on with `rest`.
    fn program(&self, name: &str, rest: &str) {
        let file = self.path("bin").join(name);
        let calls = self.path("calls");
        let note = format!("echo \"{name} $* LC_ALL=$LC_ALL PGOPTIONS=$PGOPTIONS\" >> {}", calls.display());
        fs::write(&file, format!("#!/bin/sh\n{note}\n{rest}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What `postgres -C` says.
    fn parameters(&self, parameters: &[(&str, &str)]) {
        let cases = parameters.iter().map(|(name, value)| format!("*' -C {name} '*) echo '{value}';;\n"));
        let cases: String = cases.collect();
        self.program("postgres", &format!("case \" $* \" in\n{cases}esac"));
    }

    fn calls(&self, of: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        text.lines().filter_map(|line| line.strip_prefix(&format!("{of} "))).map(str::to_owned).collect()
    }

    async fn rewind(&self) -> Result<bool, PgError> {
        let conn = [("host", "leader"), ("user", "rewinder"), ("password", "secret"), ("dbname", "postgres")];
        let conn: Conn = conn.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        pg_rewind(&self.server, &conn, &self.cancel).await
    }

    fn ready(&self, segment: &str) {
        let wal = self.server.wal_dir();
        fs::write(wal.join("archive_status").join(format!("{segment}.ready")), "").unwrap();
        fs::write(wal.join(segment), "wal").unwrap();
    }

    fn marked(&self) -> Vec<String> {
        let entries = fs::read_dir(self.server.wal_dir().join("archive_status")).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

// rows: REW-01
#[tokio::test]
async fn pg_rewind_works_when_it_can_be_run() {
    let place = place("15", false, |_| ());
    assert!(!works(&place.server).await, "it is not there");
    place.program("pg_rewind", "exit 1");
    assert!(!works(&place.server).await, "it fails");
    place.program("pg_rewind", "");
    assert!(works(&place.server).await);
    assert!(place.calls("pg_rewind")[0].starts_with("--help "));
}

// rows: REW-04, REW-08
#[tokio::test]
async fn the_call_of_pg_rewind_follows_the_version() {
    for (version, apart, command, wanted) in [
        ("15", false, "cp x", "--restore-target-wal -D"),
        ("15", true, "cp x", "--restore-target-wal --config-file={etc}/postgresql.conf -D"),
        ("15", true, "", "-D"),
        ("14", false, "cp x", "--restore-target-wal -D"),
        ("14", true, "cp x", "-D"),
        ("12", false, "cp x", "-D"),
    ] {
        let place = place(version, apart, |_| ());
        place.parameters(&[("restore_command", command)]);
        place.program("pg_rewind", "");
        assert_eq!(place.rewind().await, Ok(true));
        let wanted = wanted.replace("{etc}", &place.path("etc").display().to_string());
        let [call] = &place.calls("pg_rewind")[..] else { panic!("{version}") };
        assert!(call.starts_with(&format!("{wanted} {} --source-server ", place.path("data").display())), "{call}");
        assert!(call.contains("target_session_attrs=read-write") && !call.contains("secret"), "{call}");
        assert!(call.ends_with("LC_ALL=C PGOPTIONS=-c statement_timeout=0"), "{call}");
    }
}

// rows: REW-08
#[tokio::test]
async fn a_missing_segment_is_fetched_and_pg_rewind_repeated() {
    let there = |place: &Place| place.server.wal_dir().join(SEGMENT).display().to_string();
    let complaining = |place: &Place, channel: &str| {
        let segment = there(place);
        let complaint = format!("echo 'could not open file \"{segment}\": No such file or directory' {channel}");
        place.program("pg_rewind", &format!("test -e {segment} || {{ {complaint}; exit 1; }}"));
    };
    for channel in [">&2", ""] {
        let place = place("12", false, |_| ());
        fs::create_dir(place.path("archive")).unwrap();
        fs::write(place.path("archive").join(SEGMENT), "wal").unwrap();
        let command = format!("cp {}/%f %p", place.path("archive").display());
        place.parameters(&[("restore_command", &command)]);
        complaining(&place, channel);
        assert_eq!(place.rewind().await, Ok(true));
        assert_eq!(place.calls("pg_rewind").len(), 2);
    }
    // Nothing to fetch it with, or it does not come: once is enough.
    for command in ["", "false", "true"] {
        let place = place("12", false, |_| ());
        place.parameters(&[("restore_command", command)]);
        complaining(&place, ">&2");
        assert_eq!(place.rewind().await, Ok(false), "{command}");
        assert_eq!(place.calls("pg_rewind").len(), if command == "true" { 2 } else { 1 }, "{command}");
    }
    // Before 12 the command comes from the settings.
    let place = place("9.6", false, |s| {
        s.postgresql.recovery_conf.insert("restore_command".to_owned(), "touch %p".to_owned());
    });
    complaining(&place, ">&2");
    assert_eq!(place.rewind().await, Ok(true));
}

// rows: REW-06
#[tokio::test]
async fn the_rewind_user_is_used_from_11_on() {
    let user = PgUser { username: Some("rewinder".to_owned()), password: Some(Secret::new("x")), ..PgUser::default() };
    for (version, name) in [("11", "rewinder"), ("10", "postgres")] {
        let place = place(version, false, |s| s.postgresql.rewind = Some(user.clone()));
        assert_eq!(place.server.rewind_user().username.as_deref(), Some(name), "{version}");
    }
    assert_eq!(place("15", false, |_| ()).server.rewind_user().username.as_deref(), Some("postgres"));
}

// rows: REW-07
#[tokio::test]
async fn ready_segments_are_archived_before_anything_is_thrown_away() {
    for (mode, archives) in [("on", true), ("always", true), ("off", false)] {
        let place = place("15", false, |_| ());
        let archive = place.path("archive");
        fs::create_dir(&archive).unwrap();
        // Relative to the data directory, as PostgreSQL runs it.
        place.parameters(&[("archive_mode", mode), ("archive_command", "test -e PG_VERSION && cp %p ../archive/%f")]);
        place.ready(SEGMENT);
        place.ready("000000010000000000000004.partial");
        fs::write(place.server.wal_dir().join("archive_status/000000010000000000000005.ready"), "").unwrap();
        archive::archive_ready(&place.server, &place.cancel).await.unwrap();
        let copied = [SEGMENT, "000000010000000000000004.partial"].map(|name| archive.join(name).exists());
        assert_eq!(copied, [archives; 2], "{mode}");
        let end = if archives { "done" } else { "ready" };
        assert_eq!(
            place.marked(),
            [
                format!("{SEGMENT}.{end}"),
                format!("000000010000000000000004.partial.{end}"),
                "000000010000000000000005.ready".to_owned()
            ],
            "{mode}"
        );
    }
    // A command that fails leaves the marker, and is no reason to stop.
    let place = place("15", false, |_| ());
    place.parameters(&[("archive_mode", "on"), ("archive_command", "false")]);
    place.ready(SEGMENT);
    archive::archive_ready(&place.server, &place.cancel).await.unwrap();
    assert_eq!(place.marked(), [format!("{SEGMENT}.ready")]);
}

// rows: REW-09
#[test]
fn slots_that_pg_rewind_copied_are_removed_before_11() {
    for (version, left) in [("10", 0), ("11", 1)] {
        let place = place(version, false, |_| ());
        clean_slot_directories(&place.server);
        let slots = fs::read_dir(place.path("data/pg_replslot")).unwrap().count();
        assert_eq!(slots, left, "{version}");
    }
}

// rows: REW-07, REW-16
#[tokio::test]
async fn the_single_user_server_has_the_last_options_and_archives_nothing() {
    let place = place("15", false, |_| ());
    fs::create_dir(place.path("archive")).unwrap();
    let command = format!("cp %p {}/%f", place.path("archive").display());
    place.parameters(&[("archive_mode", "on"), ("archive_command", &command)]);
    place.ready(SEGMENT);
    let options = "/bin/postgres \"-D\" \"/d\" \"--wal_log_hints=on\" \"--archive_command=cp %p /x\"\n";
    fs::write(place.path("data/postmaster.opts"), options).unwrap();
    fs::write(place.path("data/standby.signal"), "").unwrap();
    single_user::crash_recovery(&place.server, &place.cancel).await.unwrap();
    let calls = place.calls("postgres");
    let data = place.path("data").display().to_string();
    let wanted =
        format!("--single -D {data} -c archive_command=false -c archive_mode=on -c wal_log_hints=on template1 ");
    assert!(calls.iter().any(|call| call.starts_with(&wanted)), "{calls:?}");
    assert!(place.path("archive").join(SEGMENT).exists(), "archived before");
    assert!(place.marked().is_empty(), "nothing is left to archive under the old timeline");
    assert!(!place.path("data/standby.signal").exists(), "it is no standby while it recovers");
    // An end that is not clean is an error.
    place.program("postgres", "exit 1");
    assert!(single_user::crash_recovery(&place.server, &place.cancel).await.is_err());
}
