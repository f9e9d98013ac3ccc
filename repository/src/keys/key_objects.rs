//! Objects under `keys/`: reading them when a repository is opened, and adding to them.
//!
//! There are two sorts: age files with the repository's secrets, and signed records of changed keys. A record is
//! readable by everybody, as nothing can be decrypted before one knows to whom it was encrypted; and only secrets
//! that `reprise.json` or a record of a keeper names are used.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::backend::{Backend, BackendError, ObjectInfo, ObjectKey};
use crate::crypto::encryption::{FileKeys, Identities, Recipients, has_recipient};
use crate::crypto::envelope::{self, RecordKind};
use crate::crypto::signing::{SignerId, SignerRole};
use crate::error::{Error, ErrorClass, Result};
use crate::format::config::{CONFIG_KEY, Config};
use crate::format::keyring::{
    AddedKeys, KeyRecord, Keyring, RevokedKeys, RevokedSigner, StoredKeyRecord,
};
use crate::format::names::id_from_key;
use crate::format::secrets::Secrets;
use crate::id::ObjectId;
use crate::keys::key_wrapping;
use crate::parallel::map_in_parallel;
use crate::records::record_set::is_not_found;
use crate::records::tombstones::Keeper;
use crate::store::finding::VerifyFinding;
use crate::store::record_cache::RecordCache;
use crate::store::verified_io::{get_verified, put_verified};
use crate::store::{Repository, Store};

/// No record is larger, stored or plain, in bytes: one that revokes a signer lists all packs there are.
const RECORD_BYTES_MAX: usize = 256 << 20;

/// The encrypted secrets are a few hundred bytes.
const SECRETS_BYTES_MAX: usize = 64 << 10;

/// How an age file begins.
const AGE_MAGIC: &[u8] = b"age-encryption.org/";

pub(crate) fn key_object_key(id: &ObjectId) -> ObjectKey {
    ObjectKey::from_trusted(format!("keys/{id}"))
}

/// What is wrong with objects under `keys/` that therefore count for nothing.
pub(crate) type UnusableKeyObjects = Vec<(ObjectKey, String)>;

/// Reads all records of changed keys.
///
/// # Errors
/// When the storage does not answer. What is wrong with a single object is in the second part.
pub(crate) fn read_keyring(
    backend: &dyn Backend,
    config: &Config,
    cache: &RecordCache,
) -> Result<(Keyring, UnusableKeyObjects)> {
    let listed = backend
        .list("keys")
        .map_err(|source| backend_error(backend, source))?;
    let (mut records, mut unusable) = (Vec::new(), UnusableKeyObjects::new());
    let mut others = Vec::new();
    for info in listed {
        match id_from_key(&info.key) {
            Some(id) if id == config.keys => {}
            Some(id) => others.push((id, info)),
            None => unusable.push((info.key, "its name is not an object ID".to_owned())),
        }
    }
    // Each is read, whatever others say of it: nothing tells what an object is but its own bytes.
    let readers = backend.capabilities().parallel_reads;
    let read = map_in_parallel(readers, &others, |(id, info)| {
        read_key_object(backend, config, cache, id, info)
    });
    let mut newer = Vec::new();
    for ((_, info), record) in others.into_iter().zip(read) {
        match record {
            Ok(Some(KeyObject::NewerFormat(signer, error))) => {
                newer.push((info.key, signer, error))
            }
            Ok(Some(KeyObject::Record(record))) => records.push(*record),
            Ok(None) => {}
            Err(error) if error.class() == ErrorClass::Failed => return Err(error),
            Err(error) => unusable.push((info.key, damage_reason(error))),
        }
    }
    let ring = Keyring::new(config, records);
    for (key, signer, error) in newer {
        // What a keeper has changed by another version is not known here. Anybody else's word counts for nothing.
        match ring.trust().has_role(&signer, SignerRole::Keeper) {
            true => return Err(error),
            false => unusable.push((key, damage_reason(error))),
        }
    }
    let refused = ring.refused_records().iter();
    unusable.extend(refused.map(|(id, reason)| (key_object_key(id), reason.clone())));
    Ok((ring, unusable))
}

