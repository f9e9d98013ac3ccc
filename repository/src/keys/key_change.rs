//! Changes of keys: planned, checked, signed by a keeper and stored.

use chrono::{DateTime, Utc};

use crate::crypto::encryption::has_recipient;
use crate::crypto::envelope::{self, RecordKind};
use crate::crypto::signing::{SignerId, SignerRole};
use crate::crypto::trust::TrustStore;
use crate::error::{Error, Result};
use crate::format::keyring::{
    AddedKeys, KeyRecord, Keyring, RevokedKeys, RevokedSigner, SeriesContinuation, StoredKeyRecord,
};
use crate::id::ObjectId;
use crate::keys::key_objects::{RECORD_BYTES_MAX, key_object_key, put_age_file, put_secrets};
use crate::keys::key_wrapping;
use crate::records::tombstones::Keeper;
use crate::store::Repository;
use crate::store::verified_io::put_verified;
use crate::text::require_printable;

/// A change of keys, before it is made.
#[derive(Debug, Clone, Default)]
pub struct KeyChange {
    /// The keys that are added; secrets are added as needed.
    pub add: AddedKeys,
    /// Signers and the roles that they lose. With the last one their recipients of the catalog are removed.
    pub revoke_signers: Vec<(SignerId, Vec<SignerRole>)>,
    /// Recipients that nothing new is to be encrypted to.
    pub revoke_recipients: crate::format::config::RecipientTexts,
    /// Whether secrets and catalog keys are wrapped even if no recipient is added.
    pub wrap_catalog_keys: bool,
    /// Objects that are no longer valid, although they exist when their signer is revoked.
    pub excluded_objects: Vec<ObjectId>,
    /// What the storage received after this time is no longer valid, if its signer is revoked.
    pub received_until: Option<DateTime<Utc>>,
    /// Who makes the change, as user@host.
    pub by: String,
    /// The reason.
    pub reason: String,
}

/// A change of keys that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyChangeResult {
    /// The name of its record under `keys/`.
    pub record: ObjectId,
    /// How many of the stored objects stay valid although their signer was revoked; `None` if none was.
    pub accepted_count: Option<usize>,
    /// How many objects of the catalog could not be wrapped, because no identity here opens them or they are damaged.
    pub keys_not_wrapped: usize,
}

