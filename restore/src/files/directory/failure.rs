//! Why an entry could not be made, and whether others still can.

use reprise_repository::RawText;
use rustix::io::Errno;

use crate::error::Error;

/// Why one entry could not be made. No path is in it, so that equal causes are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryFailure {
    /// The system refused.
    System(Errno),
    /// The file system takes the entry's name for that of another entry.
    SameName,
    /// A directory that is not empty is where something else belongs.
    FullDirectory,
    /// Something else was put in the entry's place while it was restored.
    Replaced,
}

pub(crate) type EntryResult<T> = Result<T, EntryFailure>;

impl From<Errno> for EntryFailure {
    fn from(error: Errno) -> Self {
        Self::System(error)
    }
}

impl From<std::io::Error> for EntryFailure {
    fn from(error: std::io::Error) -> Self {
        Self::System(Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }
}

impl EntryFailure {
    /// Says what could not be done, and why.
    pub(crate) fn describe(&self, done: &str) -> String {
        let why = match self {
            Self::System(Errno::NOENT) => "its directory is missing".to_owned(),
            Self::System(error) => std::io::Error::from(*error).to_string(),
            Self::SameName => "the file system takes its name for that of another entry (it may not distinguish upper and lower case)".to_owned(),
            Self::FullDirectory => "a directory that is not empty is in its place".to_owned(),
            Self::Replaced => "something else was put in its place meanwhile".to_owned(),
        };
        format!("could not be {done}: {why}")
    }

    /// The error with which a restore ends when no other entry can be made either.
    pub(crate) fn fatal(&self, path: &RawText) -> Option<Error> {
        /// No space, no quota, the file system went away, this process has no descriptors or memory left.
        const FATAL: [Errno; 8] = [
            Errno::NOSPC,
            Errno::DQUOT,
            Errno::NOTCONN,
            Errno::STALE,
            Errno::NODEV,
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
        ];
        match self {
            Self::System(error) if FATAL.contains(error) => Some(Error::Target {
                action: "write",
                path: path.display(),
                source: (*error).into(),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_ends_a_restore_and_a_refused_name_does_not() {
        let path = RawText::from("a");
        assert!(EntryFailure::System(Errno::NOSPC).fatal(&path).is_some());
        for error in [Errno::INVAL, Errno::PERM, Errno::FBIG, Errno::ACCESS] {
            assert!(EntryFailure::System(error).fatal(&path).is_none());
        }
    }
}
