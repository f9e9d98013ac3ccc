//! Archiving a server's binary log.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reprise_policies::{Policy, PolicySet, PolicySource, PolicySourceKind};
use reprise_repository::{Progress, Repository};
use reprise_snapshotters::mysql::archive::{
    ArchiveOptions, ArchiveReport, ArchiveSource, archive_log,
};

use super::event::{JobEvent, JobObserver, tell_created};
use crate::environment::JobEnvironment;
use crate::error::{JobError, JobResult};
use crate::repositories::open_repository;
use crate::sources::mysql_address;

/// Received data is stored after this time at the latest, by default.
const FLUSH_INTERVAL_DEFAULT: Duration = Duration::from_secs(5);

/// The interval of records that nothing was written.
const IDLE_RECORD_INTERVAL: Duration = Duration::from_secs(600);

/// The most bytes that may wait on the local disk, by default.
const SPOOL_BYTES_DEFAULT: u64 = 1 << 30;

/// How a log is archived, where it is not as usual.
#[derive(Debug, Clone, Default)]
pub struct ArchiveOverrides {
    /// Received data is stored after this time at the latest.
    pub flush: Option<Duration>,
    /// A directory on the local disk for log segments that wait.
    pub spool: Option<PathBuf>,
    /// How many bytes may wait there.
    pub spool_bytes_max: Option<u64>,
}

impl ArchiveOverrides {
    /// These, and the others where these say nothing.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            flush: self.flush.or(others.flush),
            spool: self.spool.or(others.spool),
            spool_bytes_max: self.spool_bytes_max.or(others.spool_bytes_max),
        }
    }
}

/// What is archived, where to, and how.
#[derive(Debug)]
pub struct ArchiveJob {
    /// Where to.
    pub repository: Repository,
    /// What.
    pub source: ArchiveSource,
    /// How.
    pub overrides: ArchiveOverrides,
}

/// The archive that a policy describes for one of its sources.
///
/// # Errors
/// When the source has no log to archive, or its repository cannot be opened.
pub fn archive_job(
    environment: &JobEnvironment,
    policies: &PolicySet,
    name: &str,
    observe: JobObserver<'_>,
) -> JobResult<ArchiveJob> {
    let (policy, source) = policies.find_source(name)?;
    let PolicySourceKind::Mysql(server) = &source.kind else {
        return Err(JobError::NotDatabaseServer {
            source_name: name.to_owned(),
        });
    };
    let archived = server
        .log_archive
        .as_ref()
        .ok_or_else(|| JobError::LogArchiveDisabled {
            source_name: name.to_owned(),
        })?;
    Ok(ArchiveJob {
        repository: open_archive_repository(environment, policy, source, observe)?,
        source: ArchiveSource {
            name: source.name.clone(),
            address: mysql_address(environment, server)?,
        },
        overrides: ArchiveOverrides {
            flush: archived.flush,
            spool: archived.spool.clone(),
            spool_bytes_max: archived.spool_max,
        },
    })
}

/// The log is stored in the first repository of the source; copies take snapshots and log elsewhere.
fn open_archive_repository(
    environment: &JobEnvironment,
    policy: &Policy,
    source: &PolicySource,
    observe: JobObserver<'_>,
) -> JobResult<Repository> {
    let described = source
        .repositories
        .first()
        .and_then(|name| policy.repositories.get(name))
        .ok_or_else(|| JobError::NoRepository {
            source_name: source.name.clone(),
        })?;
    open_repository(environment, described, &[], &mut tell_created(observe))
}

/// Archives a log until it is stopped; with `once`, until everything that the server has is stored.
///
/// # Errors
/// When the server or the repository fails for good, or another archiver is running.
pub fn run_archive(
    environment: &JobEnvironment,
    job: &ArchiveJob,
    once: bool,
    progress: &Arc<Progress>,
    observe: JobObserver<'_>,
) -> JobResult<ArchiveReport> {
    let ArchiveJob {
        repository,
        source,
        overrides,
    } = job;
    let spool = match &overrides.spool {
        Some(directory) => directory.clone(),
        None => default_spool(repository, &source.name)?,
    };
    let options = ArchiveOptions {
        flush_interval: overrides.flush.unwrap_or(FLUSH_INTERVAL_DEFAULT),
        idle_interval: IDLE_RECORD_INTERVAL,
        once,
        spool_directory: spool,
        spool_bytes_max: overrides.spool_bytes_max.unwrap_or(SPOOL_BYTES_DEFAULT),
        program: format!("{} on {}", environment.program, environment.host_name),
        clock: environment.clock,
    };
    let mut report_event = |event| {
        observe(JobEvent::Archive {
            source: &source.name,
            event,
        });
    };
    let report = archive_log(repository, source, &options, progress, &mut report_event)?;
    Ok(report)
}

fn default_spool(repository: &Repository, source: &str) -> JobResult<PathBuf> {
    let cache = repository.cache_dir().ok_or(JobError::NoSpoolDirectory)?;
    Ok(cache.join("spool").join(repository.log_name(source)))
}
