//! Options of programs (`bootstrap.initdb`, `postgresql.basebackup`, `postgresql.rewind`): a list of words and of one-entry
//! mappings, or a mapping (BOOT-02, BOOT-14, NEXT-02).

use super::python;
use serde_json::Value;

/// Option name and value; `None`: a switch.
pub(super) type ProgramOption = (String, Option<String>);

/// Options of initdb that are Patroni's own business.
pub(super) const REFUSED_BY_INITDB: [&str; 5] = ["pgdata", "nosync", "pwfile", "sync-only", "version"];

/// Those of pg_basebackup. (`compress` depends on the version, so its user decides.)
pub(super) const REFUSED_BY_BASEBACKUP: [&str; 11] = [
    "pgdata",
    "format",
    "wal-method",
    "xlog-method",
    "gzip",
    "version",
    "dbname",
    "host",
    "port",
    "username",
    "password",
];

/// Those of pg_rewind: where it works, and what has to agree with what is done before and after it.
pub(super) const REFUSED_BY_REWIND: [&str; 10] = [
    "target-pgdata",
    "source-pgdata",
    "source-server",
    "write-recovery-conf",
    "dry-run",
    "restore-target-wal",
    "config-file",
    "no-ensure-shutdown",
    "version",
    "help",
];

/// The options in order, and a complaint for each that is left out.
pub(super) fn read(tool: &str, options: &Value, refused: &[&str]) -> (Vec<ProgramOption>, Vec<String>) {
    let mut accepted = Vec::new();
    let mut complaints = Vec::new();
    let mut take = |name: &str, value: Option<String>| {
        if refused.contains(&name) {
            complaints.push(format!("{name} option for {tool} is not allowed"));
        } else {
            accepted.push((name.to_owned(), value));
        }
    };
    let mut bad = Vec::new();
    match options {
        Value::Null => {}
        Value::Object(map) => {
            for (name, value) in map.iter().filter(|(name, value)| !name.is_empty() && python::truth(value)) {
                take(name, Some(unquote(&python::text(value))));
            }
        }
        Value::Array(items) => {
            for item in items {
                match item {
                    Value::String(name) => take(name, None),
                    Value::Object(map) => match single(map) {
                        Some((name, value)) => take(name, Some(unquote(&value))),
                        None => bad.push(format!(
                            "Error when parsing {tool} key-value option {}: only one key-value is allowed and value \
                             should be a string",
                            python::text(item)
                        )),
                    },
                    _ => bad.push(format!(
                        "Error when parsing {tool} option {}: value should be string value or a single key-value pair",
                        python::text(item)
                    )),
                }
            }
        }
        _ => bad.push(format!("{tool} options must be list or dict")),
    }
    complaints.extend(bad);
    (accepted, complaints)
}

/// A mapping of one key to a text or a number.
fn single(map: &serde_json::Map<String, Value>) -> Option<(&String, String)> {
    let mut entries = map.iter();
    match (entries.next(), entries.next()) {
        (Some((name, value @ (Value::String(_) | Value::Number(_)))), None) => Some((name, python::text(value))),
        _ => None,
    }
}

/// Takes shell quotes off a value that is one shell word.
fn unquote(text: &str) -> String {
    match shlex::split(text) {
        Some(words) => match words.as_slice() {
            [word] => word.clone(),
            _ => text.to_owned(),
        },
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // rows: BOOT-02, BOOT-17
    #[test]
    fn lists_and_mappings_become_options() {
        let option = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
        for (options, wanted) in [
            (json!({"foo": "bar"}), vec![option("foo", Some("bar"))]),
            (json!({"foo": "bar", "empty": ""}), vec![option("foo", Some("bar"))]),
            (json!(["yes", {"foo": "bar"}]), vec![option("yes", None), option("foo", Some("bar"))]),
            (json!([{"foo": "bar baz"}]), vec![option("foo", Some("bar baz"))]),
            (json!([{"foo": "\"bar baz\""}]), vec![option("foo", Some("bar baz"))]),
            (json!([{"wal-segsize": 64}]), vec![option("wal-segsize", Some("64"))]),
            (json!(null), vec![]),
        ] {
            assert_eq!(read("foo", &options, &[]), (wanted, vec![]), "{options}");
        }
    }

    // rows: BOOT-02
    #[test]
    fn what_cannot_be_used_is_left_out_and_named() {
        for (options, complaint) in [
            (json!(["pgdata"]), "pgdata option for initdb is not allowed"),
            (json!({"pwfile": "x"}), "pwfile option for initdb is not allowed"),
            (json!([{"a": 1, "b": 2}]), "only one key-value is allowed"),
            (json!([{"a": true}]), "value should be a string"),
            (json!([5]), "value should be string value"),
            (json!("x"), "initdb options must be list or dict"),
        ] {
            let (accepted, complaints) = read("initdb", &options, &REFUSED_BY_INITDB);
            assert_eq!(accepted, vec![]);
            assert!(complaints[0].contains(complaint), "{complaints:?}");
        }
    }

    // rows: NEXT-02
    #[test]
    fn what_the_agent_decides_is_no_option_of_pg_rewind() {
        let given = json!([
            "debug",
            "dry-run",
            "no-ensure-shutdown",
            "restore-target-wal",
            {"source-server": "host=evil"},
            {"config-file": "/x"},
            {"sync-method": "syncfs"}
        ]);
        let (accepted, complaints) = read("rewind", &given, &REFUSED_BY_REWIND);
        assert_eq!(accepted, [("debug".into(), None), ("sync-method".into(), Some("syncfs".into()))]);
        let refused = ["dry-run", "no-ensure-shutdown", "restore-target-wal", "source-server", "config-file"];
        assert_eq!(complaints, refused.map(|name| format!("{name} option for rewind is not allowed")));
    }
}
