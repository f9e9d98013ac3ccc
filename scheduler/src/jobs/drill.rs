//! Rehearsing a restore.

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

/// A completed drill.
#[derive(Debug)]
pub struct DrillJobReport {
    /// Its verdict, and what it follows from.
    pub report: DrillReport,
    /// The snapshot that the drill took first, if it takes one.
    pub committed: Option<CommittedSnapshot>,
}

/// Runs a drill of a policy.
///
/// # Errors
/// When it could not be run. What it finds is in the report.
pub fn run_drill(
    environment: &JobEnvironment,
    policy: &Policy,
    drill: &Drill,
    progress: &Arc<Progress>,
    observe: JobObserver<'_>,
) -> JobResult<DrillJobReport> {
    let described = find_repository(policy, &drill.repository)?;
    let source = policy
        .sources
        .get(&drill.source)
        .ok_or_else(|| JobError::Undefined {
            kind: "source",
            name: drill.source.clone(),
            policy: policy.name.clone(),
        })?;
    let mut committed = None;
    if drill.snapshot_first {
        // Without the identity: a snapshot must work with the host's own keys.
        let (_, taken) = snapshot_policy_source(
            environment,
            policy,
            source,
            &drill.repository,
            progress,
            observe,
        )?;
        observe(JobEvent::SnapshotTaken {
            committed: &taken.committed,
        });
        committed = Some(taken.committed);
    }
    let identity = drill.identity.as_ref().map(identity_file).transpose()?;
    let identity: Vec<PathBuf> = identity.into_iter().collect();
    let repository = open_repository(
        environment,
        described,
        &identity,
        &mut tell_created(observe),
    )?;
    let report = match &drill.server {
        Some(server) => {
            let address = scratch_address(server)?;
            repository.require_data_identity()?;
            let target = (&address, server.replay);
            drill::run_in_server(&repository, drill, target, environment.clock, progress)?
        }
        None => {
            let snapshot = repository.find_snapshot(&format!("{}@latest", drill.source))?;
            drill::run_in_directory(&repository, &snapshot, drill, environment.clock, progress)?
        }
    };
    Ok(DrillJobReport { report, committed })
}
