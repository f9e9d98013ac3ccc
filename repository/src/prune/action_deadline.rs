//! How long a prune may act on what it has read.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::clock::Clock;
use crate::error::{Error, Result};

/// A prune that was suspended for longer than this since its last look must look again: records of sweeps, which keep
/// others from relying on what it deletes, last longer.
const ACTION_TIMEOUT: TimeDelta = TimeDelta::hours(12);

/// How long ago a prune last looked.
pub(super) struct ActionDeadline {
    wall: DateTime<Utc>,
    monotonic: Duration,
}

impl ActionDeadline {
    pub(super) fn start(clock: &dyn Clock) -> Self {
        Self {
            wall: clock.wall_time(),
            monotonic: clock.monotonic_time(),
        }
    }

    pub(super) fn check_not_passed(&self, clock: &dyn Clock) -> Result<()> {
        let wall = clock.wall_time() - self.wall;
        let since = clock.monotonic_time().saturating_sub(self.monotonic);
        let since = TimeDelta::from_std(since).unwrap_or(ACTION_TIMEOUT);
        if wall >= TimeDelta::zero() && wall < ACTION_TIMEOUT && since < ACTION_TIMEOUT {
            return Ok(());
        }
        Err(Error::Source(
            "prune stopped before deleting: it was suspended for more than 12 hours, or the system clock was changed; run \
             `reprise prune` again to resume it"
                .to_owned(),
        ))
    }
}
