//! What a run is ordered to do, and what it says of each step.

use std::sync::Arc;
use std::time::Duration;

use reprise_policies::{Policy, PolicySet};
use reprise_repository::{ErrorClass, Outcome, format_error_chain};
use serde_json::{Value, json};

use crate::due::ScheduledWork;
use crate::error::JobError;
use crate::ledger::StepRecord;

/// How many warnings of a step are recorded.
const WARNINGS_RECORDED_MAX: usize = 20;

/// A step of a run: one thing that it did.
#[derive(Debug, Clone)]
pub struct WorkStep {
    /// What it worked on: a repository, for example.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The class of the error, if it failed with one.
    pub class: Option<ErrorClass>,
    /// What it did, in a line; or what failed.
    pub summary: String,
    /// What to do next; empty when nothing is to be done.
    pub hint: String,
    /// What is missing or wrong.
    pub warnings: Vec<String>,
    /// What is worth knowing although nothing is missing because of it.
    pub notes: Vec<String>,
    /// What it made or found.
    pub facts: Value,
}

impl WorkStep {
    /// A step that ended with a result.
    pub(super) fn finished(name: &str, outcome: Outcome, summary: String, facts: Value) -> Self {
        Self {
            name: name.to_owned(),
            outcome,
            class: None,
            summary,
            hint: String::new(),
            warnings: Vec::new(),
            notes: Vec::new(),
            facts,
        }
    }

    /// A step that failed.
    pub(super) fn failed(name: &str, error: &JobError) -> Self {
        Self {
            name: name.to_owned(),
            outcome: Outcome::Failed,
            class: Some(error.class()),
            summary: format_error_chain(error),
            hint: error.hint(),
            warnings: Vec::new(),
            notes: Vec::new(),
            facts: Value::Null,
        }
    }

    /// With warnings; they make a good outcome degraded.
    pub(super) fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        if !warnings.is_empty() {
            self.outcome = self.outcome.max(Outcome::Degraded);
        }
        self.warnings = warnings;
        self
    }

    /// Found something that is damaged, or differs from what was promised.
    pub(super) fn with_damage(self, summary: String, hint: &str) -> Self {
        Self {
            outcome: Outcome::Failed,
            class: Some(ErrorClass::Damaged),
            summary,
            hint: hint.to_owned(),
            ..self
        }
    }

    /// For the ledger.
    #[must_use]
    pub fn to_record(&self) -> StepRecord {
        let shown: Vec<&String> = self.warnings.iter().take(WARNINGS_RECORDED_MAX).collect();
        let failed = self.outcome == Outcome::Failed;
        StepRecord {
            name: self.name.clone(),
            outcome: self.outcome,
            facts: json!({
                "summary": if failed { "" } else { self.summary.as_str() },
                "warnings": shown,
                "more_warnings": self.warnings.len() - shown.len(),
                "notes": self.notes,
                "facts": self.facts,
            }),
            error: if failed {
                self.summary.clone()
            } else {
                String::new()
            },
            hint: self.hint.clone(),
        }
    }
}

/// What a run is to do. It owns everything, as it may be abandoned.
#[derive(Debug, Clone)]
pub(super) struct WorkOrder {
    /// All policies: some work concerns several.
    pub(super) policies: Arc<PolicySet>,
    /// The policy.
    pub(super) policy: Policy,
    /// What is to be done.
    pub(super) kind: WorkKind,
    /// How long each step may take.
    pub(super) time_max: Duration,
    /// How often the job has been done before, so that shares are read in turn.
    pub(super) times_done: u64,
}

/// What is to be done, by names in the policy.
#[derive(Debug, Clone)]
pub(super) enum WorkKind {
    Snapshot {
        source: String,
    },
    Copy {
        copy: String,
    },
    Drill {
        drill: String,
    },
    Forget {
        repository: String,
    },
    Prune {
        repository: String,
    },
    Verify {
        repository: String,
        share: Option<u8>,
    },
    Locks {
        repository: String,
    },
}

impl From<ScheduledWork<'_>> for WorkKind {
    fn from(work: ScheduledWork<'_>) -> Self {
        let named = |repository: &str| repository.to_owned();
        match work {
            ScheduledWork::Snapshot(source) => Self::Snapshot {
                source: source.name.clone(),
            },
            ScheduledWork::Copy(copy) => Self::Copy {
                copy: copy.name.clone(),
            },
            ScheduledWork::Drill(drill) => Self::Drill {
                drill: drill.name.clone(),
            },
            ScheduledWork::Forget(repository) => Self::Forget {
                repository: named(repository),
            },
            ScheduledWork::Prune(repository) => Self::Prune {
                repository: named(repository),
            },
            ScheduledWork::Verify(repository) => Self::Verify {
                repository: named(repository),
                share: None,
            },
            ScheduledWork::ReadData(repository, share) => Self::Verify {
                repository: named(repository),
                share: Some(share.get()),
            },
            ScheduledWork::Locks(repository) => Self::Locks {
                repository: named(repository),
            },
        }
    }
}
