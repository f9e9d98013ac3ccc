//! Signed records that only announce: leases and sweeps. Each is one JSON object of the catalog class.

use serde::Serialize;
use serde::de::DeserializeOwned;

use chrono::{DateTime, Utc};

use crate::backend::{Backend, BackendError, ObjectInfo, ObjectKey};
use crate::crypto::encryption::RecipientClass;
use crate::crypto::envelope::{self, RecordKind};
use crate::crypto::signing::{HostSigner, SignerRole};
use crate::error::{Error, Result};
use crate::format::names::id_from_key;
use crate::id::ObjectId;
use crate::parallel::map_in_parallel;
use crate::store::Store;
use crate::store::verified_io::{get_verified, put_verified};

/// Maximum size of such a record, in bytes: a sweep of several hundred thousand packs.
const RECORD_BYTES_MAX: usize = 64 << 20;

/// Directories of whole records that belong to the catalog. Log segments are left out: there are too many.
pub(crate) const CATALOG_DIRECTORIES: [(&str, RecordKind); 7] = [
    ("snapshots", RecordKind::Snapshot),
    ("tombstones", RecordKind::Tombstone),
    ("index", RecordKind::Index),
    ("quarantine", RecordKind::Quarantine),
    ("replaced", RecordKind::Replaced),
    ("leases", RecordKind::Lease),
    ("sweeps", RecordKind::Sweep),
];

/// A record as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct StoredRecord<T> {
    pub(crate) id: ObjectId,
    pub(crate) key: ObjectKey,
    /// When the storage received it.
    pub(crate) received: Option<DateTime<Utc>>,
    pub(crate) record: T,
}

/// Who stored an object that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordAuthor {
    /// A keeper signed it: it means something, though not here.
    Keeper,
    /// A writer that may sign such records signed it.
    Writer,
    /// Its bytes are not those that its name stands for: it was damaged, or never was a record.
    Unknown,
    /// Somebody who might once sign it signed it, and was removed: it means nothing any more.
    Removed,
    /// A writer signed it, and only keepers may: as prunes of earlier programs did.
    WriterAlone,
    /// Nobody who may sign it: it never meant anything.
    Nobody,
}

/// An object that is ignored.
#[derive(Debug)]
pub(crate) struct RefusedRecord {
    pub(crate) info: ObjectInfo,
    pub(crate) author: RecordAuthor,
    pub(crate) error: Error,
}

impl RefusedRecord {
    /// Whether a person should know of it. What is left of the runs of a removed host is no surprise.
    pub(crate) fn is_finding(&self) -> bool {
        let is_run = ["leases/", "sweeps/"].iter();
        let mut is_run = is_run.filter(|directory| self.info.key.as_str().starts_with(**directory));
        self.author != RecordAuthor::Removed || is_run.next().is_none()
    }
}

/// All valid records of a kind, and the objects that are ignored.
#[derive(Debug)]
pub(crate) struct RecordSet<T> {
    pub(crate) valid: Vec<StoredRecord<T>>,
    pub(crate) refused: Vec<RefusedRecord>,
}

impl<T> RecordSet<T> {
    /// Records of another version that a keeper signed are an error: their meaning is unknown. Those of a mere writer
    /// are not, as one writer must not stop the others.
    pub(crate) fn require_supported(self) -> Result<Self> {
        self.reject_if(|error| matches!(error, Error::UnsupportedFormat { .. }))
    }

    /// As [`Self::require_supported`], and a keeper's records that are encrypted to others are an error as well.
    pub(crate) fn require_readable(self) -> Result<Self> {
        self.require_supported()?
            .reject_if(|error| matches!(error, Error::NoMatchingIdentity { .. }))
    }

    fn reject_if(mut self, fatal: impl Fn(&Error) -> bool) -> Result<Self> {
        let of_keeper = |refused: &RefusedRecord| refused.author == RecordAuthor::Keeper;
        let found = self
            .refused
            .iter()
            .position(|refused| of_keeper(refused) && fatal(&refused.error));
        match found {
            None => Ok(self),
            Some(n) => Err(self.refused.swap_remove(n).error),
        }
    }
}

/// Whether an object was listed and no longer exists: a prune deleted it meanwhile.
pub(crate) fn is_not_found(error: &Error) -> bool {
    matches!(
        error,
        Error::Backend {
            source: BackendError::NotFound { .. },
            ..
        }
    )
}

impl Store {
    /// Stores a record at a destination of this repository's objects.
    pub(crate) fn put_record<T: Serialize>(
        &self,
        backend: &dyn Backend,
        kind: RecordKind,
        directory: &str,
        signer: &HostSigner,
        record: &T,
    ) -> Result<ObjectId> {
        let json = serde_json::to_vec(record)
            .map_err(|e| Error::Internal(format!("writing a record for {directory}: {e}")))?;
        let key = |id: &ObjectId| ObjectKey::from_trusted(format!("{directory}/{id}"));
        self.put_signed(backend, kind, &json, signer, key)
    }

