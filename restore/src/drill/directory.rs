//! A drill in a temporary directory: the files are restored, compared and checked.

use std::path::PathBuf;
use std::time::Instant;

use chrono::{DateTime, Utc};
use reprise_policies::Drill;
use reprise_repository::{Outcome, Progress, Repository, Snapshot, SourceKind};
use reprise_snapshotters::tfstate;

use crate::drill::checks;
use crate::drill::report::{
    CheckResult, DrillMeasurements, DrillReport, build_report, join_limited, timed_check,
};
use crate::error::{Error, Result};
use crate::files::{self, OverwriteMode, RestoreOptions, RestoreReport};

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
