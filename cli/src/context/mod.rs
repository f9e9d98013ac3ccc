//! What commands need from their environment: where keys, cache and repository are, and the time.

mod repository_target;
mod shown_zone;
mod snapshot_selection;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use reprise_policies::PolicySet;
use reprise_repository::{HostDirectory, Keeper, Repository};
use reprise_scheduler::jobs::JobEvent;
use reprise_scheduler::repositories::CreatedRepository;
use reprise_scheduler::{JobEnvironment, NetworkOptions, meant_hosts};
use reprise_times::TimeZone;

use crate::failure::{Exit, Failure};
use crate::global_args::GlobalArgs;
use crate::interruption::stop_flag;
use crate::output;
use crate::quantities::{parse_duration_option, parse_rate_option};

use crate::version::report_time_zone_data;

use self::repository_target::{RepositoryTarget, find_target};
use self::shown_zone::ShownZone;

pub(crate) use self::repository_target::refuse_policies;
pub(crate) use self::snapshot_selection::SNAPSHOT_NAMES_HELP;

/// The environment of a command.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) global: GlobalArgs,
    /// What jobs need of this host.
    pub(crate) environment: JobEnvironment,
    /// The policies given on the command line, if they are valid: read once.
    policies: Option<PolicySet>,
    /// The policies of which it was said that they have warnings.
    noted_policies: Arc<Mutex<BTreeSet<PathBuf>>>,
    /// The time zone of times that are shown, or written without an offset.
    pub(crate) zone: ShownZone,
}

/// The time. Commands and the libraries that they call use no other clock.
#[expect(clippy::disallowed_methods, reason = "the clock that is passed in")]
pub(crate) fn current_time() -> DateTime<Utc> {
    Utc::now()
}

/// A variable of the environment, unless it is empty or not set.
#[expect(
    clippy::disallowed_methods,
    reason = "the environment that is passed in"
)]
pub(crate) fn env_variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the environment that is passed in"
)]
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

/// The user who runs the command, for the record.
fn current_user() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"];
    let user = named.iter().find_map(|name| env_variable(name));
    user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

fn network_options(global: &GlobalArgs) -> Result<NetworkOptions, Failure> {
    let rate = |given: &Option<String>, option: &str| {
        let rate = given.as_ref().map(|text| parse_rate_option(text, option));
        rate.transpose()
    };
    let time = |given: &Option<String>, option: &str| {
        let way_out = "write it as 30s or 15m";
        let time = given
            .as_ref()
            .map(|text| parse_duration_option(text, option, way_out));
        time.transpose()
    };
    Ok(NetworkOptions {
        limit_upload: rate(&global.limit_upload, "--limit-upload")?,
        limit_download: rate(&global.limit_download, "--limit-download")?,
        allow_http: global.allow_http,
        retry_for: time(&global.retry_for, "--retry-for")?,
        stall_timeout: time(&global.request_timeout, "--request-timeout")?,
    })
}

impl Context {
    /// The environment of a command with these options.
    pub(crate) fn new(global: GlobalArgs) -> Result<Self, Failure> {
        let host = env_path("REPRISE_CONFIG_DIR")
            .or_else(|| xdg_directory("XDG_CONFIG_HOME", ".config"))
            .unwrap_or_else(|| PathBuf::from("/etc/reprise"));
        let cache =
            env_path("REPRISE_CACHE_DIR").or_else(|| xdg_directory("XDG_CACHE_HOME", ".cache"));
        let host_name = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        // Policies that cannot be read are refused where they are needed.
        let policies = global.policies.as_deref().map(PolicySet::load);
        let policies = policies.and_then(Result::ok);
        let zone = ShownZone::choose(policies.as_ref(), env_variable("TZ").as_deref());
        zone.show(global.json);
        let environment = JobEnvironment {
            meant_hosts: policies.as_ref().map(meant_hosts).unwrap_or_default(),
            host: HostDirectory::new(host).with_expected_config(global.expect),
            user: format!("{}@{host_name}", current_user()),
            host_name,
            cache,
            identity_files: global.identity.clone(),
            keeper_file: global.keeper.clone(),
            clock: current_time,
            network: network_options(&global)?,
            stop_requested: stop_flag(),
            program: format!("reprise {}", env!("CARGO_PKG_VERSION")),
            scheduled: None,
        };
        Ok(Self {
            global,
            environment,
            policies,
            noted_policies: Arc::default(),
            zone,
        })
    }

    /// The repository that the command line or the policies name.
    pub(crate) fn target(&self) -> Result<RepositoryTarget, Failure> {
        find_target(self, None)
    }

