//! The dynamic configuration's values for the rules (CFG-06 to CFG-17): defaults, bounds, timing rule.

use super::loose::{parse_bool, parse_int};
use super::python;
use super::reader::Section;
use super::settings::{Global, SynchronousMode};
use super::standby_cluster::StandbyCluster;
use serde_json::{Map, Value};
use std::time::Duration;

const MIN_LOOP_WAIT: i64 = 1;
/// Dynamic, local or in the environment.
pub(super) const STRICT_PLACEHOLDER: &str = "synchronous_mode_strict_placeholder";

/// Reads the values. `postgresql` is the merged section: the switches for pg_rewind may also be local; so may
/// `strict_placeholder`, as long as the dynamic configuration does not say it.
pub(super) fn read(
    dynamic: &Map<String, Value>,
    postgresql: &Section<'_>,
    strict_placeholder: bool,
    warnings: &mut Vec<String>,
) -> Global {
    let mut reader = Reader { dynamic, warnings };
    let (ttl, loop_wait, retry_timeout) = timing(&mut reader);
    let seconds = |number: i64| Duration::from_secs(u64::try_from(number).unwrap_or(0));
    let stop_timeout = reader.integer(&["primary_stop_timeout", "master_stop_timeout"], "s", 0, 0);
    let use_slots = reader.mapping("postgresql").and_then(|pg| pg.get("use_slots"));
    let use_slots = use_slots.is_none_or(|value| parse_bool(value).unwrap_or(false));
    let switch = |key: &str| postgresql.raw(key).is_some_and(|value| parse_bool(value).unwrap_or(python::truth(value)));
    Global {
        ttl: seconds(ttl),
        loop_wait: seconds(loop_wait),
        retry_timeout: seconds(retry_timeout),
        maximum_lag_on_failover: reader.integer(&["maximum_lag_on_failover"], "B", 1_048_576, 0).unsigned_abs(),
        maximum_lag_on_syncnode: u64::try_from(reader.integer(&["maximum_lag_on_syncnode"], "B", -1, -1))
            .ok()
            .filter(|bytes| *bytes > 0),
        max_timelines_history: u32::try_from(reader.integer(&["max_timelines_history"], "", 0, 0)).unwrap_or(0),
        primary_start_timeout: seconds(reader.integer(&["primary_start_timeout", "master_start_timeout"], "s", 300, 0)),
        primary_stop_timeout: (stop_timeout > 0).then(|| seconds(stop_timeout)),
        check_timeline: reader.switch("check_timeline"),
        pause: reader.switch("pause"),
        failsafe_mode: reader.switch("failsafe_mode"),
        synchronous_mode: reader.synchronous_mode(),
        synchronous_mode_strict: reader.switch("synchronous_mode_strict"),
        strict_placeholder: match dynamic.get(STRICT_PLACEHOLDER) {
            None | Some(Value::Null) => strict_placeholder,
            Some(_) => reader.switch(STRICT_PLACEHOLDER),
        },
        primary_race_backoff: seconds(reader.integer(&["primary_race_backoff"], "s", 0, 0)),
        synchronous_node_count: u32::try_from(reader.integer(&["synchronous_node_count"], "", 1, 1)).unwrap_or(1),
        member_slots_ttl: seconds(reader.integer(&["member_slots_ttl"], "s", 1800, 0)),
        use_slots,
        use_pg_rewind: switch("use_pg_rewind"),
        remove_data_directory_on_rewind_failure: switch("remove_data_directory_on_rewind_failure"),
        remove_data_directory_on_diverged_timelines: switch("remove_data_directory_on_diverged_timelines"),
        standby_cluster: reader.standby_cluster(),
        slots: reader.slots(),
        ignore_slots: dynamic.get("ignore_slots").and_then(Value::as_array).cloned().unwrap_or_default(),
    }
}

/// ttl, loop_wait and retry_timeout within their bounds and the timing rule (CFG-09).
fn timing(reader: &mut Reader<'_>) -> (i64, i64, i64) {
    let loop_wait = reader.integer(&["loop_wait"], "s", 10, MIN_LOOP_WAIT);
    let retry_timeout = reader.integer(&["retry_timeout"], "s", 10, 3);
    let ttl = reader.integer(&["ttl"], "s", 30, 20);
    let two_retries = retry_timeout.saturating_mul(2);
    if two_retries.saturating_add(MIN_LOOP_WAIT) > ttl {
        let shorter = (ttl - MIN_LOOP_WAIT) / 2;
        reader.warnings.push(format!(
            "Violated the rule \"loop_wait + 2*retry_timeout <= ttl\", where ttl={ttl}. Adjusting loop_wait from \
             {loop_wait} to {MIN_LOOP_WAIT} and retry_timeout from {retry_timeout} to {shorter}"
        ));
        (ttl, MIN_LOOP_WAIT, shorter)
    } else if two_retries.saturating_add(loop_wait) > ttl {
        let shorter = ttl - two_retries;
        reader.warnings.push(format!(
            "Violated the rule \"loop_wait + 2*retry_timeout <= ttl\", where ttl={ttl} and \
             retry_timeout={retry_timeout}. Adjusting loop_wait from {loop_wait} to {shorter}"
        ));
        (ttl, shorter, retry_timeout)
    } else {
        (ttl, loop_wait, retry_timeout)
    }
}

struct Reader<'a> {
    dynamic: &'a Map<String, Value>,
    warnings: &'a mut Vec<String>,
}

impl Reader<'_> {
    /// The first of these keys that is there; what is no number gives the default, what is too low the least value.
    fn integer(&mut self, keys: &[&str], unit: &str, default: i64, least: i64) -> i64 {
        let found = keys.iter().find_map(|key| Some((*key, self.dynamic.get(*key)?)));
        let Some((key, value)) = found.filter(|(_, value)| !value.is_null()) else { return default };
        match parse_int(value, Some(unit)).filter(|number| number.abs() <= i64::from(u32::MAX) * 1_048_576) {
            None => {
                let text = python::repr(value);
                self.warnings.push(format!("{key}={text} is not a number that can be used, defaulting to {default}"));
                default
            }
            Some(number) if number < least => {
                self.warnings.push(format!("{key}={number} can't be smaller than {least}, adjusting..."));
                least
            }
            Some(number) => number,
        }
    }

    fn switch(&mut self, key: &str) -> bool {
        let Some(value) = self.dynamic.get(key).filter(|value| !value.is_null()) else { return false };
        parse_bool(value).unwrap_or_else(|| {
            self.warnings.push(format!("{key}={} is not a boolean, defaulting to off", python::repr(value)));
            false
        })
    }

    fn synchronous_mode(&mut self) -> SynchronousMode {
        let quorum = self.dynamic.get("synchronous_mode").and_then(Value::as_str);
        if quorum.is_some_and(|text| text.eq_ignore_ascii_case("quorum")) {
            SynchronousMode::Quorum
        } else if self.switch("synchronous_mode") {
            SynchronousMode::On
        } else {
            SynchronousMode::Off
        }
    }

    fn mapping(&self, key: &str) -> Option<&Map<String, Value>> {
        self.dynamic.get(key).and_then(Value::as_object)
    }

    fn standby_cluster(&mut self) -> Option<StandbyCluster> {
        StandbyCluster::read(self.dynamic.get("standby_cluster")?, self.warnings)
    }

    fn slots(&self) -> Map<String, Value> {
        ["permanent_replication_slots", "permanent_slots", "slots"]
            .iter()
            .find_map(|key| self.mapping(key).filter(|slots| !slots.is_empty()))
            .cloned()
            .unwrap_or_default()
    }
}
