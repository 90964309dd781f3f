//! Changes to the dynamic configuration: by pairs, by files, in an editor.

use super::CtlError;
use crate::config::{self, yaml};
use serde_json::{Map, Value};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The configuration as people read and edit it.
#[must_use]
pub fn text(data: &Map<String, Value>) -> String {
    yaml::dump(&Value::Object(data.clone()), true)
}

/// Applies `path.to.key=value` pairs: values are YAML, null removes a key, parents are made and emptied ones removed.
/// Below `postgresql.parameters` a dot belongs to the name.
///
/// # Errors
/// A pair without `=`, or a value that is no YAML.
pub fn apply_pairs<'a>(
    data: &mut Map<String, Value>,
    pairs: impl IntoIterator<Item = &'a str>,
) -> Result<(), CtlError> {
    for pair in pairs {
        let wrong = || CtlError::message(format!("Invalid parameter setting {pair}"));
        let (path, value) = pair.split_once('=').ok_or_else(wrong)?;
        let value = yaml::load(value, pair).map_err(|e| CtlError::message(format!("{e}")))?;
        let path = path.trim();
        match path.strip_prefix("postgresql.parameters.") {
            Some(name) => set(data, &["postgresql", "parameters", name], value),
            None => set(data, &path.split('.').collect::<Vec<_>>(), value),
        }
    }
    Ok(())
}

fn set(data: &mut Map<String, Value>, path: &[&str], value: Value) {
    match path {
        [] => {}
        [key] if value.is_null() => drop(data.shift_remove(*key)),
        [key] => drop(data.insert((*key).to_owned(), value)),
        [key, rest @ ..] => {
            let below = data.entry((*key).to_owned()).or_insert(Value::Null);
            if !below.is_object() {
                *below = Value::Object(Map::new());
            }
            if let Some(map) = below.as_object_mut() {
                set(map, rest, value);
                if map.is_empty() {
                    data.shift_remove(*key);
                }
            }
        }
    }
}

/// Applies a YAML text as a patch.
///
/// # Errors
/// It is no YAML mapping.
pub fn apply_yaml(data: &mut Map<String, Value>, text: &str, name: &str) -> Result<(), CtlError> {
    config::patch(data, &mapping(text, name)?);
    Ok(())
}

fn mapping(text: &str, name: &str) -> Result<Map<String, Value>, CtlError> {
    match yaml::load(text, name).map_err(|e| CtlError::message(format!("{e}")))? {
        Value::Object(map) => Ok(map),
        _ => Err(CtlError::message(format!("{name} does not contain a mapping"))),
    }
}

/// Lets the user edit the configuration with `$EDITOR` (else `editor` or `vi`). Returns text and mapping afterwards.
///
/// # Errors
/// There is no editor, it failed, or left something that is no mapping.
pub fn in_editor(before: &str, cluster: &str) -> Result<(String, Map<String, Value>), CtlError> {
    let editor = std::env::var("EDITOR").ok().filter(|e| !e.is_empty()).map(PathBuf::from);
    let missing = || CtlError::message("EDITOR environment variable is not set. editor or vi are not available");
    let editor = editor.or_else(|| ["editor", "vi"].into_iter().find_map(find_program)).ok_or_else(missing)?;
    let file = Scratch::new(before, cluster)?;
    let status = std::process::Command::new(&editor).arg(&file.path).status();
    let status = status.map_err(|e| CtlError::message(format!("{}: {e}", editor.display())))?;
    if !status.success() {
        let code = status.code().unwrap_or(-1);
        return Err(CtlError::message(format!("Editor exited with return code {code}")));
    }
    let after = std::fs::read_to_string(&file.path).map_err(|e| file.failed(&e))?;
    let data = mapping(&after, &file.path.display().to_string())?;
    Ok((after, data))
}

/// The first program of this name in PATH.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Reads a file.
///
/// # Errors
/// It cannot be read.
pub fn read_file(path: &Path) -> Result<String, CtlError> {
    std::fs::read_to_string(path).map_err(|e| CtlError::message(format!("{}: {e}", path.display())))
}

/// A file that only we can read, and that goes away.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new(text: &str, cluster: &str) -> Result<Self, CtlError> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let name = format!("{}-config-{:016x}.yaml", cluster.replace('/', "_"), fastrand::u64(..));
        let scratch = Self { path: std::env::temp_dir().join(name) };
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&scratch.path);
        let written = file.and_then(|mut f| f.write_all(text.as_bytes()));
        written.map_err(|e| scratch.failed(&e))?;
        Ok(scratch)
    }

    fn failed(&self, error: &std::io::Error) -> CtlError {
        CtlError::message(format!("{}: {error}", self.path.display()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!("{} was not removed: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pairs(before: Value, pairs: &[&str]) -> Result<Value, String> {
        let mut data = before.as_object().cloned().unwrap();
        apply_pairs(&mut data, pairs.iter().copied()).map_err(|e| e.to_string())?;
        Ok(Value::Object(data))
    }

    #[test]
    fn pairs_are_applied() {
        for (before, change, after) in [
            (json!({"ttl": 30}), "ttl=20", json!({"ttl": 20})),
            (json!({"ttl": 30}), "ttl=", json!({})),
            (json!({"ttl": 30}), "ttl=null", json!({})),
            (json!({}), "a.b.c=on", json!({"a": {"b": {"c": true}}})),
            (json!({"a": {"b": 1}}), "a.b=null", json!({})),
            (json!({"a": 1}), "a.b=x", json!({"a": {"b": "x"}})),
            (
                json!({}),
                "postgresql.parameters.auto_explain.log_analyze=on",
                json!({"postgresql": {"parameters": {"auto_explain.log_analyze": true}}}),
            ),
            (json!({}), "a=[1, {b: c}]", json!({"a": [1, {"b": "c"}]})),
            (json!({}), "a=b=c", json!({"a": "b=c"})),
        ] {
            assert_eq!(pairs(before, &[change]), Ok(after), "{change}");
        }
        assert_eq!(pairs(json!({}), &["ttl"]), Err("Invalid parameter setting ttl".into()));
        assert!(pairs(json!({}), &["a=["]).is_err());
    }

    #[test]
    fn files_are_patches() {
        let mut data = json!({"ttl": 30, "a": {"b": 1, "c": 2}}).as_object().cloned().unwrap();
        apply_yaml(&mut data, "ttl: null\na:\n  b: 5\n", "file").unwrap();
        assert_eq!(Value::Object(data.clone()), json!({"a": {"b": 5, "c": 2}}));
        assert_eq!(text(&data), "a:\n  b: 5\n  c: 2\n");
        assert!(apply_yaml(&mut data, "- a\n", "file").is_err());
    }
}
