//! The report of a drill: what was restored, what was checked, and the verdict.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use reprise_policies::Drill;
use reprise_repository::{EntryCounts, Outcome, Snapshot};
use serde::Serialize;

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

/// What was restored into a server.
#[derive(Debug, Clone, Serialize)]
pub struct RestoredServer {
    /// The server, without a password.
    pub server: String,
    /// Tables of the snapshot.
    pub tables: usize,
    /// Their rows.
    pub rows: u64,
    /// Transactions of the log that were replayed.
    pub transactions: u64,
    /// The snapshot with which everything was compared after the log was replayed.
    pub compared_with: Option<String>,
    /// How old the newest row was when the drill began, in seconds, as the first query for it says.
    pub newest_row_age_seconds: Option<f64>,
}

/// The result of a drill.
pub(super) struct DrillMeasurements {
    pub(super) data_time: DateTime<Utc>,
    pub(super) started: DateTime<Utc>,
    pub(super) restore_seconds: f64,
    pub(super) timer: Instant,
    pub(super) counts: EntryCounts,
    pub(super) server: Option<RestoredServer>,
}

/// The report of a drill whose last check was just made, with the checks of its budget.
pub(super) fn build_report(
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
    if let Some(alarm) = snapshot.clock_alarm(ended.started) {
        checks.push(timed_check("time of the snapshot", || Err(alarm)));
    }
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

pub(super) fn timed_check(
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

/// Some of many items, and the number of the others.
pub(super) fn join_limited<T: ToString>(things: impl ExactSizeIterator<Item = T>) -> String {
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
