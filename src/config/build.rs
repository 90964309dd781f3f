//! From layers to [`Settings`].

use super::effective;
use super::error::ConfigError;
use super::global;
use super::known;
use super::layers::Local;
use super::loose::parse_int;
use super::postgresql;
use super::python;
use super::reader::{Problems, Section};
use super::sections;
use super::settings::{STRICT_PLACEHOLDER_NAME, Settings};
use super::store;
use super::unsupported;
use serde_json::{Map, Value};

/// The settings that the layers make, and the warnings.
///
/// # Errors
/// A local value is missing or cannot be used, or there is no store.
pub(super) fn settings(local: &Local, dynamic: &Map<String, Value>) -> Result<(Settings, Vec<String>), ConfigError> {
    let mut warnings = Vec::new();
    let merged = effective::merge(dynamic, &local.tree, &mut warnings);
    let problems = Problems::default();
    let root = Section::root(&merged.root, local, &problems);
    let store = store::read(&root);
    for key in ["scope", "name"] {
        if root.text(key).is_none() {
            root.missing(key);
        }
    }
    if root.text("name").is_some_and(|name| name.eq_ignore_ascii_case(STRICT_PLACEHOLDER_NAME)) {
        root.problem("name", &format!("'{STRICT_PLACEHOLDER_NAME}' is the name of nobody"));
    }
    let scope = root.text("scope").unwrap_or_default();
    let pg = root.section("postgresql");
    let restapi = root.section("restapi");
    let global = global::read(dynamic, &pg, root.flag(global::STRICT_PLACEHOLDER), &mut warnings);
    let tags: Map<String, Value> =
        root.section("tags").entries().map(|(key, value)| (key.clone(), value.clone())).collect();
    let mut postgresql = postgresql::read(&pg, &scope, &merged.parameters);
    if let Some(standby) = &global.standby_cluster {
        postgresql.create_replica_methods = postgresql::methods(&pg, &standby.create_replica_methods);
    }
    let settings = Settings {
        postgresql,
        scope,
        namespace: root.text("namespace").unwrap_or_else(|| "service".into()),
        name: root.text("name").unwrap_or_default(),
        global,
        ctl: sections::ctl(&root.section("ctl"), &restapi),
        restapi: sections::restapi(&restapi),
        store: store?,
        bootstrap: postgresql::bootstrap(&root.section("bootstrap")),
        watchdog: sections::watchdog(&root.section("watchdog")),
        log: sections::log(&root.section("log")),
        tags,
    };
    let mut errors = problems.errors.into_inner();
    if !errors.is_empty() {
        let mut seen = std::collections::HashSet::new();
        errors.retain(|line| seen.insert(line.clone()));
        return Err(ConfigError::Invalid(errors));
    }
    warnings.extend(problems.warnings.into_inner());
    warnings.extend(contradictory_tags(&settings.tags));
    warnings.extend(unsupported::warnings(&local.tree, dynamic));
    warnings.extend(known::near_misses(&local.tree, dynamic));
    Ok((settings, warnings))
}

/// nofailover against failover_priority, nosync against sync_priority (TAG-*); the boolean wins.
fn contradictory_tags(tags: &Map<String, Value>) -> Vec<String> {
    [("nofailover", "failover_priority"), ("nosync", "sync_priority")]
        .iter()
        .filter_map(|(switch, priority)| {
            let flag = tags.get(*switch)?;
            let number = parse_int(tags.get(*priority)?, None)?;
            // Patroni tests the value itself: any text that is not empty counts as true.
            let contradiction = if python::truth(flag) { number > 0 } else { number <= 0 };
            let flag = python::text(flag);
            contradiction.then(|| {
                format!(
                    "Conflicting configuration between {switch}: {flag} and {priority}: {number}. Defaulting to \
                     {switch}: {flag}"
                )
            })
        })
        .collect()
}
