//! What `patronictl` is told: the store and how members are called, without the need of a whole agent's configuration.

use super::environment::{self, Setting};
use super::error::ConfigError;
use super::layers::Local;
use super::reader::{Problems, Section};
use super::settings::{Ctl, Store};
use super::store::Url;
use super::{sections, store, yaml};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Stores that `-d` can name, with their default port.
const SCHEMES: [(&str, u16); 5] =
    [("zookeeper", 2181), ("exhibitor", 8181), ("consul", 8500), ("etcd", 2379), ("etcd3", 2379)];

/// The configuration of `patronictl`.
#[derive(Clone)]
pub struct CtlConfig {
    /// `scope`, the default for a cluster's name.
    pub scope: Option<String>,
    /// `namespace`, default `service`.
    pub namespace: String,
    /// `ctl`, filled from `restapi`.
    pub ctl: Ctl,
    /// The store. Commands that need none work without.
    pub store: Result<Store, ConfigError>,
    /// The local configuration as a whole.
    pub tree: Map<String, Value>,
    /// Lines to warn of.
    pub warnings: Vec<String>,
}

/// Without the values: passwords are among them.
impl std::fmt::Debug for CtlConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CtlConfig").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl CtlConfig {
    /// `patronictl.yaml` in the user's folder for the application `patroni`.
    #[must_use]
    pub fn default_path(variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
        let non_empty = |name: &str| variable(name).filter(|text| !text.is_empty()).map(PathBuf::from);
        let folder = non_empty("XDG_CONFIG_HOME").or_else(|| Some(non_empty("HOME")?.join(".config")))?;
        Some(folder.join("patroni").join("patronictl.yaml"))
    }

    /// Reads the file (`-c` or PATRONICTL_CONFIG_FILE; `None`: the default path, which may be missing), with the
    /// environment over it, and the store of `dcs_url` (`-d`, `DCS_URL`) in place of the configured one.
    ///
    /// # Errors
    /// A file that was asked for is missing, something cannot be read, or the URL names an unknown store.
    pub fn load<I>(path: Option<&Path>, environment: I, dcs_url: Option<&str>) -> Result<Self, ConfigError>
    where
        I: IntoIterator<Item = (String, String)>,
    {
        let variables: Vec<(String, String)> = environment.into_iter().collect();
        let variable = |name: &str| variables.iter().find(|(key, _)| key == name).map(|(_, text)| text.clone());
        if let Some(path) = path.filter(|path| std::fs::metadata(path).is_err()) {
            return Err(ConfigError::NoCtlFile(path.to_owned()));
        }
        let path = path.map(Path::to_owned).or_else(|| Self::default_path(variable).filter(|path| path.exists()));
        let whole = variable(environment::CONFIGURATION).filter(|text| !text.is_empty());
        let (settings, warnings): (Vec<Setting>, _) = environment::read(variables.clone());
        let mut local = match (path, whole) {
            (Some(path), _) => Local::from_path(&path, &settings)?,
            (None, Some(text)) => Local::from_text(&text, environment::CONFIGURATION)?,
            (None, None) => Local::from_environment(&settings),
        };
        if let Some(url) = dcs_url {
            replace_store(&mut local.tree, url)?;
        }
        Self::build(&local, warnings)
    }

    fn build(local: &Local, mut warnings: Vec<String>) -> Result<Self, ConfigError> {
        let problems = Problems::default();
        let root = Section::root(&local.tree, local, &problems);
        let store = store::read(&root);
        let ctl = sections::ctl(&root.section("ctl"), &root.section("restapi"));
        let scope = root.text("scope");
        let namespace = root.text("namespace").unwrap_or_else(|| "service".into());
        let errors = problems.errors.into_inner();
        if !errors.is_empty() {
            return Err(ConfigError::Invalid(errors));
        }
        warnings.extend(problems.warnings.into_inner());
        Ok(Self { scope, namespace, ctl, store, tree: local.tree.clone(), warnings })
    }
}

/// Puts the store of a URL like `etcd3://host:port/namespace` (each part may be missing) in place of all others.
fn replace_store(tree: &mut Map<String, Value>, url: &str) -> Result<(), ConfigError> {
    let full = if url.contains("//") { url.to_owned() } else { format!("//{url}") };
    let unknown = || ConfigError::DcsScheme(url.to_owned());
    let parsed = Url::parse_any(&full, 0).ok_or_else(unknown)?;
    let (scheme, default_port) = if parsed.scheme.is_empty() {
        let by_port = SCHEMES.iter().find(|(_, port)| *port == parsed.port);
        by_port.copied().unwrap_or(("etcd", 2379))
    } else {
        let known = SCHEMES.iter().find(|(name, _)| *name == parsed.scheme);
        known.copied().ok_or_else(|| ConfigError::DcsScheme(parsed.scheme.clone()))?
    };
    let host = if parsed.host.is_empty() { "localhost" } else { &parsed.host };
    let port = if parsed.port == 0 { default_port } else { parsed.port };
    for (name, _) in SCHEMES {
        tree.shift_remove(name);
    }
    let section = match scheme {
        "zookeeper" => json!({"hosts": [super::address::join(host, port)]}),
        "exhibitor" => json!({"hosts": [host], "port": port}),
        _ => json!({"host": super::address::join(host, port)}),
    };
    tree.insert(scheme.to_owned(), section);
    let namespace = parsed.path.trim();
    if !namespace.is_empty() && namespace != "/" {
        tree.insert("namespace".into(), json!(namespace));
    }
    Ok(())
}

/// The dynamic configuration as `patronictl edit-config` shows it and reads it back.
#[must_use]
pub fn for_editing(dynamic: &Map<String, Value>) -> String {
    yaml::dump(&Value::Object(dynamic.clone()), true)
}
