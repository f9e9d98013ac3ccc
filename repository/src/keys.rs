//! Objects under `keys/`: reading them when a repository is opened, and adding to them.
//!
//! There are two sorts: age files with the repository's secrets, and signed records of changed keys. A record is
//! readable by everybody, as nothing can be decrypted before one knows to whom it was encrypted; and only secrets
//! that `reprise.json` or a record of a keeper names are used.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::backend::{Backend, BackendError, ObjectInfo, ObjectKey};
use crate::config::{CONFIG_KEY, Config};
use crate::crypt::{FileKeys, Identities, Recipients, has_recipient};
use crate::envelope::{self, RecordKind};
use crate::error::{Error, ErrorClass, Result};
use crate::handover;
use crate::id::ObjectId;
use crate::keyring::{AddedKeys, KeyRecord, Keyring, RevokedKeys, RevokedSigner, StoredKeyRecord};
use crate::names::id_in;
use crate::parallel::in_parallel;
use crate::records::is_gone;
use crate::repository::{Inner, Repository};
use crate::roots::RecordCache;
use crate::secrets::Secrets;
use crate::sign::{Role, SignerId};
use crate::stored::{get_named, put_verified};
use crate::tombstones::Keeper;
use crate::verify::Finding;

/// No record is larger, stored or plain, in bytes: one that revokes a signer lists all packs there are.
const RECORD_BYTES_MAX: usize = 256 << 20;

/// The encrypted secrets are a few hundred bytes.
const SECRETS_BYTES_MAX: usize = 64 << 10;

/// How an age file begins.
const AGE_MAGIC: &[u8] = b"age-encryption.org/";

pub(crate) fn keys_key(id: &ObjectId) -> ObjectKey {
    ObjectKey::trusted(format!("keys/{id}"))
}

/// What is wrong with objects under `keys/` that therefore count for nothing.
pub(crate) type Unusable = Vec<(ObjectKey, String)>;

/// Reads all records of changed keys.
///
/// # Errors
/// When the storage does not answer. What is wrong with a single object is in the second part.
pub(crate) fn read_keyring(
    backend: &dyn Backend,
    config: &Config,
    cache: &RecordCache,
) -> Result<(Keyring, Unusable)> {
    let listed = backend
        .list("keys")
        .map_err(|source| failed(backend, source))?;
    let (mut records, mut unusable) = (Vec::new(), Unusable::new());
    let mut others = Vec::new();
    for info in listed {
        match id_in(&info.key) {
            Some(id) if id == config.keys => {}
            Some(id) => others.push((id, info)),
            None => unusable.push((info.key, "its name is not an object ID".to_owned())),
        }
    }
    // Each is read, whatever others say of it: nothing tells what an object is but its own bytes.
    let readers = backend.abilities().parallel_reads;
    let read = in_parallel(readers, &others, |(id, info)| {
        read_record(backend, config, cache, id, info)
    });
    let mut newer = Vec::new();
    for ((_, info), record) in others.into_iter().zip(read) {
        match record {
            Ok(Some(Read::Newer(signer, error))) => newer.push((info.key, signer, error)),
            Ok(Some(Read::Record(record))) => records.push(*record),
            Ok(None) => {}
            Err(error) if error.class() == ErrorClass::Failed => return Err(error),
            Err(error) => unusable.push((info.key, reason_of(error))),
        }
    }
    let ring = Keyring::new(config, records);
    for (key, signer, error) in newer {
        // What a keeper has changed by another version is not known here. Anybody else's word counts for nothing.
        match ring.trust().allows(&signer, Role::Keeper) {
            true => return Err(error),
            false => unusable.push((key, reason_of(error))),
        }
    }
    let refused = ring.refused().iter();
    unusable.extend(refused.map(|(id, reason)| (keys_key(id), reason.clone())));
    Ok((ring, unusable))
}

fn reason_of(error: Error) -> String {
    match error {
        Error::Damaged { reason, .. } => reason,
        error => error.to_string(),
    }
}

fn failed(backend: &dyn Backend, source: BackendError) -> Error {
    Error::Backend {
        location: backend.location(),
        source,
    }
}

/// What is read under `keys/`.
enum Read {
    Record(Box<StoredKeyRecord>),
    /// Another version's, with whoever signed it.
    Newer(SignerId, Error),
}

