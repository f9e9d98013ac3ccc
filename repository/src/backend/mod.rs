//! Where objects are stored: the backend trait, its capabilities as data, and its implementations.
//!
//! A backend knows keys and bytes, but not what they mean. All its objects are write-once.
//!
//! What all share: `backend_trait`, `object` (keys, listings), `capabilities`, `error`, `traffic`. `open` gives the
//! backend of a location. `local` is a directory. `remote` is what network destinations share, with
//! one directory per vendor, `s3` and `azure`. For tests: `memory`, `faulty`, `conformance`.

mod backend_trait;
mod capabilities;
#[cfg(any(test, feature = "testing"))]
#[expect(
    clippy::disallowed_methods,
    reason = "a test, which compares the clock of the storage with this one"
)]
pub mod conformance;
mod error;
#[cfg(any(test, feature = "testing"))]
pub mod faulty;
mod local;
#[cfg(any(test, feature = "testing"))]
#[expect(clippy::disallowed_methods, reason = "a backend for tests")]
pub mod memory;
mod object;
mod open;
#[expect(
    clippy::disallowed_methods,
    reason = "locks last by the clock of the storage, and credentials are in the variables that all its clients read"
)]
mod remote;
mod traffic;

pub use backend_trait::Backend;
pub use capabilities::{Capabilities, CapabilitySupport, ProbedCapabilities, WriteVerification};
pub use error::{BackendError, BackendResult, Cause, ConfigurationError, DestinationKind};
pub use local::LocalBackend;
pub use object::{ObjectInfo, ObjectKey};
pub use open::open_location;
pub use remote::{
    AzureBackend, AzureEndpoint, ImmutabilityPolicy, LockMode, RemoteOptions, S3Backend,
};
pub use reprise_location::{InvalidLocation, RepositoryLocation, mask_secrets};
pub use traffic::Traffic;
