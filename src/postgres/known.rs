//! Which parameters the installed server knows: an unknown one in postgresql.conf would keep it from starting.

use super::Server;
use super::parameters::Parameters;
use super::recovery::is_recovery_parameter;
use crate::sys;
use crate::types::PgVersion;
use std::cell::RefCell;
use std::collections::HashSet;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tracing::warn;

/// `postgres --describe-config` prints a list and ends.
const PATIENCE: Duration = Duration::from_secs(10);

/// Names of the last list, by the path of the program.
pub(super) type KnownCache = RefCell<Option<(PathBuf, Rc<HashSet<String>>)>>;

const LATER: u32 = u32::MAX;

/// Parameters that may stand in a file and that the list leaves out (from this version, and before that one).
const UNLISTED: [(&str, u32, u32); 28] = [
    ("allow_system_table_mods", 90_300, LATER),
    ("application_name", 90_300, LATER),
    ("backtrace_functions", 130_000, LATER),
    ("config_file", 90_300, LATER),
    ("debug_discard_caches", 150_000, LATER),
    ("debug_io_direct", 160_000, LATER),
    ("debug_logical_replication_streaming", 160_000, LATER),
    ("debug_parallel_query", 160_000, LATER),
    ("force_parallel_mode", 90_600, 160_000),
    ("ignore_checksum_failure", 90_300, LATER),
    ("ignore_invalid_pages", 130_000, LATER),
    ("ignore_system_indexes", 90_300, LATER),
    ("jit_debugging_support", 110_000, LATER),
    ("jit_dump_bitcode", 110_000, LATER),
    ("jit_expressions", 110_000, LATER),
    ("jit_profiling_support", 110_000, LATER),
    ("jit_tuple_deforming", 110_000, LATER),
    ("post_auth_delay", 90_300, LATER),
    ("pre_auth_delay", 90_300, LATER),
    ("remove_temp_files_after_crash", 140_000, LATER),
    ("trace_notify", 90_300, LATER),
    ("trace_recovery_messages", 90_300, 170_000),
    ("trace_sort", 90_300, LATER),
    ("transaction_deferrable", 90_300, LATER),
    ("transaction_isolation", 90_300, LATER),
    ("transaction_read_only", 90_300, LATER),
    ("wal_consistency_checking", 100_000, LATER),
    ("zero_damaged_pages", 90_300, LATER),
];

/// Removes parameters that the installed server does not know, with a warning. Names with a dot belong to extensions.
/// Removes nothing when the server's list cannot be had.
pub(super) async fn remove_unknown(server: &Server, parameters: &mut Parameters, version: PgVersion) {
    let Some(listed) = listed(server).await else { return };
    parameters.retain(|name, value| {
        let lower = name.to_ascii_lowercase();
        let unlisted =
            UNLISTED.iter().any(|(n, from, till)| *n == lower && version.at_least(*from) && version.0 < *till);
        let known = lower.contains('.') || unlisted || listed.contains(&lower) || is_recovery_parameter(&lower);
        if !known {
            warn!("Removing unexpected parameter={name} value={value} from the config");
        }
        known
    });
}

/// The names that the program lists, in lower case. Asked once for each path of the program.
async fn listed(server: &Server) -> Option<Rc<HashSet<String>>> {
    let program = server.bin("postgres");
    if let Some((path, names)) = &*server.known.borrow()
        && *path == program
    {
        return Some(Rc::clone(names));
    }
    let mut command = tokio::process::Command::new(&program);
    command.arg("--describe-config");
    let output = match sys::output(&mut command, PATIENCE).await {
        Ok(output) if output.status.success() => output,
        Ok(output) => {
            warn!("could not list parameters: {} --describe-config: {}", program.display(), output.status);
            return None;
        }
        Err(reason) => {
            warn!("could not list parameters: {} --describe-config: {reason}", program.display());
            return None;
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let names = text.lines().filter_map(|line| line.split('\t').next()).map(str::to_ascii_lowercase);
    let names: Rc<HashSet<String>> = Rc::new(names.collect());
    server.known.replace(Some((program, Rc::clone(&names))));
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::postgres::test_settings::settings;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    fn given() -> Parameters {
        let names = ["Work_Mem", "nonsense", "my.ext", "restore_command", "jit_expressions", "force_parallel_mode"];
        names.map(|n| (n.to_owned(), "1".to_owned())).into_iter().collect()
    }

    #[tokio::test]
    async fn what_the_server_does_not_know_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(dir.path());
        settings.postgresql.bin_dir = Some(dir.path().to_owned());
        let server = Server::new(Arc::new(settings), Clock::system());
        let mut parameters = given();
        remove_unknown(&server, &mut parameters, PgVersion(160_000)).await;
        assert_eq!(parameters, given(), "without a list nothing is removed");
        let program = dir.path().join("postgres");
        std::fs::write(&program, "#!/bin/sh\nprintf 'work_mem\\tuser\\tx\\nport\\tpostmaster\\n'\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        remove_unknown(&server, &mut parameters, PgVersion(160_000)).await;
        assert_eq!(parameters.keys().collect::<Vec<_>>(), ["Work_Mem", "my.ext", "restore_command", "jit_expressions"]);
    }
}
