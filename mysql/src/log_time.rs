//! Times in a binary log.

use std::ops::{Add, Sub};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use reprise_times::format_precise_time;
use serde::{Deserialize, Serialize};

/// Maximum clock difference between servers and hosts.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60);

/// A time in a binary log, usually by the server's clock: microseconds since 1970, also where it is stored. It has no
/// one text: people read it in the zone in which times are shown, and records have it in UTC.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct LogTime(u64);

impl LogTime {
    /// Later than all others.
    pub const MAX: Self = Self(u64::MAX);

    /// From microseconds since 1970.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// From seconds since 1970, which are all that some events have.
    #[must_use]
    pub fn from_seconds(seconds: u32) -> Self {
        Self(u64::from(seconds) * 1_000_000)
    }

    /// Microseconds since 1970.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whether it is known: events that a server writes while it starts may have no time at all.
    #[must_use]
    pub const fn is_known(self) -> bool {
        self.0 > 0
    }

    /// For people, to the microsecond, in the zone in which times are shown.
    #[must_use]
    pub fn show(self) -> String {
        format_precise_time(&self.into())
    }

    /// For records and JSON: RFC 3339 in UTC, to the microsecond.
    #[must_use]
    pub fn to_utc_text(self) -> String {
        DateTime::<Utc>::from(self).to_rfc3339_opts(SecondsFormat::Micros, true)
    }

    /// How much later it is than another time; zero if it is earlier.
    #[must_use]
    pub fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Times before 1970 become 1970.
impl From<DateTime<Utc>> for LogTime {
    fn from(time: DateTime<Utc>) -> Self {
        Self(u64::try_from(time.timestamp_micros()).unwrap_or_default())
    }
}

impl From<LogTime> for DateTime<Utc> {
    fn from(time: LogTime) -> Self {
        i64::try_from(time.0)
            .ok()
            .and_then(DateTime::from_timestamp_micros)
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

impl Add<Duration> for LogTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(whole_micros(duration)))
    }
}

impl Sub<Duration> for LogTime {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(whole_micros(duration)))
    }
}

fn whole_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_stored_as_a_number_and_shown_as_a_time() {
        let time = LogTime::from_micros(1_763_733_787_123_456);
        assert_eq!(time.to_utc_text(), "2025-11-21T14:03:07.123456Z");
        assert_eq!(serde_json::to_string(&time).unwrap(), "1763733787123456");
        assert_eq!(LogTime::from(DateTime::<Utc>::from(time)), time);
    }

    #[test]
    fn no_arithmetic_overflows() {
        let second = Duration::from_secs(1);
        assert_eq!(LogTime::MAX + second, LogTime::MAX);
        assert_eq!(LogTime::default() - second, LogTime::default());
        assert_eq!(
            LogTime::default().duration_since(LogTime::MAX),
            Duration::ZERO
        );
    }
}
