//! What the probes of both vendors share.

use super::object_name::random_bytes;
use crate::backend::{BackendError, BackendResult, CapabilitySupport};

/// Whether an object that shows a lock is really locked: then the lock is the reason why it cannot be deleted.
pub(super) fn lock_support_from_delete(
    deleted: BackendResult<()>,
) -> BackendResult<CapabilitySupport> {
    match deleted {
        Ok(()) => Ok(CapabilitySupport::No),
        Err(BackendError::Locked { .. } | BackendError::PermissionDenied { .. }) => {
            Ok(CapabilitySupport::Yes)
        }
        Err(error) => Err(error),
    }
}

/// A name for an object that only a probe uses.
pub(super) fn random_probe_key() -> BackendResult<String> {
    Ok(format!("probes/{}", hex::encode(random_bytes::<12>()?)))
}

/// The outcome of removing a probe. A host that may only add leaves its probes: they are a few bytes, and the
/// prune removes them.
pub(super) fn log_leftover_probe(key: &str, removed: BackendResult<()>) {
    if let Err(error) = removed {
        tracing::debug!(key, %error, "cannot delete a probe object");
    }
}
