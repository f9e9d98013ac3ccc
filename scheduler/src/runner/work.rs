//! Does what a job says, in steps. One step that fails, hangs or panics leaves the others their turn.

use std::sync::Arc;

use chrono::TimeDelta;
use reprise_policies::{CopyJob, Drill, PolicySource};
use reprise_repository::{
    DataSubset, LockReport, Outcome, Progress, PruneOptions, Repository, VerifyDepth, VerifyOptions,
};
use serde_json::json;

use super::order::{WorkKind, WorkOrder, WorkStep};
use crate::environment::JobEnvironment;
use crate::error::{JobError, JobResult};
use crate::isolation::run_isolated;
use crate::jobs::{
    ForgetOptions, JobEvent, SnapshotReport, copy_by_policy, extend_locks, prune_repository,
    run_drill, run_forget, snapshot_policy_source, take_drill_snapshot, verify_repository,
};
use crate::repositories::{UnreachableRepositories, find_repository, open_existing};
use crate::retention::{AlarmLevel, MaxForget, RetentionParameters, list_alarms};
use crate::text::{format_bytes, format_count};

/// How long condemned data is kept before it is deleted.
const PRUNE_GRACE: TimeDelta = TimeDelta::hours(24);
/// Packs of which less than this percentage is needed are repacked.
const REPACK_BELOW: u8 = 50;

/// A run under way.
pub(super) struct WorkRun<'a> {
    pub(super) environment: &'a JobEnvironment,
    pub(super) order: &'a Arc<WorkOrder>,
    pub(super) progress: &'a Arc<Progress>,
    pub(super) unreachable: &'a mut UnreachableRepositories,
    /// What earlier attempts at the same slot have done already.
    pub(super) done: Vec<String>,
}

impl WorkRun<'_> {
    /// Does all steps that are not done yet, and tells each as it ends.
    pub(super) fn perform(&mut self, on_step: &mut dyn FnMut(&WorkStep)) {
        for step in self.step_names() {
            if self.done.contains(&step) {
                continue;
            }
            if self.progress.check_cancelled().is_err() {
                on_step(&WorkStep::failed(
                    &step,
                    &JobError::from(reprise_repository::Error::Interrupted),
                ));
                return;
            }
            let ended = self.perform_step(&step);
            on_step(&ended);
        }
    }

    /// A source is stored in each of its repositories; everything else is one step.
    fn step_names(&self) -> Vec<String> {
        match &self.order.kind {
            WorkKind::Snapshot { source } => {
                let source = self.order.policy.sources.get(source);
                source
                    .map(|source| source.repositories.clone())
                    .unwrap_or_default()
            }
            WorkKind::Copy { copy: name } | WorkKind::Drill { drill: name } => vec![name.clone()],
            WorkKind::Forget { repository }
            | WorkKind::Prune { repository }
            | WorkKind::Verify { repository, .. }
            | WorkKind::Locks { repository } => vec![repository.clone()],
        }
    }

    fn perform_step(&mut self, step: &str) -> WorkStep {
        if let Err(error) = self.check_reachable(step) {
            return WorkStep::failed(step, &error);
        }
        let (environment, order) = (self.environment.clone(), Arc::clone(self.order));
        let (name, progress) = (step.to_owned(), Arc::clone(self.progress));
        let result = run_isolated(self.progress, self.order.time_max, move || {
            perform_kind(&environment, &order, &name, &progress)
        });
        result.unwrap_or_else(|error| {
            self.unreachable.note_failure(&error);
            WorkStep::failed(step, &error)
        })
    }

    fn check_reachable(&self, step: &str) -> JobResult<()> {
        let policy = &self.order.policy;
        let mut needed = Vec::new();
        match &self.order.kind {
            WorkKind::Copy { copy } => {
                let copy = policy.copies.get(copy);
                needed.extend(copy.iter().flat_map(|copy| [&copy.from, &copy.to]));
            }
            WorkKind::Drill { drill } => {
                needed.extend(policy.drills.get(drill).map(|drill| &drill.repository));
            }
            WorkKind::Snapshot { .. }
            | WorkKind::Forget { .. }
            | WorkKind::Prune { .. }
            | WorkKind::Verify { .. }
            | WorkKind::Locks { .. } => {
                return self
                    .unreachable
                    .check_reachable(find_repository(policy, step)?);
            }
        }
        for name in needed {
            self.unreachable
                .check_reachable(find_repository(policy, name)?)?;
        }
        Ok(())
    }
}

