//! Rehearsing a restore: the snapshot that a drill may take first, and the drill.

use std::path::PathBuf;
use std::sync::Arc;

use reprise_policies::{Drill, Policy};
use reprise_repository::{CommittedSnapshot, Progress};
use reprise_restore::drill::{self, DrillReport};

use super::event::{JobEvent, JobObserver, tell_created};
use super::snapshot::snapshot_policy_source;
use crate::environment::JobEnvironment;
use crate::error::{JobError, JobResult};
use crate::repositories::{find_repository, open_repository};
use crate::sources::{identity_file, scratch_address};

/// Takes the snapshot with which a drill begins, if it does: without the identity, as a snapshot must work with the
/// host's own keys.
///
/// # Errors
/// As those of a snapshot; and when the drill's source is not defined.
pub fn take_drill_snapshot(
    environment: &JobEnvironment,
    policy: &Policy,
    drill: &Drill,
    progress: &Arc<Progress>,
    observe: JobObserver<'_>,
) -> JobResult<Option<CommittedSnapshot>> {
    if !drill.snapshot_first {
        return Ok(None);
    }
    let source = policy
        .sources
        .get(&drill.source)
        .ok_or_else(|| JobError::Undefined {
            kind: "source",
            name: drill.source.clone(),
            policy: policy.name.clone(),
        })?;
    let (_, taken) = snapshot_policy_source(
        environment,
        policy,
        source,
        &drill.repository,
        progress,
        observe,
    )?;
    Ok(Some(taken.committed))
}

/// Runs a drill of a policy, after [`take_drill_snapshot`].
///
/// # Errors
/// When it could not be run. What it finds is in the report.
pub fn run_drill(
    environment: &JobEnvironment,
    policy: &Policy,
    drill: &Drill,
    progress: &Arc<Progress>,
    observe: JobObserver<'_>,
) -> JobResult<DrillReport> {
    let described = find_repository(policy, &drill.repository)?;
    let identity = drill.identity.as_ref().map(identity_file).transpose()?;
    let identity: Vec<PathBuf> = identity.into_iter().collect();
    let repository = open_repository(
        environment,
        described,
        &identity,
        &mut tell_created(observe),
    )?;
    for found in &repository.find_foreign_series(Some(&drill.source))? {
        observe(JobEvent::ForeignSeries { found });
    }
    // Not the newest of anybody, if the name means several hosts.
    let snapshot = repository.find_snapshot(&format!("{}@latest", drill.source))?;
    let report = match &drill.server {
        Some(server) => {
            let address = scratch_address(environment, server)?;
            repository.require_data_identity()?;
            let target = (&address, server.replay);
            drill::run_in_server(&repository, drill, target, environment.clock, progress)?
        }
        None => {
            drill::run_in_directory(&repository, &snapshot, drill, environment.clock, progress)?
        }
    };
    Ok(report)
}