fn damage_reason(error: Error) -> String {
    match error {
        Error::Damaged { reason, .. } => reason,
        error => error.to_string(),
    }
}

fn backend_error(backend: &dyn Backend, source: BackendError) -> Error {
    Error::Backend {
        location: backend.location(),
        source,
    }
}

/// What is read under `keys/`.
enum KeyObject {
    Record(Box<StoredKeyRecord>),
    /// Another version's, with whoever signed it.
    NewerFormat(SignerId, Error),
}

/// A record, or nothing where an object is none but an age file.
fn read_key_object(
    backend: &dyn Backend,
    config: &Config,
    cache: &RecordCache,
    id: &ObjectId,
    info: &ObjectInfo,
) -> Result<Option<KeyObject>> {
    let key = &info.key;
    if info.size_bytes > RECORD_BYTES_MAX as u64 {
        return Err(Error::damaged_object(
            key,
            "it is too large to be a key record",
        ));
    }
    let cached = cache.get(id);
    let is_cached = cached.is_some();
    let bytes = match cached {
        Some(bytes) => bytes,
        None => get_required(backend, key)?,
    };
    if bytes.starts_with(AGE_MAGIC) {
        // Kept whole, so that it is known for what it is without being asked for again.
        if !is_cached {
            cache.insert(id, &bytes);
        }
        return Ok(None);
    }
    let claimed = envelope::parse_record(RecordKind::Keys, &bytes, key)?;
    let verified = claimed.verify_signature(key, config.repository.as_str())?;
    let signer = verified.signer;
    let verified = match verified.require_known_format(key) {
        Ok(verified) => verified,
        Err(error) => return Ok(Some(KeyObject::NewerFormat(signer, error))),
    };
    let json = verified.open_unencrypted(key, RECORD_BYTES_MAX)?;
    let record: KeyRecord = serde_json::from_slice(&json)
        .map_err(|e| Error::damaged_object(key, format!("its content cannot be parsed: {e}")))?;
    if !is_cached {
        cache.insert(id, &bytes);
    }
    Ok(Some(KeyObject::Record(Box::new(StoredKeyRecord {
        id: *id,
        signer,
        received: info.received,
        record,
    }))))
}

fn get_required(backend: &dyn Backend, key: &ObjectKey) -> Result<Vec<u8>> {
    get_verified(backend, key).map_err(|error| {
        if is_not_found(&error) {
            Error::Missing {
                object: key.to_string(),
                needed_by: CONFIG_KEY.to_owned(),
            }
        } else {
            error
        }
    })
}

/// The repository's secrets, from the first object that one of the identities opens.
///
/// # Errors
/// [`Error::NoMatchingIdentity`], or what is wrong with the objects.
pub(crate) fn read_secrets(
    backend: &dyn Backend,
    ring: &Keyring,
    identities: &Identities,
    recipients: &[String],
) -> Result<(Secrets, ObjectId)> {
    let mut first_error = None;
    for id in ring.secret_objects() {
        match read_secrets_object(backend, id, identities, recipients) {
            Ok(secrets) => return Ok((secrets, *id)),
            Err(error) if error.class() == ErrorClass::Failed => return Err(error),
            // What is wrong with one that could be opened says more than that another one could not be.
            Err(error @ Error::NoMatchingIdentity { .. }) => {
                first_error = first_error.or(Some(error));
            }
            Err(error) => {
                tracing::warn!(key = %key_object_key(id), %error, "cannot read the repository secrets");
                match first_error {
                    Some(Error::Damaged { .. } | Error::Missing { .. }) => {}
                    _ => first_error = Some(error),
                }
            }
        }
    }
    Err(first_error
        .unwrap_or_else(|| Error::Internal("reprise.json names no repository secrets".to_owned())))
}

