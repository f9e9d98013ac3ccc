//! The rules of retention.

use std::num::NonZeroU32;
use std::time::Duration;

/// Rules for how long snapshots are kept. A snapshot is kept when any rule keeps it. At least one rule is set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Retention {
    /// Keep this many of the newest.
    pub last: Option<NonZeroU32>,
    /// Keep the last of each of this many hours that have one.
    pub hourly: Option<NonZeroU32>,
    /// Keep the last of each of this many days that have one.
    pub daily: Option<NonZeroU32>,
    /// Keep the last of each of this many weeks that have one.
    pub weekly: Option<NonZeroU32>,
    /// Keep the last of each of this many months that have one.
    pub monthly: Option<NonZeroU32>,
    /// Keep the last of each of this many years that have one.
    pub yearly: Option<NonZeroU32>,
    /// Keep every snapshot younger than this.
    pub within: Option<Duration>,
    /// For a database server: keep the log of this recovery window, and the snapshots that it needs, so that any time
    /// in it can be restored.
    pub point_in_time: Option<Duration>,
    /// A minimum, not a rule: never go below this many, whatever the rules say.
    pub keep_at_least: Option<NonZeroU32>,
}
