//! The keeper: whoever holds a key that may forget.

use std::path::Path;

use crate::crypto::host_keys::read_signing_key;
use crate::crypto::signing::{HostSigner, SignerRole};
use crate::error::{Error, Result};
use crate::store::Repository;

/// A keeper's key that the repository knows.
#[derive(Debug)]
pub struct Keeper {
    signer: HostSigner,
}

impl Keeper {
    /// The signing key.
    #[must_use]
    pub fn signer(&self) -> &HostSigner {
        &self.signer
    }
}

impl Repository {
    /// The keeper's key: from a file, or this host's own if the host is a keeper. `action` is a verb that names its
    /// use.
    ///
    /// # Errors
    /// [`Error::KeysWithheld`]; [`Error::NotKeeper`] when the key has no such role here, [`Error::HostKeys`] when it cannot be read.
    pub fn load_keeper(&self, file: Option<&Path>, action: &'static str) -> Result<Keeper> {
        self.inner.require_known_keys()?;
        let not_keeper = |who: String| Error::NotKeeper {
            location: self.location(),
            action,
            who,
        };
        let signer = match (file, &self.inner.host) {
            (Some(file), _) => read_signing_key(file)?,
            (None, Some(host)) => host.signer.clone(),
            (None, None) => {
                return Err(not_keeper(
                    "this machine, which has no signing key,".to_owned(),
                ));
            }
        };
        let keeper = Keeper { signer };
        let id = keeper.signer().id();
        if self.inner.trust.has_role(&id, SignerRole::Keeper) {
            return Ok(keeper);
        }
        Err(not_keeper(file.map_or_else(
            || format!("this host ({id})"),
            |file| format!("{} ({id})", file.display()),
        )))
    }
}
