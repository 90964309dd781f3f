//! Reading typed values out of the merged tree. A bad local value is an error that names key, reason and place; a bad
//! dynamic value is a warning, and the default is used (CFG-30).

use super::layers::Local;
use super::loose::{Flag, Text};
use super::python;
use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::path::PathBuf;

/// What was found wrong while reading.
#[derive(Default)]
pub(super) struct Problems {
    pub errors: RefCell<Vec<String>>,
    pub warnings: RefCell<Vec<String>>,
}

/// A mapping of the tree with its path.
#[derive(Clone)]
pub(super) struct Section<'a> {
    map: Option<&'a Map<String, Value>>,
    path: String,
    local: &'a Local,
    problems: &'a Problems,
}

impl<'a> Section<'a> {
    pub fn root(map: &'a Map<String, Value>, local: &'a Local, problems: &'a Problems) -> Self {
        Self { map: Some(map), path: String::new(), local, problems }
    }

    /// The value under a key; null counts as absent.
    pub fn raw(&self, key: &str) -> Option<&'a Value> {
        self.map?.get(key).filter(|value| !value.is_null())
    }

    pub fn present(&self) -> bool {
        self.map.is_some()
    }

    /// Entries of the mapping.
    pub fn entries(&self) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
        self.map.into_iter().flatten()
    }

    /// A typed value; `None` when it is absent or cannot be read.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let value = self.raw(key)?;
        match T::deserialize(value) {
            Ok(typed) => Some(typed),
            // The message has the value in it.
            Err(_) if key.contains("password") => {
                self.problem(key, "it is not a text");
                None
            }
            Err(error) => {
                self.problem(key, &error.to_string());
                None
            }
        }
    }

    /// A typed value that must be there.
    pub fn required<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        if self.raw(key).is_none() {
            self.missing(key);
        }
        self.get(key)
    }

    /// The section below a key. What is there and no mapping is a problem.
    pub fn section(&self, key: &str) -> Self {
        let value = self.raw(key);
        let map = value.and_then(Value::as_object);
        if map.is_none() && value.is_some_and(python::truth) {
            self.problem(key, "is not a dictionary");
        }
        Self { map, path: self.path_of(key), local: self.local, problems: self.problems }
    }

    /// A text; an empty one counts as absent.
    pub fn text(&self, key: &str) -> Option<String> {
        self.get::<Text>(key).map(|text| text.0).filter(|text| !text.is_empty())
    }

    pub fn path(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    /// A boolean; absent is false.
    pub fn flag(&self, key: &str) -> bool {
        self.get::<Flag>(key).is_some_and(|flag| flag.0)
    }

    /// All entries as texts; empty ones count as absent.
    pub fn texts(&self) -> IndexMap<String, String> {
        self.entries().filter_map(|(key, _)| Some((key.clone(), self.text(key)?))).collect()
    }

    pub fn missing(&self, key: &str) {
        self.problems.errors.borrow_mut().push(format!("{} is missing", self.path_of(key)));
    }

    /// Something is wrong with the value of a key.
    pub fn problem(&self, key: &str, reason: &str) {
        let path = self.path_of(key);
        match self.local.origin(&path) {
            Some(origin) => self.problems.errors.borrow_mut().push(format!("{path}: {reason} (in {origin})")),
            None => self.warn(format!("{path}: {reason} (in the dynamic configuration); it is ignored")),
        }
    }

    /// The section as a whole cannot be used.
    pub fn fail(&self, reason: &str) {
        self.problems.errors.borrow_mut().push(format!("{}: {reason}", self.path));
    }

    pub fn warn(&self, text: String) {
        self.problems.warnings.borrow_mut().push(text);
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}
