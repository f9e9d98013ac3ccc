//! Drills: a rehearsed restore into a temporary directory, with a verdict about the data.
//!
//! `checks` are file assertions, `server` drills in a database server, `junit` the report.

mod checks;
mod junit;
pub(crate) mod scratch_server;
mod server;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use reprise_policies::Drill;
use reprise_repository::{EntryCounts, Outcome, Progress, Repository, Snapshot, SourceKind};
use reprise_snapshotters::tfstate;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::files::{self, OverwriteMode, RestoreOptions, RestoreReport};

pub use junit::{FailedDrill, render_junit};
pub use server::{RestoredServer, run_in_server};

/// Differences listed in a report; the others are counted.
const DIFFERENCES_SHOWN_MAX: usize = 20;

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckResult {
    /// The check.
    pub name: String,
    /// Whether it held.
    pub passed: bool,
    /// The finding.
    pub detail: String,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// The report of a drill.
#[derive(Debug, Clone, Serialize)]
pub struct DrillReport {
    /// The drill's name.
    pub drill: String,
    /// The source.
    pub source: String,
    /// The snapshot that was restored.
    pub snapshot: String,
    /// The data time of the snapshot.
    pub data_time: DateTime<Utc>,
    /// When the drill began.
    pub started: DateTime<Utc>,
    /// `ok`, or `failed` when anything differs from the expectation.
    pub verdict: Outcome,
    /// What was restored.
    pub counts: EntryCounts,
    /// Seconds to restore.
    pub restore_seconds: f64,
    /// Seconds from the drill's start until the last check had passed: the recovery time.
    pub recovery_seconds: f64,
    /// Seconds between the data time and the drill's start: the data that would have been lost.
    pub data_loss_seconds: f64,
    /// What was restored into a server, if anything.
    pub server: Option<RestoredServer>,
    /// Everything that was checked, in order.
    pub checks: Vec<CheckResult>,
}

/// Runs a drill on a snapshot. The directory it restores into is removed again whatever happens.
///
/// # Errors
/// When the drill cannot be carried out. That the data is wrong is a verdict, not an error.
pub fn run_in_directory(
    repository: &Repository,
    snapshot: &Snapshot,
    drill: &Drill,
    clock: fn() -> DateTime<Utc>,
    progress: &Progress,
) -> Result<DrillReport> {
    let started = clock();
    let timer = Instant::now();
    let directory = tempfile::Builder::new()
        .prefix("reprise-drill-")
        .tempdir()
        .map_err(|source| Error::Target {
            action: "create a directory in",
            path: std::env::temp_dir().display().to_string(),
            source,
        })?;
    let target: PathBuf = directory.path().join("restored");
    let options = RestoreOptions {
        target: target.clone(),
        paths: Vec::new(),
        existing: OverwriteMode::Refuse,
    };
    let restored = files::restore(repository, snapshot, &options, progress)?;
    let restore_seconds = timer.elapsed().as_secs_f64();
    let mut checks = Vec::new();
    checks.push(completeness_check(&restored));
    checks.push(equality_check(repository, snapshot, &target, progress)?);
    if snapshot.root.kind == SourceKind::Tfstate {
        checks.extend(state_checks(repository, snapshot, &target));
    }
    for check in &drill.checks {
        checks.push(timed_check(&checks::describe_check(check), || {
            checks::evaluate_check(check, &target)
        }));
    }
    directory.close().map_err(|source| Error::Target {
        action: "remove",
        path: target.display().to_string(),
        source,
    })?;
    let ended = DrillMeasurements {
        data_time: snapshot.root.data_time,
        started,
        restore_seconds,
        timer,
        counts: restored.counts,
        server: None,
    };
    Ok(build_report(drill, snapshot, ended, checks))
}

/// The result of a drill.
struct DrillMeasurements {
    data_time: DateTime<Utc>,
    started: DateTime<Utc>,
    restore_seconds: f64,
    timer: Instant,
    counts: EntryCounts,
    server: Option<RestoredServer>,
}

/// The report of a drill whose last check was just made, with the checks of its budget.
fn build_report(
    drill: &Drill,
    snapshot: &Snapshot,
    ended: DrillMeasurements,
    mut checks: Vec<CheckResult>,
) -> DrillReport {
    let recovery = ended.timer.elapsed();
    let data_loss = (ended.started - ended.data_time)
        .to_std()
        .unwrap_or(Duration::ZERO);
    checks.extend(budget_check(
        "recovery time",
        drill.budget.recovery_time,
        recovery,
    ));
    checks.extend(budget_check("data loss", drill.budget.data_loss, data_loss));
    let passed = checks.iter().all(|check| check.passed);
    DrillReport {
        drill: drill.name.clone(),
        source: snapshot.root.source.clone(),
        snapshot: snapshot.id.to_string(),
        data_time: ended.data_time,
        started: ended.started,
        verdict: if passed { Outcome::Ok } else { Outcome::Failed },
        counts: ended.counts,
        restore_seconds: ended.restore_seconds,
        recovery_seconds: recovery.as_secs_f64(),
        data_loss_seconds: data_loss.as_secs_f64(),
        server: ended.server,
        checks,
    }
}

/// Some of many items, and the number of the others.
fn join_limited<T: ToString>(things: impl ExactSizeIterator<Item = T>) -> String {
    let more = things.len().saturating_sub(DIFFERENCES_SHOWN_MAX);
    let shown: Vec<String> = things
        .take(DIFFERENCES_SHOWN_MAX)
        .map(|thing| thing.to_string())
        .collect();
    match more {
        0 => shown.join("; "),
        more => format!("{}; and {more} more", shown.join("; ")),
    }
}

fn timed_check(
    name: &str,
    check: impl FnOnce() -> std::result::Result<String, String>,
) -> CheckResult {
    let timer = Instant::now();
    let result = check();
    let passed = result.is_ok();
    let (Ok(detail) | Err(detail)) = result;
    CheckResult {
        name: name.to_owned(),
        passed,
        detail,
        seconds: timer.elapsed().as_secs_f64(),
    }
}

fn completeness_check(restored: &RestoreReport) -> CheckResult {
    timed_check("restored without loss", || match restored.outcome {
        Outcome::Ok => Ok(format!(
            "{} entries, {} bytes",
            restored.counts.entries, restored.counts.bytes
        )),
        _ => Err(join_limited(restored.warnings.iter())),
    })
}

/// Compares everything that was restored with the snapshot.
fn equality_check(
    repository: &Repository,
    snapshot: &Snapshot,
    target: &std::path::Path,
    progress: &Progress,
) -> Result<CheckResult> {
    let timer = Instant::now();
    let comparison = files::compare_directory(repository, snapshot, target, &[], progress)?;
    let passed = comparison.differences.is_empty();
    let detail = if passed {
        format!(
            "{} entries and {} bytes in {} files have the attributes and hashes of the snapshot",
            comparison.entries, comparison.bytes, comparison.files
        )
    } else {
        let differences = comparison.differences.iter();
        join_limited(
            differences.map(|difference| format!("{} {}", difference.path, difference.what)),
        )
    };
    Ok(CheckResult {
        name: "equal to the snapshot".to_owned(),
        passed,
        detail,
        seconds: timer.elapsed().as_secs_f64(),
    })
}

fn state_checks(
    repository: &Repository,
    snapshot: &Snapshot,
    target: &std::path::Path,
) -> Vec<CheckResult> {
    let facts = tfstate::facts(snapshot);
    if facts.is_empty() {
        return vec![timed_check("Terraform state", || {
            Err("the snapshot has no facts about it".to_owned())
        })];
    }
    let check = |(name, facts): (&String, &tfstate::StateFacts)| {
        timed_check(&format!("Terraform state {name}"), || {
            let bytes = std::fs::read(target.join(name)).map_err(|e| e.to_string())?;
            tfstate::compare_state(repository, facts, &bytes).map(|what| format!("same {what}"))
        })
    };
    facts.iter().map(check).collect()
}

fn budget_check(name: &str, budget: Option<Duration>, measured: Duration) -> Option<CheckResult> {
    let budget = budget?;
    let detail = format!(
        "{:.1} s of at most {:.0} s",
        measured.as_secs_f64(),
        budget.as_secs_f64()
    );
    let result = if measured <= budget {
        Ok(detail)
    } else {
        Err(detail)
    };
    Some(timed_check(&format!("{name} within budget"), || result))
}
