//! Hours, days, weeks, months and years of a time zone, by which snapshots are grouped.

use std::num::NonZeroU32;

use chrono::{DateTime, Datelike, TimeDelta, Timelike, Utc};

use super::rules::Retention;
use reprise_times::TimeZone;

/// A rule that keeps one snapshot of each of some calendar periods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CalendarUnit {
    Hour,
    Day,
    Week,
    Month,
    Year,
}

/// A calendar period. Only for comparison within one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CalendarPeriod([i32; 3]);

impl CalendarUnit {
    pub(super) const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];

    /// The rule's key in a policy.
    pub(super) fn rule_name(self) -> &'static str {
        match self {
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }

    /// How many of these a policy keeps.
    pub(super) fn keep_count(self, rules: &Retention) -> Option<NonZeroU32> {
        match self {
            Self::Hour => rules.hourly,
            Self::Day => rules.daily,
            Self::Week => rules.weekly,
            Self::Month => rules.monthly,
            Self::Year => rules.yearly,
        }
    }

    /// The period that contains a time.
    pub(super) fn period_of(self, time: DateTime<Utc>, zone: &TimeZone) -> CalendarPeriod {
        let local = zone.local_time(time);
        let day = local.num_days_from_ce();
        CalendarPeriod(match self {
            // The hour that clocks show twice when summer time ends is two hours.
            Self::Hour => {
                let hour = i32::try_from(local.hour()).unwrap_or_default();
                [day, hour, local.offset().local_minus_utc()]
            }
            Self::Day => [day, 0, 0],
            Self::Week => {
                let week = local.iso_week();
                [
                    week.year(),
                    i32::try_from(week.week()).unwrap_or_default(),
                    0,
                ]
            }
            Self::Month => [
                local.year(),
                i32::try_from(local.month()).unwrap_or_default(),
                0,
            ],
            Self::Year => [local.year(), 0, 0],
        })
    }

    /// The period that contains a time, for people.
    pub(super) fn period_name(self, time: DateTime<Utc>, zone: &TimeZone) -> String {
        let local = zone.local_time(time);
        match self {
            Self::Hour => local.format("%F %H:00 %:z").to_string(),
            Self::Day => local.format("%F").to_string(),
            Self::Week => local.format("%G-W%V").to_string(),
            Self::Month => local.format("%Y-%m").to_string(),
            Self::Year => local.format("%Y").to_string(),
        }
    }

    /// Its approximate length.
    pub(super) fn length(self) -> TimeDelta {
        match self {
            Self::Hour => TimeDelta::hours(1),
            Self::Day => TimeDelta::days(1),
            Self::Week => TimeDelta::days(7),
            Self::Month => TimeDelta::days(31),
            Self::Year => TimeDelta::days(366),
        }
    }

    /// The shortest unit that a policy keeps.
    pub(super) fn shortest_kept(rules: &Retention) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|unit| unit.keep_count(rules).is_some())
    }
}
