//! Where objects are stored: the backend trait, its capabilities as data, and its implementations.
//!
//! A backend knows keys and bytes, but not what they mean. All its objects are write-once.
//!
//! `location` parses locations, `local` is a directory, `probe` tests what a destination really does. `remote` is what
//! network destinations share: `http` (the one client), `retry` (retries, deadlines), `limiter` (requests in flight),
//! `bandwidth`, `classify` (what an error response means), `object_read` (ranges, comparison), `runtime`; and one
//! directory per vendor, `s3` and `azure`. For tests: `memory`, `faulty`, `conformance`.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use chrono::{DateTime, Utc};

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
#[cfg(any(test, feature = "testing"))]
pub mod faulty;
mod local;
mod location;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
mod probe;
mod remote;

pub use local::LocalBackend;
pub use location::{InvalidLocation, RepositoryLocation, mask_password};
pub use probe::{CapabilitySupport, ProbedCapabilities};
pub use remote::{
    AzureBackend, AzureEndpoint, ImmutabilityPolicy, LockMode, RemoteOptions, S3Backend, Traffic,
};

/// The name of an object inside a repository: `/`-separated, of `[a-z0-9.]` only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// Checks a key. Each part has 1 to 128 characters of `[a-z0-9.]` and does not begin with a dot, so
    /// that no key can leave the repository's directory.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let good_char = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.';
        let good_part = |part: &str| {
            (1..=128).contains(&part.len()) && !part.starts_with('.') && part.bytes().all(good_char)
        };
        text.split('/').all(good_part).then_some(Self(text))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part after the last `/`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    pub(crate) fn from_trusted(text: String) -> Self {
        debug_assert!(Self::new(text.clone()).is_some(), "{text}");
        Self(text)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key.
    pub key: ObjectKey,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// When the storage received it, by the storage's own clock; `None` if the storage does not report it.
    ///
    /// The writer of an object cannot choose this time, unlike any time inside the object.
    pub received: Option<DateTime<Utc>>,
}

/// The capabilities of a backend, as data. Callers check these and never the type of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// The storage itself refuses a second `put` of a key with other bytes.
    pub refuses_overwrite: bool,
    /// Listing all packs is cheap enough to do at every snapshot.
    pub cheap_listing: bool,
    /// How many parallel reads are useful.
    pub parallel_reads: usize,
    /// How many parallel uploads are useful.
    pub parallel_puts: usize,
    /// Whether received bytes may differ from the stored ones, so that a mismatch is worth another read.
    pub reads_may_be_corrupted: bool,
}

/// How far the storage itself has verified a stored object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteVerification {
    /// The storage compared the bytes that it received with our own hash, and reported the same hash afterwards.
    Verified,
    /// Not verified: read it back before relying on it.
    Unverified,
}

/// What is wrong with the configuration of a destination, as opposed to an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
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
    /// An option does not fit the destination.
    #[error("{0}")]
    InvalidOption(String),
}

impl ConfigurationError {
    fn hint(&self) -> &'static str {
        match self {
            Self::MissingCredentials => {
                "S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or run with a role;\nAzure: set AZURE_STORAGE_CONNECTION_STRING, AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or run with a managed identity"
            }
            Self::InvalidCredentials => {
                "check the key, its secret and its expiry; for another account, check AWS_PROFILE or the storage account's name"
            }
            Self::BucketNotFound => {
                "create the bucket or container first (reprise does not create it), or check its name and AWS_ENDPOINT_URL"
            }
            Self::WrongRegion { .. } => "set AWS_REGION to the region of the bucket",
            Self::ClockSkew { .. } => {
                "synchronize this host's clock, for example with NTP, and run again"
            }
            Self::UntrustedCertificate => {
                "check the address; for a private certificate authority, set SSL_CERT_FILE to a file with its certificate"
            }
            Self::InvalidOption(_) => "",
        }
    }
}

/// Why a backend operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
    #[error("{key} cannot be deleted yet{}", until.map(|until| format!(": it is locked until {}", until.format("%F %T UTC"))).unwrap_or_default())]
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
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoSpace { .. } => {
                "free space at the destination and run again: objects that are already stored are reused"
            }
            Self::PermissionDenied { .. } => {
                "check the owner and mode of the directory, or the permissions of these credentials (`reprise init --print-policy s3` or `azure` prints the ones needed)"
            }
            Self::NotFound { .. } | Self::OutOfRange { .. } => "run `reprise verify`",
            Self::Configuration { problem, .. } => problem.hint(),
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

/// A store of write-once objects under keys. Methods with a default are for storage on this machine.
///
/// The contract, which the `conformance` suite checks:
/// - `put` is atomic and durable: when it returns `Ok`, the whole object survives a power cut; when it does
///   not, or the process dies inside it, the key either does not exist or has the whole object. No reader ever
///   sees a part of an object.
/// - Putting the same bytes under an existing key is `Ok` and changes nothing. Other bytes under an existing
///   key are [`BackendError::AlreadyExists`] where [`Capabilities::refuses_overwrite`] says so.
/// - After `put` returned, `get`, `size` and `list` of every client see the object.
/// - Putting the same bytes again does not make an object newer where overwriting is refused.
/// - All methods may be called from several threads at once.
pub trait Backend: Send + Sync + fmt::Debug {
    /// The location, for display: a URL or path without secrets.
    fn location(&self) -> String;

