//! Why an operation of a backend failed, and what to do next.

use chrono::{DateTime, Utc};

/// What is wrong with the configuration of a destination, as opposed to an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// No credentials were found.
    #[error("no credentials for the destination were found")]
    MissingCredentials,
    /// The credentials are unknown, wrong or expired.
    #[error("the destination does not accept the credentials")]
    InvalidCredentials,
    /// The bucket or container does not exist.
    #[error("the bucket or container does not exist")]
    BucketNotFound,
    /// The bucket is in another region.
    #[error("the bucket is in another region{}", right.as_ref().map(|r| format!(" ({r})")).unwrap_or_default())]
    WrongRegion {
        /// The right region, if the server reports it.
        right: Option<String>,
    },
    /// This host's clock and the server's are too far apart.
    #[error("this host's clock is wrong{}", if server.is_empty() { String::new() } else { format!(": the server's clock says {server}") })]
    ClockSkew {
        /// The server's time, as the server wrote it.
        server: String,
    },
    /// The server's certificate is not trusted by this host.
    #[error("the certificate of the destination is not trusted")]
    UntrustedCertificate,
    /// The endpoint is plain HTTP on another host, which was not allowed.
    #[error(
        "the endpoint {endpoint} is plain HTTP, which protects nothing on the way to another host"
    )]
    PlainHttp {
        /// The endpoint, without a password.
        endpoint: String,
    },
    /// The file system cannot make a name that replaces no other, so one of two writers could replace what the other has just
    /// stored.
    #[error(
        "the file system of {directory} has neither hard links nor a rename that replaces nothing, so it cannot hold a repository"
    )]
    NoExclusiveNames {
        /// The directory.
        directory: String,
    },
    /// An option does not fit the destination.
    #[error("{0}")]
    InvalidOption(String),
}

impl ConfigurationError {
    fn hint(&self, destination: DestinationKind) -> &'static str {
        use DestinationKind::Azure;
        match self {
            Self::MissingCredentials => match destination {
                Azure => {
                    "set AZURE_STORAGE_CONNECTION_STRING, AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or run with a managed identity"
                }
                _ => {
                    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run with a role"
                }
            },
            Self::InvalidCredentials => match destination {
                Azure => {
                    "check AZURE_STORAGE_KEY (or the connection string, or the token and its expiry), and that it is of this storage account"
                }
                _ => {
                    "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the session's expiry; for another account, AWS_PROFILE"
                }
            },
            Self::BucketNotFound => match destination {
                Azure => {
                    "create the container first (reprise does not create it), or check its name and the storage account's"
                }
                _ => {
                    "create the bucket first (reprise does not create it), or check its name and AWS_ENDPOINT_URL"
                }
            },
            Self::WrongRegion { .. } => "set AWS_REGION to the region of the bucket",
            Self::ClockSkew { .. } => {
                "synchronize this host's clock, for example with NTP, and run again"
            }
            Self::UntrustedCertificate => {
                "check the address; for a private certificate authority, set SSL_CERT_FILE to a file with its certificate"
            }
            Self::PlainHttp { .. } => {
                "use an https:// endpoint, or accept this one with `allow_http: true` in the policy, --allow-http or REPRISE_ALLOW_HTTP=true"
            }
            Self::NoExclusiveNames { .. } => {
                "use a directory on another file system, or the storage behind this one by its own URL"
            }
            Self::InvalidOption(_) => "",
        }
    }
}

/// Where a backend stores, as far as advice depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DestinationKind {
    /// A directory of this machine.
    Directory,
    /// S3, or a server that speaks it.
    S3,
    /// Azure Blob Storage.
    Azure,
}

impl DestinationKind {
    /// The kind of a location as a backend writes it.
    #[must_use]
    pub fn of_location(location: &str) -> Self {
        match location.split_once("://") {
            Some(("s3", _)) => Self::S3,
            Some(("azure", _)) => Self::Azure,
            _ => Self::Directory,
        }
    }
}

