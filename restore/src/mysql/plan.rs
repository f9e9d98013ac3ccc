//! Describes what a restore would do, without doing it.

use std::sync::Arc;

use reprise_repository::{Progress, Repository, Snapshot};

use crate::error::Result;
use crate::mysql::load::opened_snapshot::open_snapshot;
use crate::mysql::load::restore_run::accounts_to_create;
use crate::mysql::load::target_session::connect_to_target;
use crate::mysql::load::{preflight, selection};
use crate::mysql::options::MysqlRestoreOptions;
use crate::mysql::pitr::catalog::RecoveryCatalog;
use crate::mysql::pitr::roll_forward::RollForward;
use crate::mysql::recovery_target::PointInTimeOptions;
use crate::mysql::report::MysqlRestorePlan;

/// Describes what a restore would do, without doing it.
///
/// # Errors
/// As for [`super::restore`], except that what does not fit is in the plan.
pub fn plan_restore(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &MysqlRestoreOptions,
    progress: &Arc<Progress>,
) -> Result<MysqlRestorePlan> {
    plan_with(repository, snapshot, options, None, progress)
}

/// Describes what a restore to a recovery target would do.
///
/// # Errors
/// As for [`plan_restore`], and when there is no recovery path to the target.
pub fn plan_point_in_time(
    repository: &Repository,
    archive: &RecoveryCatalog,
    wanted: &PointInTimeOptions,
    options: &MysqlRestoreOptions,
    progress: &Arc<Progress>,
) -> Result<(Snapshot, MysqlRestorePlan)> {
    let way = archive.find_path(repository, &wanted.target)?;
    let forward = RollForward::new(repository, &way, wanted)?;
    let plan = plan_with(repository, way.snapshot, options, Some(&forward), progress)?;
    Ok((way.snapshot.clone(), plan))
}

fn plan_with(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &MysqlRestoreOptions,
    forward: Option<&RollForward<'_>>,
    progress: &Arc<Progress>,
) -> Result<MysqlRestorePlan> {
    let opened = open_snapshot(repository, snapshot)?;
    let selected = selection::select_databases(&opened.manifest, options, &snapshot.id.short())?;
    let mut control = connect_to_target(options, progress)?;
    let target = preflight::inspect_target(&mut control, &opened.manifest, &selected, options)?;
    let accounts = accounts_to_create(&opened.manifest, &selected, options, &target).len();
    let mut plan = target.build_plan(&selected, accounts, options);
    plan.forward = forward.map(RollForward::build_plan);
    Ok(plan)
}
