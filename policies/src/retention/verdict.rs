//! What a decision says: every snapshot's verdict with its reasons, and why retention of a source may be paused.

use std::fmt;
use std::num::NonZeroU32;

use chrono::{DateTime, TimeDelta, Utc};
use reprise_times::format_time;

use super::candidate::Hold;
use crate::values::units::format_duration;

/// Options set by the operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetentionOptions {
    /// A burst of arrivals is intended: let it push older snapshots out.
    pub accept_flood: bool,
}

impl RetentionOptions {
    /// Sets whether a burst of arrivals is accepted.
    #[must_use]
    pub fn with_accept_flood(accept_flood: bool) -> Self {
        Self { accept_flood }
    }
}

/// Why a snapshot is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeepReason {
    /// A rule keeps it, for this number, duration or calendar period.
    Rule {
        /// The rule's key in a policy.
        rule: &'static str,
        /// The number, duration or period that it is kept for.
        subject: String,
        /// Whether it is only kept because nothing arrived in time.
        late: bool,
    },
    /// It is the newest one from which the log restores the start of the recovery window.
    PointInTime,
    /// Without it there would be fewer than the minimum.
    Minimum(NonZeroU32),
    /// It is on hold.
    Hold(Hold),
    /// It is degraded or affected by damage, and no good one that was taken later is kept.
    NoNewerGood,
    /// Retention of the source is paused.
    Paused,
    /// The source has no rules.
    NoRules,
    /// Another host than the one that is meant has stored it.
    OtherHost,
}

/// The verdict on a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetentionVerdict {
    /// Kept, for these reasons; there is at least one.
    Keep {
        /// The reasons.
        reasons: Vec<KeepReason>,
    },
    /// Forgotten.
    Forget {
        /// The reason for people; never empty.
        reason: String,
    },
}

impl RetentionVerdict {
    /// Whether it is kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        matches!(self, Self::Keep { .. })
    }
}

/// Why retention of a source is paused, although the rules would forget something.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetentionPause {
    /// Its newest good snapshot is older than the maximum age.
    Stale {
        /// When the newest good one was taken, if there is one.
        newest: Option<DateTime<Utc>>,
        /// The maximum age.
        max_age: TimeDelta,
    },
    /// Far more arrived than the usual rate of the source explains.
    Flood {
        /// When the burst began.
        since: DateTime<Utc>,
        /// How many arrived within a day.
        count: usize,
        /// How many usually arrive within a day.
        usual: usize,
    },
}

/// Degraded snapshots of a source since its newest good one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DegradedStreak {
    /// How many.
    pub count: usize,
    /// When the newest of them was taken.
    pub newest: DateTime<Utc>,
    /// When the newest good one was taken, if there is one.
    pub newest_good: Option<DateTime<Utc>>,
}

/// The decision about the snapshots of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionDecision<Id> {
    /// Every snapshot with its verdict, newest first.
    pub verdicts: Vec<(Id, RetentionVerdict)>,
    /// Why nothing is forgotten, if the rules would forget something.
    pub pause: Option<RetentionPause>,
    /// The source is stale or flooded, whether or not the rules would forget a snapshot: its log is kept as well.
    pub anomaly: Option<RetentionPause>,
    /// The source has had no good snapshot for longer than its maximum age, but degraded ones.
    pub only_degraded: Option<DegradedStreak>,
    pub(super) leaves_nothing: bool,
}

impl<Id> RetentionDecision<Id> {
    /// Whether nothing would be left that is as good as the best there is: where good ones that arrived in time
    /// exist, none of those.
    #[must_use]
    pub fn leaves_nothing_good(&self) -> bool {
        self.leaves_nothing
    }

    /// The forgotten ones, and those that are only kept because retention is paused.
    pub fn forgotten_without_pause(&self) -> impl Iterator<Item = &Id> {
        let paused = |verdict: &RetentionVerdict| matches!(verdict, RetentionVerdict::Keep { reasons } if *reasons == [KeepReason::Paused]);
        self.verdicts
            .iter()
            .filter(move |(_, verdict)| !verdict.is_kept() || paused(verdict))
            .map(|(id, _)| id)
    }

    /// The forgotten ones.
    pub fn forgotten(&self) -> impl Iterator<Item = &Id> {
        self.verdicts
            .iter()
            .filter(|(_, verdict)| !verdict.is_kept())
            .map(|(id, _)| id)
    }
}

impl fmt::Display for DegradedStreak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let degraded = match self.count {
            1 => "the one since is degraded or affected by damage".to_owned(),
            count => format!("all {count} since are degraded or affected by damage"),
        };
        match &self.newest_good {
            Some(good) => write!(
                f,
                "no good snapshot since {}: {degraded}",
                format_time(good)
            ),
            None => write!(f, "no good snapshot at all: {degraded}"),
        }
    }
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule {
                rule,
                subject: of,
                late,
            } => {
                let late = if *late { ", arrived late" } else { "" };
                write!(f, "{rule} ({of}{late})")
            }
            Self::PointInTime => f.write_str("point_in_time"),
            Self::Minimum(floor) => write!(f, "keep_at_least ({floor})"),
            Self::Hold(hold) => hold.fmt(f),
            Self::NoNewerGood => {
                f.write_str("degraded or affected by damage, but no newer good one is kept")
            }
            Self::Paused => f.write_str("retention is paused for the source"),
            Self::NoRules => f.write_str("the source has no retention"),
            Self::OtherHost => f.write_str("the source's name means another host"),
        }
    }
}

impl fmt::Display for RetentionPause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale {
                newest,
                max_age: promise,
            } => {
                match newest {
                    Some(newest) => write!(
                        f,
                        "its newest good snapshot is from {}",
                        format_time(newest)
                    )?,
                    None => f.write_str("it has no good snapshot that was stored in time")?,
                }
                write!(
                    f,
                    ", but should be at most {} old",
                    format_duration(promise.to_std().unwrap_or_default())
                )
            }
            Self::Flood {
                since,
                count,
                usual,
            } => write!(
                f,
                "{count} snapshots arrived within a day from {}; usual are at most {usual} per day",
                format_time(since)
            ),
        }
    }
}
