//! The text of a member key, both ways.

use super::json::{compact, integer, text};
use super::{MemberData, MemberTags, Role, conn_url};
use crate::config::python::truth;
use crate::types::{Lsn, Timeline};
use serde::Serialize;
use serde_json::{Map, Value};

impl MemberData {
    /// Reads a member key. A field that cannot be understood counts as absent, a value that is no object as empty;
    /// `postgres://...?application_name=<api_url>` is the form of Patroni's ancestor.
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        if value.starts_with(b"postgres") {
            return Self::parse_legacy(&String::from_utf8_lossy(value));
        }
        match serde_json::from_slice(value) {
            Ok(Value::Object(fields)) => Self::from_fields(&fields),
            _ => Self::default(),
        }
    }

    fn parse_legacy(value: &str) -> Self {
        let (conn_url, query) = value.split_once('?').unwrap_or((value, ""));
        let (query, fragment) = query.split_once('#').map_or((query, None), |(q, f)| (q, Some(f)));
        let api_url = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(k, _)| *k == "application_name");
        Self {
            conn_url: Some(fragment.map_or_else(|| conn_url.to_owned(), |f| format!("{conn_url}#{f}"))),
            api_url: api_url.map(|(_, url)| conn_url::decoded(&url.replace('+', " "))),
            ..Self::default()
        }
    }

    fn from_fields(fields: &Map<String, Value>) -> Self {
        let get = |name: &str| fields.get(name);
        let lsn = |name: &str| integer(get(name)).and_then(|n| u64::try_from(n).ok()).map(Lsn);
        Self {
            conn_url: text(get("conn_url")).or_else(|| url_from_kwargs(get("conn_kwargs"))),
            api_url: text(get("api_url")),
            state: typed(get("state")),
            role: typed::<Role>(get("role")),
            version: text(get("version")),
            proxy_url: text(get("proxy_url")),
            checkpoint_after_promote: get("checkpoint_after_promote").and_then(Value::as_bool),
            tags: MemberTags(get("tags").and_then(Value::as_object).cloned().unwrap_or_default()),
            pending_restart: get("pending_restart").is_some_and(truth).then_some(true),
            pending_restart_reason: typed(get("pending_restart_reason")),
            xlog_location: lsn("xlog_location"),
            replay_lsn: lsn("replay_lsn"),
            receive_lsn: lsn("receive_lsn"),
            replication_state: text(get("replication_state")),
            timeline: integer(get("timeline")).and_then(|n| u32::try_from(n).ok()).map(Timeline),
            scheduled_restart: typed(get("scheduled_restart")),
            pause: get("pause").is_some_and(truth).then_some(true),
        }
    }

    /// The value of the member key: compact JSON, absent fields left out. Tags are written as they stand here; the
    /// caller passes [`MemberTags::published`].
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut fields = Map::new();
        put(&mut fields, "conn_url", self.conn_url.as_ref());
        put(&mut fields, "api_url", self.api_url.as_ref());
        put(&mut fields, "state", self.state.as_ref());
        put(&mut fields, "role", self.role.as_ref());
        put(&mut fields, "version", self.version.as_ref());
        put(&mut fields, "proxy_url", self.proxy_url.as_ref());
        put(&mut fields, "checkpoint_after_promote", self.checkpoint_after_promote.as_ref());
        put(&mut fields, "tags", Some(&self.tags).filter(|t| !t.0.is_empty()));
        put(&mut fields, "pending_restart", self.pending_restart.as_ref());
        put(&mut fields, "pending_restart_reason", self.pending_restart_reason.as_ref());
        put(&mut fields, "xlog_location", self.xlog_location.as_ref());
        put(&mut fields, "replay_lsn", self.replay_lsn.as_ref());
        put(&mut fields, "receive_lsn", self.receive_lsn.as_ref());
        put(&mut fields, "replication_state", self.replication_state.as_ref());
        put(&mut fields, "timeline", self.timeline.as_ref());
        put(&mut fields, "scheduled_restart", self.scheduled_restart.as_ref());
        put(&mut fields, "pause", self.pause.as_ref());
        compact(&Value::Object(fields))
    }
}

fn put<T: Serialize>(fields: &mut Map<String, Value>, name: &str, value: Option<&T>) {
    if let Some(value) = value.and_then(|v| serde_json::to_value(v).ok()) {
        fields.insert(name.to_owned(), value);
    }
}

fn typed<T: serde::de::DeserializeOwned>(value: Option<&Value>) -> Option<T> {
    value.and_then(|v| serde_json::from_value(v.clone()).ok())
}

/// The form in which remote members of standby clusters are described.
fn url_from_kwargs(value: Option<&Value>) -> Option<String> {
    let fields = value?.as_object()?;
    let host = text(fields.get("host"))?;
    let port = integer(fields.get("port")).unwrap_or(5432);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Some(format!("postgresql://{host}:{port}"))
}

#[cfg(test)]
#[path = "member_json_tests.rs"]
mod tests;