/// A record, or nothing where an object is none but an age file.
fn read_record(
    backend: &dyn Backend,
    config: &Config,
    cache: &RecordCache,
    id: &ObjectId,
    info: &ObjectInfo,
) -> Result<Option<Read>> {
    let key = &info.key;
    if info.size_bytes > RECORD_BYTES_MAX as u64 {
        return Err(Error::damaged(key, "it is too large to be a key record"));
    }
    let cached = cache.get(id);
    let is_cached = cached.is_some();
    let bytes = match cached {
        Some(bytes) => bytes,
        None => get_needed(backend, key)?,
    };
    if bytes.starts_with(AGE_MAGIC) {
        // Kept whole, so that it is known for what it is without being asked for again.
        if !is_cached {
            cache.keep(id, &bytes);
        }
        return Ok(None);
    }
    let claimed = envelope::parse(RecordKind::Keys, &bytes, key)?;
    let verified = claimed.prove(key, config.repository.as_str())?;
    let signer = verified.signer;
    let verified = match verified.known(key) {
        Ok(verified) => verified,
        Err(error) => return Ok(Some(Read::Newer(signer, error))),
    };
    let json = verified.open_plain(key, RECORD_BYTES_MAX)?;
    let record: KeyRecord = serde_json::from_slice(&json)
        .map_err(|e| Error::damaged(key, format!("its content cannot be parsed: {e}")))?;
    if !is_cached {
        cache.keep(id, &bytes);
    }
    Ok(Some(Read::Record(Box::new(StoredKeyRecord {
        id: *id,
        signer,
        received: info.received,
        record,
    }))))
}

