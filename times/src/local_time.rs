//! Times as people write them.

use chrono::{
    DateTime, Days, FixedOffset, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat,
    TimeDelta, Utc,
};

use crate::time_zone::TimeZone;

/// The accepted formats of a time of day.
const TIME_OF_DAY_FORMATS: [&str; 2] = ["%H:%M:%S%.f", "%H:%M"];

/// The length of the shortest date, behind which an offset may stand.
const DATE_LENGTH_MIN: usize = "2026-1-1".len();

/// What a day without a time of day means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DayMeaning {
    /// Its first moment.
    Start,
    /// Its last moment.
    End,
    /// Nothing: a time of day is needed.
    Unclear,
}

/// A time that a person has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenTime {
    /// The moment.
    pub time: DateTime<Utc>,
    /// Whether it was written without an offset, so that a zone was needed to find the moment.
    pub is_local: bool,
}

/// Why a text is not one moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeInputError {
    /// It is no time at all.
    #[error("`{text}` is not a time")]
    NoTime {
        /// The text.
        text: String,
    },
    /// It is a day, and a time of day is needed.
    #[error("`{text}` is a day, but a time is needed")]
    NoTimeOfDay {
        /// The text.
        text: String,
    },
    /// Clocks show it twice.
    #[error("`{text}` is ambiguous in {zone}: it occurs twice when clocks go back")]
    Ambiguous {
        /// The text.
        text: String,
        /// The zone's name.
        zone: String,
        /// The first time.
        first: DateTime<FixedOffset>,
        /// The second time.
        second: DateTime<FixedOffset>,
    },
    /// Clocks never show it.
    #[error("`{text}` does not exist in {zone}: clocks go forward over it")]
    Nonexistent {
        /// The text.
        text: String,
        /// The zone's name.
        zone: String,
    },
}

impl TimeInputError {
    /// What to write instead.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NoTime { .. } => {
                "write it as '2026-11-21 14:03', 'yesterday 14:03', or with its offset as 2026-11-21T14:03:07+01:00 or \
                 2026-11-21T13:03:07Z"
                    .to_owned()
            }
            Self::NoTimeOfDay { text } => format!("write for example '{text} 14:03'"),
            Self::Ambiguous { first, second, .. } => {
                let write = |time: &DateTime<FixedOffset>| {
                    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
                };
                format!("write {} or {}", write(first), write(second))
            }
            Self::Nonexistent { .. } => {
                "write the time with its offset, as 2026-11-21T14:03:07+01:00".to_owned()
            }
        }
    }
}

/// Reads a time: RFC 3339, or a local time in `zone`, also of `today` and `yesterday`; seconds, fractions and the offset
/// may be left out.
///
/// # Errors
/// When it is not one moment.
pub fn read_time(
    text: &str,
    zone: &TimeZone,
    now: DateTime<Utc>,
    day_meaning: DayMeaning,
) -> Result<WrittenTime, TimeInputError> {
    let (local, offset) = split_offset(text.trim());
    let zone = offset.map_or_else(|| zone.clone(), TimeZone::fixed);
    let no_time = || TimeInputError::NoTime {
        text: text.to_owned(),
    };
    let (day, time_of_day) = match local.split_once([' ', 'T']) {
        Some((day, time)) => (day, Some(time.trim())),
        None => (local, None),
    };
    let day = read_day(day, &zone, now).ok_or_else(no_time)?;
    let time = match (time_of_day, day_meaning) {
        (Some(time), _) => {
            let mut formats = TIME_OF_DAY_FORMATS.iter();
            let time = formats.find_map(|form| NaiveTime::parse_from_str(time, form).ok());
            resolve(text, day.and_time(time.ok_or_else(no_time)?), &zone)?
        }
        (None, DayMeaning::Start) => zone.start_of_day(day).ok_or_else(no_time)?,
        (None, DayMeaning::End) => end_of_day(day, &zone).ok_or_else(no_time)?,
        (None, DayMeaning::Unclear) => {
            return Err(TimeInputError::NoTimeOfDay {
                text: text.to_owned(),
            });
        }
    };
    Ok(WrittenTime {
        time,
        is_local: offset.is_none(),
    })
}

/// A local time and its offset, if it has one: `Z`, `+01:00`, `-0800`.
fn split_offset(text: &str) -> (&str, Option<FixedOffset>) {
    if let Some(local) = text.strip_suffix(['Z', 'z']) {
        return (local.trim_end(), FixedOffset::east_opt(0));
    }
    let sign = text.rfind(['+', '-']).filter(|at| *at > DATE_LENGTH_MIN);
    let split = sign.map(|at| text.split_at(at));
    let offset = split.and_then(|(local, offset)| Some((local, offset.parse().ok()?)));
    match offset {
        Some((local, offset)) => (local.trim_end(), Some(offset)),
        None => (text, None),
    }
}

