//! The vocabulary of PostgreSQL and Patroni as types, so that a byte position is never taken for a timeline.

mod lsn;
mod time;
mod version;
mod version_text;

pub use lsn::{Lsn, LsnParseError, Timeline};
pub use time::{Mono, Wall};
pub use version::PgVersion;
pub use version_text::check_version;

/// The system identifier of a PostgreSQL cluster (`initialize` in the store): decimal digits, at least ten of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct SystemId(pub u64);

impl SystemId {
    /// Reads what stands under `initialize` or in control data. `None` unless it is at least ten digits and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() >= 10 && text.bytes().all(|b| b.is_ascii_digit());
        if digits { text.parse().ok().map(Self) } else { None }
    }
}

impl std::fmt::Display for SystemId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a cluster member, as in its key `members/<name>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct MemberName(std::sync::Arc<str>);

impl MemberName {
    /// Wraps a name as it stands; names are compared byte for byte.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for MemberName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

impl From<&str> for MemberName {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl PartialEq<str> for MemberName {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for MemberName {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_id_has_ten_digits_or_more_and_nothing_else() {
        assert_eq!(SystemId::parse("7123456789012345678"), Some(SystemId(7_123_456_789_012_345_678)));
        for bad in ["", "123456789", "12345678901x", " 1234567890", "-1234567890", "99999999999999999999999"] {
            assert_eq!(SystemId::parse(bad), None, "{bad:?}");
        }
    }
}