impl Repository {
    /// Plans a change of keys, with the keys after it. Nothing is stored.
    ///
    /// # Errors
    /// [`Error::Recipient`], or [`Error::KeyChange`] with the reason why it cannot be made.
    pub fn plan_key_change(
        &self,
        keeper: &Keeper,
        change: &KeyChange,
        now: DateTime<Utc>,
    ) -> Result<(KeyRecord, Keyring)> {
        let inner = &self.inner;
        require_printable("the reason", &change.reason)?;
        for signer in &change.add.signers {
            require_printable("the name of a host or keeper", &signer.name)?;
        }
        self.check_key_change(change)?;
        let accepts = match change.revoke_signers.is_empty() {
            true => Vec::new(),
            false => {
                let revoked = change.revoke_signers.iter();
                let roles: Vec<SignerRole> = revoked.flat_map(|(_, roles)| roles.clone()).collect();
                let (until, except) = (change.received_until, &change.excluded_objects);
                self.list_accepted_objects(&roles, until, except)?
            }
        };
        let revoked = |(key, roles): &(SignerId, Vec<SignerRole>)| RevokedSigner {
            key: *key,
            roles: roles.clone(),
            accepts: accepts.clone(),
        };
        let mut recipients = change.revoke_recipients.clone();
        for recipient in inner.keyring.orphaned_recipients(&change.revoke_signers) {
            if !has_recipient(&recipients.writers, &recipient) {
                recipients.writers.push(recipient);
            }
        }
        let record = KeyRecord {
            add: change.add.clone(),
            revoke: RevokedKeys {
                signers: change.revoke_signers.iter().map(revoked).collect(),
                recipients,
            },
            at: now,
            by: change.by.clone(),
            reason: change.reason.clone(),
            program: concat!("reprise ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let planned = StoredKeyRecord {
            id: ObjectId::from_content(b"planned"),
            signer: keeper.signer().id(),
            received: None,
            record: record.clone(),
        };
        serialize_record(&record, RECORD_BYTES_MAX)?;
        let after = inner
            .keyring
            .with_record(planned)
            .map_err(key_change_error)?;
        // Unusable recipients must not get into a repository: nobody could open it.
        after.data_recipients()?;
        after.catalog_recipients()?;
        Ok((record, after))
    }

    /// Makes a change of keys: stores the secrets for new recipients, then the record.
    ///
    /// # Errors
    /// As for [`Self::plan_key_change`], or any error of the backend.
    pub fn change_keys(
        &self,
        keeper: &Keeper,
        change: &KeyChange,
        now: DateTime<Utc>,
    ) -> Result<KeyChangeResult> {
        let inner = &self.inner;
        let (mut record, after) = self.plan_key_change(keeper, change, now)?;
        let mut not_handed_over = 0;
        let added = &record.add.recipients;
        if change.wrap_catalog_keys || !added.data.is_empty() || !added.writers.is_empty() {
            let recipients = after.catalog_recipients()?;
            let backend = inner.backend.as_ref();
            record.add.secrets = vec![put_secrets(backend, &inner.secrets, &recipients)?];
            let catalog = self.collect_catalog_file_keys()?;
            not_handed_over = catalog.inaccessible.len();
            let keys = key_wrapping::serialize_file_keys(&catalog.file_keys);
            check_record_size(
                "the list of wrapped catalog keys",
                keys.len(),
                RECORD_BYTES_MAX,
            )?;
            record.add.catalogs = vec![put_age_file(backend, &keys, &recipients)?];
        }
        let json = serialize_record(&record, RECORD_BYTES_MAX)?;
        let sealed = envelope::seal_unencrypted(
            RecordKind::Keys,
            &json,
            keeper.signer(),
            inner.trust.repository(),
        )?;
        let id = ObjectId::from_content(&sealed);
        put_verified(
            inner.backend.as_ref(),
            &key_object_key(&id),
            &[sealed.into()],
            &id,
        )?;
        Ok(KeyChangeResult {
            record: id,
            accepted_count: record.accepted_count(),
            keys_not_wrapped: not_handed_over,
        })
    }

    fn check_key_change(&self, change: &KeyChange) -> Result<()> {
        let ring = &self.inner.keyring;
        let trust = &self.inner.trust;
        let recipients = &change.add.recipients;
        let added: Vec<&String> = recipients.data.iter().chain(&recipients.writers).collect();
        for (n, recipient) in added.iter().enumerate() {
            if has_recipient(added[..n].iter().copied(), recipient) {
                return Err(key_change_error(format!("{recipient} is given twice")));
            }
            let present = ring.recipients();
            if has_recipient(present.data.iter().chain(&present.writers), recipient) {
                return Err(key_change_error(format!(
                    "{recipient} is already a recipient"
                )));
            }
            if ring.is_revoked_recipient(recipient) {
                return Err(key_change_error(format!(
                    "{recipient} was removed, and a removed key cannot be added again: generate a new one"
                )));
            }
        }
        for signer in &change.add.signers {
            if !signer.key.is_valid_key() {
                let reason = format!("{} is not a valid public signing key", signer.key);
                return Err(key_change_error(reason));
            }
            for role in &signer.roles {
                if trust.has_role(&signer.key, *role) {
                    let known = format!("{} is already a {}", signer.key, role.name());
                    return Err(key_change_error(known));
                }
                if trust.is_revoked(&signer.key, *role) {
                    return Err(key_change_error(format!(
                        "{} was revoked, and a revoked key cannot be added again: generate a new one",
                        signer.key
                    )));
                }
            }
        }
        for continued in &change.add.continues {
            check_continuation(trust, &change.add, continued)?;
        }
        Ok(())
    }
}

/// A continuation that readers would ignore is refused.
fn check_continuation(
    trust: &TrustStore,
    add: &AddedKeys,
    continued: &SeriesContinuation,
) -> Result<()> {
    let SeriesContinuation { signer, replaces } = continued;
    let is_added = add.signers.iter().any(|added| added.key == *signer);
    for key in [signer, replaces] {
        let joins_now = is_added && key == signer;
        if !joins_now && !trust.is_known(key) {
            return Err(key_change_error(format!(
                "{key} is not known to this repository"
            )));
        }
    }
    let before = trust.series_signer(signer);
    if before == trust.series_signer(replaces) {
        return Err(key_change_error(format!(
            "{signer} and {replaces} are already one series"
        )));
    }
    if before != *signer {
        return Err(key_change_error(format!(
            "{signer} already continues the series of {before}, and a host continues only one"
        )));
    }
    Ok(())
}

/// A record in its stored form. One that is too large to be read must not be stored.
fn serialize_record(record: &KeyRecord, bytes_max: usize) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(record)
        .map_err(|e| Error::Internal(format!("cannot serialize a key record: {e}")))?;
    let what = match record.accepted_count() {
        Some(count) => format!("the key record, which lists {count} stored objects,"),
        None => "the key record".to_owned(),
    };
    check_record_size(&what, json.len(), bytes_max)?;
    Ok(json)
}

fn check_record_size(what: &str, bytes: usize, bytes_max: usize) -> Result<()> {
    // The encrypted form is a little longer than the plain one.
    if bytes + bytes / 1000 + (16 << 10) <= bytes_max {
        return Ok(());
    }
    Err(key_change_error(format!(
        "{what} would have {bytes} bytes, more than the limit of {bytes_max}: run `reprise forget` and `reprise \
         prune` until fewer objects are stored, or exclude recent objects with --received-until"
    )))
}

fn key_change_error(reason: impl Into<String>) -> Error {
    Error::KeyChange {
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::keyring::RevokedSigner;

    #[test]
    fn a_record_that_nobody_would_read_is_refused() {
        let key = hex::encode([1; 32]).parse().unwrap();
        let mut record = KeyRecord {
            add: AddedKeys::default(),
            revoke: RevokedKeys::default(),
            at: DateTime::UNIX_EPOCH,
            by: String::new(),
            reason: String::new(),
            program: String::new(),
        };
        assert!(serialize_record(&record, 32 << 10).is_ok());
        record.revoke.signers = vec![RevokedSigner {
            key,
            roles: vec![SignerRole::Writer],
            accepts: vec![format!("snapshots/{}", ObjectId::from_content(b"x")); 500],
        }];
        let error = serialize_record(&record, 32 << 10).unwrap_err().to_string();
        for needed in ["500 stored objects", "32768", "prune"] {
            assert!(error.contains(needed), "{error}");
        }
    }
}
