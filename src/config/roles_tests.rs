use super::*;
use crate::config::config_tests::{map, with};
use serde_json::{Value, json};

const ROLES: [Option<PgRole>; 4] = [Some(PgRole::Primary), Some(PgRole::Replica), Some(PgRole::StandbyLeader), None];

/// What a local and a dynamic `postgresql` come to as primary, replica, standby leader and without a role.
fn in_roles(local: Value, dynamic: Value) -> [Postgresql; 4] {
    let (mut config, _) = with(json!({"postgresql": local})).unwrap();
    config.set_dynamic(&map(json!({"postgresql": dynamic}))).unwrap();
    let settings = config.settings();
    ROLES.map(|role| settings.in_role(role).postgresql.clone())
}

fn values<'a>(roles: &'a [Postgresql; 4], name: &str) -> [Option<&'a str>; 4] {
    roles.each_ref().map(|pg| pg.parameters.get(name).map(String::as_str))
}

// rows: NEXT-01
#[test]
fn parameters_of_a_role_lie_over_the_common_ones() {
    let roles = in_roles(
        json!({"parameters": {"work_mem": "1MB", "log_statement": "none"}}),
        json!({
            "parameters": {"work_mem": "9MB", "max_connections": 50, "archive_mode": "on"},
            "parameters_primary": {"Work_Mem": "2MB", "archive_mode": null, "autovacuum": true},
            "parameters_replica": {"work_mem": "3MB", "hba_file": "replica.conf"},
        }),
    );
    let [primary, replica, ..] = &roles;
    assert_eq!(values(&roles, "log_statement"), [Some("none"); 4]);
    assert_eq!(values(&roles, "max_connections"), [Some("50"); 4]);
    assert_eq!(values(&roles, "port"), [Some("5432"); 4]);
    // PostgreSQL does not look at the case of names: there is one work_mem in each role.
    assert_eq!(values(&roles, "work_mem"), [None, Some("3MB"), Some("1MB"), Some("1MB")]);
    assert_eq!(primary.parameters["Work_Mem"], "2MB");
    assert_eq!(values(&roles, "archive_mode"), [None, Some("on"), Some("on"), Some("on")]);
    assert_eq!(values(&roles, "autovacuum"), [Some("on"), None, None, None]);
    assert_eq!(replica.parameters["hba_file"], replica.config_dir.join("replica.conf").to_string_lossy());
}

// rows: NEXT-01
#[test]
fn local_keys_of_a_role_take_the_place_of_dynamic_ones_as_a_whole() {
    let roles = in_roles(
        json!({"parameters_standby_leader": {"work_mem": "1MB"}, "pg_hba_primary": ["local"]}),
        json!({
            "parameters_standby_leader": {"work_mem": "2MB", "autovacuum": "off"},
            "pg_hba": ["common"],
            "pg_hba_primary": ["dynamic"],
            "pg_hba_replica": [],
            "pg_ident_standby_leader": "one\ntwo",
        }),
    );
    assert_eq!(values(&roles, "work_mem"), [None, None, Some("1MB"), None]);
    assert_eq!(values(&roles, "autovacuum"), [None; 4]);
    let lines = |of: fn(&Postgresql) -> &Option<Vec<String>>| {
        roles.each_ref().map(|pg| of(pg).as_ref().map(|lines| lines.join(" ")).unwrap_or_default())
    };
    assert_eq!(lines(|pg| &pg.pg_hba), ["local", "", "common", "common"]);
    assert_eq!(lines(|pg| &pg.pg_ident), ["", "", "one two", ""]);
}

// rows: NEXT-01
#[test]
fn a_standby_may_have_recovery_settings_of_its_own() {
    let roles = in_roles(
        json!({"recovery_conf": {"restore_command": "common"}}),
        json!({"parameters_replica": {"restore_command": "own"}}),
    );
    let commands = roles.each_ref().map(|pg| pg.recovery_conf["restore_command"].as_str());
    assert_eq!(commands, ["common", "own", "common", "common"]);
    assert_eq!(values(&roles, "restore_command"), [None; 4]);
}

// rows: NEXT-01
#[test]
fn what_members_must_agree_on_and_what_cannot_be_read_is_named() {
    let local = json!({"parameters_primary": {"MAX_connections": 7, "wal_keep_size": "1GB", "work_mem": "1MB"}});
    let (config, warnings) = with(json!({"postgresql": local})).unwrap();
    let primary = config.settings().in_role(Some(PgRole::Primary)).postgresql.clone();
    assert_eq!(
        (primary.parameters["max_connections"].as_str(), primary.parameters["work_mem"].as_str()),
        ("100", "1MB")
    );
    assert!(!primary.parameters.keys().any(|name| name == "wal_keep_size" || name == "MAX_connections"));
    let wanted = ["MAX_connections", "wal_keep_size"]
        .map(|name| format!("Role-based config attempted to override protected parameter '{name}', ignoring"));
    assert_eq!(warnings, wanted);

    for (local, wanted) in [
        (json!({"parameters_replica": {"work_mem": [1]}}), "postgresql.parameters_replica.work_mem: [1] is no value"),
        (json!({"parameters_replica": "x"}), "postgresql.parameters_replica: is not a dictionary"),
        (json!({"pg_hba_primary": {"a": 1}}), "postgresql.pg_hba_primary: "),
    ] {
        let error = with(json!({"postgresql": local})).err().unwrap().to_string();
        assert!(error.contains(wanted), "{error}");
    }
    // In the dynamic configuration it is left out, and the rest holds.
    let roles = in_roles(
        json!({"pg_hba": ["common"]}),
        json!({"parameters_primary": {"work_mem": [1], "autovacuum": "on"}, "pg_hba_primary": 5, "parameters_replica": 5}),
    );
    assert_eq!((values(&roles, "work_mem"), values(&roles, "autovacuum")), ([None; 4], [Some("on"), None, None, None]));
    assert!(roles.iter().all(|pg| pg.pg_hba.as_ref().is_some_and(|lines| lines == &["common"])));
}

// rows: NEXT-01
#[test]
fn without_keys_of_a_role_nothing_is_copied() {
    let (config, _) = with(json!({"postgresql": {"parameters_replica": {"work_mem": "1MB"}}})).unwrap();
    let settings = config.settings();
    assert!(Arc::ptr_eq(&settings.in_role(Some(PgRole::Primary)), &settings));
    assert!(!Arc::ptr_eq(&settings.in_role(Some(PgRole::Replica)), &settings));
}