    /// Seals a record of the catalog and stores it at a destination of this repository's objects, under its hash.
    pub(crate) fn put_signed(
        &self,
        backend: &dyn Backend,
        kind: RecordKind,
        json: &[u8],
        signer: &HostSigner,
        key: impl FnOnce(&ObjectId) -> ObjectKey,
    ) -> Result<ObjectId> {
        let sealed = envelope::seal_record(
            kind,
            json,
            &self.catalog_recipients,
            signer,
            self.trust.repository(),
        )?;
        let id = ObjectId::from_content(&sealed);
        put_verified(backend, &key(&id), &[sealed.into()], &id)?;
        Ok(id)
    }

    /// Reads all records of a kind. What is damaged, not signed with the right role, newer than this program, or
    /// encrypted to others is refused.
    pub(crate) fn read_records<T: DeserializeOwned + Send>(
        &self,
        backend: &dyn Backend,
        kind: RecordKind,
        directory: &str,
    ) -> Result<RecordSet<T>> {
        let failed = |source| Error::Backend {
            location: backend.location(),
            source,
        };
        let listed = backend.list(directory).map_err(failed)?;
        let readers = backend.capabilities().parallel_reads;
        let read = map_in_parallel(readers, &listed, |info| {
            self.read_record(backend, kind, &info.key)
        });
        let (mut found, mut refused) = (Vec::new(), Vec::new());
        for (info, read) in listed.into_iter().zip(read) {
            match read {
                Ok((id, record)) => found.push(StoredRecord {
                    id,
                    key: info.key,
                    received: info.received,
                    record,
                }),
                Err(error) if is_not_found(&error) => {}
                Err(
                    error @ (Error::Damaged { .. }
                    | Error::UnsupportedFormat { .. }
                    | Error::NoMatchingIdentity { .. }),
                ) => refused.push(RefusedRecord {
                    author: self.find_author(backend, kind, &info.key)?,
                    info,
                    error,
                }),
                Err(error) => return Err(error),
            }
        }
        found.sort_by_key(|found| (found.received, found.id));
        Ok(RecordSet {
            valid: found,
            refused,
        })
    }

    /// Who stored an object that cannot be used.
    pub(crate) fn find_author(
        &self,
        backend: &dyn Backend,
        kind: RecordKind,
        key: &ObjectKey,
    ) -> Result<RecordAuthor> {
        if id_from_key(key).is_none() {
            return Ok(RecordAuthor::Nobody);
        }
        match get_verified(backend, key) {
            Ok(bytes) => Ok(self.author_of(kind, &bytes, key)),
            Err(error) if error.is_damage() => Ok(RecordAuthor::Unknown),
            Err(error) if is_not_found(&error) => Ok(RecordAuthor::Nobody),
            Err(error) => Err(error),
        }
    }

    /// Whether a keeper signed the directory of a pack.
    pub(crate) fn is_keepers_pack(&self, key: &ObjectKey) -> Result<bool> {
        let Some(id) = id_from_key(key) else {
            return Ok(false);
        };
        let size = self.backend.size(key);
        let size = size.map_err(|source| self.backend_error(source))?;
        let directory = self.directory_reader().read_sealed_directory(&id, size)?;
        Ok(self.author_of(RecordKind::Pack, &directory, key) == RecordAuthor::Keeper)
    }

    fn author_of(&self, kind: RecordKind, bytes: &[u8], key: &ObjectKey) -> RecordAuthor {
        let signed = envelope::parse_record(kind, bytes, key)
            .and_then(|claimed| claimed.verify_signature(key, self.trust.repository()));
        let Ok(signed) = signed else {
            return RecordAuthor::Nobody;
        };
        let may_sign = |roles: &[SignerRole]| {
            let allowed = self.trust.check_signer(&signed.signer, roles, key.as_str());
            allowed.is_ok()
        };
        let mut roles = kind.signer_roles().iter();
        if may_sign(&[SignerRole::Keeper]) {
            RecordAuthor::Keeper
        } else if may_sign(kind.signer_roles()) {
            RecordAuthor::Writer
        } else if roles.any(|role| self.trust.is_revoked(&signed.signer, *role)) {
            RecordAuthor::Removed
        } else if may_sign(&[SignerRole::Writer]) {
            RecordAuthor::WriterAlone
        } else {
            RecordAuthor::Nobody
        }
    }

    fn read_record<T: DeserializeOwned>(
        &self,
        backend: &dyn Backend,
        kind: RecordKind,
        key: &ObjectKey,
    ) -> Result<(ObjectId, T)> {
        let id = id_from_key(key)
            .ok_or_else(|| Error::damaged_object(key, "its name is not an object ID"))?;
        let bytes = get_verified(backend, key)?;
        Ok((id, self.open_record(kind, &bytes, key)?))
    }

    /// The content of a record whose bytes are known to match its name.
    pub(crate) fn open_record<T: DeserializeOwned>(
        &self,
        kind: RecordKind,
        bytes: &[u8],
        key: &ObjectKey,
    ) -> Result<T> {
        let verified = envelope::verify_record(kind, bytes, key, &self.trust)?;
        let recipients = self.readers(RecipientClass::Catalog);
        let json = verified.open(&self.identities, key, recipients, RECORD_BYTES_MAX)?;
        serde_json::from_slice(&json)
            .map_err(|e| Error::damaged_object(key, format!("its content cannot be parsed: {e}")))
    }
}
