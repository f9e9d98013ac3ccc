//! Executes a restore: checks the target, loads the snapshot, replays the log, and compares.

use std::sync::Arc;

use reprise_mysql::Session;
use reprise_repository::{Outcome, Progress, Repository, Snapshot};

use crate::error::{Error, Result};
use crate::mysql::fingerprint::restore_fingerprint;
use crate::mysql::load::opened_snapshot::open_snapshot;
use crate::mysql::load::preflight::{self, TargetServer};
use crate::mysql::load::restore_run::{MysqlRestoreRun, accounts_to_create, warning_without_path};
use crate::mysql::load::target_session::connect_to_target;
use crate::mysql::load::target_settings::TargetSettings;
use crate::mysql::load::{selection, verify};
use crate::mysql::options::{MysqlRestoreOptions, VerifyLevel};
use crate::mysql::pitr::catalog::RecoveryCatalog;
use crate::mysql::pitr::roll_forward::RollForward;
use crate::mysql::recovery_target::{PointInTimeOptions, RecoveryTarget};
use crate::mysql::report::{MysqlRestorePlan, MysqlRestoreReport};
use crate::mysql::restore_state::{self, RestoreState};

/// Restores a snapshot of a server, and compares the server with the snapshot.
///
/// # Errors
/// When the target is refused or cannot hold the snapshot, the snapshot cannot be read, or the server fails. What was
/// loaded until then is kept for `resume`.
pub fn restore(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &MysqlRestoreOptions,
    announce: &mut dyn FnMut(&MysqlRestorePlan),
    progress: &Arc<Progress>,
) -> Result<MysqlRestoreReport> {
    restore_with(repository, snapshot, options, None, announce, progress)
}

/// Restores a server to a recovery target: the snapshot before it, and the log up to it. Returns the snapshot too.
///
/// # Errors
/// As for [`restore`], and when there is no recovery path to the target or the log cannot be replayed.
pub fn restore_point_in_time(
    repository: &Repository,
    archive: &RecoveryCatalog,
    wanted: &PointInTimeOptions,
    options: &MysqlRestoreOptions,
    announce: &mut dyn FnMut(&Snapshot, &MysqlRestorePlan),
    progress: &Arc<Progress>,
) -> Result<(Snapshot, MysqlRestoreReport)> {
    let way = archive.find_path(repository, &wanted.target)?;
    let forward = RollForward::new(repository, &way, wanted)?;
    let mut announce = |plan: &MysqlRestorePlan| announce(way.snapshot, plan);
    let report = restore_with(
        repository,
        way.snapshot,
        options,
        Some(&forward),
        &mut announce,
        progress,
    )?;
    Ok((way.snapshot.clone(), report))
}

fn restore_with(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &MysqlRestoreOptions,
    forward: Option<&RollForward<'_>>,
    announce: &mut dyn FnMut(&MysqlRestorePlan),
    progress: &Arc<Progress>,
) -> Result<MysqlRestoreReport> {
    let opened = open_snapshot(repository, snapshot)?;
    let selected = selection::select_databases(&opened.manifest, options, &snapshot.id.short())?;
    let mut control = connect_to_target(options, progress)?;
    let mut name = restore_fingerprint(snapshot, &selected);
    if let Some(forward) = forward {
        name.push_str(&format!(" to {}", forward.fingerprint()));
    }
    if !options.overwrite {
        restore_state::check_resumable(&mut control, &name, options.resume)?;
    }
    let target = preflight::inspect_target(&mut control, &opened.manifest, &selected, options)?;
    let accounts = accounts_to_create(&opened.manifest, &selected, options, &target);
    let mut plan = target.build_plan(&selected, accounts.len(), options);
    plan.forward = forward.map(RollForward::build_plan);
    announce(&plan);
    if !plan.problems.is_empty() {
        return Err(Error::TargetIncompatible {
            target: plan.target,
            problems: plan.problems,
        });
    }
    let run = MysqlRestoreRun {
        options,
        opened: &opened,
        selected: &selected,
        accounts,
        progress,
    };
    restore_state::lock_target(&mut control)?;
    if options.overwrite {
        restore_state::delete_state(&mut control)
            .map_err(|e| Error::from_database("delete the state of the interrupted restore", e))?;
    }
    drop_existing_objects(&mut control, &target)?;
    let done = restore_state::begin_restore(&mut control, &name, options.resume)?;
    let mut settings = TargetSettings::from_earlier_attempt(&done);
    let changed = settings.change_settings(&mut control, &target, options, forward.is_some());
    let result =
        changed.and_then(|()| run.restore_and_replay(&mut control, &done, forward, &mut settings));
    let back = settings.revert_settings(options);
    let mut report = result.map_err(Error::into_unfinished)?;
    back.map_err(Error::into_unfinished)?;
    restore_state::delete_state(&mut control)
        .map_err(|e| Error::from_database("delete the state of the finished restore", e))?;
    report.warnings.splice(
        0..0,
        target
            .warnings
            .iter()
            .map(|text| warning_without_path(text.clone())),
    );
    report.outcome = if report.warnings.is_empty() {
        Outcome::Ok
    } else {
        Outcome::Degraded
    };
    Ok(report)
}