/// Why a backend operation failed.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The object does not exist.
    #[error("{key} does not exist")]
    NotFound {
        /// Its key.
        key: String,
    },
    /// The object exists already, with other bytes.
    #[error("{key} already exists")]
    AlreadyExists {
        /// Its key.
        key: String,
    },
    /// The requested range is outside the object.
    #[error("{key} has {size_bytes} bytes, not the requested {start}..{end}")]
    OutOfRange {
        /// Its key.
        key: String,
        /// Its real size.
        size_bytes: u64,
        /// First requested byte.
        start: u64,
        /// One after the last requested byte.
        end: u64,
    },
    /// The destination is full.
    #[error("no space left to {operation} {key}")]
    NoSpace {
        /// The operation, as a verb.
        operation: &'static str,
        /// The object.
        key: String,
        /// The system's error message.
        #[source]
        source: Cause,
    },
    /// The destination denies access.
    #[error("no permission to {operation} {key}")]
    PermissionDenied {
        /// The operation, as a verb.
        operation: &'static str,
        /// The object.
        key: String,
        /// The system's error message.
        #[source]
        source: Cause,
    },
    /// The object is locked: it may not be deleted or changed yet.
    #[error("{key} cannot be deleted yet{}", until.map(|until| format!(": it is locked until {}", reprise_times::format_time(&until))).unwrap_or_default())]
    Locked {
        /// Its key.
        key: String,
        /// When the lock ends, if that is known.
        until: Option<DateTime<Utc>>,
    },
    /// The configuration of the destination is wrong, not the object.
    #[error("{problem}")]
    Configuration {
        /// What is wrong.
        problem: ConfigurationError,
        /// The server's error message.
        #[source]
        source: Cause,
    },
    /// The destination did not complete the operation in time, despite retries.
    #[error("could not {operation} {key}: gave up after {attempts} {} in {seconds} s", if *attempts == 1 { "attempt" } else { "attempts" })]
    Unavailable {
        /// The operation, as a verb.
        operation: &'static str,
        /// The object.
        key: String,
        /// Number of attempts.
        attempts: u32,
        /// Total time of the attempts.
        seconds: u64,
        /// The last error.
        #[source]
        source: Cause,
    },
    /// The destination rejects the operation for another reason.
    #[error("the destination refuses to {operation} {key}")]
    Rejected {
        /// The operation, as a verb.
        operation: &'static str,
        /// The object.
        key: String,
        /// The server's error message.
        #[source]
        source: Cause,
    },
    /// The operation was cancelled.
    #[error("interrupted while trying to {operation} {key}")]
    Interrupted {
        /// The operation, as a verb.
        operation: &'static str,
        /// The object.
        key: String,
    },
    /// Any other error.
    #[error("cannot {operation} {key}")]
    Io {
        /// The operation, as a verb.
        operation: &'static str,
        /// The object.
        key: String,
        /// The system's error message.
        #[source]
        source: Cause,
    },
}

/// The cause of the failure, in the words of the component that reports it.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

impl BackendError {
    /// What to do next; empty when the error message is enough.
    #[must_use]
    pub fn hint(&self, destination: DestinationKind) -> &'static str {
        match self {
            Self::NoSpace { .. } => {
                "free space at the destination and run again: objects that are already stored are reused"
            }
            Self::PermissionDenied { .. } => match destination {
                DestinationKind::Directory => {
                    "check owner and mode of this directory and of those above it, and who runs this command"
                }
                DestinationKind::S3 => {
                    "check the permissions of these credentials: `reprise init --print-policy s3` prints the ones needed"
                }
                DestinationKind::Azure => {
                    "check the role of this identity: `reprise init --print-policy azure` prints the one needed"
                }
            },
            Self::NotFound { .. } | Self::OutOfRange { .. } => "run `reprise verify`",
            Self::Configuration { problem, .. } => problem.hint(destination),
            Self::Unavailable { .. } if destination == DestinationKind::Directory => {
                "check the disk or the mount, then run again: objects that are already stored are reused"
            }
            Self::Unavailable { .. } => {
                "check the address and the network, then run again: objects that are already stored are reused; --retry-for sets how long failed requests are retried"
            }
            Self::Locked { .. } => {
                "this is not an error: it can be deleted when its lock has expired"
            }
            Self::AlreadyExists { .. }
            | Self::Rejected { .. }
            | Self::Interrupted { .. }
            | Self::Io { .. } => "",
        }
    }

    /// Classifies an error of the operating system.
    pub fn from_io(operation: &'static str, key: &str, source: std::io::Error) -> Self {
        let key = key.to_owned();
        match source.kind() {
            std::io::ErrorKind::NotFound => Self::NotFound { key },
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::NoSpace {
                operation,
                key,
                source: source.into(),
            },
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                Self::PermissionDenied {
                    operation,
                    key,
                    source: source.into(),
                }
            }
            _ => Self::Io {
                operation,
                key,
                source: source.into(),
            },
        }
    }
}

/// The result of backend operations.
pub type BackendResult<T> = std::result::Result<T, BackendError>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_fits_the_destination() {
        let denied =
            || BackendError::from_io("read", "x", std::io::ErrorKind::PermissionDenied.into());
        let configured = |problem| BackendError::Configuration {
            problem,
            source: "refused".into(),
        };
        let advice = |error: BackendError, location: &str| {
            error.hint(DestinationKind::of_location(location))
        };
        for (location, expected, foreign) in [
            ("/srv/backup", "owner and mode", ["AWS_", "AZURE_"]),
            ("s3://b/p", "--print-policy s3", ["directory", "AZURE_"]),
            ("azure://a/c", "--print-policy azure", ["directory", "AWS_"]),
        ] {
            let said = advice(denied(), location);
            assert!(said.contains(expected), "{said}");
            assert!(!foreign.iter().any(|word| said.contains(word)), "{said}");
        }
        for problem in [
            || ConfigurationError::InvalidCredentials,
            || ConfigurationError::MissingCredentials,
            || ConfigurationError::BucketNotFound,
        ] {
            let (s3, azure) = (
                advice(configured(problem()), "s3://b"),
                advice(configured(problem()), "azure://a/c"),
            );
            assert!(
                !s3.to_lowercase().contains("azure") && !s3.contains("container"),
                "{s3}"
            );
            assert!(
                !azure.contains("AWS") && !azure.contains("bucket"),
                "{azure}"
            );
        }
    }
}
