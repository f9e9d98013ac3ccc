//! What can go wrong while something is brought back.

use std::path::PathBuf;

use reprise_repository::ErrorClass;

/// The result of restoring.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be brought back. `Display` never includes the source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The repository could not do its part.
    #[error("the snapshot could not be read")]
    Repository(#[from] reprise_repository::Error),
    /// The target holds something already.
    #[error("{} is not empty", path.display())]
    TargetNotEmpty {
        /// The target.
        path: PathBuf,
        /// Whether an interrupted restore of the same snapshot left its mark there.
        resumable: bool,
    },
    /// `--resume` was asked for where nothing was interrupted.
    #[error("{} holds no interrupted restore of snapshot {snapshot}", path.display())]
    NothingToResume {
        /// The target.
        path: PathBuf,
        /// The snapshot's short id.
        snapshot: String,
    },
    /// The target is not a folder.
    #[error("{} is not a folder", path.display())]
    TargetNotAFolder {
        /// The target.
        path: PathBuf,
    },
    /// The target is too small.
    #[error("{} has {free_bytes} bytes free, the restore needs {needed_bytes}", path.display())]
    NoSpace {
        /// The target.
        path: PathBuf,
        /// What it has.
        free_bytes: u64,
        /// What is needed.
        needed_bytes: u64,
    },
    /// A path is not in the snapshot.
    #[error("`{wanted}` is not in snapshot {snapshot}")]
    NoSuchPath {
        /// The path asked for.
        wanted: String,
        /// The snapshot's short id.
        snapshot: String,
    },
    /// Something of the target failed.
    #[error("cannot {action} {path}")]
    Target {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// What the caller must do about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Repository(error) => error.class(),
            Self::TargetNotEmpty { .. } | Self::NothingToResume { .. } => ErrorClass::Refused,
            Self::TargetNotAFolder { .. } => ErrorClass::Usage,
            Self::NoSpace { .. } | Self::Target { .. } => ErrorClass::Failed,
            Self::NoSuchPath { .. } => ErrorClass::NotFound,
        }
    }

    /// What to do next, in a sentence; empty when the error says it all.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Repository(error) => error.hint(),
            Self::TargetNotEmpty {
                resumable: true, ..
            } => "an interrupted restore of this snapshot is there: continue it with --resume"
                .to_owned(),
            Self::TargetNotEmpty {
                resumable: false, ..
            } => {
                "choose an empty folder, or allow files to be replaced with --overwrite".to_owned()
            }
            Self::NothingToResume { .. } => {
                "leave out --resume for a new restore into an empty folder".to_owned()
            }
            Self::TargetNotAFolder { .. } => "give a folder with --to".to_owned(),
            Self::NoSpace { .. } => {
                "free space, choose another folder, or restore fewer paths".to_owned()
            }
            Self::NoSuchPath { .. } => {
                "`reprise ls` lists what is in it; paths are relative to its root".to_owned()
            }
            Self::Target { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                "free space and run again with --resume".to_owned()
            }
            Self::Target { .. } => String::new(),
        }
    }
}
