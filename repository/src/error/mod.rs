//! Repository errors, classified by what the caller must do; `possible_readers` is what a missing identity needs.

mod possible_readers;

use std::path::PathBuf;

pub use self::possible_readers::PossibleReaders;
use crate::backend::{BackendError, DestinationKind, InvalidLocation};
use crate::id::ObjectId;

/// The result of repository operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An object for which an operation failed, while others were processed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ObjectFailure {
    /// The object.
    pub object: String,
    /// The reason.
    pub reason: String,
}

/// The class of an error; the command line turns it into its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The operation failed: disk full, connection lost, unsupported version.
    Failed,
    /// Stored data is damaged, forged, or not what was promised.
    Damaged,
    /// The named object does not exist.
    NotFound,
    /// Not allowed: an identity or a permission is missing, or something would be overwritten.
    Refused,
    /// The request itself is invalid.
    Usage,
}

/// An error of the repository. `Display` never includes the source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The backend failed.
    #[error("cannot access the storage of repository {location}")]
    Backend {
        /// The repository's location.
        location: String,
        /// The reason.
        #[source]
        source: BackendError,
    },
    /// There is no repository at the location.
    #[error("no repository at {location}")]
    NoRepository {
        /// The location.
        location: String,
    },
    /// A repository is already at the location.
    #[error("a repository is already at {location}")]
    RepositoryExists {
        /// The location.
        location: String,
    },
    /// The repository has a newer format.
    #[error(
        "{object} has format {found}, but this version of reprise supports formats up to {known}"
    )]
    UnsupportedFormat {
        /// The object with that format number.
        object: String,
        /// Its format number.
        found: u64,
        /// The newest supported one.
        known: u64,
    },
    /// A stored object is damaged, forged or does not match its name.
    #[error("{object} is damaged: {reason}")]
    Damaged {
        /// The object.
        object: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A stored object that others need does not exist.
    #[error("{object} is missing, but {needed_by} needs it")]
    Missing {
        /// The object.
        object: String,
        /// What refers to it.
        needed_by: String,
    },
    /// None of the given identities can decrypt.
    #[error("none of the given identities can decrypt {object}")]
    NoMatchingIdentity {
        /// The object to decrypt.
        object: String,
        /// Who may be able to.
        readers: PossibleReaders,
    },
    /// The repository's objects exist, but its description does not.
    #[error(
        "{location} has objects of a repository under {directory}/, but reprise.json is missing"
    )]
    MissingConfig {
        /// The location.
        location: String,
        /// The directory in it that has objects.
        directory: &'static str,
    },
    /// An identity file cannot be used.
    #[error("identity file {path} cannot be used: {reason}")]
    Identity {
        /// The file.
        path: String,
        /// The reason.
        reason: String,
    },
    /// A recipient cannot be used.
    #[error("recipient `{recipient}` cannot be used: {reason}")]
    Recipient {
        /// As given.
        recipient: String,
        /// The reason.
        reason: String,
    },
    /// A prune is deleting what a run relies on.
    #[error("{object} is being deleted by a prune, but this run needs it")]
    ObjectSwept {
        /// The object that is being deleted.
        object: String,
        /// The root that was stored nevertheless and cannot be relied on, if any.
        root: Option<String>,
    },
    /// A file of this host's own keys cannot be used.
    #[error("{} cannot be used: {reason}", path.display())]
    HostKeys {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// This host's signing key is not one of the repository's.
    #[error("this host's signing key {signer} is not known to repository {location}")]
    UnknownHost {
        /// This host's public signing key.
        signer: String,
        /// The repository's location.
        location: String,
    },
    /// Only a keeper may do this.
    #[error("{location}: only a keeper may {action}, and {who} is not a keeper")]
    NotKeeper {
        /// The repository's location.
        location: String,
        /// The action, as a verb.
        action: &'static str,
        /// Whose key was given.
        who: String,
    },
    /// A change of keys cannot be made.
    #[error("the keys were not changed: {reason}")]
    KeyChange {
        /// The reason.
        reason: String,
    },
    /// A snapshot is not in the state that was expected.
    #[error("snapshot {snapshot} {problem}")]
    SnapshotState {
        /// The snapshot.
        snapshot: ObjectId,
        /// The problem.
        problem: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// A log is not in the state that was expected.
    #[error("the start of the log of {source_name} {problem}")]
    LogState {
        /// The source's name.
        source_name: String,
        /// The problem.
        problem: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// The target of a copy already holds another repository.
    #[error("{location} contains another repository and cannot become a copy of this one")]
    OtherRepository {
        /// The location.
        location: String,
    },
    /// `reprise.json` is not the one that this host has pinned.
    #[error("{location} does not match the repository pinned on this host: {reason}")]
    PinMismatch {
        /// The repository's location.
        location: String,
        /// What differs.
        reason: String,
        /// The file that holds the pin.
        pin_file: PathBuf,
    },
    /// The repository is not the one whose fingerprint was given.
    #[error(
        "{location} is not the expected repository: the fingerprint of its reprise.json is {found}, not {expected}"
    )]
    FingerprintMismatch {
        /// The repository's location.
        location: String,
        /// As given.
        expected: ObjectId,
        /// BLAKE3 of its `reprise.json`.
        found: ObjectId,
    },
    /// A name or label has characters that do not belong into one.
    #[error("{what} has a control character, which no record may have: `{value}`")]
    ControlCharacter {
        /// What it is.
        what: String,
        /// The text, escaped.
        value: String,
    },
    /// No snapshot has this name.
    #[error("no snapshot `{name}`")]
    NoSnapshot {
        /// As given.
        name: String,
        /// What exists instead.
        hint: String,
    },
    /// A source's name means several hosts.
    #[error("`{source_name}` is stored by several hosts: {}", hosts.join(", "))]
    SeveralHosts {
        /// The source's name.
        source_name: String,
        /// The names of the hosts.
        hosts: Vec<String>,
    },
    /// No host has this name.
    #[error("the repository has no host `{name}`")]
    NoHost {
        /// As given.
        name: String,
        /// The names of those that it has.
        known: Vec<String>,
    },
    /// Several hosts have this name.
    #[error("several hosts are named `{name}`: {}", hosts.join(", "))]
    AmbiguousHost {
        /// As given.
        name: String,
        /// Their signers.
        hosts: Vec<String>,
    },
    /// Several snapshots have this prefix.
    #[error("`{name}` is ambiguous: it matches {count} snapshots")]
    AmbiguousSnapshot {
        /// As given.
        name: String,
        /// How many match.
        count: usize,
    },
    /// A repository location is invalid.
    #[error(transparent)]
    Location(#[from] InvalidLocation),
    /// An operation on the local machine failed.
    #[error("cannot {action} {}", path.display())]
    LocalIo {
        /// The action, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// A part of this program stopped; its own error comes first, and this one follows from it.
    #[error("{0}")]
    Internal(String),
    /// The operation was interrupted on request.
    #[error("interrupted")]
    Interrupted,
    /// The data of a source could not be read.
    #[error("{0}")]
    Source(String),
}

impl Error {
    /// A damaged object under a key.
    pub fn damaged_object(key: &impl std::fmt::Display, reason: impl Into<String>) -> Self {
        Self::Damaged {
            object: key.to_string(),
            reason: reason.into(),
        }
    }

    /// Whether it is about what is stored, and not about reaching it.
    pub(crate) fn is_damage(&self) -> bool {
        self.class() == ErrorClass::Damaged
    }

    /// Whether it is intact as far as can be told, and encrypted to others than the given identities.
    #[must_use]
    pub fn is_missing_identity(&self) -> bool {
        matches!(self, Self::NoMatchingIdentity { .. })
    }

    /// What is wrong, for a finding that names the object itself.
    pub(crate) fn damage_reason(&self) -> String {
        if let Self::Damaged { reason, .. } = self {
            return reason.clone();
        }
        self.to_string()
    }

    /// What the caller must do about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Backend { source, .. } => backend_error_class(source),
            Self::UnsupportedFormat { .. }
            | Self::ObjectSwept { .. }
            | Self::LocalIo { .. }
            | Self::Internal(_)
            | Self::Interrupted
            | Self::Source(_) => ErrorClass::Failed,
            Self::Damaged { .. } | Self::Missing { .. } => ErrorClass::Damaged,
            Self::NoRepository { .. } | Self::NoSnapshot { .. } | Self::NoHost { .. } => {
                ErrorClass::NotFound
            }
            Self::RepositoryExists { .. }
            | Self::MissingConfig { .. }
            | Self::NoMatchingIdentity { .. }
            | Self::Identity { .. }
            | Self::HostKeys { .. }
            | Self::UnknownHost { .. }
            | Self::NotKeeper { .. }
            | Self::KeyChange { .. }
            | Self::SnapshotState { .. }
            | Self::LogState { .. }
            | Self::OtherRepository { .. }
            | Self::PinMismatch { .. }
            | Self::FingerprintMismatch { .. } => ErrorClass::Refused,
            Self::Recipient { .. }
            | Self::ControlCharacter { .. }
            | Self::AmbiguousSnapshot { .. }
            | Self::SeveralHosts { .. }
            | Self::AmbiguousHost { .. }
            | Self::Location(_) => ErrorClass::Usage,
        }
    }

    /// What to do next, in a sentence; empty when the error needs no hint.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Backend { source, location } => {
                source.hint(DestinationKind::of_location(location)).to_owned()
            }
            Self::NoRepository { .. } => {
                "check -r/--repository, or create a repository with `reprise init`; if only its reprise.json is lost, restore it \
                 from a repository copy with `reprise -r COPY copy --to`"
                    .to_owned()
            }
            Self::RepositoryExists { .. } => {
                "use it as it is, or choose an empty location for a new one".to_owned()
            }
            Self::MissingConfig { location, .. } => format!(
                "restore it from a repository copy with `reprise -r COPY copy --to {location}`; a new repository needs an empty location"
            ),
            Self::UnsupportedFormat { .. } => {
                "it is not damaged: use a newer version of reprise".to_owned()
            }
            Self::ObjectSwept { root: None, .. } => {
                "run it again: what was deleted is stored again; the lease of this run expired".to_owned()
            }
            Self::ObjectSwept { root: Some(root), .. } => format!(
                "run it again, and forget {root}: objects that it needs may have been deleted meanwhile"
            ),
            Self::Damaged { .. } | Self::Missing { .. } => {
                "run `reprise verify --read-data` to see what else is affected, and restore from a repository copy"
                    .to_owned()
            }
            Self::OtherRepository { .. } => {
                "choose an empty location for the copy; a copy is not merged with anything".to_owned()
            }
            Self::NoMatchingIdentity { readers, .. } => readers.hint(),
            Self::Identity { .. } => {
                "give an age identity file, or an SSH private key, with --identity FILE".to_owned()
            }
            Self::Recipient { .. } => {
                "a recipient looks like age1…, ssh-ed25519 … or age1plugin1…".to_owned()
            }
            Self::HostKeys { .. } => {
                "this directory contains the host's own keys; set REPRISE_CONFIG_DIR to use another one".to_owned()
            }
            Self::UnknownHost { .. } => {
                "print this host's public keys with `reprise key show`, and let a keeper add them with\n`reprise key add --host`"
                    .to_owned()
            }
            Self::NotKeeper { .. } => {
                "give the keeper's key with --keeper FILE (or REPRISE_KEEPER): `reprise init --keeper FILE` created it"
                    .to_owned()
            }
            Self::KeyChange { .. } => "`reprise key list` lists the current keys".to_owned(),
            Self::SnapshotState { hint, .. } | Self::LogState { hint, .. } => (*hint).to_owned(),
            Self::PinMismatch { pin_file, .. } => format!(
                "if you replaced the repository yourself, remove {}; otherwise someone else has replaced it",
                pin_file.display()
            ),
            Self::FingerprintMismatch { .. } => {
                "compare the fingerprint with the recovery sheet: nothing was read from this repository, and nothing is trusted of it"
                    .to_owned()
            }
            Self::ControlCharacter { .. } => "give it without line ends and escape characters".to_owned(),
            Self::NoSnapshot { hint, .. } => hint.clone(),
            Self::SeveralHosts { .. } => "choose one with --host".to_owned(),
            Self::NoHost { known, .. } => format!("its hosts: {}", known.join(", ")),
            Self::AmbiguousHost { .. } => "give the beginning of a signer instead".to_owned(),
            Self::AmbiguousSnapshot { .. } => "give more digits of the snapshot ID".to_owned(),
            Self::Location(invalid) => invalid.problem.hint().to_owned(),
            Self::LocalIo { source, .. } => local_io_hint(source).to_owned(),
            Self::Internal(_) | Self::Interrupted | Self::Source(_) => String::new(),
        }
    }
}

