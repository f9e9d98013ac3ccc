//! Errors of restores.

use std::path::PathBuf;

use reprise_mysql::DatabaseError;
use reprise_mysql::binlog::EventError;
use reprise_mysql::log::LogReadError;
use reprise_repository::ErrorClass;

/// The result of a restore function.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be restored. `Display` never includes the source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository failed.
    #[error("the snapshot could not be read")]
    Repository(#[from] reprise_repository::Error),
    /// The target is not empty.
    #[error("the target {} is not empty", path.display())]
    TargetNotEmpty {
        /// The target.
        path: PathBuf,
        /// Whether an interrupted restore of the same snapshot left its mark there.
        resumable: bool,
    },
    /// `--resume` was asked for where nothing was interrupted.
    #[error("{} contains no interrupted restore of snapshot {snapshot}", path.display())]
    NothingToResume {
        /// The target.
        path: PathBuf,
        /// The snapshot's short ID.
        snapshot: String,
    },
    /// The target is not a directory.
    #[error("{} is not a directory", path.display())]
    TargetNotDirectory {
        /// The target.
        path: PathBuf,
    },
    /// Another restore writes into the target.
    #[error("another restore into {} is in progress", path.display())]
    TargetInUse {
        /// The target.
        path: PathBuf,
    },
    /// The target is too small.
    #[error("not enough space in {}: {free_bytes} bytes free, {needed_bytes} bytes needed", path.display())]
    NoSpace {
        /// The target.
        path: PathBuf,
        /// The available bytes.
        free_bytes: u64,
        /// The required bytes.
        needed_bytes: u64,
    },
    /// A path is not in the snapshot.
    #[error("`{wanted}` is not in snapshot {snapshot}")]
    NoSuchPath {
        /// The requested path.
        wanted: String,
        /// The snapshot's short ID.
        snapshot: String,
    },
    /// An entry has no content of its own.
    #[error("`{path}` is a {kind}, not a file")]
    NotFile {
        /// The entry.
        path: String,
        /// What it is.
        kind: &'static str,
        /// What to do instead.
        hint: String,
    },
    /// What was read could not be passed on.
    #[error("cannot write the content of `{path}` after {written} of {size} bytes")]
    Output {
        /// The entry.
        path: String,
        /// The bytes that were written.
        written: u64,
        /// The bytes of the whole.
        size: u64,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The content of an entry ends before its end.
    #[error("`{path}` is incomplete: {written} of {size} bytes were written")]
    ContentIncomplete {
        /// The entry.
        path: String,
        /// The bytes that were written.
        written: u64,
        /// The bytes of the whole.
        size: u64,
        /// Why.
        #[source]
        source: Box<reprise_repository::Error>,
    },
    /// A database server failed.
    #[error("cannot {doing}")]
    Database {
        /// The attempted operation, with its object.
        doing: String,
        /// The cause.
        #[source]
        source: DatabaseError,
    },
    /// An archived log is not readable.
    #[error(transparent)]
    UnreadableLog(LogReadError),
    /// A source could not be read again.
    #[error("the target could not be read")]
    Source(#[from] reprise_snapshotters::Error),
    /// The snapshot is not of a database server.
    #[error("snapshot {snapshot} is of a {kind}, not of a database server")]
    SnapshotNotOfServer {
        /// The snapshot's short ID.
        snapshot: String,
        /// The kind of its source.
        kind: String,
    },
    /// The server has data, and no databases were selected.
    #[error("{target} is not empty: it has {found}")]
    ServerNotEmpty {
        /// The server.
        target: String,
        /// One of its databases.
        found: String,
    },
    /// An object to be restored already exists.
    #[error("{found} already exists on {target}")]
    DatabaseNotEmpty {
        /// The server.
        target: String,
        /// The existing object.
        found: String,
    },
    /// The target cannot hold the snapshot. Nothing was written.
    #[error("{target} is not compatible with the snapshot: {}", problems.join("; "))]
    TargetIncompatible {
        /// The server.
        target: String,
        /// Why.
        problems: Vec<String>,
    },
    /// A restore is in progress at the target.
    #[error("another restore into this server is in progress")]
    RestoreInProgress,
    /// A restore into the target was interrupted.
    #[error("a restore into this server was interrupted")]
    RestoreInterrupted {
        /// Whether it was this same restore.
        resumable: bool,
    },
    /// A server that is to be used for drills has databases of its own.
    #[error(
        "{server} has databases of its own ({found}), but a drill deletes everything on its server"
    )]
    ScratchInUse {
        /// The server, without a password.
        server: String,
        /// One of them.
        found: String,
    },
    /// The target was restarted while it committed with relaxed durability.
    #[error(
        "the target server was restarted while it did not flush every commit: the interrupted restore may have lost data"
    )]
    RestoreNotDurable,
    /// `--resume` was asked for where no such restore was interrupted.
    #[error("the target has no interrupted restore of this snapshot with these options")]
    NoRestoreToResume,
    /// The server changed a value instead of storing it.
    #[error("cannot load {table}: the server reported a warning: {warning}")]
    LoadWarning {
        /// The table.
        table: String,
        /// The server's message.
        warning: String,
    },
    /// A recovery target cannot be reached.
    #[error("cannot restore {source_name} to {wanted}: {why}")]
    RecoveryTargetUnreachable {
        /// The source.
        source_name: String,
        /// The recovery target.
        wanted: String,
        /// Why not.
        why: String,
        /// If parts of the log are encrypted to others than the given identities, that.
        missing_identity: Option<Box<reprise_repository::Error>>,
        /// The recovery windows.
        possible: Vec<String>,
    },
    /// A binary log could not be decoded.
    #[error("cannot read the binary log")]
    BinaryLog {
        /// Why.
        #[source]
        source: EventError,
    },
    /// The server rejected a transaction.
    #[error("cannot apply {transaction}{}{what}", if what.is_empty() { "" } else { ": " })]
    TransactionFailed {
        /// Its GTID, and its commit time.
        transaction: String,
        /// The part of it, with its tables.
        what: String,
        /// The cause.
        #[source]
        source: DatabaseError,
    },
    /// A transaction cannot be replayed.
    #[error("{transaction} cannot be replayed: {reason}")]
    TransactionNotReplayable {
        /// Its GTID, and its commit time.
        transaction: String,
        /// Why.
        reason: String,
    },
    /// GTIDs are to be kept, but transactions have none.
    #[error("{transactions}: no GTID is recorded, which --keep-gtids needs")]
    TransactionsWithoutGtid {
        /// The transaction.
        transactions: String,
    },
    /// A replay cannot reach its stop.
    #[error("{reason}")]
    ReplayStopUnreachable {
        /// Why.
        reason: String,
    },
    /// Another replay into the server was interrupted.
    #[error("the target has another interrupted replay: {run}")]
    OtherReplayInterrupted {
        /// Identifies it.
        run: String,
    },
    /// A replay was interrupted where its effect cannot be determined.
    #[error(
        "the replay was interrupted while {transaction} changed a non-transactional table: it may be partly applied"
    )]
    TransactionPartlyApplied {
        /// Its GTID, and its commit time.
        transaction: String,
    },
    /// The server has a transaction history of its own.
    #[error("the target has executed transactions of its own: {executed}")]
    ServerHasOwnTransactions {
        /// That history.
        executed: String,
    },
    /// A restore into a server did not complete. The finished steps are kept there.
    #[error(transparent)]
    RestoreUnfinished(Box<Self>),
    /// An operation at the target failed.
    #[error("cannot {action} {path}")]
    Target {
        /// The attempted operation, as a verb.
        action: &'static str,
        /// Its object.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn from_database(doing: impl Into<String>, source: DatabaseError) -> Self {
        if let DatabaseError::Interrupted = source {
            return reprise_repository::Error::Interrupted.into();
        }
        Self::Database {
            doing: doing.into(),
            source,
        }
    }

    pub(crate) fn into_unfinished(self) -> Self {
        Self::RestoreUnfinished(Box::new(self))
    }

    /// What the caller must do about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::RestoreUnfinished(error) => error.class(),
            Self::Repository(error) => error.class(),
            Self::ContentIncomplete { source, .. } => source.class(),
            Self::Source(error) => error.class(),
            Self::UnreadableLog(error) => error.class(),
            Self::Database { source, .. } | Self::TransactionFailed { source, .. } => {
                source.class()
            }
            Self::BinaryLog { .. } => ErrorClass::Failed,
            Self::ReplayStopUnreachable { .. } => ErrorClass::NotFound,
            Self::TransactionNotReplayable { .. }
            | Self::TransactionsWithoutGtid { .. }
            | Self::OtherReplayInterrupted { .. }
            | Self::TransactionPartlyApplied { .. }
            | Self::ServerHasOwnTransactions { .. }
            | Self::TargetNotEmpty { .. }
            | Self::NothingToResume { .. }
            | Self::TargetInUse { .. }
            | Self::NotFile { .. }
            | Self::NoSpace { .. }
            | Self::ServerNotEmpty { .. }
            | Self::DatabaseNotEmpty { .. }
            | Self::RestoreInProgress
            | Self::RestoreInterrupted { .. }
            | Self::NoRestoreToResume
            | Self::RestoreNotDurable
            | Self::ScratchInUse { .. }
            | Self::TargetIncompatible { .. } => ErrorClass::Refused,
            Self::TargetNotDirectory { .. } | Self::SnapshotNotOfServer { .. } => ErrorClass::Usage,
            Self::Target { .. } | Self::Output { .. } | Self::LoadWarning { .. } => {
                ErrorClass::Failed
            }
            Self::RecoveryTargetUnreachable {
                missing_identity: Some(error),
                ..
            } => error.class(),
            Self::NoSuchPath { .. } | Self::RecoveryTargetUnreachable { .. } => {
                ErrorClass::NotFound
            }
        }
    }

    /// What to do next, in a sentence; empty when the error says it all.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::RestoreUnfinished(error) => {
                let hint = [error.hint(), "completed work is kept: continue with --resume".to_owned()];
                hint.join("\n").trim_start().to_owned()
            }
            Self::Repository(error) => error.hint(),
            Self::ContentIncomplete { source, .. } => source.hint(),
            Self::NotFile { hint, .. } => hint.clone(),
            Self::TargetNotEmpty {
                resumable: true, ..
            } => "it contains an interrupted restore of this snapshot: continue it with --resume"
                .to_owned(),
            Self::TargetNotEmpty {
                resumable: false, ..
            } => {
                "choose an empty directory, or allow files to be replaced with --overwrite".to_owned()
            }
            Self::NothingToResume { .. } => "leave out --resume for a new restore into an empty directory".to_owned(),
            Self::Source(error) => error.hint(),
            Self::UnreadableLog(error) => error.hint(),
            Self::Database { source, .. } => source.hint(),
            Self::TransactionFailed { .. }
            | Self::BinaryLog { .. }
            | Self::TransactionNotReplayable { .. }
            | Self::TransactionsWithoutGtid { .. }
            | Self::ReplayStopUnreachable { .. }
            | Self::OtherReplayInterrupted { .. }
            | Self::TransactionPartlyApplied { .. }
            | Self::ServerHasOwnTransactions { .. }
            | Self::RecoveryTargetUnreachable { .. } => self.log_hint(),
            Self::SnapshotNotOfServer { .. } => "restore it to a directory".to_owned(),
            Self::ServerNotEmpty { .. } => {
                "name the databases to restore with --database; others are not changed".to_owned()
            }
            Self::DatabaseNotEmpty { .. } => {
                "restore it to another server; or, without a recovery target, under another name with --database OLD=NEW; or replace what is there with --overwrite"
                    .to_owned()
            }
            Self::TargetInUse { .. } | Self::RestoreInProgress => "wait until it has finished".to_owned(),
            Self::RestoreInterrupted { resumable: true } => {
                "continue it with --resume, or start again with --overwrite".to_owned()
            }
            Self::RestoreInterrupted { resumable: false } => {
                "it was for another snapshot or with other options: finish that restore, or start again with --overwrite".to_owned()
            }
            Self::NoRestoreToResume => "leave out --resume".to_owned(),
            Self::ScratchInUse { .. } => "give the drill a server that is used only for drills".to_owned(),
            Self::RestoreNotDurable => "start again with --overwrite".to_owned(),
            Self::TargetIncompatible { .. } => {
                "nothing was written; restore to a server with the version and settings of the source, or only the databases that are compatible".to_owned()
            }
            Self::LoadWarning { warning, .. } if warning.contains("max_allowed_packet") => {
                "raise max_allowed_packet at the server".to_owned()
            }
            Self::LoadWarning { .. } => {
                "nothing of this file was loaded; the target does not accept values that the source accepted".to_owned()
            }
            Self::TargetNotDirectory { .. } => "give a directory with --to".to_owned(),
            Self::NoSpace { .. } => {
                "free space, choose another directory, or restore fewer paths".to_owned()
            }
            Self::NoSuchPath { .. } => {
                "`reprise ls` lists what is in it; paths are relative to its root".to_owned()
            }
            Self::Target { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                "free space at the target".to_owned()
            }
            Self::Target { .. } | Self::Output { .. } => String::new(),
        }
    }
}

