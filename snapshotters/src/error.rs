//! Errors of reading a source.

use std::path::PathBuf;

use reprise_repository::ErrorClass;

use reprise_mysql::DatabaseError;

/// The result of taking a snapshot.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a snapshot could not be taken. `Display` never includes the source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository failed.
    #[error("the snapshot could not be stored")]
    Repository(#[from] reprise_repository::Error),
    /// The source itself cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The source's path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The source does not exist.
    #[error("{} does not exist", path.display())]
    SourceNotFound {
        /// The source's path.
        path: PathBuf,
    },
    /// An exclude rule is invalid.
    #[error("cannot parse exclude rule `{rule}`: {reason}")]
    Exclude {
        /// The rule as given.
        rule: String,
        /// Why.
        reason: String,
    },
    /// A file is not valid.
    #[error("{} is not a Terraform state: {reason}", path.display())]
    InvalidState {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A database server failed.
    #[error("cannot {operation}")]
    Database {
        /// The operation, and on which object.
        operation: String,
        /// What happened.
        #[source]
        source: DatabaseError,
    },
    /// There is nothing to store.
    #[error("{server} has no database that {}", match patterns.as_slice() {
        [] => "the account can see".to_owned(),
        asked => format!("matches {}", asked.join(", ")),
    })]
    NoDatabases {
        /// Which server.
        server: String,
        /// The requested database patterns; empty: all databases.
        patterns: Vec<String>,
    },
    /// Definitions changed during every attempt to store them with their rows.
    #[error(
        "table definitions change too often to take a consistent snapshot; the last change was to {object}"
    )]
    DefinitionsChanging {
        /// What changed last.
        object: String,
    },
    /// A server has no binary log.
    #[error("the binary log of {server} is disabled (log_bin is off)")]
    NoBinaryLog {
        /// Which server.
        server: String,
    },
    /// Replicated changes are missing from a server's log.
    #[error(
        "the binary log of {server} lacks the transactions that it replicates from another server: {variable} is off"
    )]
    IncompleteLog {
        /// Which server.
        server: String,
        /// The variable that is off.
        variable: &'static str,
    },
    /// A log is already being archived.
    #[error("another archiver is running for this source: {} is in use", directory.display())]
    ArchiverRunning {
        /// The directory that the other archiver uses.
        directory: std::path::PathBuf,
    },
    /// Log segments cannot be written to the local disk.
    #[error("cannot read or write log segments in the spool directory {}", directory.display())]
    Spool {
        /// The directory.
        directory: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Received log segments are not in the repository.
    #[error("not all log segments could be stored in the repository: {reason}; waiting in {}: {segments}", directory.display())]
    LogNotStored {
        /// How many.
        segments: usize,
        /// Where they are.
        directory: std::path::PathBuf,
        /// Why.
        reason: String,
    },
    /// What was stored of a log is not what a reader takes for its end.
    #[error("the archived log of {source_name} was not extended by what was stored: {reason}")]
    LogNotExtended {
        /// The source's name.
        source_name: String,
        /// What a reader sees instead.
        reason: String,
    },
    /// A program could not be started.
    #[error("cannot start `{program}`")]
    ProgramNotStarted {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A program failed, so its output is not a backup.
    #[error("`{program}` {outcome}; its output was not stored")]
    CommandFailed {
        /// The program.
        program: String,
        /// How it ended.
        outcome: String,
        /// The end of its standard error.
        stderr_tail: String,
    },
}

impl Error {
    pub(crate) fn from_database(doing: impl Into<String>, source: DatabaseError) -> Self {
        if matches!(source, DatabaseError::Interrupted) {
            return reprise_repository::Error::Interrupted.into();
        }
        Self::Database {
            operation: doing.into(),
            source,
        }
    }

    /// What the caller must do about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Repository(error) => error.class(),
            Self::Database { source, .. } => source.class(),
            Self::Unreadable { .. }
            | Self::DefinitionsChanging { .. }
            | Self::ProgramNotStarted { .. }
            | Self::Spool { .. }
            | Self::LogNotStored { .. }
            | Self::LogNotExtended { .. }
            | Self::CommandFailed { .. }
            | Self::InvalidState { .. } => ErrorClass::Failed,
            Self::SourceNotFound { .. } | Self::NoDatabases { .. } => ErrorClass::NotFound,
            Self::Exclude { .. } => ErrorClass::Usage,
            Self::NoBinaryLog { .. }
            | Self::IncompleteLog { .. }
            | Self::ArchiverRunning { .. } => ErrorClass::Refused,
        }
    }

    /// What to do next, in a sentence; empty when the error says it all.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Repository(error) => error.hint(),
            Self::Unreadable { .. } => {
                "check its owner and mode; backups usually run as root".to_owned()
            }
            Self::SourceNotFound { .. } => "check the path, and whether its volume is mounted".to_owned(),
            Self::Exclude { .. } => "rules are written as in .gitignore".to_owned(),
            Self::InvalidState { .. } => {
                "give the .tfstate file itself, or the directory that holds it".to_owned()
            }
            Self::Database { source, .. } => source.hint(),
            Self::NoDatabases { .. } => {
                "check the names with SHOW DATABASES: an account sees only databases on which it has privileges"
                    .to_owned()
            }
            Self::DefinitionsChanging { .. } => {
                "grant the account BACKUP_ADMIN (MariaDB: RELOAD), so that the snapshot can block schema changes, or run it when no statement changes a table definition"
                    .to_owned()
            }
            Self::NoBinaryLog { .. } => {
                "start the server with log_bin (and gtid_mode=ON, enforce_gtid_consistency=ON on MySQL), and take a snapshot".to_owned()
            }
            Self::IncompleteLog { variable, .. } => {
                format!("start the server with {variable}=ON, or archive the server that it replicates from")
            }
            Self::ArchiverRunning { .. } => "only one archiver can run for a source; stop the other one first".to_owned(),
            Self::Spool { .. } => "check its owner, mode and free space, or give another directory with --spool".to_owned(),
            Self::LogNotExtended { .. } => "somebody else has stored log segments of this source: `reprise verify` names them; stop a second archiver, or remove the host that stored them with `reprise key remove`".to_owned(),
            Self::LogNotStored { .. } => "the next `reprise archive` on this host stores them".to_owned(),
            Self::ProgramNotStarted { .. } => {
                "check the program's name and PATH; no shell is involved".to_owned()
            }
            Self::CommandFailed { stderr_tail, .. } if stderr_tail.is_empty() => String::new(),
            Self::CommandFailed { stderr_tail, .. } => format!("its standard error ends with:\n{stderr_tail}"),
        }
    }
}

/// Where no object is named, the statement is enough.
impl From<DatabaseError> for Error {
    fn from(source: DatabaseError) -> Self {
        Self::from_database("read rows", source)
    }
}