    /// Opens the repository, to read from it.
    pub(crate) fn open_repository(&self) -> Result<Repository, Failure> {
        self.target()?.open(self)
    }

    /// Opens the repository of a snapshot or source, to read from it.
    pub(crate) fn open_repository_of(&self, source: &str) -> Result<Repository, Failure> {
        find_target(self, Some(source))?.open(self)
    }

    /// Opens the repository, to add to it.
    pub(crate) fn open_repository_for_writing(&self) -> Result<Repository, Failure> {
        self.target()?.open_for_writing(self)
    }

    /// The policies given on the command line.
    pub(crate) fn load_policies(&self) -> Result<PolicySet, Failure> {
        let path = self.global.policies.as_deref().ok_or_else(|| {
            Failure::usage(
                "no policy is given",
                "give --policies PATH or set REPRISE_POLICIES",
            )
        })?;
        match &self.policies {
            Some(set) => {
                self.print_policy_notes(path, set);
                Ok(set.clone())
            }
            None => self.load_policies_at(path),
        }
    }

    /// The policies in a file or directory.
    pub(crate) fn load_policies_at(&self, path: &Path) -> Result<PolicySet, Failure> {
        if !path.exists() {
            let message = format!("policy {} does not exist", path.display());
            return Err(Failure::new(Exit::NotFound, message, ""));
        }
        let set = PolicySet::load(path)?;
        self.print_policy_notes(path, &set);
        Ok(set)
    }

    /// Says once what is unwise in policies, and how old the data of their time zones are.
    fn print_policy_notes(&self, path: &Path, set: &PolicySet) {
        let mut noted = self
            .noted_policies
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if noted.insert(path.to_owned()) && !set.warnings().is_empty() {
            let count = output::format_count(set.warnings().len(), "warning", "warnings");
            self.print_note(&format!(
                "note: {count} about {}: see `reprise policy check`",
                path.display()
            ));
        }
        report_time_zone_data(&self.global, set, current_time());
    }

    /// The zone in which times of a source are written, and whose zone that is.
    pub(crate) fn zone_of_source(&self, source: &str) -> (TimeZone, String) {
        // What broken policies say is unknown; where they are needed, they are refused.
        let policies = self.policies.as_ref();
        if let Some(Ok((policy, _))) = policies.map(|set| set.find_source(source)) {
            let origin = format!("the time zone of policy {}", policy.name);
            return (policy.time_zone.clone(), origin);
        }
        (self.zone.zone.clone(), self.zone.origin.to_owned())
    }

    /// Accepts on this machine that objects are gone, and says which.
    pub(crate) fn accept_missing(&self, names: &[String]) -> Result<(), Failure> {
        if names.is_empty() {
            return Ok(());
        }
        for id in self.open_repository()?.accept_missing(names)? {
            self.print_note(&format!(
                "note: accepted on this machine that {id} is gone: what only it needed may be deleted"
            ));
        }
        Ok(())
    }

    /// The keeper's key.
    pub(crate) fn load_keeper(
        &self,
        repository: &Repository,
        action: &'static str,
    ) -> Result<Keeper, Failure> {
        Ok(self.environment.load_keeper(repository, action)?)
    }

    /// Prints what a job tells while it runs; plans and archives have their own output.
    pub(crate) fn print_event(&self, event: &JobEvent<'_>) {
        match event {
            JobEvent::RepositoryCreated { location, created } => {
                self.print_created_repository(location, created);
            }
            JobEvent::UnreadableRoot { object, error } => {
                output::print_error(&format!("error: {object} cannot be read: {error}"));
            }
            JobEvent::ForeignSeries { found } => output::print_note(&format!("warning: {found}")),
            JobEvent::PrunePlanned { .. }
            | JobEvent::ForgetPlanned { .. }
            | JobEvent::SnapshotsForgotten { .. }
            | JobEvent::Archive { .. } => {}
        }
    }

    /// Tells of a repository that a policy had created.
    pub(crate) fn print_created_repository(&self, location: &str, created: &CreatedRepository) {
        let id = &created.config.repository;
        self.print_note(&format!("created repository {id} at {location}"));
        for (file, _) in &created.identities {
            let file = file.display();
            self.print_note(&format!(
                "created recovery identity {file}: move it off this host"
            ));
        }
        for file in created.keeper.iter().chain(&created.spare_keeper) {
            let file = file.display();
            self.print_note(&format!(
                "a keeper's key is in {file}: move it off this host"
            ));
        }
    }

    /// Prints a note for people beside the result.
    pub(crate) fn print_note(&self, text: &str) {
        if !self.global.quiet {
            output::print_note(text);
        }
    }
}
