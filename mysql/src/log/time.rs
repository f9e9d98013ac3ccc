//! Times in a log: microseconds since 1970.

use chrono::{DateTime, SecondsFormat, Utc};

/// Maximum clock difference between servers and hosts, in microseconds.
pub const CLOCK_SKEW_MAX: u64 = 60_000_000;

/// Microseconds since 1970.
#[must_use]
pub fn micros_since_epoch(time: DateTime<Utc>) -> u64 {
    u64::try_from(time.timestamp_micros()).unwrap_or_default()
}

/// Microseconds since 1970 as a time.
#[must_use]
pub fn time_from_micros(micros: u64) -> DateTime<Utc> {
    i64::try_from(micros)
        .ok()
        .and_then(DateTime::from_timestamp_micros)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Microseconds since 1970, for people.
#[must_use]
pub fn format_micros(micros: u64) -> String {
    time_from_micros(micros).to_rfc3339_opts(SecondsFormat::Micros, true)
}
