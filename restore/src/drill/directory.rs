//! A drill in a temporary directory: the files are restored, compared and checked.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
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
use crate::files::{
    self, AttributeSelection, ComparisonOptions, OverwriteMode, ProblemGroup, RestoreOptions,
    RestoreReport,
};

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
        paths: drill
            .paths
            .iter()
            .map(|path| path.as_str().into())
            .collect(),
        existing: OverwriteMode::Refuse,
        attributes: AttributeSelection {
            only_possible: true,
            ..AttributeSelection::default()
        },
    };
    // Whether there is room for it is checked before anything is written.
    let restored = files::restore(repository, snapshot, &options, progress)
        .map_err(|stopped| stopped.error)?;
    let restore_seconds = timer.elapsed().as_secs_f64();
    if let Some(missing) = restored.missing_identity_error()
        && !restored.has_damage()
    {
        allow_removal(&target);
        return Err(missing.into());
    }
    let mut checks = Vec::new();
    checks.push(completeness_check(snapshot, &options, &restored));
    checks.push(equality_check(repository, snapshot, &options, progress)?);
    if snapshot.root.kind == SourceKind::Tfstate {
        checks.extend(state_checks(repository, snapshot, &options));
    }
    for check in &drill.checks {
        checks.push(timed_check(&checks::describe_check(check), || {
            checks::evaluate_check(check, &target)
        }));
    }
    allow_removal(&target);
    directory.close().map_err(|source| Error::Target {
        action: "remove",
        path: target.display().to_string(),
        source,
    })?;
    let ended = DrillMeasurements {
        data_time: snapshot.effective_time(),
        started,
        restore_seconds,
        timer,
        counts: restored.counts,
        server: None,
    };
    Ok(build_report(drill, snapshot, ended, checks))
}

fn completeness_check(
    snapshot: &Snapshot,
    options: &RestoreOptions,
    restored: &RestoreReport,
) -> CheckResult {
    timed_check("restored without loss", || match restored.outcome {
        Outcome::Ok => {
            let mut detail = format!(
                "{} entries, {} bytes",
                restored.counts.entries, restored.counts.bytes
            );
            if !options.paths.is_empty() {
                let all = snapshot.root.counts.entries;
                detail.push_str(&format!(", only `paths` of {all} entries"));
            }
            Ok(with_sentences(detail, &restored.left_out))
        }
        Outcome::Degraded | Outcome::Failed => {
            Err(join_limited(restored.problems.iter().map(describe_problem)))
        }
    })
}

/// A cause with the first entry that it concerns.
fn describe_problem(group: &ProblemGroup) -> String {
    match group.paths.first() {
        Some(path) => format!("{} ({})", group.describe(), path.display()),
        None => group.describe(),
    }
}

fn with_sentences(detail: String, sentences: &[String]) -> String {
    let parts: Vec<&str> = std::iter::once(detail.as_str())
        .chain(sentences.iter().map(String::as_str))
        .collect();
    parts.join("; ")
}

/// Compares everything that was restored with the snapshot.
fn equality_check(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    progress: &Progress,
) -> Result<CheckResult> {
    let timer = Instant::now();
    let comparison = files::compare_directory(
        repository,
        snapshot,
        &ComparisonOptions {
            directory: &options.target,
            paths: &options.paths,
            attributes: options.attributes,
            known: &[],
        },
        progress,
    )?;
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
        detail: with_sentences(detail, &comparison.not_compared),
        seconds: timer.elapsed().as_secs_f64(),
    })
}

/// A directory that its owner may not write to cannot be emptied by an ordinary user.
fn allow_removal(directory: &Path) {
    let Ok(meta) = fs::symlink_metadata(directory) else {
        return;
    };
    if !meta.is_dir() {
        return;
    }
    let mode = meta.permissions().mode();
    if mode & 0o700 != 0o700 {
        // Where this fails, so does the removal, which says why.
        drop(fs::set_permissions(
            directory,
            fs::Permissions::from_mode(mode | 0o700),
        ));
    }
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        allow_removal(&entry.path());
    }
}

fn state_checks(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &RestoreOptions,
) -> Vec<CheckResult> {
    let facts = tfstate::facts(snapshot);
    if facts.is_empty() {
        return vec![timed_check("Terraform state", || {
            Err("the snapshot has no facts about it".to_owned())
        })];
    }
    let check = |(name, facts): (&String, &tfstate::StateFacts)| {
        timed_check(&format!("Terraform state {name}"), || {
            let file = options.target.join(name);
            if !options.paths.is_empty() && fs::symlink_metadata(&file).is_err() {
                return Ok("left out: it is not among `paths`".to_owned());
            }
            let bytes = fs::read(file).map_err(|e| e.to_string())?;
            tfstate::compare_state(repository, facts, &bytes).map(|what| format!("same {what}"))
        })
    };
    facts.iter().map(check).collect()
}
