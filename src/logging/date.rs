//! `asctime`: local time, by `log.dateformat` or as Python's default.

use crate::types::Wall;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

/// How times are written.
#[derive(Clone, Debug)]
pub(super) struct DateFormat {
    /// strftime's directives; `None`: `2026-01-02 03:04:05,678`.
    format: Option<String>,
    zone: TimeZone,
}

impl Default for DateFormat {
    fn default() -> Self {
        Self { format: None, zone: TimeZone::system() }
    }
}

impl DateFormat {
    /// `None` for the format is the default one. A format that cannot be used is refused.
    pub fn new(format: Option<&str>) -> Result<Self, String> {
        Self::in_zone(format, TimeZone::system())
    }

    pub fn in_zone(format: Option<&str>, zone: TimeZone) -> Result<Self, String> {
        if let Some(format) = format {
            strtime::format(format, &Wall::UNIX_EPOCH.to_zoned(zone.clone())).map_err(|error| error.to_string())?;
        }
        Ok(Self { format: format.map(str::to_owned), zone })
    }

    pub fn write(&self, time: Wall) -> String {
        let local = time.to_zoned(self.zone.clone());
        match &self.format {
            Some(format) => strtime::format(format, &local).unwrap_or_else(|_| time.to_string()),
            None => format!(
                "{:04}-{:02}-{:02} {:02}:{:02}:{:02},{:03}",
                local.year(),
                local.month(),
                local.day(),
                local.hour(),
                local.minute(),
                local.second(),
                local.millisecond()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_by_format_in_local_time() {
        let time: Wall = "2026-01-02T03:04:05.6789Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        for (format, wanted) in [
            (None, "2026-01-02 05:04:05,678"),
            (Some("%Y-%m-%dT%H:%M:%S%z"), "2026-01-02T05:04:05+0200"),
            (Some("%d.%m.%y %H:%M"), "02.01.26 05:04"),
            (Some("%a %b %j %p %%"), "Fri Jan 002 AM %"),
        ] {
            assert_eq!(DateFormat::in_zone(format, zone.clone()).unwrap().write(time), wanted);
        }
        assert!(DateFormat::new(Some("%!")).is_err());
    }
}
