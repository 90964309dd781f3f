//! What a primary without a store asks the other members (POST /failsafe), and what they answer.

use super::json;
use crate::types::Lsn;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;

/// Nobody is kept from leading for longer than this by one call, whatever it says.
const LONGEST: Duration = Duration::from_secs(3600);

/// The question of a primary: may I go on?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailsafeCall {
    /// Its name.
    pub name: String,
    /// Its server, for those who stream from it.
    pub conn_url: String,
    /// Its REST API.
    pub api_url: String,
    /// Positions of its slots, and of itself under the name of its own slot.
    pub slots: Option<IndexMap<String, Lsn>>,
    /// For how long it means to go on when all agree; a caller in Python does not say.
    pub ttl: Option<Duration>,
}

/// A call that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failsafe: '{0}' must be a text that is not empty")]
pub struct FailsafeCallError(&'static str);

impl FailsafeCall {
    /// Reads the body of a call. Slots without a readable position are left out.
    ///
    /// # Errors
    /// Name or an address is missing.
    pub fn parse(body: &Map<String, Value>) -> Result<Self, FailsafeCallError> {
        let text = |key: &'static str| json::text(body.get(key)).ok_or(FailsafeCallError(key));
        let position = |value: &Value| json::integer(Some(value)).and_then(|n| u64::try_from(n).ok()).map(Lsn);
        let slots = body.get("slots").and_then(Value::as_object);
        let slots = slots.map(|slots| slots.iter().filter_map(|(n, v)| Some((n.clone(), position(v)?))).collect());
        let seconds = json::integer(body.get("ttl")).and_then(|n| u64::try_from(n).ok());
        Ok(Self {
            name: text("name")?,
            conn_url: text("conn_url")?,
            api_url: text("api_url")?,
            slots,
            ttl: seconds.map(|n| Duration::from_secs(n).min(LONGEST)),
        })
    }

    /// The body of the call.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut body = Map::new();
        let mut add = |key: &str, value: Value| drop(body.insert(key.to_owned(), value));
        add("name", self.name.as_str().into());
        add("conn_url", self.conn_url.as_str().into());
        add("api_url", self.api_url.as_str().into());
        if let Some(slots) = &self.slots {
            let slots = slots.iter().map(|(name, lsn)| (name.clone(), Value::from(lsn.0)));
            add("slots", Value::Object(slots.collect()));
        }
        if let Some(ttl) = self.ttl {
            add("ttl", ttl.as_secs().into());
        }
        Value::Object(body)
    }
}

/// What one member answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailsafeAnswer {
    /// Its name.
    pub name: String,
    /// It agrees; everything else, silence too, is a refusal.
    pub accepted: bool,
    /// How far it has received or replayed.
    pub position: Option<Lsn>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: &Value) -> Result<FailsafeCall, String> {
        FailsafeCall::parse(body.as_object().unwrap()).map_err(|e| e.to_string())
    }

    // rows: FSM-03
    #[test]
    fn a_call_is_written_and_read_as_members_write_it() {
        let body = json!({"name": "a", "conn_url": "postgres://a:5432/postgres", "api_url": "http://a:8008/patroni",
            "slots": {"b": 67_108_864, "a": 67_108_900}});
        let call = read(&body).unwrap();
        assert_eq!(call.slots.as_ref().unwrap().get("b"), Some(&Lsn(67_108_864)));
        assert_eq!((call.ttl, call.to_json()), (None, body));
        let ours = FailsafeCall { ttl: Some(Duration::from_secs(30)), slots: None, ..call };
        assert_eq!(ours.to_json()["ttl"], 30);
        assert_eq!(read(&ours.to_json()), Ok(ours));
    }

    #[test]
    fn what_is_missing_is_named_and_what_is_odd_is_left_out() {
        for (key, value) in [("name", json!("")), ("conn_url", json!(5)), ("api_url", Value::Null)] {
            let mut body = json!({"name": "a", "conn_url": "p", "api_url": "h"});
            body[key] = value;
            assert_eq!(read(&body), Err(format!("failsafe: '{key}' must be a text that is not empty")));
        }
        let odd =
            json!({"name": "a", "conn_url": "p", "api_url": "h", "slots": {"x": null, "y": -1, "z": "7"}, "ttl": 1e9});
        let call = read(&odd).unwrap();
        assert_eq!(call.slots.unwrap().into_iter().collect::<Vec<_>>(), [("z".to_owned(), Lsn(7))]);
        assert_eq!(call.ttl, Some(LONGEST));
        let none = json!({"name": "a", "conn_url": "p", "api_url": "h", "slots": [1], "ttl": -5});
        assert_eq!((read(&none).unwrap().slots, read(&none).unwrap().ttl), (None, None));
    }
}
