use super::*;
use crate::postgres::test_settings::settings;
use std::path::PathBuf;

fn parameters(pairs: &[(&str, &str)], version: u32) -> Parameters {
    let mut settings = settings(Path::new("/data"));
    settings.postgresql.parameters = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    server_parameters(&settings, &PathBuf::from("/etc/pg"), Some(PgVersion(version)))
}

#[test]
fn protected_parameters_have_defaults_and_bounds() {
    let given = [("max_connections", "20"), ("max_wal_senders", "3"), ("hot_standby", "off"), ("Port", "1")];
    let found = parameters(&given, 150_000);
    for (name, value) in [
        ("max_connections", "100"),
        ("max_wal_senders", "3"),
        ("hot_standby", "on"),
        ("port", "5432"),
        ("cluster_name", "batman"),
        ("wal_level", "replica"),
        ("wal_keep_size", "128MB"),
        ("wal_log_hints", "on"),
        ("max_locks_per_transaction", "64"),
    ] {
        assert_eq!(get(&found, name), Some(value), "{name}");
    }
    assert_eq!(get(&found, "wal_keep_segments"), None);
    assert_eq!(found.keys().filter(|n| n.eq_ignore_ascii_case("port")).count(), 1);
}

#[test]
fn names_follow_the_version() {
    let segments = |pairs: &[(&str, &str)], version| {
        let found = parameters(pairs, version);
        (get(&found, "wal_keep_segments").map(str::to_owned), get(&found, "wal_keep_size").map(str::to_owned))
    };
    let text = |t: &str| Some(t.to_owned());
    assert_eq!(segments(&[("wal_keep_segments", "100")], 130_000), (None, text("1600MB")));
    assert_eq!(segments(&[("wal_keep_segments", "100"), ("wal_keep_size", "1GB")], 160_000), (None, text("1GB")));
    assert_eq!(segments(&[("wal_keep_size", "1GB")], 120_000), (text("64"), None));
    assert_eq!(segments(&[], 120_000), (text("8"), None));
    assert_eq!(get(&parameters(&[("wal_level", "replica")], 90_500), "wal_level"), Some("hot_standby"));
    assert_eq!(get(&parameters(&[("wal_level", "hot_standby")], 90_600), "wal_level"), Some("replica"));
    assert_eq!(get(&parameters(&[("wal_level", "logical")], 150_000), "wal_level"), Some("logical"));
    let old = parameters(&[], 90_300);
    for name in ["cluster_name", "wal_log_hints", "max_replication_slots", "track_commit_timestamp"] {
        assert_eq!(get(&old, name), None, "{name}");
    }
    assert_eq!(get(&parameters(&[("hba_file", "my_hba.conf")], 150_000), "hba_file"), Some("/etc/pg/my_hba.conf"));
    assert_eq!(get(&parameters(&[("hba_file", "/x/hba")], 150_000), "hba_file"), Some("/x/hba"));
}

#[test]
fn the_command_line_has_a_fixed_order() {
    let found = command_line(&parameters(&[("work_mem", "8MB"), ("max_worker_processes", "9")], 150_000));
    assert_eq!(
        found,
        [
            "--listen_addresses=127.0.0.1",
            "--port=5432",
            "--cluster_name=batman",
            "--wal_level=replica",
            "--hot_standby=on",
            "--max_connections=100",
            "--max_wal_senders=10",
            "--max_prepared_transactions=0",
            "--max_locks_per_transaction=64",
            "--track_commit_timestamp=off",
            "--max_replication_slots=10",
            "--max_worker_processes=9",
            "--wal_log_hints=on",
        ]
    );
}

#[test]
fn a_standby_is_never_below_control_data() {
    let line = |label: &str, value: &str| (label.to_owned(), value.to_owned());
    let lines = [
        line("max_connections setting", "200"),
        line("max_worker_processes setting", "4"),
        line("max_wal_senders setting", "10"),
        line("max_prepared_xacts setting", "5"),
        line("max_locks_per_xact setting", "64"),
    ];
    let mut found = parameters(&[], 150_000);
    raise_to_control_data(&mut found, &lines, PgVersion(150_000));
    assert_eq!(get(&found, "max_connections"), Some("200"));
    assert_eq!(get(&found, "max_prepared_transactions"), Some("5"));
    assert_eq!(get(&found, "max_worker_processes"), Some("8"));
    let unknown = found.clone();
    raise_to_control_data(&mut found, &[], PgVersion(150_000));
    assert_eq!(found, unknown);
}

fn row(name: &str, setting: &str, unit: Option<&str>, vartype: &str, context: &str) -> SettingRow {
    SettingRow {
        name: name.to_owned(),
        setting: setting.to_owned(),
        unit: unit.map(str::to_owned),
        vartype: vartype.to_owned(),
        context: context.to_owned(),
        ..SettingRow::default()
    }
}

#[test]
fn only_what_differs_in_value_needs_a_restart() {
    let rows = [
        row("shared_buffers", "16384", Some("8kB"), "integer", "postmaster"),
        row("max_connections", "100", None, "integer", "postmaster"),
        row("work_mem", "4096", Some("kB"), "integer", "user"),
        row("hot_standby", "on", None, "bool", "postmaster"),
        row("recovery_target_name", "", None, "string", "postmaster"),
        row("archive_mode", "off", None, "enum", "postmaster"),
    ];
    let wanted: Parameters = [
        ("shared_buffers", "128MB"),
        ("Max_Connections", "101"),
        ("work_mem", "8MB"),
        ("hot_standby", "off"),
        ("recovery_target_name", "x"),
        ("archive_mode", "ON"),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .into_iter()
    .collect();
    let needed = restart_needed(&rows, &wanted);
    assert_eq!(needed.keys().collect::<Vec<_>>(), ["max_connections", "archive_mode"]);
    let bigger = [("shared_buffers".to_owned(), "1GB".to_owned())].into_iter().collect();
    let value = PendingRestartValue { old_value: "128MB".to_owned(), new_value: "1GB".to_owned() };
    assert_eq!(restart_needed(&rows, &bigger).get("shared_buffers"), Some(&value));
}

#[test]
fn wal_buffers_are_compared_by_their_computed_value() {
    let rows = |buffers: &str, shared: &str| {
        [
            row("wal_buffers", buffers, Some("8kB"), "integer", "postmaster"),
            row("shared_buffers", shared, Some("8kB"), "integer", "postmaster"),
            row("wal_segment_size", "16777216", Some("B"), "integer", "internal"),
            row("wal_block_size", "8192", None, "integer", "internal"),
        ]
    };
    let needed = |buffers: &str, shared: &str, wanted: &str| {
        let wanted = [("wal_buffers".to_owned(), wanted.to_owned())].into_iter().collect();
        !restart_needed(&rows(buffers, shared), &wanted).is_empty()
    };
    assert!(!needed("512", "16384", "-1"));
    assert!(!needed("512", "16384", "4MB"));
    assert!(!needed("2048", "1000000", "-1"));
    assert!(!needed("8", "16", "-1"));
    assert!(needed("512", "16384", "16MB"));
}
