//! What retention needs to know of a snapshot.

use std::fmt;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};

use crate::values::names::quote;
use reprise_times::{TimeZone, format_time};

/// A larger difference between claimed time and time of receipt means a false time, or a much later arrival.
const DELAY_MAX: TimeDelta = TimeDelta::hours(24);

/// The tag that puts a snapshot on hold.
pub const HOLD_TAG: &str = "hold";

/// A snapshot, as retention sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<Id> {
    /// Its ID. Each is given once.
    pub id: Id,
    /// The time of its data, as its host claims.
    pub data_time: DateTime<Utc>,
    /// When the storage received it: no host can choose this. `None`: believe the host.
    pub received: Option<DateTime<Utc>>,
    /// Whether it is complete and consistent, and nothing of it is missing since.
    pub good: bool,
    /// The hold on it, if any.
    pub hold: Option<Hold>,
    /// Which unbroken log range starts from it, if one does: any number that tells ranges apart.
    pub log_range: Option<u32>,
}

/// How long a snapshot is on hold, whatever the rules say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// Until someone releases it.
    Forever,
    /// Until this time.
    Until(DateTime<Utc>),
    /// Until someone releases it: the value could not be parsed.
    Invalid(String),
}

impl Hold {
    /// Reads the value of a tag `hold`: `forever`, `2027-01-01` (that day included, in `zone`) or an RFC 3339 time,
    /// both optionally after `until`. An invalid value holds forever.
    #[must_use]
    pub fn parse(text: &str, zone: &TimeZone) -> Self {
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

    /// Whether it is still active.
    #[must_use]
    pub fn is_active(&self, now: DateTime<Utc>) -> bool {
        match self {
            Self::Forever | Self::Invalid(_) => true,
            Self::Until(end) => now < *end,
        }
    }
}

/// The first time after a day. Where clocks skip midnight, the day ends a little later.
fn end_of_day(day: NaiveDate, zone: &TimeZone) -> Option<DateTime<Utc>> {
    let next = day.checked_add_days(Days::new(1))?.and_time(NaiveTime::MIN);
    (0..24).find_map(|hours| {
        let local = next.checked_add_signed(TimeDelta::hours(hours))?;
        zone.resolve_local_time(local).latest().map(|t| t.to_utc())
    })
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forever => f.write_str("held forever"),
            Self::Until(end) => write!(f, "held until {}", format_time(end)),
            Self::Invalid(text) => write!(
                f,
                "held forever: {} in the tag `hold` is not a valid hold",
                quote(text)
            ),
        }
    }
}

impl<Id> Candidate<Id> {
    /// The time by which it is sorted: no host makes its snapshot younger than it is.
    pub(super) fn effective_time(&self) -> DateTime<Utc> {
        self.received
            .map_or(self.data_time, |received| received.min(self.data_time))
    }

    /// When it arrived.
    pub(super) fn arrival_time(&self) -> DateTime<Utc> {
        self.received.unwrap_or(self.data_time)
    }

    /// Whether it may replace others: it is good, and arrived in time.
    #[must_use]
    pub fn is_good_and_timely(&self) -> bool {
        self.good && self.is_timely()
    }

    /// Whether it arrived about when its data was read. Only such a snapshot replaces another one.
    pub(super) fn is_timely(&self) -> bool {
        self.received
            .is_none_or(|received| (received - self.data_time).abs() <= DELAY_MAX)
    }
}

/// Whether nothing would be left that is as good as the best there is. `all` has for each whether it is kept.
#[must_use]
pub fn leaves_nothing<Id>(all: &[(&Candidate<Id>, bool)]) -> bool {
    // A degraded one, or one whose times cannot be believed, does not make up for a good one.
    let worth: [fn(&Candidate<Id>) -> bool; 3] =
        [|_| true, |one| one.good, Candidate::is_good_and_timely];
    worth.iter().any(|worth| {
        let mut such = all.iter().filter(|(one, _)| worth(one)).peekable();
        such.peek().is_some() && such.all(|(_, stays)| !stays)
    })
}