fn local_io_hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            "check owner and mode of the file and of the directories above it; REPRISE_CONFIG_DIR and REPRISE_CACHE_DIR (or HOME) \
             say where this user's keys and cache are"
        }
        _ => "",
    }
}

/// An error with all its causes, for people.
#[must_use]
pub fn format_error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

fn backend_error_class(error: &BackendError) -> ErrorClass {
    use crate::backend::ConfigurationError;
    match error {
        BackendError::PermissionDenied { .. } | BackendError::Locked { .. } => ErrorClass::Refused,
        BackendError::Configuration { problem, .. } => match problem {
            ConfigurationError::MissingCredentials
            | ConfigurationError::InvalidCredentials
            | ConfigurationError::NoExclusiveNames { .. } => ErrorClass::Refused,
            ConfigurationError::BucketNotFound => ErrorClass::NotFound,
            ConfigurationError::PlainHttp { .. } | ConfigurationError::InvalidOption(_) => {
                ErrorClass::Usage
            }
            ConfigurationError::WrongRegion { .. }
            | ConfigurationError::ClockSkew { .. }
            | ConfigurationError::UntrustedCertificate => ErrorClass::Failed,
        },
        BackendError::NotFound { .. }
        | BackendError::AlreadyExists { .. }
        | BackendError::OutOfRange { .. }
        | BackendError::NoSpace { .. }
        | BackendError::Unavailable { .. }
        | BackendError::Rejected { .. }
        | BackendError::Interrupted { .. }
        | BackendError::Io { .. } => ErrorClass::Failed,
    }
}
