//! A schedule: when something is due, and what holds where that cannot be kept.

use std::time::Duration;

use chrono::{DateTime, NaiveTime, Utc};

use crate::schedule::cron::CronExpression;
use crate::values::units::describe_duration;
use reprise_times::TimeZone;

/// When something is due, and what holds where that cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// When it is due.
    pub timing: ScheduleTiming,
    /// Whose clocks are meant.
    pub time_zone: TimeZone,
    /// Each job starts at its own time within this after its slot, always the same one.
    pub jitter: Duration,
    /// A slot that has not started within this time is missed. `None`: until the next slot.
    pub start_within: Option<Duration>,
    /// A run that takes longer is ended. `None`: a day.
    pub timeout: Option<Duration>,
    /// What happens to a slot that is due while an earlier one runs.
    pub overlap: OverlapRule,
    /// What happens to slots that were missed.
    pub catch_up: CatchUp,
    /// How often a failed run is tried again.
    pub retries: u32,
    /// The time of day at which runs may start.
    pub window: Option<DailyWindow>,
}

/// When something is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScheduleTiming {
    /// At local times that match.
    Cron(CronExpression),
    /// Each time that so much time has passed, counted from 1970-01-01 00:00 UTC.
    Every(Duration),
}

/// What happens to a slot that is due while an earlier one of the same job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OverlapRule {
    /// It is skipped.
    #[default]
    Skip,
    /// It waits; of several only the last one.
    Queue,
}

/// What happens to slots that were missed, as nothing ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CatchUp {
    /// The last one is run late.
    #[default]
    One,
    /// None is run late.
    None,
}

/// A time of day, from one time to another, which may be on the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DailyWindow {
    /// Its beginning, in local time.
    pub from: NaiveTime,
    /// Its end, in local time, which is not part of it.
    pub until: NaiveTime,
}

impl DailyWindow {
    /// Reads `22:00-06:00`. `None`: it is none, or empty.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (from, until) = text.split_once('-')?;
        let time = |text: &str| NaiveTime::parse_from_str(text.trim(), "%H:%M").ok();
        let window = Self {
            from: time(from)?,
            until: time(until)?,
        };
        (window.from != window.until).then_some(window)
    }

    /// Whether a time of day is in it.
    #[must_use]
    pub fn contains(&self, time: NaiveTime) -> bool {
        if self.from < self.until {
            (self.from..self.until).contains(&time)
        } else {
            time >= self.from || time < self.until
        }
    }
}

impl Schedule {
    /// A schedule with a timing, and the defaults of everything else.
    #[must_use]
    pub fn new(timing: ScheduleTiming, time_zone: TimeZone) -> Self {
        Self {
            timing,
            time_zone,
            jitter: Duration::ZERO,
            start_within: None,
            timeout: None,
            overlap: OverlapRule::default(),
            catch_up: CatchUp::default(),
            retries: 0,
            window: None,
        }
    }

    /// How long after its slots a job starts: a part of `jitter` that depends on the job's name alone.
    #[must_use]
    pub fn jitter_of(&self, job: &str) -> Duration {
        let seconds = self.jitter.as_secs();
        if seconds == 0 {
            return Duration::ZERO;
        }
        let hash = blake3::hash(job.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        Duration::from_secs(u64::from_le_bytes(first) % seconds)
    }

    /// Whether runs may start at a time.
    #[must_use]
    pub fn may_start(&self, time: DateTime<Utc>) -> bool {
        self.window
            .is_none_or(|window| window.contains(self.time_zone.local_time(time).time()))
    }

    /// What decides its slots, as text: it changes only when they do.
    #[must_use]
    pub fn timing_text(&self) -> String {
        match &self.timing {
            ScheduleTiming::Cron(expression) => format!("{expression} [{}]", self.time_zone),
            ScheduleTiming::Every(interval) => format!("every {}", describe_duration(*interval)),
        }
    }
}