fn perform_kind(
    environment: &JobEnvironment,
    order: &WorkOrder,
    step: &str,
    progress: &Arc<Progress>,
) -> JobResult<WorkStep> {
    let policy = &order.policy;
    let undefined = |kind, name: &str| JobError::Undefined {
        kind,
        name: name.to_owned(),
        policy: policy.name.clone(),
    };
    match &order.kind {
        WorkKind::Snapshot { source } => {
            let found = policy.sources.get(source);
            let source = found.ok_or_else(|| undefined("source", source))?;
            snapshot_step(environment, order, source, step, progress)
        }
        WorkKind::Copy { copy } => {
            let found = policy.copies.get(copy);
            copy_step(
                environment,
                order,
                found.ok_or_else(|| undefined("copy", copy))?,
                progress,
            )
        }
        WorkKind::Drill { drill } => {
            let found = policy.drills.get(drill);
            drill_step(
                environment,
                order,
                found.ok_or_else(|| undefined("drill", drill))?,
                progress,
            )
        }
        WorkKind::Forget { repository } => forget_step(environment, order, repository),
        WorkKind::Prune { repository } => prune_step(environment, order, repository, progress),
        WorkKind::Verify { repository, share } => {
            verify_step(environment, order, repository, *share, progress)
        }
        WorkKind::Locks { repository } => {
            let described = find_repository(policy, repository)?;
            let opened = open_existing(environment, described, &[])?;
            let (summary, warnings) =
                extend_and_describe(environment, order, repository, &opened, progress)?;
            let summary = summary
                .unwrap_or_else(|| "nothing to extend: the policy requires no locks".to_owned());
            Ok(
                WorkStep::finished(repository, Outcome::Ok, summary, json!(null))
                    .with_warnings(warnings),
            )
        }
    }
}

fn snapshot_step(
    environment: &JobEnvironment,
    order: &WorkOrder,
    source: &PolicySource,
    repository: &str,
    progress: &Arc<Progress>,
) -> JobResult<WorkStep> {
    let mut notes = Vec::new();
    let (opened, taken) = snapshot_policy_source(
        environment,
        &order.policy,
        source,
        repository,
        progress,
        &mut |event| notes.extend(describe_event(&event)),
    )?;
    let (summary, mut warnings) = describe_snapshot(&taken);
    // The snapshot is stored, whatever becomes of locks.
    match extend_and_describe(environment, order, repository, &opened, progress) {
        Ok((_, more)) => warnings.extend(more),
        Err(error) => warnings.push(format!("cannot extend locks: {error}")),
    }
    let root = &taken.committed.snapshot.root;
    let facts = json!({
        "snapshot": taken.committed.snapshot.id,
        "source": root.source,
        "data_time": root.data_time,
        "counts": root.counts,
        "added": root.added,
        "seconds": taken.seconds,
    });
    let step = WorkStep::finished(repository, root.outcome, summary, facts);
    Ok(WorkStep {
        notes,
        ..step.with_warnings(warnings)
    })
}

fn describe_snapshot(taken: &SnapshotReport) -> (String, Vec<String>) {
    let committed = &taken.committed;
    let root = &committed.snapshot.root;
    let summary = format!(
        "snapshot {} of {}: {}, {}, {} added in {:.1} s",
        committed.snapshot.id.short(),
        root.source,
        format_count(root.counts.entries, "entry", "entries"),
        format_bytes(root.counts.bytes),
        format_bytes(root.added.stored_bytes),
        taken.seconds
    );
    let mut warnings: Vec<String> = committed.warnings.iter().map(ToString::to_string).collect();
    for recipient in &taken.removed_recipients {
        warnings.push(format!(
            "{recipient} was removed while the snapshot was taken, which is still encrypted to it"
        ));
    }
    (summary, warnings)
}

