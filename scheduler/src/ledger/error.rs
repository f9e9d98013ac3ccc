//! Errors of the ledger.

use std::path::PathBuf;

/// The result of an operation on the ledger.
pub type LedgerResult<T> = Result<T, LedgerError>;

/// Why the ledger could not be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database failed.
    #[error("the ledger {} cannot be used: {source}", path.display())]
    Database {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// Its directory cannot be made.
    #[error("cannot create the directory of the ledger {}: {source}", path.display())]
    Directory {
        /// The ledger's file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It was written by a newer version.
    #[error("the ledger {} has version {found}, and this version of reprise knows version {known}", path.display())]
    NewerVersion {
        /// Its file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest one that is known.
        known: u32,
    },
    /// No run has this ID.
    #[error("no run in the ledger has an ID that begins with `{prefix}`")]
    NoSuchRun {
        /// The beginning of an ID.
        prefix: String,
    },
    /// Several runs have IDs that begin so.
    #[error("several runs have IDs that begin with `{prefix}`")]
    AmbiguousRun {
        /// The beginning of the IDs.
        prefix: String,
    },
}

impl LedgerError {
    /// What to do next; empty when the error says it all.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Database { .. } | Self::Directory { .. } => {
                "it holds the history of runs and no backup: if it is damaged, move it away, and a new one is made;\nif the disk is full or read-only, make room"
            }
            Self::NewerVersion { .. } => "use the newer version of reprise",
            Self::NoSuchRun { .. } => "`reprise runs` lists them",
            Self::AmbiguousRun { .. } => "give more of the ID",
        }
    }
}
