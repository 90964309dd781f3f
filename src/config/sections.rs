//! `restapi`, `ctl`, `log` and `watchdog` as typed settings.

use super::address::{netloc, split_host_port};
use super::loose::{Bytes, Count, Text, parse_bool};
use super::python;
use super::reader::Section;
use super::settings::{BasicAuth, Ctl, Log, RestApi, Secret, VerifyClient, Watchdog, WatchdogMode};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// Names of levels as Python's logging has them.
const LEVELS: [&str; 7] = ["DEBUG", "INFO", "WARN", "WARNING", "ERROR", "FATAL", "CRITICAL"];
const DEFAULT_FORMAT: &str = "%(asctime)s %(levelname)s: %(message)s";

/// Reads `restapi` (CFG-20).
pub(super) fn restapi(section: &Section<'_>) -> RestApi {
    let listen = section.required::<Text>("listen").map(|text| text.0).unwrap_or_default();
    let port = split_host_port(&listen, 0).map(|(_, port)| port);
    if !listen.is_empty() && port.is_none_or(|port| port == 0) {
        section.problem("listen", &format!("expected <HOST>:<PORT>, but got \"{listen}\""));
    }
    let port = port.unwrap_or(0);
    let connect_address = section.text("connect_address").unwrap_or_else(|| listen.clone());
    let address = netloc(&connect_address, port).unwrap_or_else(|| {
        section.problem("connect_address", &format!("expected <HOST>:<PORT>, but got \"{connect_address}\""));
        connect_address
    });
    RestApi {
        listen,
        connect_address: address,
        authentication: authentication(section),
        certfile: section.path("certfile"),
        keyfile: section.path("keyfile"),
        keyfile_password: section.text("keyfile_password").map(Secret::new),
        cafile: section.path("cafile"),
        ciphers: section.text("ciphers"),
        verify_client: verify_client(section),
        allowlist: section
            .raw("allowlist")
            .and_then(Value::as_array)
            .map(|items| items.iter().map(python::text).collect()),
        allowlist_include_members: section.flag("allowlist_include_members"),
        http_extra_headers: section.section("http_extra_headers").texts(),
        https_extra_headers: section.section("https_extra_headers").texts(),
        request_queue_size: number(section, "request_queue_size", 0, 4096).map_or(5, |n| u32::try_from(n).unwrap_or(5)),
        server_tokens: section.text("server_tokens").unwrap_or_else(|| "original".into()),
    }
}

fn verify_client(section: &Section<'_>) -> VerifyClient {
    match section.text("verify_client").unwrap_or_default().to_lowercase().as_str() {
        "required" => VerifyClient::Required,
        "optional" => VerifyClient::Optional,
        "" | "none" => VerifyClient::None,
        other => {
            section.problem("verify_client", &format!("'{other}' is none of none, optional, required"));
            VerifyClient::None
        }
    }
}

/// Reads `ctl` (CFG-21): without credentials or CA of its own it has those of `restapi`.
pub(super) fn ctl(section: &Section<'_>, restapi: &Section<'_>) -> Ctl {
    Ctl {
        authentication: authentication(section).or_else(|| authentication(restapi)),
        insecure: section.flag("insecure"),
        cacert: section.path("cacert").or_else(|| restapi.path("cafile")),
        certfile: section.path("certfile"),
        keyfile: section.path("keyfile"),
        keyfile_password: section.text("keyfile_password").map(Secret::new),
    }
}

fn authentication(section: &Section<'_>) -> Option<BasicAuth> {
    let pair = section.section("authentication");
    if !pair.present() {
        return None;
    }
    let username = pair.required::<Text>("username")?.0;
    let password = pair.required::<Text>("password")?.0;
    Some(BasicAuth { username, password: Secret::new(password) })
}

/// Reads `log` (LOG-*).
pub(super) fn log(section: &Section<'_>) -> Log {
    let dateformat = section.raw("dateformat").and_then(|value| {
        if !value.is_string() {
            section.warn(format!("Expected log dateformat to be a string, but got \"{}\"", python::type_name(value)));
        }
        value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    });
    let loggers = section.section("loggers");
    Log {
        json: json_type(section),
        level: level(section, "level").unwrap_or_else(|| "INFO".into()),
        traceback_level: level(section, "traceback_level").unwrap_or_else(|| "ERROR".into()),
        format: section.raw("format").cloned().unwrap_or_else(|| json!(DEFAULT_FORMAT)),
        dateformat,
        static_fields: section
            .section("static_fields")
            .entries()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect::<Map<_, _>>(),
        // In Python a queue of size zero or less has no limit.
        max_queue_size: number(section, "max_queue_size", i64::MIN, i64::MAX)
            .map_or(1000, |n| usize::try_from(n).ok().filter(|n| *n > 0).unwrap_or(usize::MAX)),
        dir: section.path("dir"),
        file_num: number(section, "file_num", 0, 10_000).map_or(4, |n| u32::try_from(n).unwrap_or(4)),
        file_size: section.get::<Bytes>("file_size").map_or(25_000_000, |n| u64::try_from(n.0).unwrap_or(0)),
        mode: number(section, "mode", 0, 0o777).and_then(|n| u32::try_from(n).ok()),
        loggers: loggers.entries().filter_map(|(name, _)| Some((name.clone(), level(&loggers, name)?))).collect(),
        deduplicate_heartbeat_logs: section.flag("deduplicate_heartbeat_logs"),
    }
}

fn json_type(section: &Section<'_>) -> bool {
    let kind = section.text("type").unwrap_or_else(|| "plain".into());
    if !["plain", "json"].contains(&kind.as_str()) {
        section.problem("type", &format!("'{kind}' is none of plain, json"));
    }
    kind == "json"
}

fn level(section: &Section<'_>, key: &str) -> Option<String> {
    let name = section.text(key)?.to_uppercase();
    if LEVELS.contains(&name.as_str()) {
        return Some(name);
    }
    section.problem(key, &format!("'{name}' is none of {}", LEVELS.join(", ")));
    None
}

/// Reads `watchdog` (WD-*).
pub(super) fn watchdog(section: &Section<'_>) -> Watchdog {
    let mode = match section.raw("mode") {
        None => WatchdogMode::Automatic,
        Some(value) => match python::text(value).to_lowercase().as_str() {
            "off" | "disable" | "disabled" => WatchdogMode::Off,
            "auto" | "automatic" => WatchdogMode::Automatic,
            "require" | "required" => WatchdogMode::Required,
            text => {
                if parse_bool(value) != Some(false) {
                    section.warn(format!("Watchdog mode {text} not recognized, disabling watchdog"));
                }
                WatchdogMode::Off
            }
        },
    };
    Watchdog {
        mode,
        device: section.path("device").unwrap_or_else(|| PathBuf::from("/dev/watchdog")),
        driver: section.text("driver").unwrap_or_else(|| "default".into()),
        safety_margin: number(section, "safety_margin", -1, i64::MAX).unwrap_or(5),
    }
}

/// An integer within bounds; what is outside is a problem.
fn number(section: &Section<'_>, key: &str, least: i64, most: i64) -> Option<i64> {
    let number = section.get::<Count>(key)?.0;
    if (least..=most).contains(&number) {
        return Some(number);
    }
    section.problem(key, &format!("{number} is not between {least} and {most}"));
    None
}