fn read_day(text: &str, zone: &TimeZone, now: DateTime<Utc>) -> Option<NaiveDate> {
    let today = zone.local_time(now).date_naive();
    match text {
        "today" => Some(today),
        "yesterday" => today.checked_sub_days(Days::new(1)),
        _ => NaiveDate::parse_from_str(text, "%Y-%m-%d").ok(),
    }
}

fn resolve(
    text: &str,
    local: NaiveDateTime,
    zone: &TimeZone,
) -> Result<DateTime<Utc>, TimeInputError> {
    match zone.resolve_local_time(local) {
        LocalResult::Single(time) => Ok(time.to_utc()),
        LocalResult::Ambiguous(first, second) => Err(TimeInputError::Ambiguous {
            text: text.to_owned(),
            zone: zone.to_string(),
            first,
            second,
        }),
        LocalResult::None => Err(TimeInputError::Nonexistent {
            text: text.to_owned(),
            zone: zone.to_string(),
        }),
    }
}

/// The last moment of a day.
fn end_of_day(day: NaiveDate, zone: &TimeZone) -> Option<DateTime<Utc>> {
    let next = zone.start_of_day(day.checked_add_days(Days::new(1))?)?;
    next.checked_sub_signed(TimeDelta::microseconds(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> TimeZone {
        TimeZone::find("Europe/Berlin").unwrap()
    }

    /// What a text means in Berlin, shortly after midnight there on 30 November 2026.
    fn read(text: &str, day_meaning: DayMeaning) -> Result<String, TimeInputError> {
        let now = "2026-11-29T23:30:00Z".parse().unwrap();
        let read = read_time(text, &berlin(), now, day_meaning)?;
        let time = read.time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        Ok(format!(
            "{time}{}",
            if read.is_local { " local" } else { "" }
        ))
    }

    #[test]
    fn a_time_without_an_offset_is_of_its_zone() {
        for (text, means) in [
            ("2026-07-01 12:00", "2026-07-01T10:00:00Z local"),
            (
                "2026-07-01T12:00:00.000001",
                "2026-07-01T10:00:00.000001Z local",
            ),
            ("2026-07-01T12:00:00Z", "2026-07-01T12:00:00Z"),
            ("2026-07-01T12:00Z", "2026-07-01T12:00:00Z"),
            ("2026-07-01 12:00:00+05:30", "2026-07-01T06:30:00Z"),
            ("2026-07-01 12:00 -0800", "2026-07-01T20:00:00Z"),
            ("yesterday 18:00", "2026-11-29T17:00:00Z local"),
            ("today 00:10", "2026-11-29T23:10:00Z local"),
            // The day before, by the clocks of that offset.
            ("yesterday 18:00Z", "2026-11-28T18:00:00Z"),
        ] {
            assert_eq!(read(text, DayMeaning::Unclear).unwrap(), means, "{text}");
        }
    }

    #[test]
    fn a_day_is_its_start_or_its_end_or_too_little() {
        let long_day = "2026-10-25";
        let day = |meaning| read(long_day, meaning);
        assert_eq!(
            day(DayMeaning::Start).unwrap(),
            "2026-10-24T22:00:00Z local"
        );
        assert_eq!(
            day(DayMeaning::End).unwrap(),
            "2026-10-25T22:59:59.999999Z local"
        );
        let refused = day(DayMeaning::Unclear).unwrap_err();
        assert_eq!(refused.hint(), "write for example '2026-10-25 14:03'");
    }

    #[test]
    fn what_clocks_show_twice_or_never_is_refused_by_name() {
        let twice = read("2026-10-25 02:30", DayMeaning::End).unwrap_err();
        assert!(matches!(twice, TimeInputError::Ambiguous { .. }), "{twice}");
        assert_eq!(
            twice.hint(),
            "write 2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00"
        );
        let never = read("2026-03-29 02:30", DayMeaning::End).unwrap_err();
        assert!(
            never
                .to_string()
                .contains("does not exist in Europe/Berlin"),
            "{never}"
        );
        // With its offset, either is one moment.
        assert!(read("2026-10-25 02:30+01:00", DayMeaning::End).is_ok());
        assert!(read("2026-03-29T02:30:00+01:00", DayMeaning::End).is_ok());
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for wrong in [
            "",
            "Z",
            "latest",
            "yesterday at noon",
            "2026-13-01 12:00",
            "2026-11-21 25:00",
            "2026",
            "12:00",
            "-",
            "2026-11-21T",
            "é+01:00",
            "2026-11-21 12:00+99:99",
            "99999999-01-01 00:00",
        ] {
            assert!(read(wrong, DayMeaning::End).is_err(), "{wrong}");
        }
    }
}
