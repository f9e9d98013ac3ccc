//! Errors of jobs.

use std::path::PathBuf;
use std::time::Duration;

use reprise_policies::{SecretError, SelectError};
use reprise_repository::ErrorClass;
use reprise_repository::backend::BackendError;

/// The result of a job.
pub type JobResult<T, E = JobError> = Result<T, E>;

/// Why a job could not be done. `Display` never includes the source.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] reprise_repository::Error),
    /// A source could not be read.
    #[error(transparent)]
    Snapshot(#[from] reprise_snapshotters::Error),
    /// A restore failed.
    #[error(transparent)]
    Restore(#[from] reprise_restore::Error),
    /// A secret could not be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// No policy names what was asked for.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// A policy refers to something that it does not define.
    #[error("{kind} `{name}` is not defined in policy {policy}")]
    Undefined {
        /// What kind of thing: repository or source.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The policy's name.
        policy: String,
    },
    /// Policies define no job of the requested kind.
    #[error("the policy defines no {kind}")]
    NothingDefined {
        /// What kind, in the plural.
        kind: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// A source has no repository.
    #[error("{source_name} has no repository")]
    NoRepository {
        /// The source.
        source_name: String,
    },
    /// A source of a kind that this version does not know.
    #[error("sources of kind {kind} cannot be read by this version")]
    UnknownSourceKind {
        /// The kind.
        kind: &'static str,
    },
    /// A value of a policy or of an option is not valid.
    #[error("{reason}")]
    InvalidValue {
        /// Which value, and why.
        reason: String,
    },
    /// A policy demands locks that its destination does not have.
    #[error("the policy requires `immutable_days`, but {location} does not lock objects: {reason}")]
    LocksUnsupported {
        /// The destination.
        location: String,
        /// Why not.
        reason: &'static str,
    },
    /// A repository lacks a recipient of its policy.
    #[error("repository {location} does not encrypt to {recipient}, which the policy requires")]
    RecipientMissing {
        /// The repository.
        location: String,
        /// The recipient.
        recipient: String,
    },
    /// A repository would have too few recovery recipients.
    #[error("{}", match count {
        0 => "no recovery recipient is given: nobody could read the repository",
        _ => "only one recovery recipient is given: if its identity is lost, the repository cannot be read",
    })]
    TooFewRecipients {
        /// How many are given.
        count: usize,
    },
    /// A file for a new recovery identity exists.
    #[error("{} already exists and is not overwritten", path.display())]
    IdentityFileExists {
        /// The file.
        path: PathBuf,
    },
    /// A recipient is given twice.
    #[error("a recipient is given twice")]
    DuplicateRecipient,
    /// Policies disagree about a series of snapshots.
    #[error(
        "policies {first} and {second} have different retention or time zones for the source {series} in {location}"
    )]
    ContradictoryPolicies {
        /// One policy.
        first: String,
        /// The other one.
        second: String,
        /// The source that both name.
        series: String,
        /// The repository that both name.
        location: String,
    },
    /// A source would be left without a good snapshot.
    #[error(
        "{series} would be left without any good snapshot that was stored in time; nothing was forgotten"
    )]
    WouldLeaveNothing {
        /// The source.
        series: String,
    },
    /// More would be forgotten than is allowed.
    #[error("{excess}; nothing was forgotten")]
    ForgetLimitExceeded {
        /// What, and which limit.
        excess: String,
    },
    /// A snapshot to be forgotten is on hold.
    #[error("snapshot {snapshot} is {hold}; nothing was forgotten")]
    SnapshotOnHold {
        /// Its short ID.
        snapshot: String,
        /// Its hold.
        hold: String,
    },
    /// A snapshot to be forgotten cannot be read.
    #[error(
        "snapshot {snapshot} cannot be read ({reason}), so it is unknown whether it is on hold or the last of its source; nothing was forgotten"
    )]
    UnreadableSnapshot {
        /// Its short ID.
        snapshot: String,
        /// Why.
        reason: String,
        /// Whether the storage failed, so that the snapshot may be intact.
        transient: bool,
    },
    /// No snapshot has this ID.
    #[error("no readable snapshot has an ID that begins with `{prefix}`")]
    NoSuchSnapshot {
        /// The beginning of an ID.
        prefix: String,
    },
    /// A source has no binary log.
    #[error("{source_name} is not a database server")]
    NotDatabaseServer {
        /// The source.
        source_name: String,
    },
    /// A policy does not enable the archive of a log.
    #[error("the policy does not enable log archiving for {source_name}")]
    LogArchiveDisabled {
        /// The source.
        source_name: String,
    },
    /// There is no place for log that waits to be stored.
    #[error("there is no spool directory for log that waits to be stored")]
    NoSpoolDirectory,
    /// A part of the program panicked.
    #[error("internal error: {reason}")]
    Panicked {
        /// The panic's message and place.
        reason: String,
    },
    /// Work took longer than it may.
    #[error("it was not done after {} s{}", limit.as_secs(), if *abandoned { " and did not stop: it was abandoned, and its lease expires by itself" } else { ", and was stopped" })]
    Overdue {
        /// The time that it had.
        limit: Duration,
        /// Whether it did not even stop.
        abandoned: bool,
    },
    /// A repository could not be reached earlier in the same run.
    #[error(
        "not tried, as repository {location} could not be reached before in this run: {reason}"
    )]
    RepositoryUnreachable {
        /// Its location.
        location: String,
        /// Why.
        reason: String,
    },
    /// A file of this host could not be written.
    #[error("cannot {action} {}: {reason}", path.display())]
    File {
        /// Read or write.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
}

