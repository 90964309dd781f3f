//! From configuration to what commands work with.

use super::CtlError;
use super::args::Cli;
use super::context::Setup;
use crate::clock::Clock;
use crate::config::{CtlConfig, loose};
use crate::dcs;
use serde_json::Value;
use std::time::Duration;

/// Reads configuration file and environment; options of the command line come over them.
///
/// # Errors
/// What cannot be read or used.
pub fn load(cli: &Cli) -> Result<Setup, CtlError> {
    let environment = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let config = CtlConfig::load(cli.config_file.as_deref(), environment, cli.dcs_url.as_deref());
    let config = config.map_err(|e| CtlError::message(e.to_string()))?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let seconds = |key: &str| {
        let value = config.tree.get(key).and_then(|v| loose::parse_int(v, Some("s")));
        let value = value.and_then(|v| u64::try_from(v).ok()).filter(|v| *v > 0);
        Duration::from_secs(value.unwrap_or(10))
    };
    let mut ctl = config.ctl.clone();
    ctl.insecure |= cli.insecure;
    Ok(Setup {
        scope: config.tree.get("scope").filter(|v| !v.is_null()).map(scope_text),
        ctl,
        budget: seconds("retry_timeout"),
        loop_wait: seconds("loop_wait"),
        open: Box::new(move |scope| {
            let store = config.store.as_ref().map_err(|e| CtlError::message(e.to_string()))?;
            let opened = dcs::connect_for_ctl(store, &config.namespace, scope, Clock::system());
            opened.map_err(|e| CtlError::message(e.to_string()))
        }),
    })
}

fn scope_text(value: &Value) -> String {
    crate::config::python::text(value)
}