/// What people should know of an event.
fn describe_event(event: &JobEvent<'_>) -> Option<String> {
    match event {
        JobEvent::RepositoryCreated { location, created } => {
            let identities = created.identities.iter().map(|(file, _)| file);
            let keepers = created.keeper.iter().chain(&created.spare_keeper);
            let files: Vec<String> = identities
                .chain(keepers)
                .map(|file| file.display().to_string())
                .collect();
            (!files.is_empty()).then(|| {
                format!(
                    "repository {location} was created: move {} off this host",
                    files.join(", ")
                )
            })
        }
        JobEvent::UnreadableRoot { object, error } => {
            Some(format!("{object} cannot be read: {error}"))
        }
        JobEvent::ForeignSeries { found } => Some(found.to_string()),
        JobEvent::ForgetPlanned { .. }
        | JobEvent::SnapshotsForgotten { .. }
        | JobEvent::PrunePlanned { .. }
        | JobEvent::Archive { .. } => None,
    }
}

fn extend_and_describe(
    environment: &JobEnvironment,
    order: &WorkOrder,
    repository: &str,
    opened: &Repository,
    progress: &Arc<Progress>,
) -> JobResult<(Option<String>, Vec<String>)> {
    let described = find_repository(&order.policy, repository)?;
    let extended = extend_locks(environment, described, opened, progress)?;
    let Some((
        immutable,
        LockReport {
            extended, failed, ..
        },
    )) = extended
    else {
        return Ok((None, Vec::new()));
    };
    let warnings = failed
        .iter()
        .map(|failed| {
            format!(
                "cannot extend the lock of {}: {}",
                failed.object, failed.reason
            )
        })
        .collect();
    Ok((
        Some(format!(
            "{extended} locks extended by {} days",
            immutable.days
        )),
        warnings,
    ))
}

fn copy_step(
    environment: &JobEnvironment,
    order: &WorkOrder,
    copy: &CopyJob,
    progress: &Arc<Progress>,
) -> JobResult<WorkStep> {
    let mut notes = Vec::new();
    let copied = copy_by_policy(environment, &order.policy, copy, progress, &mut |event| {
        notes.extend(describe_event(&event));
    })?;
    let report = &copied.report;
    let summary = format!(
        "{} to {}: {} copied, {} already present, {}",
        copied.from,
        copied.to,
        format_count(report.snapshots, "snapshot", "snapshots"),
        report.snapshots_present,
        format_bytes(report.bytes)
    );
    let step = WorkStep::finished(&copy.name, Outcome::Ok, summary, json!(report));
    let unreadable = report.unreadable.iter();
    let unreadable = unreadable.map(|left| format!("not copied: {}: {}", left.object, left.reason));
    let mut step = step.with_warnings(unreadable.collect());
    step.notes = notes;
    if let Some(first) = report.not_copied.first() {
        let summary = format!(
            "{} objects were not copied; {}: {}",
            report.not_copied.len(),
            first.object,
            first.reason
        );
        let hint = "run `reprise verify --read-data` at the repository that is copied";
        step = step.with_damage(summary, hint);
    }
    Ok(step)
}

fn drill_step(
    environment: &JobEnvironment,
    order: &WorkOrder,
    drill: &Drill,
    progress: &Arc<Progress>,
) -> JobResult<WorkStep> {
    let mut notes = Vec::new();
    let mut observe = |event: JobEvent<'_>| notes.extend(describe_event(&event));
    let taken = take_drill_snapshot(environment, &order.policy, drill, progress, &mut observe)?;
    let report = run_drill(environment, &order.policy, drill, progress, &mut observe)?;
    let warnings = taken.iter().flat_map(|taken| &taken.warnings);
    notes.extend(warnings.map(ToString::to_string));
    let passed = report.checks.iter().filter(|check| check.passed).count();
    let summary = format!(
        "{passed} of {} checks passed; recovery time {:.1} s, data loss {:.0} s",
        report.checks.len(),
        report.recovery_seconds,
        report.data_loss_seconds
    );
    let mut step = WorkStep::finished(&drill.name, report.verdict, summary, json!(report))
        .with_warnings(notes);
    if report.verdict == Outcome::Failed {
        let failed = report.checks.iter().filter(|check| !check.passed);
        let failed: Vec<String> = failed
            .map(|check| format!("{}: {}", check.name, check.detail))
            .collect();
        let summary = format!("{}; failed: {}", step.summary, failed.join("; "));
        step = step.with_damage(summary, "");
    }
    Ok(step)
}

