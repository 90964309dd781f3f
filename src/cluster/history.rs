//! `history`: how the cluster came to its timeline.

use super::json::{self, compact};
use crate::types::{Lsn, Timeline};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One change of timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryLine {
    /// The timeline that ended.
    pub timeline: Timeline,
    /// Where it ended.
    pub lsn: Lsn,
    /// PostgreSQL's reason.
    pub reason: String,
    /// When, ISO 8601 with zone; only lines that an agent completed have it.
    pub timestamp: Option<String>,
    /// Who became leader then.
    pub new_leader: Option<String>,
}

/// The lines in order. In JSON a list of lists.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The lines.
    pub lines: Vec<HistoryLine>,
}

impl History {
    /// The timeline after the last line; 1 for no lines.
    #[must_use]
    pub fn next_timeline(&self) -> Timeline {
        Timeline(self.lines.last().map_or(0, |l| l.timeline.0).saturating_add(1))
    }
}

impl History {
    /// Reads the key. `None` when it is no list, or its last line cannot be understood: then the timeline is unknown.
    /// Other unreadable lines are left out.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let rows: Vec<Value> = serde_json::from_slice(value).ok()?;
        let lines: Vec<Option<HistoryLine>> = rows.iter().map(HistoryLine::from_row).collect();
        if lines.last().is_some_and(Option::is_none) {
            return None;
        }
        Some(Self { lines: lines.into_iter().flatten().collect() })
    }

    /// The value of the key.
    #[must_use]
    pub fn to_json(&self) -> String {
        compact(&Value::Array(self.lines.iter().map(HistoryLine::to_row).collect()))
    }

    /// Reads PostgreSQL's `<timeline>.history`: lines of timeline, position and reason with tabs between. Other lines
    /// are left out.
    #[must_use]
    pub fn from_file(text: &str) -> Self {
        Self { lines: text.lines().filter_map(HistoryLine::from_file_line).collect() }
    }
}

impl HistoryLine {
    fn from_row(row: &Value) -> Option<Self> {
        let row = row.as_array()?;
        let optional = |index: usize| json::text(row.get(index));
        Some(Self {
            timeline: Timeline(u32::try_from(json::integer(row.first())?).ok()?),
            lsn: Lsn(json::integer(row.get(1)).and_then(|n| u64::try_from(n).ok()).unwrap_or_default()),
            reason: row.get(2).and_then(Value::as_str).unwrap_or_default().to_owned(),
            timestamp: optional(3),
            new_leader: optional(4),
        })
    }

    fn to_row(&self) -> Value {
        let mut row = vec![Value::from(self.timeline.0), Value::from(self.lsn.0), Value::from(self.reason.as_str())];
        if self.timestamp.is_some() || self.new_leader.is_some() {
            row.push(Value::from(self.timestamp.as_deref()));
        }
        if let Some(leader) = &self.new_leader {
            row.push(Value::from(leader.as_str()));
        }
        Value::Array(row)
    }

    fn from_file_line(line: &str) -> Option<Self> {
        let parts: Vec<&str> = line.trim().split('\t').collect();
        let [timeline, lsn, reason] = parts.as_slice() else { return None };
        Some(Self {
            timeline: Timeline(timeline.trim().parse().ok()?),
            lsn: lsn.parse().ok()?,
            reason: (*reason).to_owned(),
            timestamp: None,
            new_leader: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PYTHON: &str = concat!(
        r#"[[1,50331744,"no recovery target specified","2026-11-20T10:00:00.123456+00:00","b"],"#,
        r#"[2,67109024,"no recovery target specified"]]"#
    );

    // rows: HA-32
    #[test]
    fn the_key_is_written_and_read_as_python_writes_it() {
        let history = History::parse(PYTHON.as_bytes()).unwrap();
        assert_eq!(history.to_json(), PYTHON);
        assert_eq!(history.next_timeline(), Timeline(3));
        assert_eq!(history.lines[0].new_leader.as_deref(), Some("b"));
        assert_eq!(History::parse(b"[]").unwrap().next_timeline(), Timeline(1));
    }

    #[test]
    fn an_unreadable_end_makes_the_timeline_unknown() {
        for bad in ["", "{}", "null", "[[]]", r#"[[1,2,"x"],["y"]]"#, "[[1,2,\"x\"]", "[[-1,0,\"\"]]"] {
            assert_eq!(History::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(History::parse(br#"[5,["2","3","r"]]"#).unwrap().next_timeline(), Timeline(3));
    }

    #[test]
    fn postgresqls_file_is_read() {
        let file = "1\t0/3000060\tno recovery target specified\n\n# comment\n2\t0/40000A0\tat restore point \"x\"\n\
                    x\t0/1\ty\n3\tz\ty\n";
        let history = History::from_file(file);
        assert_eq!(
            history.to_json(),
            r#"[[1,50331744,"no recovery target specified"],[2,67109024,"at restore point \"x\""]]"#
        );
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_the_readers(bytes: Vec<u8>, text in ".*") {
            let _ = History::parse(&bytes);
            let _ = History::from_file(&text);
        }

        #[test]
        fn what_is_written_reads_the_same(rows in proptest::collection::vec((0u32..9, 0u64..1 << 40, ".{0,9}", proptest::option::of("[a-z]{1,5}")), 0..5)) {
            let lines = rows.into_iter().map(|(timeline, lsn, reason, new_leader)| HistoryLine {
                timeline: Timeline(timeline), lsn: Lsn(lsn), reason, timestamp: None, new_leader,
            });
            let history = History { lines: lines.collect() };
            proptest::prop_assert_eq!(History::parse(history.to_json().as_bytes()), Some(history));
        }
    }
}