fn read_secrets_object(
    backend: &dyn Backend,
    id: &ObjectId,
    identities: &Identities,
    recipients: &[String],
) -> Result<Secrets> {
    let key = key_object_key(id);
    let bytes = get_required(backend, &key)?;
    let json = identities.decrypt(&bytes, &key, recipients, SECRETS_BYTES_MAX)?;
    Secrets::from_json(&json).map_err(|reason| Error::damaged_object(&key, reason))
}

/// The keys of older age files that were handed to whoever opens the secrets `opened` and none before them.
///
/// # Errors
/// When the storage does not answer. What is damaged is left out: some older objects cannot be opened then.
pub(crate) fn read_all_wrapped_keys(
    backend: &dyn Backend,
    ring: &Keyring,
    identities: &Identities,
    cache: &RecordCache,
    opened: &ObjectId,
) -> Result<FileKeys> {
    let mut keys = FileKeys::new();
    let records = ring
        .applied_records()
        .iter()
        .map(|applied| &applied.record.add);
    let since = records.skip_while(|added| !added.secrets.contains(opened));
    for id in since.flat_map(|added| &added.catalogs) {
        match read_wrapped_keys(backend, identities, cache, id) {
            Ok(handed) => keys.extend(handed),
            Err(error) if error.class() == ErrorClass::Failed => return Err(error),
            Err(error) => {
                tracing::warn!(key = %key_object_key(id), %error, "cannot use wrapped catalog keys: some older objects cannot be decrypted on this host");
            }
        }
    }
    Ok(keys)
}

fn read_wrapped_keys(
    backend: &dyn Backend,
    identities: &Identities,
    cache: &RecordCache,
    id: &ObjectId,
) -> Result<FileKeys> {
    let key = key_object_key(id);
    let bytes = match cache.get(id) {
        Some(bytes) => bytes,
        None => get_required(backend, &key)?,
    };
    let text = identities.decrypt(&bytes, &key, &[], RECORD_BYTES_MAX)?;
    let keys = key_wrapping::parse_file_keys(&text)
        .map_err(|reason| Error::damaged_object(&key, reason))?;
    cache.insert(id, &bytes);
    Ok(keys)
}

/// Stores an age file under `keys/`.
fn put_age_file(backend: &dyn Backend, plain: &[u8], recipients: &Recipients) -> Result<ObjectId> {
    let encrypted = recipients.encrypt(plain)?;
    let id = ObjectId::from_content(&encrypted);
    put_verified(backend, &key_object_key(&id), &[encrypted.into()], &id)?;
    Ok(id)
}

/// Stores the repository's secrets for some recipients.
///
/// # Errors
/// When encrypting or storing fails.
pub(crate) fn put_secrets(
    backend: &dyn Backend,
    secrets: &Secrets,
    recipients: &Recipients,
) -> Result<ObjectId> {
    put_age_file(backend, &secrets.to_json()?, recipients)
}

/// A change of keys, before it is made.
#[derive(Debug, Clone, Default)]
pub struct KeyChange {
    /// What is added; secrets are added as needed.
    pub add: AddedKeys,
    /// Signers and the roles that they lose. With the last one go their recipients of the catalog.
    pub revoke_signers: Vec<(SignerId, Vec<SignerRole>)>,
    /// Recipients that nothing new is to be encrypted to.
    pub revoke_recipients: crate::format::config::RecipientTexts,
    /// Whether secrets and catalog are handed over although no recipient is added.
    pub wrap_catalog_keys: bool,
    /// Objects that count no longer, although they are there when their signer is revoked.
    pub excluded_objects: Vec<ObjectId>,
    /// What the storage received after this moment counts no longer, if its signer is revoked.
    pub received_until: Option<DateTime<Utc>>,
    /// Who makes the change, as user@host.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// A change of keys that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyChangeResult {
    /// The name of its record under `keys/`.
    pub record: ObjectId,
    /// How many of the stored objects count although their signer was revoked; `None` where none was.
    pub accepted_count: Option<usize>,
    /// How many objects of the catalog could not be handed over, as nobody here opens them or they are damaged.
    pub keys_not_wrapped: usize,
}

