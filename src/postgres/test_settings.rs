//! Settings and an upstream for tests of this module.

use crate::cluster::Upstream;
use crate::config::Settings;
use indexmap::IndexMap;
use std::path::Path;

/// Member `node1` with its data in `data_dir` and no PostgreSQL programs, whatever the machine has.
pub(super) fn settings(data_dir: &Path) -> Settings {
    crate::test_settings::settings(|s| {
        s.name = "node1".to_owned();
        s.postgresql.data_dir = data_dir.to_owned();
        s.postgresql.config_dir = data_dir.to_owned();
        s.postgresql.bin_dir = Some(data_dir.with_extension("bin"));
        s.postgresql.pgpass = Some(data_dir.with_extension("pgpass"));
    })
}

/// A member to follow, at this port of the local host, with our slot there.
pub(super) fn upstream(name: &str, port: u16) -> Upstream {
    let conn = [("host", "127.0.0.1".to_owned()), ("port", port.to_string()), ("dbname", "postgres".to_owned())];
    Upstream {
        name: name.to_owned(),
        conn: conn.map(|(k, v)| (k.to_owned(), v)).into_iter().collect(),
        slot: Some("node1".to_owned()),
        recovery: IndexMap::new(),
        is_member: true,
    }
}