fn get_needed(backend: &dyn Backend, key: &ObjectKey) -> Result<Vec<u8>> {
    get_named(backend, key).map_err(|error| {
        if is_gone(&error) {
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
    for id in ring.secrets() {
        match read_secret(backend, id, identities, recipients) {
            Ok(secrets) => return Ok((secrets, *id)),
            Err(error) if error.class() == ErrorClass::Failed => return Err(error),
            // What is wrong with one that could be opened says more than that another one could not be.
            Err(error @ Error::NoMatchingIdentity { .. }) => {
                first_error = first_error.or(Some(error));
            }
            Err(error) => {
                tracing::warn!(key = %keys_key(id), %error, "cannot read the repository secrets");
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

fn read_secret(
    backend: &dyn Backend,
    id: &ObjectId,
    identities: &Identities,
    recipients: &[String],
) -> Result<Secrets> {
    let key = keys_key(id);
    let bytes = get_needed(backend, &key)?;
    let json = identities.decrypt(&bytes, &key, recipients, SECRETS_BYTES_MAX)?;
    Secrets::from_json(&json).map_err(|reason| Error::damaged(&key, reason))
}

/// The keys of older age files that were handed to whoever opens the secrets `opened` and none before them.
///
/// # Errors
/// When the storage does not answer. What is damaged is left out: some older objects cannot be opened then.
pub(crate) fn read_handed(
    backend: &dyn Backend,
    ring: &Keyring,
    identities: &Identities,
    cache: &RecordCache,
    opened: &ObjectId,
) -> Result<FileKeys> {
    let mut keys = FileKeys::new();
    let records = ring.applied().iter().map(|applied| &applied.record.add);
    let since = records.skip_while(|added| !added.secrets.contains(opened));
    for id in since.flat_map(|added| &added.catalogs) {
        match read_catalog(backend, identities, cache, id) {
            Ok(handed) => keys.extend(handed),
            Err(error) if error.class() == ErrorClass::Failed => return Err(error),
            Err(error) => {
                tracing::warn!(key = %keys_key(id), %error, "cannot use wrapped catalog keys: some older objects cannot be decrypted on this host");
            }
        }
    }
    Ok(keys)
}

fn read_catalog(
    backend: &dyn Backend,
    identities: &Identities,
    cache: &RecordCache,
    id: &ObjectId,
) -> Result<FileKeys> {
    let key = keys_key(id);
    let bytes = match cache.get(id) {
        Some(bytes) => bytes,
        None => get_needed(backend, &key)?,
    };
    let text = identities.decrypt(&bytes, &key, &[], RECORD_BYTES_MAX)?;
    let keys = handover::parse(&text).map_err(|reason| Error::damaged(&key, reason))?;
    cache.keep(id, &bytes);
    Ok(keys)
}

/// Stores an age file under `keys/`.
fn put_age_file(backend: &dyn Backend, plain: &[u8], recipients: &Recipients) -> Result<ObjectId> {
    let encrypted = recipients.encrypt(plain)?;
    let id = ObjectId::of(&encrypted);
    put_verified(backend, &keys_key(&id), &[encrypted.into()], &id)?;
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
    pub revoke_signers: Vec<(SignerId, Vec<Role>)>,
    /// Recipients that nothing new is to be encrypted to.
    pub revoke_recipients: crate::config::RecipientTexts,
    /// Whether secrets and catalog are handed over although no recipient is added.
    pub hand_over: bool,
    /// Objects that count no longer, although they are there when their signer is revoked.
    pub except: Vec<ObjectId>,
    /// What the storage received after this moment counts no longer, if its signer is revoked.
    pub received_until: Option<DateTime<Utc>>,
    /// Who makes the change, as user@host.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// A change of keys that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangedKeys {
    /// The name of its record under `keys/`.
    pub record: ObjectId,
    /// How many of the stored objects count although their signer was revoked; `None` where none was.
    pub accepted: Option<usize>,
    /// How many objects of the catalog could not be handed over, as nobody here opens them or they are damaged.
    pub not_handed_over: usize,
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
        self.inner.trust.name(signer)
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
        self.check_change(change)?;
        let accepts = match change.revoke_signers.is_empty() {
            true => Vec::new(),
            false => self.objects_there(change.received_until, &change.except)?,
        };
        let revoked = |(key, roles): &(SignerId, Vec<Role>)| RevokedSigner {
            key: *key,
            roles: roles.clone(),
            accepts: accepts.clone(),
        };
        let mut recipients = change.revoke_recipients.clone();
        for recipient in inner.keyring.left_behind(&change.revoke_signers) {
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
            id: ObjectId::of(b"planned"),
            signer: keeper.signer().id(),
            received: None,
            record: record.clone(),
        };
        record_json(&record, RECORD_BYTES_MAX)?;
        let after = inner.keyring.with(planned).map_err(refused)?;
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
    ) -> Result<ChangedKeys> {
        let inner = &self.inner;
        let (mut record, after) = self.plan_key_change(keeper, change, now)?;
        let mut not_handed_over = 0;
        let added = &record.add.recipients;
        if change.hand_over || !added.data.is_empty() || !added.writers.is_empty() {
            let recipients = after.catalog_recipients()?;
            let backend = inner.backend.as_ref();
            record.add.secrets = vec![put_secrets(backend, &inner.secrets, &recipients)?];
            let catalog = self.catalog_file_keys()?;
            not_handed_over = catalog.left_out.len();
            let keys = handover::write(&catalog.keys);
            check_size(
                "the list of wrapped catalog keys",
                keys.len(),
                RECORD_BYTES_MAX,
            )?;
            record.add.catalogs = vec![put_age_file(backend, &keys, &recipients)?];
        }
        let json = record_json(&record, RECORD_BYTES_MAX)?;
        let sealed = envelope::seal_plain(
            RecordKind::Keys,
            &json,
            keeper.signer(),
            inner.trust.repository(),
        )?;
        let id = ObjectId::of(&sealed);
        put_verified(
            inner.backend.as_ref(),
            &keys_key(&id),
            &[sealed.into()],
            &id,
        )?;
        Ok(ChangedKeys {
            record: id,
            accepted: record.accepted(),
            not_handed_over,
        })
    }

    fn check_change(&self, change: &KeyChange) -> Result<()> {
        let ring = &self.inner.keyring;
        let trust = &self.inner.trust;
        let recipients = &change.add.recipients;
        let added: Vec<&String> = recipients.data.iter().chain(&recipients.writers).collect();
        for (n, recipient) in added.iter().enumerate() {
            if has_recipient(added[..n].iter().copied(), recipient) {
                return Err(refused(format!("{recipient} is given twice")));
            }
            let present = ring.recipients();
            if has_recipient(present.data.iter().chain(&present.writers), recipient) {
                return Err(refused(format!("{recipient} is already a recipient")));
            }
            if ring.is_revoked_recipient(recipient) {
                return Err(refused(format!(
                    "{recipient} was removed, and a removed key cannot be added again: generate a new one"
                )));
            }
        }
        for signer in &change.add.signers {
            if !signer.key.is_a_key() {
                let reason = format!("{} is not a valid public signing key", signer.key);
                return Err(refused(reason));
            }
            for role in &signer.roles {
                if trust.allows(&signer.key, *role) {
                    let known = format!("{} is already a {}", signer.key, role.name());
                    return Err(refused(known));
                }
                if trust.is_revoked(&signer.key, *role) {
                    return Err(refused(format!(
                        "{} was revoked, and a revoked key cannot be added again: generate a new one",
                        signer.key
                    )));
                }
            }
        }
        Ok(())
    }

    /// What is wrong with the objects under `keys/`.
    pub(crate) fn verify_keys(&self) -> Result<Vec<Finding>> {
        let inner = &self.inner;
        let cache = RecordCache::new(None, "keys");
        let (ring, unusable) = read_keyring(inner.backend.as_ref(), &inner.config, &cache)?;
        let mut findings: BTreeMap<String, String> = unusable
            .into_iter()
            .map(|(key, reason)| (key.to_string(), reason))
            .collect();
        let known = ring.secrets().iter().chain(ring.catalogs());
        for id in known.clone() {
            let key = keys_key(id).to_string();
            match self.verify_age_file(&ring, id) {
                Err(error) if error.class() == ErrorClass::Failed => return Err(error),
                Err(error) => drop(findings.insert(key, reason_of(error))),
                Ok(()) => {}
            }
        }
        let known: Vec<&ObjectId> = known.collect();
        for info in inner.list("keys")? {
            let id = id_in(&info.key);
            let applied = |id: &ObjectId| ring.applied().iter().any(|applied| applied.id == *id);
            if id.is_some_and(|id| !known.contains(&&id) && !applied(&id)) {
                let reason = "no record signed by a keeper refers to it, so it is ignored: a key change was \
                              interrupted, or the object is forged";
                findings
                    .entry(info.key.to_string())
                    .or_insert_with(|| reason.to_owned());
            }
        }
        let finding = |(object, reason)| Finding {
            object,
            reason,
            hurts: Vec::new(),
        };
        Ok(findings.into_iter().map(finding).collect())
    }

    /// Secrets must be the same everywhere; of what others alone can read, the bytes must be those of its name.
    fn verify_age_file(&self, ring: &Keyring, id: &ObjectId) -> Result<()> {
        let inner = &self.inner;
        let backend = inner.backend.as_ref();
        if !ring.secrets().contains(id) {
            return get_needed(backend, &keys_key(id)).map(drop);
        }
        match read_secret(backend, id, &inner.identities, &[]) {
            Ok(secrets) if secrets.to_json()? == inner.secrets.to_json()? => Ok(()),
            Ok(_) => Err(Error::damaged(
                &keys_key(id),
                "it contains other secrets than those in use",
            )),
            Err(Error::NoMatchingIdentity { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A record as it is going to be stored. One that nobody would read must not be.
fn record_json(record: &KeyRecord, bytes_max: usize) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(record)
        .map_err(|e| Error::Internal(format!("cannot serialize a key record: {e}")))?;
    let what = match record.accepted() {
        Some(count) => format!("the key record, which lists {count} stored objects,"),
        None => "the key record".to_owned(),
    };
    check_size(&what, json.len(), bytes_max)?;
    Ok(json)
}

fn check_size(what: &str, bytes: usize, bytes_max: usize) -> Result<()> {
    // What is encrypted is a little longer than it was.
    if bytes + bytes / 1000 + (16 << 10) <= bytes_max {
        return Ok(());
    }
    Err(refused(format!(
        "{what} would have {bytes} bytes, more than the limit of {bytes_max}: run `reprise forget` and `reprise \
         prune` until fewer objects are stored, or exclude recent objects with --received-until"
    )))
}

fn refused(reason: impl Into<String>) -> Error {
    Error::KeyChange {
        reason: reason.into(),
    }
}

impl Inner {
    /// Every object under `keys/` that counts, in the order in which a copy must get them.
    pub(crate) fn key_objects(&self) -> Vec<ObjectId> {
        let ring = &self.keyring;
        let age_files = ring.secrets().iter().chain(ring.catalogs());
        let records = ring.applied().iter().map(|applied| &applied.id);
        age_files.chain(records).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::RevokedSigner;

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
        assert!(record_json(&record, 32 << 10).is_ok());
        record.revoke.signers = vec![RevokedSigner {
            key,
            roles: vec![Role::Writer],
            accepts: vec![format!("snapshots/{}", ObjectId::of(b"x")); 500],
        }];
        let error = record_json(&record, 32 << 10).unwrap_err().to_string();
        for needed in ["500 stored objects", "32768", "prune"] {
            assert!(error.contains(needed), "{error}");
        }
    }
}