    /// The capabilities of this backend.
    fn capabilities(&self) -> Capabilities;

    /// Stores an object, given in parts that are joined without a copy where possible.
    ///
    /// # Errors
    /// See the contract above.
    fn put(&self, key: &ObjectKey, parts: &[Bytes]) -> BackendResult<WriteVerification>;

    /// Reads an object, whole or a range of its bytes. Exactly the requested bytes are returned.
    ///
    /// # Errors
    /// [`BackendError::NotFound`], or [`BackendError::OutOfRange`] when the object is too short.
    fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> BackendResult<Vec<u8>>;

    /// The size of an object in bytes, by a cheap point lookup.
    ///
    /// # Errors
    /// [`BackendError::NotFound`].
    fn size(&self, key: &ObjectKey) -> BackendResult<u64>;

    /// All objects below a directory (`packs`, `index`…), each once, in no particular order. A directory that does
    /// not exist is empty. Unfinished puts are never listed.
    ///
    /// # Errors
    /// Any failure makes the whole listing fail: a partial listing is never returned.
    fn list(&self, directory: &str) -> BackendResult<Vec<ObjectInfo>>;

    /// Deletes an object, with all its versions. Deleting an object that does not exist succeeds.
    ///
    /// # Errors
    /// [`BackendError::Locked`] when it may not be deleted yet.
    fn delete(&self, key: &ObjectKey) -> BackendResult<()>;

    /// Until when an object is locked; `None` when it is not, or cannot be.
    ///
    /// # Errors
    /// [`BackendError::NotFound`].
    fn locked_until(&self, key: &ObjectKey) -> BackendResult<Option<DateTime<Utc>>> {
        self.size(key).map(|_| None)
    }

    /// Extends the lock of an object to a later time.
    ///
    /// # Errors
    /// [`BackendError::Rejected`] where locking is not supported.
    fn lock_until(&self, key: &ObjectKey, _until: DateTime<Utc>) -> BackendResult<()> {
        Err(BackendError::Rejected {
            operation: "lock",
            key: key.to_string(),
            source: "this destination does not support locks".into(),
        })
    }

    /// Probes what the destination really does, with objects of its own below `probes/`.
    ///
    /// Where `put` relies on the rules of the operating system, nothing needs to be probed.
    ///
    /// # Errors
    /// When the destination cannot be written to at all.
    fn probe(&self) -> BackendResult<ProbedCapabilities> {
        Ok(ProbedCapabilities {
            conditional_create: CapabilitySupport::from_bool(self.capabilities().refuses_overwrite),
            checks_uploads: CapabilitySupport::No,
            versions: CapabilitySupport::No,
            locks: CapabilitySupport::No,
        })
    }

    /// Network traffic so far.
    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}

/// A shared backend is a backend.
#[deny(clippy::missing_trait_methods)]
impl<B: Backend + ?Sized> Backend for std::sync::Arc<B> {
    fn location(&self) -> String {
        self.as_ref().location()
    }

    fn capabilities(&self) -> Capabilities {
        self.as_ref().capabilities()
    }

    fn put(&self, key: &ObjectKey, parts: &[Bytes]) -> BackendResult<WriteVerification> {
        self.as_ref().put(key, parts)
    }

    fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> BackendResult<Vec<u8>> {
        self.as_ref().get(key, range)
    }

    fn size(&self, key: &ObjectKey) -> BackendResult<u64> {
        self.as_ref().size(key)
    }

    fn list(&self, directory: &str) -> BackendResult<Vec<ObjectInfo>> {
        self.as_ref().list(directory)
    }

    fn delete(&self, key: &ObjectKey) -> BackendResult<()> {
        self.as_ref().delete(key)
    }

    fn locked_until(&self, key: &ObjectKey) -> BackendResult<Option<DateTime<Utc>>> {
        self.as_ref().locked_until(key)
    }

    fn lock_until(&self, key: &ObjectKey, until: DateTime<Utc>) -> BackendResult<()> {
        self.as_ref().lock_until(key, until)
    }

    fn probe(&self) -> BackendResult<ProbedCapabilities> {
        self.as_ref().probe()
    }

    fn traffic(&self) -> Traffic {
        self.as_ref().traffic()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_leave_the_repository() {
        for bad in [
            "", "/", "a/", "/a", "../x", "a/../b", ".hidden", "a//b", "A", "a b", "a\0",
        ] {
            assert_eq!(ObjectKey::new(bad), None, "{bad:?}");
        }
        for good in ["reprise.json", "packs/00/ab", "keys/0"] {
            assert!(ObjectKey::new(good).is_some(), "{good:?}");
        }
    }
}
