//! Repository errors, classified by what the caller must do; `possible_readers` is what a missing identity needs.

mod hint;
mod possible_readers;

use std::path::PathBuf;

pub use self::possible_readers::PossibleReaders;
use crate::backend::{BackendError, InvalidLocation};
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
    /// A scheduled run has lost its slot to a later attempt, as it did not renew its lease.
    #[error("attempt {attempt} at {slot} of {job} has lost its lease: nothing was committed")]
    AttemptSuperseded {
        /// The job.
        job: String,
        /// The slot.
        slot: String,
        /// The attempt that lost it.
        attempt: u32,
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
    /// A passphrase cannot be used.
    #[error("the passphrase {reason}")]
    Passphrase {
        /// The reason.
        reason: String,
    },
    /// The repository keeps no keeper's key.
    #[error("{location} keeps no escrow key")]
    NoEscrow {
        /// The repository's location.
        location: String,
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
    /// An object that this machine has seen is gone, and nothing explains it.
    #[error("{object} is not stored any more, and no keeper has forgotten it: {description}")]
    Withheld {
        /// The object.
        object: String,
        /// What it was.
        description: String,
        /// The source's name, if it was a snapshot.
        source_name: Option<String>,
    },
    /// Nothing is deleted while objects are gone without explanation.
    #[error(
        "{location}: nothing is deleted, because objects that this machine has seen are not stored any more: {}",
        objects.join("; ")
    )]
    PruneRefused {
        /// The repository's location.
        location: String,
        /// The objects, and what they were.
        objects: Vec<String>,
    },
    /// A snapshot root that cannot be read: prune would not know what to keep.
    #[error("prune deletes nothing, because it is unknown what snapshots/{snapshot} needs")]
    UnknownNeeds {
        /// The snapshot.
        snapshot: ObjectId,
        /// Why it cannot be read.
        #[source]
        source: Box<Error>,
    },
    /// Records of keys that this machine has seen are gone: keys may be trusted that were removed.
    #[error(
        "{location}: records of keys that this machine has used are missing or damaged, so removed keys may seem valid: {}",
        records.join(", ")
    )]
    KeysWithheld {
        /// The repository's location.
        location: String,
        /// The objects.
        records: Vec<String>,
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
    /// A name is that of a source, and the beginning of the ID of a snapshot.
    #[error("`{name}` is ambiguous: it is the name of a source, and {snapshot} begins with it")]
    SourceOrSnapshot {
        /// As given.
        name: String,
        /// The ID of the snapshot.
        snapshot: String,
    },
    /// What this machine has seen of a repository cannot be read.
    #[error("nothing is deleted, because {} cannot be read, which says what this machine has seen of the repository: {reason}", file.display())]
    UnreadableMemory {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
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
            Self::UnknownNeeds { source, .. } => source.class(),
            Self::UnsupportedFormat { .. }
            | Self::ObjectSwept { .. }
            | Self::AttemptSuperseded { .. }
            | Self::LocalIo { .. }
            | Self::Internal(_)
            | Self::Interrupted
            | Self::Source(_) => ErrorClass::Failed,
            Self::Damaged { .. } | Self::Missing { .. } | Self::Withheld { .. } => {
                ErrorClass::Damaged
            }
            Self::NoRepository { .. }
            | Self::NoSnapshot { .. }
            | Self::NoHost { .. }
            | Self::NoEscrow { .. } => ErrorClass::NotFound,
            Self::RepositoryExists { .. }
            | Self::MissingConfig { .. }
            | Self::NoMatchingIdentity { .. }
            | Self::Identity { .. }
            | Self::HostKeys { .. }
            | Self::UnknownHost { .. }
            | Self::NotKeeper { .. }
            | Self::KeyChange { .. }
            | Self::Passphrase { .. }
            | Self::SnapshotState { .. }
            | Self::LogState { .. }
            | Self::OtherRepository { .. }
            | Self::PinMismatch { .. }
            | Self::PruneRefused { .. }
            | Self::UnreadableMemory { .. }
            | Self::KeysWithheld { .. }
            | Self::FingerprintMismatch { .. } => ErrorClass::Refused,
            Self::Recipient { .. }
            | Self::ControlCharacter { .. }
            | Self::AmbiguousSnapshot { .. }
            | Self::SourceOrSnapshot { .. }
            | Self::SeveralHosts { .. }
            | Self::AmbiguousHost { .. }
            | Self::Location(_) => ErrorClass::Usage,
        }
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
