//! What the ledger keeps of jobs, slots and runs.

use chrono::{DateTime, TimeDelta, Utc};
use reprise_repository::Outcome;
use serde::Serialize;

/// How far in the future a due time or the end of a lease can be. What lies further was written while a clock was ahead, and
/// must not stand for what is due until then.
pub const CLOCK_AHEAD_MAX: TimeDelta = TimeDelta::hours(1);

/// What is known of a job.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobRecord {
    /// The timing of its schedule when it was evaluated last; `None`: it never was.
    pub timing: Option<String>,
    /// The latest slot that was decided or begun.
    pub last: Option<DecidedSlot>,
    /// What is under way or will be tried again.
    pub active: Option<ActiveSlot>,
    /// The last pause of what it works on, also one that is over.
    pub pause: Option<SourcePause>,
}

/// A slot that was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecidedSlot {
    /// Its identity.
    pub slot: String,
    /// When it was due.
    pub due: DateTime<Utc>,
}

/// A slot whose run has not ended for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveSlot {
    /// The slot.
    pub slot: String,
    /// When it was due.
    pub due: DateTime<Utc>,
    /// The number of its current or last attempt, from 1.
    pub attempt: u32,
    /// How many of its attempts failed, or were ended by a deadline.
    pub failed: u32,
    /// How many of its attempts were lost with their owner.
    pub lost: u32,
    /// Whether it runs.
    pub state: ActiveState,
}

/// Whether an attempt runs, or will be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActiveState {
    /// An owner has it until then, unless the owner renews its lease.
    Running {
        /// Who.
        owner: String,
        /// Until when.
        lease_until: DateTime<Utc>,
    },
    /// It failed, and is tried again.
    Waiting {
        /// Not before then.
        not_before: DateTime<Utc>,
    },
}

/// How a slot was decided, or that it is not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotState {
    /// An attempt runs.
    Running,
    /// An attempt failed, and another one will be made.
    Waiting,
    /// A run did all of it.
    Ok,
    /// A run did it, but something named is missing or wrong.
    Degraded,
    /// No run could do it.
    Failed,
    /// A later slot stands for it.
    Coalesced,
    /// It was left out for a reason.
    Skipped,
}

impl SlotState {
    /// Its word, in the database and for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Coalesced => "coalesced",
            Self::Skipped => "skipped",
        }
    }

    pub(super) fn from_word(word: &str) -> Self {
        match word {
            "running" => Self::Running,
            "waiting" => Self::Waiting,
            "ok" => Self::Ok,
            "degraded" => Self::Degraded,
            "coalesced" => Self::Coalesced,
            "skipped" => Self::Skipped,
            // What a later version may write is not a success.
            _ => Self::Failed,
        }
    }

    pub(super) fn of_outcome(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::Ok,
            Outcome::Degraded => Self::Degraded,
            Outcome::Failed => Self::Failed,
        }
    }
}

/// Slots in a row that no run is made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedSlots {
    /// The first one.
    pub first: String,
    /// The last one.
    pub last: String,
    /// When the last one was due.
    pub last_due: DateTime<Utc>,
    /// How many.
    pub count: u64,
    /// Coalesced or skipped.
    pub state: SlotState,
    /// Why.
    pub reason: String,
}

/// Why nothing is due for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourcePause {
    /// What is paused: `POLICY/SOURCE`.
    pub source: String,
    /// Since when.
    pub from: DateTime<Utc>,
    /// Until when, at most.
    pub until: DateTime<Utc>,
    /// Why.
    pub reason: String,
    /// Who did it.
    pub user: String,
}

/// What is recorded of a run when it begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunDetails {
    /// The host.
    pub host: String,
    /// The program with its version.
    pub program: String,
    /// The version of its time-zone data.
    pub zone_data: String,
    /// The version of the policies: a commit, or a hash.
    pub policy_version: String,
    /// Whether the slot was missed, and is run late.
    pub is_late: bool,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunResult {
    /// The outcome.
    pub outcome: Outcome,
    /// What failed, if anything did.
    pub error: String,
    /// What to do next.
    pub hint: String,
    /// When it is tried again; `None`: not any more.
    pub retry_at: Option<DateTime<Utc>>,
}

/// One thing that a run did: a source to one repository, for example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepRecord {
    /// What it worked on.
    pub name: String,
    /// Its outcome.
    pub outcome: Outcome,
    /// What it made or found, as JSON.
    pub facts: serde_json::Value,
    /// What failed, if anything did.
    pub error: String,
    /// What to do next.
    pub hint: String,
}

/// One line of the history: a run, or slots that no run was made for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunRecord {
    /// The run's ID; empty where there was no run.
    pub id: String,
    /// The job.
    pub job: String,
    /// The slot; the last one, of several.
    pub slot: String,
    /// How many slots it stands for.
    pub slots: u64,
    /// The number of the attempt; 0: no run.
    pub attempt: u32,
    /// How it ended, or that it runs.
    pub state: SlotState,
    /// Why it was left out, or what failed.
    pub reason: String,
    /// What to do next.
    pub hint: String,
    /// When it began, or was decided.
    pub started: DateTime<Utc>,
    /// When it ended.
    pub ended: Option<DateTime<Utc>>,
    /// Whether the slot was missed, and run late.
    pub is_late: bool,
    /// Where it ran.
    pub host: String,
    /// The program with its version.
    pub program: String,
    /// The version of the time-zone data.
    pub zone_data: String,
    /// The version of the policies.
    pub policy_version: String,
    /// What it did.
    pub steps: Vec<StepRecord>,
}
