//! Objects under `keys/`: read when a repository is opened, and added to.
//!
//! There are two kinds: age files with the repository's secrets, and signed records of changed keys. A record is
//! readable by everybody, as nothing can be decrypted before the recipients are known; and only secrets
//! that `reprise.json` or a record of a keeper names are used.

use std::collections::{BTreeMap, HashSet};

use crate::backend::{Backend, BackendError, ObjectInfo, ObjectKey};
use crate::crypto::encryption::{FileKeys, Identities, Recipients};
use crate::crypto::envelope::{self, RecordKind};
use crate::crypto::signing::{SignerId, SignerRole};
use crate::error::{Error, ErrorClass, Result};
use crate::format::config::{CONFIG_KEY, Config};
use crate::format::keyring::{KeyRecord, Keyring, StoredKeyRecord};
use crate::format::names::id_from_key;
use crate::format::secrets::Secrets;
use crate::id::ObjectId;
use crate::keys::escrow::escrow_object_key;
use crate::keys::key_wrapping;
use crate::parallel::map_in_parallel;
use crate::records::record_set::is_not_found;
use crate::store::finding::VerifyFinding;
use crate::store::memory::{LocalMemory, SeenObjects};
use crate::store::record_cache::RecordCache;
use crate::store::verified_io::{get_verified, put_verified};
use crate::store::{Repository, Store};

/// Maximum size of a record, stored or plain, in bytes: one that revokes a signer lists all existing packs.
pub(super) const RECORD_BYTES_MAX: usize = 256 << 20;

/// Limit of the encrypted secrets, which are a few hundred bytes.
const SECRETS_BYTES_MAX: usize = 64 << 10;

/// What is wrong with a record of keys that is missing.
pub(crate) const MISSING_RECORD: &str =
    "this machine has used this record before, and it is gone or damaged";

/// The magic of an age file.
const AGE_MAGIC: &[u8] = b"age-encryption.org/";

pub(crate) fn key_object_key(id: &ObjectId) -> ObjectKey {
    ObjectKey::from_trusted(format!("keys/{id}"))
}

/// The problems of objects under `keys/` that are therefore ignored.
pub(crate) type UnusableKeyObjects = Vec<(ObjectKey, String)>;

/// The records of changed keys, as they are stored.
pub(crate) struct StoredKeyring {
    pub(crate) keyring: Keyring,
    pub(crate) unusable: UnusableKeyObjects,
    /// All objects that could be read, whether their records are valid or not.
    present: HashSet<ObjectId>,
}

impl StoredKeyring {
    /// Compares with what this machine has seen, and remembers what is valid. Returns what it saw before and cannot
    /// read any more: it may have removed keys.
    pub(crate) fn check_memory(&self, memory: &LocalMemory, seen: &SeenObjects) -> Vec<ObjectId> {
        let missing = seen.missing_of(&seen.keys, &self.present);
        for id in &missing {
            tracing::warn!(key = %key_object_key(id), "a record of keys that this machine has used is missing or damaged: removed keys may seem valid");
        }
        let applied = self.keyring.applied_records().iter();
        let applied: Vec<ObjectId> = applied.map(|applied| applied.id).collect();
        let is_remembered = |id| seen.keys.contains(id) && !seen.accepted.contains(id);
        if !applied.iter().all(is_remembered) {
            memory.update(|seen| {
                seen.keys.extend(&applied);
                // What is back need not be accepted any more.
                seen.accepted.retain(|id| !applied.contains(id));
            });
        }
        missing
    }
}

