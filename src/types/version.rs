//! PostgreSQL versions as the server counts them (`server_version_num`).

use serde::{Deserialize, Serialize};

/// `server_version_num`: 150018 is 15.18, 90624 is 9.6.24.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PgVersion(pub u32);

impl PgVersion {
    /// The number of a major version given as in `PG_VERSION` ("15", "9.6"). `None` if it is no version.
    #[must_use]
    pub fn from_major(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('.').map(|p| p.parse::<u32>().ok().filter(|n| *n < 1000));
        let first = parts.next()??;
        match parts.next() {
            None if first >= 10 => Some(Self(first * 10_000)),
            Some(second) if first < 10 && parts.next().is_none() => Some(Self(first * 10_000 + second? * 100)),
            _ => None,
        }
    }

    /// The version that programs print ("15.18", "9.6.24", "17beta1", "16.4 (Debian 16.4-1)").
    #[must_use]
    pub fn from_full(text: &str) -> Option<Self> {
        let word = text.split_whitespace().next()?;
        let numbers: String = word.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        let mut parts =
            numbers.split('.').filter(|p| !p.is_empty()).map(|p| p.parse::<u32>().ok().filter(|n| *n < 1000));
        let first = parts.next()??;
        let second = parts.next().flatten().unwrap_or(0);
        let third = parts.next().flatten().unwrap_or(0);
        Some(Self(if first >= 10 { first * 10_000 + second } else { first * 10_000 + second * 100 + third }))
    }

    /// Whether features of the major version `number` (90600, 100000, 150000, ...) are there.
    #[must_use]
    pub fn at_least(self, number: u32) -> bool {
        self.0 >= number
    }

    /// The same major version with minor number zero: 150018 gives 150000.
    #[must_use]
    pub fn major(self) -> Self {
        Self(if self.0 >= 100_000 { self.0 / 10_000 * 10_000 } else { self.0 / 100 * 100 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn majors_are_read_from_pg_version_files() {
        assert_eq!(PgVersion::from_major("15\n"), Some(PgVersion(150_000)));
        assert_eq!(PgVersion::from_major("9.6"), Some(PgVersion(90_600)));
        for bad in ["", "9", "15.1", "x", "9.x", "99999"] {
            assert_eq!(PgVersion::from_major(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn full_versions_are_read_from_program_output() {
        assert_eq!(PgVersion::from_full("15.18 (Debian 15.18-0+deb12u1)"), Some(PgVersion(150_018)));
        assert_eq!(PgVersion::from_full("9.6.24"), Some(PgVersion(90_624)));
        assert_eq!(PgVersion::from_full("18beta1"), Some(PgVersion(180_000)));
        assert_eq!(PgVersion(150_018).major(), PgVersion(150_000));
        assert_eq!(PgVersion(90_624).major(), PgVersion(90_600));
    }
}
