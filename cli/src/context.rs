//! What commands need from their surroundings: where keys, cache and repository are, and the time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use reprise_policies::PolicySet;
use reprise_repository::backend::{Backend, Location};
use reprise_repository::{
    HostFolder, Keeper, OpenOptions, Repository, SignerId, Snapshot, holds_identity,
};

use crate::args::Global;
use crate::destination::{self, Wishes};
use crate::failure::{Exit, Failure};
use crate::output;

/// The surroundings of a command.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) global: Global,
    pub(crate) host: HostFolder,
    pub(crate) host_name: String,
    cache: Option<PathBuf>,
}

/// The time. Commands and the libraries they call ask nothing else.
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

fn env_path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// A folder below a base directory of the user, by the XDG rules: relative values are ignored.
fn xdg(variable: &str, below_home: &str) -> Option<PathBuf> {
    env_path(variable)
        .filter(|path| path.is_absolute())
        .or_else(|| env_path("HOME").map(|home| home.join(below_home)))
        .map(|base| base.join("reprise"))
}

impl Context {
    pub(crate) fn new(global: Global) -> Self {
        let host = env_path("REPRISE_CONFIG_DIR")
            .or_else(|| xdg("XDG_CONFIG_HOME", ".config"))
            .unwrap_or_else(|| PathBuf::from("/etc/reprise"));
        let cache = env_path("REPRISE_CACHE_DIR").or_else(|| xdg("XDG_CACHE_HOME", ".cache"));
        let name = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        Self {
            global,
            host: HostFolder::new(host),
            host_name: name,
            cache,
        }
    }

    /// Folders that a snapshot of a volume must never contain: they change while it is taken.
    pub(crate) fn never_in_a_volume(&self, location: &str) -> Vec<PathBuf> {
        let mut never = vec![PathBuf::from(location)];
        never.extend(self.cache.clone());
        never
    }

    /// The repository that the command line names.
    pub(crate) fn location(&self) -> Result<Location, Failure> {
        let text = self.global.repository.as_deref().ok_or_else(|| {
            Failure::usage(
                "no repository is given",
                "give -r/--repository URL or set REPRISE_REPOSITORY",
            )
        })?;
        Ok(Location::parse(text)?)
    }

    /// Opens the repository that the command line names, to read from it.
    pub(crate) fn open(&self) -> Result<Repository, Failure> {
        let backend = destination::reading(self, &self.location()?, &Wishes::default())?;
        self.open_at(backend, &[], &[])
    }

    /// Opens the repository that the command line names, to add to it.
    pub(crate) fn open_to_write(&self) -> Result<Repository, Failure> {
        let backend = destination::writing(self, &self.location()?, &Wishes::default())?;
        self.open_at(backend, &[], &[])
    }

    /// Opens a repository with further identities, and the signers that a policy pins.
    pub(crate) fn open_at(
        &self,
        backend: Arc<dyn Backend>,
        identities: &[PathBuf],
        signers: &[SignerId],
    ) -> Result<Repository, Failure> {
        let files = self.global.identity.iter().chain(identities);
        let mut identity_files: Vec<PathBuf> = files.cloned().collect();
        // With the keeper's file alone another machine can do what the keeper does.
        if let Some(keeper) = &self.global.keeper
            && holds_identity(keeper)?
        {
            identity_files.push(keeper.clone());
        }
        let options = OpenOptions {
            host: self.host.clone(),
            identity_files,
            cache: self.cache.clone(),
            pinned_signers: signers.to_vec(),
        };
        Ok(Repository::open(backend, &options)?)
    }

    /// The policies that the command line names.
    pub(crate) fn policies(&self) -> Result<PolicySet, Failure> {
        let path = self.global.policies.as_deref().ok_or_else(|| {
            Failure::usage(
                "no policy is given",
                "give --policies PATH or set REPRISE_POLICIES",
            )
        })?;
        self.policies_at(path)
    }

    /// The policies in a file or folder.
    pub(crate) fn policies_at(&self, path: &Path) -> Result<PolicySet, Failure> {
        if !path.exists() {
            let message = format!("policy {} does not exist", path.display());
            return Err(Failure::new(Exit::NotFound, message, ""));
        }
        let set = PolicySet::load(path)?;
        if !self.global.quiet {
            for warning in set.warnings() {
                output::note(warning.to_string().trim_end());
            }
        }
        Ok(set)
    }

    /// Finds a snapshot, and tells when it is a forgotten one.
    pub(crate) fn snapshot(
        &self,
        repository: &Repository,
        name: &str,
    ) -> Result<Snapshot, Failure> {
        let snapshot = repository.find_snapshot(name)?;
        if snapshot.forgotten {
            let id = snapshot.id.short();
            self.note(&format!(
                "note: snapshot {id} is forgotten and will be deleted by the next prune; `reprise unforget {id}` keeps it"
            ));
        }
        Ok(snapshot)
    }

    /// Who asks, for the record.
    pub(crate) fn person(&self) -> String {
        let named = ["SUDO_USER", "USER", "LOGNAME"];
        let user = named
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
        let user = user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
        format!("{user}@{}", self.host_name)
    }

    /// The keeper's key.
    pub(crate) fn keeper(
        &self,
        repository: &Repository,
        action: &'static str,
    ) -> Result<Keeper, Failure> {
        Ok(repository.keeper(self.global.keeper.as_deref(), action)?)
    }

    /// Tells a person something beside the result.
    pub(crate) fn note(&self, text: &str) {
        if !self.global.quiet {
            output::note(text);
        }
    }
}
