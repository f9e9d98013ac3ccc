//! Verified I/O: every write is verified before anything relies on it, and what arrives corrupt is read
//! again before anything is called damaged.

use std::time::Duration;

use bytes::Bytes;

use crate::backend::{Backend, BackendError, ObjectKey, WriteVerification};
use crate::error::{Error, Result};
use crate::id::ObjectId;

/// Size of the ranges for reading back, so that a pack is not in memory twice; in bytes.
const READ_BACK_BYTES: u64 = 4 << 20;

/// How often something that arrived damaged is read, if it may have been damaged in transit.
const READS_MAX: usize = 4;

/// Stores an object with the hash `id`, and verifies that it is stored before anything relies on it.
pub(crate) fn put_verified(
    backend: &dyn Backend,
    key: &ObjectKey,
    parts: &[Bytes],
    id: &ObjectId,
) -> Result<()> {
    match backend.put(key, parts) {
        Ok(WriteVerification::Verified) => Ok(()),
        Ok(WriteVerification::Unverified) => {
            let size = parts.iter().map(|part| part.len() as u64).sum();
            let verify = || read_with_retries(backend, || verify_stored(backend, key, size, id));
            if !backend.capabilities().reads_may_be_corrupted {
                return verify();
            }
            for pause in APPEARANCE_PAUSES {
                match verify() {
                    Err(Error::Backend {
                        source: BackendError::NotFound { .. },
                        ..
                    }) => std::thread::sleep(pause),
                    result => return result,
                }
            }
            verify()
        }
        Err(source) => Err(backend_error(backend, source)),
    }
}

/// Delays before an object that was just stored, and is not there yet, is looked up again.
const APPEARANCE_PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1600),
    Duration::from_millis(3200),
];

fn backend_error(backend: &dyn Backend, source: crate::backend::BackendError) -> Error {
    Error::Backend {
        location: backend.location(),
        source,
    }
}

fn verify_stored(backend: &dyn Backend, key: &ObjectKey, size: u64, id: &ObjectId) -> Result<()> {
    let failed = |source| backend_error(backend, source);
    if backend.size(key).map_err(failed)? != size {
        return Err(Error::damaged_object(
            key,
            "its size differs from what was just written",
        ));
    }
    let mut hasher = blake3::Hasher::new();
    let mut position = 0;
    while position < size {
        let end = (position + READ_BACK_BYTES).min(size);
        hasher.update(&backend.get(key, Some(position..end)).map_err(failed)?);
        position = end;
    }
    if ObjectId::from_bytes(*hasher.finalize().as_bytes()) == *id {
        Ok(())
    } else {
        Err(Error::damaged_object(
            key,
            "its content differs from what was just written: check the disk, or the way to the storage",
        ))
    }
}

/// Reads a whole object whose name is its hash.
///
/// # Errors
/// [`Error::Backend`], or [`Error::Damaged`] when its content does not match its hash.
pub(crate) fn get_verified(backend: &dyn Backend, key: &ObjectKey) -> Result<Vec<u8>> {
    read_with_retries(backend, || {
        let bytes = backend
            .get(key, None)
            .map_err(|source| backend_error(backend, source))?;
        if key.name() == ObjectId::from_content(&bytes).to_string() {
            Ok(bytes)
        } else {
            Err(Error::damaged_object(
                key,
                "content does not match its hash",
            ))
        }
    })
}

/// Reads, and retries damaged data if it may have been damaged in transit.
pub(crate) fn read_with_retries<T>(
    backend: &dyn Backend,
    mut read: impl FnMut() -> Result<T>,
) -> Result<T> {
    let reads = if backend.capabilities().reads_may_be_corrupted {
        READS_MAX
    } else {
        1
    };
    for _ in 1..reads {
        match read() {
            Err(Error::Damaged { object, reason }) => {
                tracing::info!(%object, %reason, "read a damaged object; reading it again");
            }
            result => return result,
        }
    }
    read()
}