/// Reads all records of changed keys.
///
/// # Errors
/// When the storage does not respond. Problems of single objects are in the result.
pub(crate) fn read_keyring(
    backend: &dyn Backend,
    config: &Config,
    cache: &RecordCache,
) -> Result<StoredKeyring> {
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
    // Each is read, whatever other records say of it: only its own bytes tell what an object is.
    let readers = backend.capabilities().parallel_reads;
    let read = map_in_parallel(readers, &others, |(id, info)| {
        read_key_object(backend, config, cache, id, info)
    });
    let (mut newer, mut present) = (Vec::new(), HashSet::new());
    for ((id, info), record) in others.into_iter().zip(read) {
        if record.is_ok() {
            present.insert(id);
        }
        match record {
            Ok(Some(KeyObject::NewerFormat(signer, error))) => {
                newer.push((info.key, signer, error))
            }
            Ok(Some(KeyObject::Record(record))) => records.push(*record),
            Ok(None) => {}
            Err(error) if error.class() == ErrorClass::Failed => return Err(error),
            Err(error) => unusable.push((info.key, error.damage_reason())),
        }
    }
    let ring = Keyring::new(config, records);
    for (key, signer, error) in newer {
        // A keeper's changes by another version are unknown here. Records of others are ignored.
        match ring.trust().has_role(&signer, SignerRole::Keeper) {
            true => return Err(error),
            false => unusable.push((key, error.damage_reason())),
        }
    }
    let refused = ring.refused_records().iter();
    unusable.extend(refused.map(|(id, reason)| (key_object_key(id), reason.clone())));
    Ok(StoredKeyring {
        keyring: ring,
        unusable,
        present,
    })
}

fn backend_error(backend: &dyn Backend, source: BackendError) -> Error {
    Error::Backend {
        location: backend.location(),
        source,
    }
}

/// An object read under `keys/`.
enum KeyObject {
    Record(Box<StoredKeyRecord>),
    /// Another version's, with its signer.
    NewerFormat(SignerId, Error),
}

/// A record, or nothing if the object is just an age file.
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
        // Kept whole, so that it is recognized without another request.
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
/// [`Error::NoMatchingIdentity`], or the problem of the objects.
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
            // The problem of one that could be opened is more useful than that another one could not be.
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

/// The file keys of older age files that were wrapped for those who open the secrets `opened` and none before them.
///
/// # Errors
/// When the storage does not respond. Damaged objects are left out: some older objects cannot be opened then.
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
pub(super) fn put_age_file(
    backend: &dyn Backend,
    plain: &[u8],
    recipients: &Recipients,
) -> Result<ObjectId> {
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

impl Repository {
    /// The valid keys.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.inner.keyring
    }

    /// A signer's display name, or its key.
    #[must_use]
    pub fn signer_name(&self, signer: &SignerId) -> String {
        self.inner.trust.signer_name(signer)
    }

    /// The problems of the objects under `keys/`.
    pub(crate) fn verify_keys(&self) -> Result<Vec<VerifyFinding>> {
        let inner = &self.inner;
        let cache = RecordCache::new(None, "keys");
        let stored = read_keyring(inner.backend.as_ref(), &inner.config, &cache)?;
        let ring = stored.keyring;
        let withheld = inner
            .missing_keys
            .iter()
            .map(|id| (key_object_key(id), MISSING_RECORD.to_owned()));
        let mut findings: BTreeMap<String, String> = withheld
            .chain(stored.unusable)
            .map(|(key, reason)| (key.to_string(), reason))
            .collect();
        let known = ring.secret_objects().iter().chain(ring.catalog_objects());
        for id in known.clone() {
            let key = key_object_key(id).to_string();
            match self.verify_age_file(&ring, id) {
                Err(error) if error.class() == ErrorClass::Failed => return Err(error),
                Err(error) => drop(findings.insert(key, error.damage_reason())),
                Ok(()) => {}
            }
        }
        if let Some(escrow) = ring.escrow() {
            let key = escrow_object_key(&escrow.object);
            match get_required(inner.backend.as_ref(), &key) {
                Err(error) if error.class() == ErrorClass::Failed => return Err(error),
                Err(error) => drop(findings.insert(key.to_string(), error.damage_reason())),
                Ok(_) => {}
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

    /// Secrets must be the same everywhere; objects that only others can read must match the hash in their name.
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

impl Store {
    /// Every valid object under `keys/`, in the order in which a copy must get them.
    pub(crate) fn key_object_ids(&self) -> Vec<ObjectId> {
        let ring = &self.keyring;
        let age_files = ring.secret_objects().iter().chain(ring.catalog_objects());
        let records = ring.applied_records().iter().map(|applied| &applied.id);
        age_files.chain(records).copied().collect()
    }
}
