//! Why a text is not the location of a repository, and what to write instead.

use crate::masking::mask_secrets;

/// A text that is not the location of a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("repository location `{location}` cannot be used: {problem}")]
pub struct InvalidLocation {
    /// The text as given, without anything that may be a secret.
    pub location: String,
    /// What is wrong with it.
    pub problem: LocationProblem,
}

impl InvalidLocation {
    pub(crate) fn new(text: &str, problem: LocationProblem) -> Self {
        Self {
            location: mask_secrets(text),
            problem,
        }
    }
}

/// What is wrong with a location. Nothing that may be a secret is repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationProblem {
    /// The text is empty.
    #[error("the repository URL is empty")]
    Empty,
    /// No path and no name of an object contains a NUL byte.
    #[error("it contains a NUL byte")]
    NulByte,
    /// The scheme is not one of a repository.
    #[error("`{scheme}` is not a supported URL scheme; use `file`, `s3`, `azure` or a plain path")]
    UnknownScheme {
        /// The scheme.
        scheme: String,
    },
    /// `s3:x` instead of `s3://x`.
    #[error("`{scheme}:` must be followed by `//`")]
    MissingSlashes {
        /// The scheme.
        scheme: &'static str,
    },
    /// A user name or password before an `@`.
    #[error("the URL contains credentials, which a repository URL must not contain")]
    Credentials,
    /// The part that names a bucket, an account or a container is missing or not a name.
    #[error("the name of the {what} is missing or invalid")]
    InvalidPart {
        /// Which part.
        what: &'static str,
    },
    /// A `file` URL that names another host or no absolute path.
    #[error("a `file` URL needs an absolute path: `file:///path`")]
    NotAbsolute,
    /// A `%` that does not begin two hexadecimal digits, or bytes that are not UTF-8.
    #[error("`%` in a `file` URL must be followed by two hexadecimal digits that give UTF-8 text")]
    InvalidEscape,
    /// A `?` or `#`, which no kind of repository uses.
    #[error("a repository URL must not contain `?` or `#`")]
    QueryOrFragment,
}

impl LocationProblem {
    /// What to write instead; empty where the message says it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Empty => {
                "write a path, `file:///path`, `s3://bucket/prefix` or `azure://account/container/prefix`"
            }
            Self::NulByte | Self::UnknownScheme { .. } => "",
            Self::MissingSlashes { .. } => {
                "write `file:///path`, `s3://bucket/prefix` or `azure://account/container/prefix`; a path with this name is `./NAME`"
            }
            Self::Credentials => {
                "leave them out; S3 reads the AWS variables and profiles, Azure `AZURE_STORAGE_KEY` and similar variables"
            }
            Self::InvalidPart { .. } => {
                "write `s3://bucket/prefix` or `azure://account/container/prefix`"
            }
            Self::NotAbsolute => {
                "a directory of another host must be mounted here first; a relative path is written without `file:`"
            }
            Self::InvalidEscape => "write `%25` for a percent sign, or a plain path",
            Self::QueryOrFragment => {
                "endpoint and region come from the environment, other settings from options or the policy; in the path of a `file` URL, write `%3F` and `%23`"
            }
        }
    }
}
