//! Signed records that only announce: leases and sweeps. Each is one JSON object of the catalog class.

use serde::Serialize;
use serde::de::DeserializeOwned;

use chrono::{DateTime, Utc};

use crate::backend::{Backend, BackendError, ObjectInfo, ObjectKey};
use crate::crypto::envelope::{self, RecordKind};
use crate::crypto::signing::HostSigner;
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

/// All valid records of a kind, and the objects that are ignored.
#[derive(Debug)]
pub(crate) struct RecordSet<T> {
    pub(crate) valid: Vec<StoredRecord<T>>,
    pub(crate) refused: Vec<(ObjectInfo, Error)>,
}

impl<T> RecordSet<T> {
    /// Records of another version are an error: their meaning is unknown.
    pub(crate) fn require_supported(self) -> Result<Self> {
        self.reject_if(|error| matches!(error, Error::UnsupportedFormat { .. }))
    }

    /// As [`Self::require_supported`], and records that are encrypted to others are an error as well.
    pub(crate) fn require_readable(self) -> Result<Self> {
        self.require_supported()?
            .reject_if(|error| matches!(error, Error::NoMatchingIdentity { .. }))
    }

    fn reject_if(mut self, fatal: impl Fn(&Error) -> bool) -> Result<Self> {
        match self.refused.iter().position(|(_, error)| fatal(error)) {
            None => Ok(self),
            Some(n) => Err(self.refused.swap_remove(n).1),
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
        record: &T,
    ) -> Result<ObjectId> {
        let signer = self.signer()?;
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
                ) => refused.push((info, error)),
                Err(error) => return Err(error),
            }
        }
        found.sort_by_key(|found| (found.received, found.id));
        Ok(RecordSet {
            valid: found,
            refused,
        })
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
        let verified = envelope::verify_record(kind, &bytes, key, &self.trust)?;
        let recipients = self.catalog_recipients.texts();
        let json = verified.open(&self.identities, key, recipients, RECORD_BYTES_MAX)?;
        let record = serde_json::from_slice(&json).map_err(|e| {
            Error::damaged_object(key, format!("its content cannot be parsed: {e}"))
        })?;
        Ok((id, record))
    }
}