fn forget_step(
    environment: &JobEnvironment,
    order: &WorkOrder,
    repository: &str,
) -> JobResult<WorkStep> {
    let location = find_repository(&order.policy, repository)?.url.to_string();
    let names = [order.policy.name.clone()];
    let options = ForgetOptions {
        names: &names,
        only_repository: Some(&location),
        retention: RetentionParameters {
            now: (environment.clock)(),
            accept_flood: false,
            trust_times: false,
        },
        limits: MaxForget {
            snapshots: None,
            log: None,
        },
        allow_empty: false,
        dry_run: false,
    };
    let report = run_forget(environment, &order.policies, &options, &mut |_| {})?;
    let forgotten: usize = report
        .written
        .iter()
        .map(|written| written.tombstones.len())
        .sum();
    let alarms = list_alarms(&report.plans);
    let warnings = alarms.iter().filter(|alarm| alarm.level > AlarmLevel::Note);
    let warnings = warnings.map(|alarm| alarm.message.clone()).collect();
    let summary = format!(
        "{} written",
        format_count(forgotten as u64, "tombstone", "tombstones")
    );
    let facts = json!({"written": report.written});
    Ok(WorkStep::finished(repository, Outcome::Ok, summary, facts).with_warnings(warnings))
}

fn prune_step(
    environment: &JobEnvironment,
    order: &WorkOrder,
    repository: &str,
    progress: &Arc<Progress>,
) -> JobResult<WorkStep> {
    let opened = open_existing(
        environment,
        find_repository(&order.policy, repository)?,
        &[],
    )?;
    let options = PruneOptions {
        dry_run: false,
        grace: PRUNE_GRACE,
        max_repack: None,
        repack_below: REPACK_BELOW,
        host: environment.host_name.clone(),
        keeper_file: environment.keeper_file.clone(),
    };
    let pruned = prune_repository(&opened, &options, progress, &mut |_| {})?;
    let findings = pruned.plan.findings.iter().chain(&pruned.report.findings);
    let warnings = findings.map(|finding| format!("{}: {}", finding.object, finding.reason));
    let warnings: Vec<String> = warnings.collect();
    let summary = format!(
        "{} deleted, {} freed; {} condemned",
        format_count(pruned.plan.swept_packs, "pack", "packs"),
        format_bytes(pruned.plan.swept_bytes),
        format_count(pruned.plan.dead_packs, "pack", "packs")
    );
    let facts = json!({"plan": pruned.plan, "report": pruned.report});
    Ok(WorkStep::finished(repository, Outcome::Ok, summary, facts).with_warnings(warnings))
}

fn verify_step(
    environment: &JobEnvironment,
    order: &WorkOrder,
    repository: &str,
    share: Option<u8>,
    progress: &Arc<Progress>,
) -> JobResult<WorkStep> {
    let described = find_repository(&order.policy, repository)?;
    let opened = open_existing(environment, described, &[])?;
    let turn = i64::try_from(order.times_done).unwrap_or(0);
    let depth = match share {
        None => VerifyDepth::Structure,
        Some(share) => VerifyDepth::ReadData(DataSubset::for_day(f64::from(share), turn)),
    };
    let options = VerifyOptions {
        depth,
        snapshots: Vec::new(),
    };
    let verified = verify_repository(environment, &opened, &described.url, &options, progress)?;
    let report = &verified.report;
    let summary = format!(
        "{}, {}, {} of them read",
        format_count(report.snapshots, "snapshot", "snapshots"),
        format_count(report.packs, "pack", "packs"),
        report.packs_read
    );
    // What only others can read is not known to be good.
    let unreadable = report.unreadable.iter().map(|objects| {
        format!(
            "not checked: none of the given identities can decrypt {} of {}, such as {}",
            format_count(objects.count, "object", "objects"),
            opened.location(),
            objects.example
        )
    });
    let mut step = WorkStep::finished(repository, Outcome::Ok, summary, json!(report))
        .with_warnings(unreadable.collect());
    if let Some(first) = report.findings.first() {
        let summary = format!(
            "{} findings; {}: {}",
            report.findings.len(),
            first.object,
            first.reason
        );
        let hint = "run `reprise verify --read-data` to see all, and repair from a copy with `reprise verify --repair`";
        step = step.with_damage(summary, hint);
    }
    Ok(step)
}
