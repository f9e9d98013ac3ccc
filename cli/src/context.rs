//! What commands need from their environment: where keys, cache and repository are, and the time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use reprise_policies::PolicySet;
use reprise_repository::backend::{Backend, RepositoryLocation};
use reprise_repository::{
    HostDirectory, Keeper, OpenOptions, Repository, SignerId, Snapshot, has_age_identity,
};

use crate::args::GlobalArgs;
use crate::destination::{self, DestinationOptions};
use crate::failure::{Exit, Failure};
use crate::output;

/// The environment of a command.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) global: GlobalArgs,
    pub(crate) host: HostDirectory,
    pub(crate) host_name: String,
    cache: Option<PathBuf>,
}

/// The time. Commands and the libraries that they call use no other clock.
pub(crate) fn current_time() -> DateTime<Utc> {
    Utc::now()
}

fn env_path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// A directory below a base directory of the user, by the XDG rules: relative values are ignored.
fn xdg_directory(variable: &str, below_home: &str) -> Option<PathBuf> {
    env_path(variable)
        .filter(|path| path.is_absolute())
        .or_else(|| env_path("HOME").map(|home| home.join(below_home)))
        .map(|base| base.join("reprise"))
}

impl Context {
    pub(crate) fn new(global: GlobalArgs) -> Self {
        let host = env_path("REPRISE_CONFIG_DIR")
            .or_else(|| xdg_directory("XDG_CONFIG_HOME", ".config"))
            .unwrap_or_else(|| PathBuf::from("/etc/reprise"));
        let cache =
            env_path("REPRISE_CACHE_DIR").or_else(|| xdg_directory("XDG_CACHE_HOME", ".cache"));
        let name = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        Self {
            global,
            host: HostDirectory::new(host),
            host_name: name,
            cache,
        }
    }

    /// Directories that a snapshot of a volume must never contain: they change while it is taken.
    pub(crate) fn paths_excluded_from_volumes(&self, location: &str) -> Vec<PathBuf> {
        let mut never = vec![PathBuf::from(location)];
        never.extend(self.cache.clone());
        never
    }

    /// The repository given on the command line.
    pub(crate) fn location(&self) -> Result<RepositoryLocation, Failure> {
        let text = self.global.repository.as_deref().ok_or_else(|| {
            Failure::usage(
                "no repository is given",
                "give -r/--repository URL or set REPRISE_REPOSITORY",
            )
        })?;
        destination::parse_location(text)
    }

    /// Opens the repository given on the command line, to read from it.
    pub(crate) fn open_repository(&self) -> Result<Repository, Failure> {
        let backend =
            destination::open_for_reading(self, &self.location()?, &DestinationOptions::default())?;
        self.open_repository_at(backend, &[], &[])
    }

    /// Opens the repository given on the command line, to add to it.
    pub(crate) fn open_repository_for_writing(&self) -> Result<Repository, Failure> {
        let backend =
            destination::open_for_writing(self, &self.location()?, &DestinationOptions::default())?;
        self.open_repository_at(backend, &[], &[])
    }

    /// Opens a repository with further identities, and the signers that a policy pins.
    pub(crate) fn open_repository_at(
        &self,
        backend: Arc<dyn Backend>,
        identities: &[PathBuf],
        signers: &[SignerId],
    ) -> Result<Repository, Failure> {
        let files = self.global.identity.iter().chain(identities);
        let mut identity_files: Vec<PathBuf> = files.cloned().collect();
        // The keeper's file alone lets another machine do what the keeper does.
        if let Some(keeper) = &self.global.keeper
            && has_age_identity(keeper)?
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

    /// The policies given on the command line.
    pub(crate) fn load_policies(&self) -> Result<PolicySet, Failure> {
        let path = self.global.policies.as_deref().ok_or_else(|| {
            Failure::usage(
                "no policy is given",
                "give --policies PATH or set REPRISE_POLICIES",
            )
        })?;
        self.load_policies_at(path)
    }

    /// The policies in a file or directory.
    pub(crate) fn load_policies_at(&self, path: &Path) -> Result<PolicySet, Failure> {
        if !path.exists() {
            let message = format!("policy {} does not exist", path.display());
            return Err(Failure::new(Exit::NotFound, message, ""));
        }
        let set = PolicySet::load(path)?;
        if !self.global.quiet {
            for warning in set.warnings() {
                output::print_note(warning.to_string().trim_end());
            }
        }
        Ok(set)
    }

    /// Finds a snapshot, and prints a note if it is forgotten.
    pub(crate) fn find_snapshot(
        &self,
        repository: &Repository,
        name: &str,
    ) -> Result<Snapshot, Failure> {
        let snapshot = repository.find_snapshot(name)?;
        if snapshot.forgotten {
            let id = snapshot.id.short();
            self.print_note(&format!(
                "note: snapshot {id} is forgotten and will be deleted by the next prune; `reprise unforget {id}` keeps it"
            ));
        }
        Ok(snapshot)
    }

    /// The user who runs the command, for the record.
    pub(crate) fn current_user(&self) -> String {
        let named = ["SUDO_USER", "USER", "LOGNAME"];
        let user = named
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
        let user = user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
        format!("{user}@{}", self.host_name)
    }

    /// The keeper's key.
    pub(crate) fn load_keeper(
        &self,
        repository: &Repository,
        action: &'static str,
    ) -> Result<Keeper, Failure> {
        Ok(repository.load_keeper(self.global.keeper.as_deref(), action)?)
    }

    /// Prints a note for people beside the result.
    pub(crate) fn print_note(&self, text: &str) {
        if !self.global.quiet {
            output::print_note(text);
        }
    }
}