impl Error {
    /// What to do next when a log is unsuitable.
    fn log_hint(&self) -> String {
        match self {
            Self::TransactionFailed { source, .. } => replay_hint(source),
            Self::BinaryLog { .. } => "choose a recovery target before the damaged part, or restore a later snapshot".to_owned(),
            Self::TransactionNotReplayable { .. } => {
                "stop before it with --before-gtid, or skip it with --skip-gtid and apply its changes by hand".to_owned()
            }
            Self::TransactionsWithoutGtid { .. } => "restore without --keep-gtids".to_owned(),
            Self::ReplayStopUnreachable { .. } => "choose another recovery target".to_owned(),
            Self::OtherReplayInterrupted { .. } | Self::TransactionPartlyApplied { .. } => "start again with --overwrite".to_owned(),
            Self::ServerHasOwnTransactions { .. } => {
                "--keep-gtids needs a fresh server: use another one, or reset its GTID history".to_owned()
            }
            Self::RecoveryTargetUnreachable {
                missing_identity: Some(error),
                ..
            } => error.hint(),
            Self::RecoveryTargetUnreachable { possible, .. } if possible.is_empty() => {
                "take a snapshot, and archive the log with `reprise archive`".to_owned()
            }
            Self::RecoveryTargetUnreachable { possible, .. } => {
                format!("any point in time can be restored within: {}", possible.join("; "))
            }
            Self::Repository(_)
            | Self::TargetNotEmpty { .. }
            | Self::NothingToResume { .. }
            | Self::TargetNotDirectory { .. }
            | Self::TargetInUse { .. }
            | Self::NotFile { .. }
            | Self::Output { .. }
            | Self::ContentIncomplete { .. }
            | Self::NoSpace { .. }
            | Self::NoSuchPath { .. }
            | Self::Database { .. }
            | Self::UnreadableLog(_)
            | Self::Source(_)
            | Self::SnapshotNotOfServer { .. }
            | Self::ServerNotEmpty { .. }
            | Self::DatabaseNotEmpty { .. }
            | Self::TargetIncompatible { .. }
            | Self::RestoreInProgress
            | Self::RestoreInterrupted { .. }
            | Self::ScratchInUse { .. }
            | Self::RestoreNotDurable
            | Self::NoRestoreToResume
            | Self::LoadWarning { .. }
            | Self::RestoreUnfinished(_)
            | Self::Target { .. } => String::new(),
        }
    }
}

/// What to do about a transaction that the server rejected.
fn replay_hint(error: &DatabaseError) -> String {
    /// Duplicate key, missing row, unknown table, referenced row, missing parent.
    const DIFFERS: [u16; 9] = [1062, 1032, 1146, 1049, 1451, 1452, 1535, 1677, 1586];
    match error.code() {
        Some(code) if DIFFERS.contains(&code) => {
            "the data on the target differs from what the log continues from: nothing else may write to the target, and the log must begin where the snapshot ends".to_owned()
        }
        Some(1396) => {
            "the target already has this account: drop it there, or restore to a dedicated server".to_owned()
        }
        Some(1153) => "raise max_allowed_packet at the target".to_owned(),
        _ => error.hint(),
    }
}

impl From<LogReadError> for Error {
    fn from(error: LogReadError) -> Self {
        match error {
            LogReadError::Repository(error) => Self::Repository(error),
            error @ LogReadError::InvalidEvents { .. } => Self::UnreadableLog(error),
        }
    }
}
