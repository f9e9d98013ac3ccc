//! Times in a log: microseconds since 1970.

use chrono::{DateTime, SecondsFormat, Utc};

/// By so many microseconds the clocks of servers and hosts may differ.
pub(super) const CLOCKS_APART: u64 = 60_000_000;

/// Microseconds since 1970.
#[must_use]
pub fn micros(time: DateTime<Utc>) -> u64 {
    u64::try_from(time.timestamp_micros()).unwrap_or_default()
}

/// Microseconds since 1970 as a time.
#[must_use]
pub fn time_of(micros: u64) -> DateTime<Utc> {
    i64::try_from(micros)
        .ok()
        .and_then(DateTime::from_timestamp_micros)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Microseconds since 1970, for people.
#[must_use]
pub fn shown_time(micros: u64) -> String {
    time_of(micros).to_rfc3339_opts(SecondsFormat::Micros, true)
}
