//! Which events are logged: the level for all, and those of `log.loggers` (LOG-05).

use super::level::Level;
use crate::config::settings::Log;

/// Loggers of Patroni and its libraries, and where their work is done here.
const ALIASES: [(&str, &[&str]); 12] = [
    ("patroni.__main__", &["patroni.main", "patroni.actors.guardian"]),
    ("patroni.ha", &["patroni.actors.coordinator"]),
    ("patroni.dcs", &["patroni.actors.dcs_session"]),
    ("patroni.dcs.etcd3", &["patroni.dcs.etcd3"]),
    ("patroni.api", &["patroni.actors.rest"]),
    (
        "patroni.postgresql",
        &["patroni.postgres", "patroni.actors.postgres_supervisor", "patroni.actors.postgres_monitor"],
    ),
    ("patroni.watchdog", &["patroni.fencing", "patroni.actors.watchdog"]),
    ("patroni.config", &["patroni.actors.config_store"]),
    ("patroni.request", &["patroni.net", "patroni.actors.peers"]),
    ("urllib3", &["patroni.net", "hyper", "hyper_util", "h2"]),
    ("etcd", &["etcd_client", "tonic", "tower"]),
    ("psycopg", &["tokio_postgres"]),
];

/// The levels in force.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub root: Level,
    /// Logger and level, longest name first.
    rules: Vec<(String, Level)>,
}

impl Default for Filter {
    fn default() -> Self {
        Self { root: Level::Info, rules: Vec::new() }
    }
}

impl Filter {
    /// The levels that the settings ask for.
    pub fn new(log: &Log) -> Self {
        let mut rules = Vec::new();
        for (name, level) in &log.loggers {
            let Some(level) = Level::parse(level) else { continue };
            for here in places(name) {
                // A name that was given itself beats one that follows from another.
                if !log.loggers.contains_key(&here) || here == *name {
                    rules.push((here, level));
                }
            }
        }
        rules.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        Self { root: Level::parse(&log.level).unwrap_or(Level::Info), rules }
    }

    /// Whether an event of this logger is logged.
    pub fn enabled(&self, logger: &str, level: Level) -> bool {
        level >= self.level(logger)
    }

    /// The least level of all loggers.
    pub fn lowest(&self) -> Level {
        self.rules.iter().map(|(_, level)| *level).chain([self.root]).min().unwrap_or(self.root)
    }

    fn level(&self, logger: &str) -> Level {
        let rule = self.rules.iter().find(|(name, _)| is_within(logger, name));
        match rule {
            Some((_, level)) => *level,
            None if is_within(logger, "patroni") => self.root,
            // Libraries here talk more than Python's do: only what matters, unless they are asked for by name.
            None => self.root.max(Level::Warning),
        }
    }
}

/// A logger's name as Python writes it: dots between the parts.
pub(super) fn logger_name(target: &str) -> String {
    target.replace("::", ".")
}

fn is_within(logger: &str, name: &str) -> bool {
    logger.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The logger itself, and where its work is done here. A logger below one of the table (`patroni.postgresql.slots`) is
/// looked for under the same last name.
fn places(name: &str) -> Vec<String> {
    let name = logger_name(name);
    let mut places = vec![name.clone()];
    for (python, here) in ALIASES {
        if name == python {
            places.extend(here.iter().map(|place| (*place).to_owned()));
        } else if let Some(rest) = name.strip_prefix(python).and_then(|rest| rest.strip_prefix('.')) {
            places.extend(here.iter().take(1).map(|place| format!("{place}.{rest}")));
        }
    }
    if let Some(rest) = name.strip_prefix("patroni.postmaster") {
        places.push(format!("patroni.postgres.postmaster{rest}"));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::logging_tests::settings;

    fn filter(level: &str, loggers: &[(&str, &str)]) -> Filter {
        let mut log = settings();
        log.level = level.into();
        log.loggers = loggers.iter().map(|(n, l)| ((*n).to_owned(), (*l).to_owned())).collect();
        Filter::new(&log)
    }

    #[test]
    fn the_most_exact_logger_decides() {
        let filter = filter("INFO", &[("patroni", "ERROR"), ("patroni.ha", "DEBUG")]);
        for (logger, level, enabled) in [
            ("patroni.ha", Level::Debug, true),
            ("patroni.ha.decide", Level::Debug, true),
            ("patroni.actors.coordinator", Level::Debug, true),
            ("patroni.hax", Level::Info, false),
            ("patroni.api", Level::Warning, false),
            ("patroni.api", Level::Error, true),
        ] {
            assert_eq!(filter.enabled(logger, level), enabled, "{logger} {level:?}");
        }
        assert_eq!(filter.lowest(), Level::Debug);
    }

    #[test]
    fn names_of_python_find_their_places_here() {
        for (name, logger) in [
            ("patroni.postgresql", "patroni.postgres.slots"),
            ("patroni.postgresql.slots", "patroni.postgres.slots"),
            ("patroni.postgresql.postmaster", "patroni.postgres.postmaster"),
            ("patroni.postmaster", "patroni.postgres.postmaster"),
            ("patroni.dcs.etcd3", "patroni.dcs.etcd3.lease"),
            ("urllib3.connectionpool", "patroni.net.connectionpool"),
            ("urllib3", "hyper_util.client"),
            ("patroni::dcs", "patroni.dcs"),
        ] {
            let filter = filter("INFO", &[(name, "CRITICAL")]);
            assert!(!filter.enabled(logger, Level::Error), "{name} {logger}");
        }
    }

    #[test]
    fn libraries_are_quiet_unless_named() {
        assert!(!filter("DEBUG", &[]).enabled("h2.codec", Level::Info));
        assert!(filter("DEBUG", &[]).enabled("h2.codec", Level::Warning));
        assert!(filter("DEBUG", &[]).enabled("patroni.ha", Level::Debug));
        assert!(filter("INFO", &[("h2", "DEBUG")]).enabled("h2.codec", Level::Debug));
        assert!(!filter("CRITICAL", &[]).enabled("h2.codec", Level::Error));
    }
}
