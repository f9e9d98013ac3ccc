//! The escrow key goes into a copy as well: the copy may be all that is left.

use crate::copy::RepositoryCopy;
use crate::error::{Error, ErrorClass, Result};
use crate::keys::escrow::escrow_object_key;

impl RepositoryCopy<'_> {
    /// Copies the present escrow key. Others are revoked.
    pub(super) fn copy_escrow(&mut self) -> Result<()> {
        let inner = &self.repository.inner;
        let Some(escrow) = inner.keyring.escrow() else {
            return Ok(());
        };
        let (id, key) = (escrow.object, escrow_object_key(&escrow.object));
        if self.list_target_ids("escrow")?.contains(&id) {
            return Ok(());
        }
        match self.copy_object(&key, &id) {
            Err(error) if error.class() == ErrorClass::Failed => Err(error),
            Err(error @ (Error::Damaged { .. } | Error::Missing { .. })) => {
                self.record_failure(key.as_str(), error)
            }
            copied => copied,
        }
    }
}
