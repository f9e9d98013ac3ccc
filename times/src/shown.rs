//! The zone in which this process shows times to people.
//!
//! One value of the process, because a time may be part of a message that is made far from where it is printed.

use std::sync::OnceLock;

use chrono::{DateTime, SecondsFormat, Utc};

use crate::time_zone::TimeZone;

static SHOWN_ZONE: OnceLock<TimeZone> = OnceLock::new();

/// Shows all times in a zone from now on. Only the first call counts; without one, times are shown in UTC.
pub fn show_times_in(zone: TimeZone) {
    SHOWN_ZONE.get_or_init(|| zone);
}

/// A time for people, to the second, with its offset: `2026-11-29T18:00:00+01:00`, in UTC `2026-11-29T17:00:00Z`.
#[must_use]
pub fn format_time(time: &DateTime<Utc>) -> String {
    shown_zone().format_time(*time, SecondsFormat::Secs)
}

/// As [`format_time`], to the microsecond.
#[must_use]
pub fn format_precise_time(time: &DateTime<Utc>) -> String {
    shown_zone().format_time(*time, SecondsFormat::Micros)
}

fn shown_zone() -> TimeZone {
    SHOWN_ZONE.get().cloned().unwrap_or_else(TimeZone::utc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_utc_until_a_zone_is_chosen_and_then_in_that_one() {
        let time: DateTime<Utc> = "2026-11-29T17:00:00.25Z".parse().unwrap();
        assert_eq!(format_time(&time), "2026-11-29T17:00:00Z");
        show_times_in(TimeZone::find("Europe/Paris").unwrap());
        show_times_in(TimeZone::utc());
        assert_eq!(format_time(&time), "2026-11-29T18:00:00+01:00");
        assert_eq!(
            format_precise_time(&time),
            "2026-11-29T18:00:00.250000+01:00"
        );
    }
}
