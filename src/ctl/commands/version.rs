//! `patronictl version` (CTL-19).

use crate::ctl::CtlError;
use crate::ctl::args::Version;
use crate::ctl::context::{Context, QUICK};
use hyper::Method;
use serde_json::Value;

/// Prints the own version, and with a cluster those of its members.
pub async fn run(context: &mut Context<'_>, args: &Version) -> Result<(), CtlError> {
    context.console.line(&format!("patronictl version {}", crate::PATRONI_VERSION));
    let Some(name) = &args.cluster_name else { return Ok(()) };
    context.console.line("");
    let cluster = context.load(name).await?;
    let asked = |name: &str| args.member_names.is_empty() || args.member_names.iter().any(|n| n == name);
    for member in cluster.members.iter().filter(|m| m.data.api_url.is_some() && asked(m.name.as_str())) {
        let line = match context.request(member, Method::GET, "patroni", None, QUICK).await {
            Ok(answer) => versions(&answer.json().unwrap_or_default()),
            Err(error) => format!("failed to get version: {error}"),
        };
        context.console.line(&format!("{}: {line}", member.name));
    }
    Ok(())
}

fn versions(status: &Value) -> String {
    let agent = status.pointer("/patroni/version").and_then(Value::as_str).unwrap_or("None");
    let server = status.get("server_version").and_then(Value::as_u64).filter(|v| *v != 0);
    let server = server.map_or_else(String::new, |version| {
        if version < 100_000 {
            format!(" PostgreSQL {}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
        } else {
            format!(" PostgreSQL {}.{}", version / 10_000, version % 100)
        }
    });
    format!("Patroni {agent}{server}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn versions_are_shown() {
        for (status, text) in [
            (json!({"patroni": {"version": "4.1.5"}, "server_version": 150018}), "Patroni 4.1.5 PostgreSQL 15.18"),
            (json!({"patroni": {"version": "1.0"}, "server_version": 90624}), "Patroni 1.0 PostgreSQL 9.6.24"),
            (json!({"patroni": {"version": "4.1.5"}}), "Patroni 4.1.5"),
            (json!(null), "Patroni None"),
        ] {
            assert_eq!(versions(&status), text);
        }
    }
}
