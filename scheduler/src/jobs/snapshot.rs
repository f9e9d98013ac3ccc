//! Taking a snapshot of a source.

use std::sync::Arc;
use std::time::Instant;

use reprise_policies::{Policy, PolicySource};
use reprise_repository::{CommittedSnapshot, Progress, Repository};
use reprise_snapshotters::volume::VolumeSource;
use reprise_snapshotters::{RunContext, command, mysql, tfstate, volume};

use super::event::{JobObserver, tell_created};
use crate::environment::JobEnvironment;
use crate::error::JobResult;
use crate::repositories::{find_repository, open_repository};
use crate::sources::{SnapshotNaming, SourceReader, snapshot_naming, source_reader};

/// A completed snapshot.
#[derive(Debug)]
pub struct SnapshotReport {
    /// What was committed.
    pub committed: CommittedSnapshot,
    /// Recovery recipients that were removed while it was taken: a part of it may be encrypted to them.
    pub removed_recipients: Vec<String>,
    /// How long it took until everything was stored, in seconds.
    pub seconds: f64,
}

/// Takes a snapshot.
///
/// # Errors
/// When the source cannot be read or the repository cannot be written.
pub fn take_snapshot(
    environment: &JobEnvironment,
    repository: &Repository,
    naming: SnapshotNaming,
    reader: SourceReader,
    progress: &Arc<Progress>,
) -> JobResult<SnapshotReport> {
    let begun = Instant::now();
    let run = RunContext {
        source: naming.source,
        host: environment.host_name.clone(),
        tags: naming.tags,
        shrink_alarm: naming.shrink_alarm,
        clock: environment.clock,
        progress: Arc::clone(progress),
        scheduled: environment.scheduled.clone(),
    };
    let committed = match reader {
        SourceReader::Volume(source) => {
            let excluded = environment.paths_excluded_from_volumes(&repository.location());
            volume::snapshot_tree(
                repository,
                &VolumeSource {
                    always_excluded: excluded,
                    ..source
                },
                &run,
            )
        }
        SourceReader::Tfstate(path) => tfstate::snapshot_states(repository, &path, &run),
        SourceReader::Command(source) => command::snapshot_output(repository, &source, &run),
        SourceReader::Mysql(source) => mysql::take_snapshot(repository, &source, &run),
    };
    let committed = committed?;
    Ok(SnapshotReport {
        removed_recipients: find_removed_recipients(repository),
        committed,
        seconds: begun.elapsed().as_secs_f64(),
    })
}

/// The snapshot is stored, whether its recipients can be read again or not.
fn find_removed_recipients(repository: &Repository) -> Vec<String> {
    repository.removed_recipients().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot read whether recipients were removed while the snapshot was taken");
        Vec::new()
    })
}

/// Takes a snapshot of a policy's source to one of its repositories, which is created first if the policy says so.
/// Returns the repository as well.
///
/// # Errors
/// As [`take_snapshot`]; and when the repository is not as the policy describes it, or a secret is missing.
pub fn snapshot_policy_source(
    environment: &JobEnvironment,
    policy: &Policy,
    source: &PolicySource,
    repository: &str,
    progress: &Arc<Progress>,
    observe: JobObserver<'_>,
) -> JobResult<(Repository, SnapshotReport)> {
    let described = find_repository(policy, repository)?;
    let repository = open_repository(environment, described, &[], &mut tell_created(observe))?;
    let reader = source_reader(environment, policy, source)?;
    let naming = snapshot_naming(source);
    let report = take_snapshot(environment, &repository, naming, reader, progress)?;
    Ok((repository, report))
}
