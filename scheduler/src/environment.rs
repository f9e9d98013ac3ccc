//! What jobs need from the host that runs them. Nothing in this crate asks the clock itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reprise_mysql::ConnectionSettings;
use reprise_repository::backend::Backend;
use reprise_repository::{
    HostDirectory, Keeper, MeantHosts, OpenOptions, Repository, ScheduledRun, SignerId,
    has_age_identity,
};

use crate::error::JobResult;

/// The host on which a job runs, and on whose behalf.
#[derive(Debug, Clone)]
pub struct JobEnvironment {
    /// The host's keys.
    pub host: HostDirectory,
    /// The host's name.
    pub host_name: String,
    /// Who runs the job, for the record: `user@host`.
    pub user: String,
    /// Where indexes and spooled logs are kept, if anywhere.
    pub cache: Option<PathBuf>,
    /// Files with recovery identities.
    pub identity_files: Vec<PathBuf>,
    /// File with a keeper's key; `None`: the host's own key.
    pub keeper_file: Option<PathBuf>,
    /// Whom the names of sources mean, as the policies say.
    pub meant_hosts: MeantHosts,
    /// Tells the time.
    pub clock: fn() -> DateTime<Utc>,
    /// How destinations are reached.
    pub network: NetworkOptions,
    /// Set when everything is to stop.
    pub stop_requested: Arc<AtomicBool>,
    /// The program's name and version, for the record.
    pub program: String,
    /// The scheduled run that snapshots are taken for, if there is one.
    pub scheduled: Option<ScheduledRun>,
}

/// How destinations are reached, whatever a policy says. `None`: as the policy says, or the default.
#[derive(Debug, Clone, Default)]
pub struct NetworkOptions {
    /// Bytes per second.
    pub limit_upload: Option<u64>,
    /// Bytes per second.
    pub limit_download: Option<u64>,
    /// Endpoints with plain HTTP on other hosts are accepted, also where a policy does not say so.
    pub allow_http: bool,
    /// How long a failing request is retried.
    pub retry_for: Option<Duration>,
    /// A request that transfers no data for this long is retried; a database server that is silent for this long is asked
    /// whether it still answers.
    pub stall_timeout: Option<Duration>,
}

impl JobEnvironment {
    /// Directories that a snapshot of a volume must never contain: they change while it is taken.
    #[must_use]
    pub fn paths_excluded_from_volumes(&self, location: &str) -> Vec<PathBuf> {
        let mut excluded = vec![PathBuf::from(location)];
        excluded.extend(self.cache.clone());
        excluded
    }

    /// What is demanded of connections to database servers.
    #[must_use]
    pub fn connection_settings(&self) -> ConnectionSettings {
        ConnectionSettings {
            pins: Some(self.host.path().join("servers")),
            idle_limit: self.network.stall_timeout,
        }
    }

    /// Opens a repository with further identities, and the signers that a policy pins.
    ///
    /// # Errors
    /// When it is no repository that this host may open.
    pub fn open_repository_at(
        &self,
        backend: Arc<dyn Backend>,
        identities: &[PathBuf],
        signers: &[SignerId],
    ) -> JobResult<Repository> {
        let files = self.identity_files.iter().chain(identities);
        let mut identity_files: Vec<PathBuf> = files.cloned().collect();
        // The keeper's file alone lets another machine do what the keeper does.
        if let Some(keeper) = &self.keeper_file
            && has_age_identity(keeper)?
        {
            identity_files.push(keeper.clone());
        }
        let options = OpenOptions {
            host: self.host.clone(),
            identity_files,
            cache: self.cache.clone(),
            memory: Some(self.host.path().join("seen")),
            pinned_signers: signers.to_vec(),
        };
        let opened = Repository::open(backend, &options)?;
        Ok(opened.with_meant_hosts(self.meant_hosts.clone()))
    }

    /// The keeper's key, for an action that only a keeper may do.
    ///
    /// # Errors
    /// When the key at hand is not that of a keeper.
    pub fn load_keeper(&self, repository: &Repository, action: &'static str) -> JobResult<Keeper> {
        Ok(repository.load_keeper(self.keeper_file.as_deref(), action)?)
    }
}
