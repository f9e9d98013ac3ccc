//! A slot: a nominal local time at which something is due.

use std::fmt;

use chrono::{DateTime, Utc};
use jiff::civil;

use reprise_times::TimeZone;

/// A time at which something is due.
///
/// It is known by what clocks show then, not by an instant: machines with different time-zone data must agree that it is
/// one and the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub(super) local: civil::DateTime,
    /// Clocks show this time twice, and this is the second time.
    pub(super) is_repeat: bool,
    pub(super) time_zone: TimeZone,
    pub(super) due: DateTime<Utc>,
}

impl Slot {
    /// When it is due, by this program's time-zone data, without jitter.
    #[must_use]
    pub fn due(&self) -> DateTime<Utc> {
        self.due
    }

    /// Its identity: `2026-11-29T02:00[Europe/Paris]`, with `#2` behind the time in the second pass of an hour.
    #[must_use]
    pub fn id(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = self.local;
        write!(
            f,
            "{}T{:02}:{:02}",
            local.date(),
            local.hour(),
            local.minute()
        )?;
        if local.second() != 0 {
            write!(f, ":{:02}", local.second())?;
        }
        if self.is_repeat {
            f.write_str("#2")?;
        }
        write!(f, "[{}]", self.time_zone)
    }
}
