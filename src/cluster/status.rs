//! `status`: the leader's position and the positions of slots.

use super::json::{self, compact};
use crate::types::Lsn;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `{"optime":N,"slots":{name:lsn},"retain_slots":[...]}`; absent parts are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Position of the leader.
    pub optime: Option<Lsn>,
    /// Positions of slots.
    pub slots: Option<IndexMap<String, Lsn>>,
    /// Member slots that are kept although their member is away.
    pub retain_slots: Option<Vec<String>>,
}

impl Status {
    /// Reads `status`, or the bare number of the older `optime/leader`. Slots without a readable position are at 0.
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        let fields = match serde_json::from_slice(value) {
            Ok(Value::Object(fields)) => fields,
            Ok(number @ Value::Number(_)) => return Self { optime: position(Some(&number)), ..Self::default() },
            _ => return Self::default(),
        };
        let slots = structure(fields.get("slots")).and_then(|value| match value {
            Value::Object(slots) => {
                Some(slots.iter().map(|(name, v)| (name.clone(), position(Some(v)).unwrap_or_default())).collect())
            }
            _ => None,
        });
        let retain_slots = structure(fields.get("retain_slots")).and_then(|value| match value {
            Value::Array(names) => Some(names.iter().filter_map(|n| n.as_str().map(str::to_owned)).collect()),
            _ => None,
        });
        Self { optime: position(fields.get("optime")), slots, retain_slots }
    }

    /// The value of the key. Absent and empty parts are left out.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut fields = Map::new();
        if let Some(optime) = self.optime {
            fields.insert("optime".to_owned(), Value::from(optime.0));
        }
        if let Some(slots) = self.slots.as_ref().filter(|s| !s.is_empty()) {
            let slots = slots.iter().map(|(name, lsn)| (name.clone(), Value::from(lsn.0)));
            fields.insert("slots".to_owned(), Value::Object(slots.collect()));
        }
        if let Some(names) = self.retain_slots.as_ref().filter(|n| !n.is_empty()) {
            fields.insert("retain_slots".to_owned(), Value::from(names.clone()));
        }
        compact(&Value::Object(fields))
    }

    /// What a partial update comes to: parts that `self` does not mention are those of `last` (DCS-33). An empty part
    /// is mentioned: it takes the old one away.
    #[must_use]
    pub fn over(&self, last: &Self) -> Self {
        Self {
            optime: self.optime.or(last.optime),
            slots: self.slots.clone().or_else(|| last.slots.clone()),
            retain_slots: self.retain_slots.clone().or_else(|| last.retain_slots.clone()),
        }
    }
}

fn position(value: Option<&Value>) -> Option<Lsn> {
    json::integer(value).and_then(|n| u64::try_from(n).ok()).map(Lsn)
}

/// A part as it stands, or as JSON inside a text (Kubernetes annotations).
fn structure(value: Option<&Value>) -> Option<Value> {
    match value? {
        Value::String(text) => serde_json::from_str(text).ok(),
        other => Some(other.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_written_and_read_as_python_writes_it() {
        let text = r#"{"optime":67108864,"slots":{"a":67108864,"b":1},"retain_slots":["a","b"]}"#;
        let status = Status::parse(text.as_bytes());
        assert_eq!(status.to_json(), text);
        assert_eq!(status.slots.as_ref().unwrap().get("b"), Some(&Lsn(1)));
        assert_eq!(Status::default().to_json(), "{}");
    }

    #[test]
    fn older_and_odd_forms_are_understood() {
        assert_eq!(Status::parse(b"67108864").optime, Some(Lsn(67_108_864)));
        let texts = Status::parse(br#"{"optime":"5","slots":"{\"a\":\"7\",\"b\":null}","retain_slots":"[\"a\",1]"}"#);
        assert_eq!(texts.to_json(), r#"{"optime":5,"slots":{"a":7,"b":0},"retain_slots":["a"]}"#);
        for garbage in ["", "{", "[]", "null", "\"5\"", "-5", r#"{"optime":"x","slots":[],"retain_slots":"y"}"#] {
            assert_eq!(Status::parse(garbage.as_bytes()), Status::default(), "{garbage}");
        }
    }

    #[test]
    fn a_partial_update_keeps_what_it_does_not_mention() {
        let last = Status::parse(br#"{"optime":5,"slots":{"a":5},"retain_slots":["a"]}"#);
        let update = Status { optime: Some(Lsn(6)), slots: None, retain_slots: Some(Vec::new()) };
        assert_eq!(update.over(&last).to_json(), r#"{"optime":6,"slots":{"a":5}}"#);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes: Vec<u8>) {
            let _ = Status::parse(&bytes);
        }

        #[test]
        fn what_is_written_reads_the_same(optime in 0u64..1 << 62, slots in proptest::collection::hash_map("[a-z]{1,5}", 0u64..1 << 62, 1..4)) {
            let slots = slots.into_iter().map(|(n, l)| (n, Lsn(l))).collect();
            let status = Status { optime: Some(Lsn(optime)), slots: Some(slots), retain_slots: None };
            proptest::prop_assert_eq!(Status::parse(status.to_json().as_bytes()), status);
        }
    }
}
