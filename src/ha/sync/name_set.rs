//! Sets of member names as `synchronous_standby_names` compares them: without regard to case.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Names in the order of their lower case, with the spelling that came first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NameSet(BTreeMap<String, String>);

impl NameSet {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the name is there.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(&name.to_lowercase())
    }

    /// Adds a name; one that is there keeps its spelling.
    pub fn insert(&mut self, name: &str) {
        self.0.entry(name.to_lowercase()).or_insert_with(|| name.to_owned());
    }

    /// The names, sorted without regard to case.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.values().map(String::as_str)
    }

    /// The names as a list.
    #[must_use]
    pub fn to_vec(&self) -> Vec<String> {
        self.0.values().cloned().collect()
    }

    /// Names of either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).collect()
    }

    /// Names of both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.iter().filter(|name| other.contains(name)).collect()
    }

    /// Names of this one that the other has not.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.iter().filter(|name| !other.contains(name)).collect()
    }

    /// This one and a name.
    #[must_use]
    pub fn with(&self, name: &str) -> Self {
        self.iter().chain([name]).collect()
    }

    /// This one but for a name.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        self.iter().filter(|n| n.to_lowercase() != name.to_lowercase()).collect()
    }

    /// Whether the other has all of these.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.iter().all(|name| other.contains(name))
    }

    /// Whether the other has all of these and more.
    #[must_use]
    pub fn is_proper_subset(&self, other: &Self) -> bool {
        self.len() < other.len() && self.is_subset(other)
    }

    /// As Python prints a list: `['a', 'b']`.
    #[must_use]
    pub fn as_list(&self) -> String {
        let names: Vec<String> = self.iter().map(|name| format!("'{name}'")).collect();
        format!("[{}]", names.join(", "))
    }

    /// `a, b`.
    #[must_use]
    pub fn joined(&self) -> String {
        self.iter().collect::<Vec<_>>().join(", ")
    }
}

impl PartialEq for NameSet {
    fn eq(&self, other: &Self) -> bool {
        self.0.keys().eq(other.0.keys())
    }
}

impl Eq for NameSet {}

impl<S: AsRef<str>> FromIterator<S> for NameSet {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut set = Self::default();
        for name in names {
            set.insert(name.as_ref());
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // rows: SYNC-17
    #[test]
    fn case_does_not_matter() {
        let set: NameSet = ["B", "a", "b"].into_iter().collect();
        assert_eq!(set.to_vec(), ["a", "B"]);
        assert_eq!(set, ["A", "b"].into_iter().collect());
        assert!(set.contains("A") && !set.contains("c") && set.without("A") == ["b"].into_iter().collect());
        assert!(set.is_subset(&set.with("c")) && set.is_proper_subset(&set.with("c")) && !set.is_proper_subset(&set));
        assert_eq!((set.as_list().as_str(), NameSet::default().as_list().as_str()), ("['a', 'B']", "[]"));
    }
}