impl JobError {
    /// What the caller must do about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Repository(error) => error.class(),
            Self::Snapshot(error) => error.class(),
            Self::Restore(error) => error.class(),
            Self::Undefined { .. }
            | Self::NoRepository { .. }
            | Self::UnknownSourceKind { .. }
            | Self::InvalidValue { .. }
            | Self::TooFewRecipients { .. }
            | Self::DuplicateRecipient
            | Self::ContradictoryPolicies { .. }
            | Self::NotDatabaseServer { .. }
            | Self::LogArchiveDisabled { .. }
            | Self::NoSpoolDirectory => ErrorClass::Usage,
            Self::Secret(_)
            | Self::LocksUnsupported { .. }
            | Self::RecipientMissing { .. }
            | Self::IdentityFileExists { .. }
            | Self::WouldLeaveNothing { .. }
            | Self::ForgetLimitExceeded { .. }
            | Self::SnapshotOnHold { .. }
            | Self::UnreadableSnapshot { .. } => ErrorClass::Refused,
            Self::Select(_) | Self::NothingDefined { .. } | Self::NoSuchSnapshot { .. } => {
                ErrorClass::NotFound
            }
            Self::File { .. }
            | Self::Panicked { .. }
            | Self::Overdue { .. }
            | Self::RepositoryUnreachable { .. } => ErrorClass::Failed,
        }
    }

    /// The repository that could not be reached, despite retries, with the repository's error; `None`: another failure.
    #[must_use]
    pub fn unreachable_repository(&self) -> Option<(&str, &reprise_repository::Error)> {
        let mut cause = std::error::Error::source(self);
        if let Self::Repository(error) = self {
            cause = Some(error);
        }
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<reprise_repository::Error>()
                && let reprise_repository::Error::Backend {
                    location,
                    source: BackendError::Unavailable { .. },
                } = error
            {
                return Some((location, error));
            }
            cause = error.source();
        }
        None
    }

    /// What to do next; empty when the error says it all.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Repository(error) => return error.hint(),
            Self::Snapshot(error) => return error.hint(),
            Self::Restore(error) => return error.hint(),
            Self::Secret(error) => return error.hint(),
            Self::Select(error) => return error.hint().unwrap_or_default(),
            Self::NothingDefined { hint, .. } => hint,
            Self::UnknownSourceKind { .. } => "use a newer version of reprise",
            Self::LocksUnsupported { .. } => {
                "create the bucket with Object Lock (S3) or the container with version-level immutability (Azure),\nor remove `immutable_days`; see docs/destinations.md"
            }
            Self::RecipientMissing { .. } => {
                "it was created with other recipients, or it was replaced"
            }
            Self::TooFewRecipients { .. } => {
                "create two with --generate-identity FILE (twice), give public keys with --recipient KEY,\nor accept one with --single-recipient"
            }
            Self::IdentityFileExists { .. } => {
                "choose another file, or give its public key with --recipient"
            }
            Self::DuplicateRecipient => "a second one must be another key",
            Self::ContradictoryPolicies { .. } => {
                "give the sources different names, or the same retention and time zone"
            }
            Self::WouldLeaveNothing { .. } => {
                "change its retention, for example with `keep_at_least`, or give --allow-empty"
            }
            Self::ForgetLimitExceeded { .. } => {
                "review it with --dry-run, and raise the limit if it is right"
            }
            Self::SnapshotOnHold { .. } => "leave it out, or give --release-holds",
            Self::UnreadableSnapshot {
                transient: false, ..
            } => {
                "`reprise verify --repair --from COPY --replace` may repair it; to forget it anyway, give --unreadable"
            }
            Self::UnreadableSnapshot {
                transient: true, ..
            } => "the storage failed, and the snapshot may be intact: try again",
            Self::NoSuchSnapshot { .. } => {
                "four characters of an ID are enough; `reprise snapshots --all` lists IDs; give the full ID of a snapshot that cannot be read; sources need --policies"
            }
            Self::NotDatabaseServer { .. } => {
                "only binary logs of MySQL and MariaDB servers are archived"
            }
            Self::LogArchiveDisabled { .. } => "add `log_archive:` below `mysql:`",
            Self::NoSpoolDirectory => {
                "set HOME or REPRISE_CACHE_DIR, or give a directory with --spool"
            }
            Self::Panicked { .. } => {
                "this is a defect of reprise: please report it with this message"
            }
            Self::Overdue { .. } => {
                "find out what it waits for (a server, a mount, a program); run --timeout sets how long a source may take;\nwhat was stored is reused by the next run"
            }
            Self::RepositoryUnreachable { .. } => {
                "check the address and the network, then run again"
            }
            Self::Undefined { .. }
            | Self::NoRepository { .. }
            | Self::InvalidValue { .. }
            | Self::File { .. } => "",
        }
        .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_tried_in_vain_is_unreachable() {
        let failed = |source| reprise_repository::Error::Backend {
            location: "s3://b".to_owned(),
            source,
        };
        let away = || {
            failed(BackendError::Unavailable {
                operation: "read",
                key: "reprise.json".to_owned(),
                attempts: 3,
                seconds: 9,
                source: "connection refused".into(),
            })
        };
        let location =
            |error: &JobError| error.unreachable_repository().map(|(at, _)| at.to_owned());
        assert_eq!(location(&away().into()).as_deref(), Some("s3://b"));
        let nested = JobError::Snapshot(away().into());
        assert_eq!(location(&nested).as_deref(), Some("s3://b"));
        let key = "k".to_owned();
        assert_eq!(
            location(&failed(BackendError::NotFound { key }).into()),
            None
        );
    }
}
