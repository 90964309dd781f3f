//! Metrics of our own beside Patroni's: counted anywhere in the agent through the `metrics` crate, shown by /metrics.

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;

/// The recorder is the process's, as the `metrics` crate has it.
static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Name and meaning of each counter.
const COUNTERS: [(&str, &str); 4] = [
    ("patroni_cycles_total", "HA cycles that came to their end."),
    ("patroni_cycles_given_up_total", "HA cycles that were given up: a bug, or no news of the server."),
    ("patroni_late_answers_total", "Answers that came after their cycle had stopped waiting for them."),
    ("patroni_journal_lines_lost_total", "Cycles that could not be written to the journal's file."),
];

/// Counts from now on; every series carries the cluster's and the member's name. A second call changes nothing.
///
/// # Errors
/// Another recorder is there already.
pub fn install(scope: &str, name: &str) -> Result<(), BuildError> {
    if RECORDER.get().is_some() {
        return Ok(());
    }
    let builder = PrometheusBuilder::new().add_global_label("scope", scope).add_global_label("name", name);
    let handle = builder.install_recorder()?;
    for (name, meaning) in COUNTERS {
        metrics::describe_counter!(name, meaning);
        metrics::counter!(name).increment(0);
    }
    RECORDER.get_or_init(|| handle);
    Ok(())
}

/// The series in Prometheus' text form; empty when nothing counts.
#[must_use]
pub fn render() -> String {
    RECORDER.get().map_or_else(String::new, |recorder| {
        recorder.run_upkeep();
        recorder.render()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown_with_the_names() {
        install("batman", "robin").unwrap();
        install("batman", "robin").unwrap();
        metrics::counter!("patroni_cycles_total").increment(1);
        let page = render();
        let line = page.lines().find(|l| l.starts_with("patroni_cycles_total{")).unwrap();
        assert!(line.contains("scope=\"batman\"") && line.contains("name=\"robin\""), "{line}");
        assert!(!line.ends_with(" 0"), "{line}");
        assert!(page.contains("# TYPE patroni_late_answers_total counter"), "{page}");
    }
}
