//! Positions in the write-ahead log.

use serde::{Deserialize, Serialize};

/// A byte position in the write-ahead log. In the store and the REST API it is a decimal number; PostgreSQL writes `16/B374D848`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lsn(pub u64);

/// A timeline of the write-ahead log; the first is 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timeline(pub u32);

/// A text that is no log position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a log position (two hexadecimal numbers with a slash between)")]
pub struct LsnParseError(String);

impl Lsn {
    /// How many bytes `self` is ahead of `other`; zero when it is not ahead.
    #[must_use]
    pub fn ahead_of(self, other: Self) -> u64 {
        self.0.saturating_sub(other.0)
    }
}

impl std::str::FromStr for Lsn {
    type Err = LsnParseError;

    /// Reads PostgreSQL's form (type `pg_lsn` in its manual).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || LsnParseError(text.to_owned());
        let (high, low) = text.trim().split_once('/').ok_or_else(error)?;
        let half = |part: &str| {
            let hex = (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit());
            if hex { u64::from_str_radix(part, 16).map_err(|_| error()) } else { Err(error()) }
        };
        Ok(Self(half(high)? << 32 | half(low)?))
    }
}

impl std::fmt::Display for Lsn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl std::fmt::Display for Timeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_positions_are_read_and_written_as_postgresql_does() {
        for (text, bytes) in
            [("0/0", 0), ("0/16B3748", 23_803_720), ("16/B374D848", 97_500_059_720), ("FFFFFFFF/FFFFFFFF", u64::MAX)]
        {
            assert_eq!(text.parse::<Lsn>(), Ok(Lsn(bytes)));
            assert_eq!(Lsn(bytes).to_string(), text);
        }
        for bad in ["", "0", "/", "0/", "g/0", "0/123456789", "-1/0", "+1/0"] {
            assert!(bad.parse::<Lsn>().is_err(), "{bad:?}");
        }
    }
}