impl Repository {
    /// The keys that count.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.inner.keyring
    }

    /// A signer's name for people, or its key.
    #[must_use]
    pub fn signer_name(&self, signer: &SignerId) -> String {
        self.inner.trust.signer_name(signer)
    }

    /// What a change of keys would be, and the keys after it. Nothing is stored.
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
        self.check_key_change(change)?;
        let accepts = match change.revoke_signers.is_empty() {
            true => Vec::new(),
            false => self.list_accepted_objects(change.received_until, &change.excluded_objects)?,
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
        // Recipients that cannot be used must not get into a repository: nobody could open it.
        after.data_recipients()?;
        after.catalog_recipients()?;
        Ok((record, after))
    }

    /// Makes a change of keys: stores the secrets for new recipients, then the record.
    ///
    /// # Errors
    /// As for [`Self::plan_key_change`], or what the backend says.
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
        Ok(())
    }

    /// What is wrong with the objects under `keys/`.
    pub(crate) fn verify_keys(&self) -> Result<Vec<VerifyFinding>> {
        let inner = &self.inner;
        let cache = RecordCache::new(None, "keys");
        let (ring, unusable) = read_keyring(inner.backend.as_ref(), &inner.config, &cache)?;
        let mut findings: BTreeMap<String, String> = unusable
            .into_iter()
            .map(|(key, reason)| (key.to_string(), reason))
            .collect();
        let known = ring.secret_objects().iter().chain(ring.catalog_objects());
        for id in known.clone() {
            let key = key_object_key(id).to_string();
            match self.verify_age_file(&ring, id) {
                Err(error) if error.class() == ErrorClass::Failed => return Err(error),
                Err(error) => drop(findings.insert(key, damage_reason(error))),
                Ok(()) => {}
            }
        }
        let known: Vec<&ObjectId> = known.collect();
        for info in inner.list_objects("keys")? {
            let id = id_from_key(&info.key);
            let applied = |id: &ObjectId| {
                ring.applied_records()
                    .iter()
                    .any(|applied| applied.id == *id)
            };
            if id.is_some_and(|id| !known.contains(&&id) && !applied(&id)) {
                let reason = "no record signed by a keeper refers to it, so it is ignored: a key change was \
                              interrupted, or the object is forged";
                findings
                    .entry(info.key.to_string())
                    .or_insert_with(|| reason.to_owned());
            }
        }
        let finding = |(object, reason)| VerifyFinding {
            object,
            reason,
            affected_snapshots: Vec::new(),
        };
        Ok(findings.into_iter().map(finding).collect())
    }

    /// Secrets must be the same everywhere; of what others alone can read, the bytes must be those of its name.
    fn verify_age_file(&self, ring: &Keyring, id: &ObjectId) -> Result<()> {
        let inner = &self.inner;
        let backend = inner.backend.as_ref();
        if !ring.secret_objects().contains(id) {
            return get_required(backend, &key_object_key(id)).map(drop);
        }
        match read_secrets_object(backend, id, &inner.identities, &[]) {
            Ok(secrets) if secrets.to_json()? == inner.secrets.to_json()? => Ok(()),
            Ok(_) => Err(Error::damaged_object(
                &key_object_key(id),
                "it contains other secrets than those in use",
            )),
            Err(Error::NoMatchingIdentity { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A record as it is going to be stored. One that nobody would read must not be.
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
    // What is encrypted is a little longer than it was.
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

impl Store {
    /// Every object under `keys/` that counts, in the order in which a copy must get them.
    pub(crate) fn key_object_ids(&self) -> Vec<ObjectId> {
        let ring = &self.keyring;
        let age_files = ring.secret_objects().iter().chain(ring.catalog_objects());
        let records = ring.applied_records().iter().map(|applied| &applied.id);
        age_files.chain(records).copied().collect()
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
