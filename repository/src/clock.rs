//! The clock, for whatever must agree with others on how long something lasts.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// A source of time. Tests have clocks of their own.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time of day, which can be set.
    fn wall_time(&self) -> DateTime<Utc>;

    /// Time since an arbitrary start, which cannot be set; it may stand still while the machine sleeps.
    fn monotonic_time(&self) -> Duration;

    /// Whether time passes by itself, so that a thread can wait for it.
    fn is_real_time(&self) -> bool {
        true
    }
}

/// This machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the clock that is passed in")]
    fn wall_time(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn monotonic_time(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }
}
