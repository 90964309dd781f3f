//! Times as people write them for switchovers and restarts.

use crate::types::Wall;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;

/// A date and time as written, with its zone if one was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduleTime {
    /// Date and time of day.
    pub civil: DateTime,
    /// Distance from UTC.
    pub offset: Option<Offset>,
}

impl ScheduleTime {
    /// Reads ISO 8601 and its common relatives: date (`2026-05-29`, `2026/05/29`, `20260529`), then optionally
    /// `T` or a blank and the time of day (`04:32[:31[.5]]`, `0432[31]`), then optionally a zone
    /// (`Z`, `UTC`, `GMT`, `+02:00`, `+0200`, `-3`). `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let split = text.char_indices().skip(8).find(|(_, c)| matches!(c, 'T' | 't' | ' '));
        let (date, rest) = match split {
            Some((at, _)) => (text.get(..at)?, text.get(at + 1..)?.trim()),
            None => (text, ""),
        };
        let date = parse_date(date)?;
        if rest.is_empty() {
            return Some(Self { civil: date.to_datetime(Time::midnight()), offset: None });
        }
        let zone_at = rest.find(|c: char| !(c.is_ascii_digit() || matches!(c, ':' | '.' | ',')));
        let (time, zone) = rest.split_at(zone_at.unwrap_or(rest.len()));
        let zone = zone.trim();
        let offset = if zone.is_empty() { None } else { Some(parse_zone(zone)?) };
        Some(Self { civil: date.to_datetime(parse_time(time)?), offset })
    }

    /// The moment; `None` without a zone or out of range.
    #[must_use]
    pub fn moment(&self) -> Option<Wall> {
        self.offset?.to_timestamp(self.civil).ok()
    }

    /// The moment, with `zone` where none was written; and the time with its zone.
    #[must_use]
    pub fn in_zone(&self, zone: &jiff::tz::TimeZone) -> Option<Self> {
        if self.offset.is_some() {
            return Some(*self);
        }
        let offset = zone.to_ambiguous_zoned(self.civil).compatible().ok()?.offset();
        Some(Self { civil: self.civil, offset: Some(offset) })
    }

    /// `2026-05-29T04:32:31[.500000][+02:00]`: the form in which it is stored and shown.
    #[must_use]
    pub fn isoformat(&self) -> String {
        self.render('T')
    }

    fn render(&self, separator: char) -> String {
        let c = self.civil;
        let mut text = format!(
            "{:04}-{:02}-{:02}{separator}{:02}:{:02}:{:02}",
            c.year(),
            c.month(),
            c.day(),
            c.hour(),
            c.minute(),
            c.second()
        );
        let micros = c.subsec_nanosecond() / 1000;
        if micros != 0 {
            text += &format!(".{micros:06}");
        }
        if let Some(offset) = self.offset {
            let seconds = offset.seconds();
            let sign = if seconds < 0 { '-' } else { '+' };
            let (abs, rest) = (seconds.abs() / 60, seconds.abs() % 60);
            text += &format!("{sign}{:02}:{:02}", abs / 60, abs % 60);
            if rest != 0 {
                text += &format!(":{rest:02}");
            }
        }
        text
    }
}

impl std::fmt::Display for ScheduleTime {
    /// As [`ScheduleTime::isoformat`], with a blank between date and time.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render(' '))
    }
}

fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn parse_date(text: &str) -> Option<Date> {
    let parts: Vec<&str> = match text.len() {
        8 if text.is_ascii() => vec![text.get(..4)?, text.get(4..6)?, text.get(6..)?],
        _ => text.split(if text.contains('/') { '/' } else { '-' }).collect(),
    };
    match parts.as_slice() {
        [year, month, day] if year.len() == 4 => Date::new(digits(year)?, digits(month)?, digits(day)?).ok(),
        _ => None,
    }
}

fn parse_time(text: &str) -> Option<Time> {
    let (clock, fraction) = match text.split_once(['.', ',']) {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (text, None),
    };
    let parts: Vec<&str> = if clock.contains(':') {
        clock.split(':').collect()
    } else {
        match clock.len() {
            2 => vec![clock, "0"],
            4 => vec![clock.get(..2)?, clock.get(2..)?],
            6 => vec![clock.get(..2)?, clock.get(2..4)?, clock.get(4..)?],
            _ => return None,
        }
    };
    let nanos = match fraction {
        None => 0,
        Some(f) => {
            let micros: i32 = digits(&format!("{:0<6}", f.get(..f.len().min(6))?))?;
            if parts.len() != 3 || !f.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            micros * 1000
        }
    };
    let second = match parts.get(2) {
        Some(second) => digits(second)?,
        None => 0,
    };
    if parts.len() > 3 {
        return None;
    }
    Time::new(digits(parts.first()?)?, digits(parts.get(1)?)?, second, nanos).ok()
}

fn parse_zone(text: &str) -> Option<Offset> {
    if ["Z", "UTC", "GMT"].iter().any(|name| text.eq_ignore_ascii_case(name)) {
        return Some(Offset::UTC);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let parts: Vec<&str> = match (rest.contains(':'), rest.len()) {
        (true, _) => rest.split(':').collect(),
        (false, 1 | 2) => vec![rest],
        (false, 4) => vec![rest.get(..2)?, rest.get(2..)?],
        _ => return None,
    };
    if parts.len() > 3 {
        return None;
    }
    let mut seconds: i32 = 0;
    for (part, (factor, limit)) in parts.iter().zip([(3600, 24), (60, 60), (1, 60)]) {
        let value: i32 = digits(part).filter(|v| *v < limit)?;
        seconds += value * factor;
    }
    Offset::from_seconds(sign * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_forms_are_read_and_shown_in_one() {
        for (text, shown) in [
            ("2026-05-29T04:32:31+00:00", "2026-05-29T04:32:31+00:00"),
            ("2026-05-29 04:32:31.5 +0230", "2026-05-29T04:32:31.500000+02:30"),
            ("2026-05-29T04:32:31.123456Z", "2026-05-29T04:32:31.123456+00:00"),
            ("2026-05-29T04:32:31-3", "2026-05-29T04:32:31-03:00"),
            ("2026-05-29T04:32", "2026-05-29T04:32:00"),
            ("2026-05-29T04:32 UTC", "2026-05-29T04:32:00+00:00"),
            ("20260529T043231-0330", "2026-05-29T04:32:31-03:30"),
            ("2026/05/29", "2026-05-29T00:00:00"),
        ] {
            assert_eq!(ScheduleTime::parse(text).map(|t| t.isoformat()).as_deref(), Some(shown), "{text}");
        }
        for bad in [
            "",
            "now",
            "2026-13-01",
            "2026-05-29T25:00",
            "2026-05-29T04:32:31+",
            "2026-05-29T04:32 XYZ",
            "04:32",
            "2026-05-29T04:32:31+99:00",
            "2026-05-29T04:32:31.x",
            "ü026-05-29T04",
            "2026-05-2ü 04:00",
            "2026-05-29T04:1:2:3",
        ] {
            assert_eq!(ScheduleTime::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_zone_makes_a_moment() {
        let with = ScheduleTime::parse("2026-05-29T04:32:31+02:00").unwrap();
        assert_eq!(with.moment().unwrap().to_string(), "2026-05-29T02:32:31Z");
        let without = ScheduleTime::parse("2026-05-29T04:32:31").unwrap();
        assert_eq!(without.moment(), None);
        let zoned = without.in_zone(&jiff::tz::TimeZone::fixed(Offset::constant(-5))).unwrap();
        assert_eq!(zoned.isoformat(), "2026-05-29T04:32:31-05:00");
    }
}