/// Drops conflicting objects. No record exists before all are dropped: a resumed restore finds only its own objects.
fn drop_existing_objects(control: &mut Session, target: &TargetServer) -> Result<()> {
    for statement in &target.drop_statements {
        control
            .execute(statement)
            .map_err(|error| Error::from_database(format!("run {statement}"), error))?;
    }
    Ok(())
}

impl MysqlRestoreRun<'_> {
    /// The snapshot, and the log after it, if requested.
    fn restore_and_replay(
        &self,
        control: &mut Session,
        done: &RestoreState,
        forward: Option<&RollForward<'_>>,
        settings: &mut TargetSettings,
    ) -> Result<MysqlRestoreReport> {
        let Some(forward) = forward else {
            return self.restore_snapshot(control, done);
        };
        let mut report = match RollForward::is_snapshot_restored(done) {
            true => self.report_earlier_attempt()?,
            false => self.restore_snapshot(control, done)?,
        };
        if !report.differences.is_empty() {
            return Ok(report);
        }
        RollForward::record_snapshot_restored(control)?;
        if forward.options.keep_gtids {
            settings.relax_durability(control, done, self.selected)?;
        }
        let accounts: Vec<String> = self
            .opened
            .manifest
            .accounts
            .iter()
            .flatten()
            .map(|account| account.user.clone())
            .collect();
        let replayed = forward.replay_log(control, self.options, done, &accounts, self.progress)?;
        let (mut told, warnings) = forward.build_report(&replayed);
        report.warnings.extend(warnings);
        if let RecoveryTarget::Snapshot(later) = &forward.options.target
            && forward.options.skip.is_empty()
        {
            report.differences = self.compare_with_snapshot(control, forward.repository, later)?;
            told.compared_with = Some(later.id.short());
        }
        report.forward = Some(told);
        Ok(report)
    }

    /// Reads what an earlier, interrupted attempt has done.
    fn report_earlier_attempt(&self) -> Result<MysqlRestoreReport> {
        let fillings = self.table_loads()?;
        Ok(MysqlRestoreReport {
            outcome: Outcome::Ok,
            tables: fillings.len(),
            rows: fillings.iter().map(|filling| filling.table.rows).sum(),
            warnings: Vec::new(),
            verified: self.options.verify,
            differences: Vec::new(),
            forward: None,
        })
    }

    /// Compares every table with the checksums of another snapshot.
    fn compare_with_snapshot(
        &self,
        control: &mut Session,
        repository: &Repository,
        snapshot: &Snapshot,
    ) -> Result<Vec<String>> {
        let opened = open_snapshot(repository, snapshot)?;
        let selected =
            selection::select_databases(&opened.manifest, self.options, &snapshot.id.short())?;
        let run = MysqlRestoreRun {
            opened: &opened,
            selected: &selected,
            accounts: &[],
            ..*self
        };
        let fillings = run.table_loads()?;
        let mut differences = run.compare_tables(control, &fillings)?;
        let whole = selected.iter().filter(|chosen| chosen.whole);
        for chosen in whole.filter(|_| self.options.verify != VerifyLevel::None) {
            differences.extend(verify::find_extra_tables(control, chosen)?);
        }
        Ok(differences)
    }
}
