//! The escrow key: a keeper's key that is kept in the repository, so that somebody with a recovery identity and a passphrase
//! can appoint a new host when all hosts are lost.
//!
//! It is a keeper of its own, so that it can be revoked and replaced. Whoever could open the key before cannot use it then.

use chrono::{DateTime, Utc};
use zeroize::Zeroizing;

use crate::backend::ObjectKey;
use crate::crypto::encryption::{Passphrase, Recipients, has_recipient};
use crate::crypto::host_keys::{new_signing_key_text, signer_of_text};
use crate::crypto::signing::{KnownSigner, SignerRole};
use crate::error::{Error, Result};
use crate::format::keyring::EscrowKey;
use crate::id::ObjectId;
use crate::keys::key_change::KeyChange;
use crate::records::record_set::is_not_found;
use crate::store::Repository;
use crate::store::verified_io::put_verified;

/// The name of the keeper whose key is kept.
const KEEPER_NAME: &str = "escrow";

/// Limit of the plain text, in bytes; a real one has about 200.
const KEY_BYTES_MAX: usize = 64 << 10;

pub(crate) fn escrow_object_key(id: &ObjectId) -> ObjectKey {
    ObjectKey::from_trusted(format!("escrow/{id}"))
}

impl Repository {
    /// Adds to a change of keys that the present escrow key is revoked. `false`: there is none.
    #[must_use]
    pub fn revoke_escrow(&self, change: &mut KeyChange) -> bool {
        let Some(escrow) = self.inner.keyring.escrow() else {
            return false;
        };
        let signers = &mut change.revoke_signers;
        if signers.iter().all(|(key, _)| *key != escrow.signer) {
            signers.push((escrow.signer, vec![SignerRole::Keeper]));
        }
        true
    }

    /// Makes a new escrow key for the recovery recipients after a change of keys, stores it, and adds it to the change.
    /// Without the record of that change it counts for nothing.
    ///
    /// # Errors
    /// [`Error::Passphrase`] for one that is too short, or any error of the backend.
    pub fn add_escrow(
        &self,
        change: &mut KeyChange,
        passphrase: &Passphrase,
        now: DateTime<Utc>,
    ) -> Result<()> {
        passphrase.require_length()?;
        let present = self.inner.keyring.recipients().data.iter();
        let stays = |recipient: &&String| !has_recipient(&change.revoke_recipients.data, recipient);
        let recipients = present.filter(stays).chain(&change.add.recipients.data);
        let recipients: Vec<String> = recipients.cloned().collect();
        let (signer, text) = new_signing_key_text(&now.to_rfc3339())?;
        let inner = passphrase.encrypt(text.as_bytes())?;
        let sealed = Recipients::parse(&recipients)?.encrypt(&inner)?;
        let object = ObjectId::from_content(&sealed);
        let backend = self.inner.backend.as_ref();
        put_verified(
            backend,
            &escrow_object_key(&object),
            &[sealed.into()],
            &object,
        )?;
        change.add.signers.push(KnownSigner {
            key: signer,
            roles: vec![SignerRole::Keeper],
            name: KEEPER_NAME.to_owned(),
        });
        change.add.escrow = Some(EscrowKey {
            object,
            signer,
            recipients,
        });
        Ok(())
    }

    /// The text of a file with the escrow key.
    ///
    /// # Errors
    /// [`Error::NoEscrow`], [`Error::NoMatchingIdentity`] without an identity of its recipients, [`Error::Passphrase`] for
    /// another passphrase, or errors of the backend.
    pub fn open_escrow(&self, passphrase: &Passphrase) -> Result<Zeroizing<String>> {
        let inner = &self.inner;
        let escrow = inner.keyring.escrow().ok_or_else(|| Error::NoEscrow {
            location: self.location(),
        })?;
        let key = escrow_object_key(&escrow.object);
        let bytes = inner.get_verified(&key).map_err(|error| {
            if is_not_found(&error) {
                Error::Missing {
                    object: key.to_string(),
                    needed_by: "a record of keys".to_owned(),
                }
            } else {
                error
            }
        })?;
        let sealed = inner
            .identities
            .decrypt(&bytes, &key, &escrow.recipients, KEY_BYTES_MAX)?;
        let plain = Zeroizing::new(passphrase.decrypt(&sealed, &key)?);
        let text = std::str::from_utf8(&plain)
            .ok()
            .filter(|text| signer_of_text(text) == Some(escrow.signer));
        match text {
            Some(text) => Ok(Zeroizing::new(text.to_owned())),
            None => Err(Error::damaged_object(
                &key,
                "it does not contain the key that its record names",
            )),
        }
    }
}
