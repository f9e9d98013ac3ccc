//! What retention must know of a snapshot.

use std::fmt;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;

/// What was received further away from the moment that it claims to be of says nothing true, or arrived much later.
const DELAY_MAX: TimeDelta = TimeDelta::hours(24);

/// The tag of a snapshot by which it is held.
pub const HOLD_TAG: &str = "hold";

/// A snapshot, as retention sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<Id> {
    /// Its id. Each is given once.
    pub id: Id,
    /// The moment it claims to be of: its host says so.
    pub data_time: DateTime<Utc>,
    /// When the storage received it: no host can choose this. `None`: believe the host.
    pub received: Option<DateTime<Utc>>,
    /// Whether it is complete and consistent, and lacks nothing since.
    pub good: bool,
    /// Whether something demands it to be kept.
    pub hold: Option<Hold>,
    /// Which unbroken stretch of an archived log goes on from it, if one does: any number that tells stretches apart.
    pub log_range: Option<u32>,
}

/// For how long a snapshot is held, whatever the rules say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// Until someone releases it.
    Forever,
    /// Until this moment.
    Until(DateTime<Utc>),
    /// Until someone releases it: what was written could not be understood.
    Invalid(String),
}

impl Hold {
    /// Reads the value of a tag `hold`: `forever`, `2027-01-01` (that day included, in `zone`), an RFC 3339 time, either
    /// of them with `until` before it. What cannot be understood holds for ever.
    #[must_use]
    pub fn parse(text: &str, zone: Tz) -> Self {
        let text = text.trim();
        if text == "forever" {
            return Self::Forever;
        }
        let time = text.strip_prefix("until").map_or(text, str::trim_start);
        if let Ok(time) = DateTime::parse_from_rfc3339(time) {
            return Self::Until(time.to_utc());
        }
        let end = time.parse().ok().and_then(|day| end_of_day(day, zone));
        end.map_or_else(|| Self::Invalid(text.to_owned()), Self::Until)
    }

    /// Whether it still holds.
    #[must_use]
    pub fn is_active(&self, now: DateTime<Utc>) -> bool {
        match self {
            Self::Forever | Self::Invalid(_) => true,
            Self::Until(end) => now < *end,
        }
    }
}

/// The first moment after a day. Where clocks skip midnight, the day ends a little later.
fn end_of_day(day: NaiveDate, zone: Tz) -> Option<DateTime<Utc>> {
    let next = day.checked_add_days(Days::new(1))?.and_time(NaiveTime::MIN);
    (0..24).find_map(|hours| {
        let local = next.checked_add_signed(TimeDelta::hours(hours))?;
        local.and_local_timezone(zone).latest().map(|t| t.to_utc())
    })
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forever => f.write_str("held forever"),
            Self::Until(end) => write!(f, "held until {}", end.format("%F %H:%M UTC")),
            Self::Invalid(text) => write!(
                f,
                "held forever: {} in the tag `hold` is not a valid hold",
                crate::names::quote(text)
            ),
        }
    }
}

impl<Id> Candidate<Id> {
    /// The moment by which it is sorted: no host makes its snapshot younger than it is.
    pub(super) fn effective_time(&self) -> DateTime<Utc> {
        self.received
            .map_or(self.data_time, |received| received.min(self.data_time))
    }

    /// When it was there.
    pub(super) fn arrival_time(&self) -> DateTime<Utc> {
        self.received.unwrap_or(self.data_time)
    }

    /// Whether it may take the place of others: it is good, and arrived in time.
    #[must_use]
    pub fn is_good_and_timely(&self) -> bool {
        self.good && self.is_timely()
    }

    /// Whether it arrived about when its data was read. Only such a snapshot takes the place of another one.
    pub(super) fn is_timely(&self) -> bool {
        self.received
            .is_none_or(|received| (received - self.data_time).abs() <= DELAY_MAX)
    }
}

/// Whether nothing would be left that is worth as much as the best there is. `all` tells of each whether it stays.
#[must_use]
pub fn leaves_nothing<Id>(all: &[(&Candidate<Id>, bool)]) -> bool {
    // What is degraded, or whose times cannot be believed, is no comfort where a good one was.
    let worth: [fn(&Candidate<Id>) -> bool; 3] =
        [|_| true, |one| one.good, Candidate::is_good_and_timely];
    worth.iter().any(|worth| {
        let mut such = all.iter().filter(|(one, _)| worth(one)).peekable();
        such.peek().is_some() && such.all(|(_, stays)| !stays)
    })
}
