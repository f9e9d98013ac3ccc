//! What every backend offers: the trait, with its contract.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::{
    BackendError, BackendResult, Capabilities, CapabilitySupport, ObjectInfo, ObjectKey,
    ProbedCapabilities, Traffic, WriteVerification,
};

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

    /// When the storage received an object, as [`Self::list`] tells; `None` if there is no such object, or the storage
    /// does not say.
    ///
    /// # Errors
    /// As for [`Self::list`].
    fn received(&self, key: &ObjectKey) -> BackendResult<Option<DateTime<Utc>>> {
        let directory = key
            .as_str()
            .rsplit_once('/')
            .map_or("", |(directory, _)| directory);
        let listed = self.list(directory)?.into_iter();
        let mut found = listed.filter(|info| info.key == *key);
        Ok(found.next().and_then(|info| info.received))
    }

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

    fn received(&self, key: &ObjectKey) -> BackendResult<Option<DateTime<Utc>>> {
        self.as_ref().received(key)
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
