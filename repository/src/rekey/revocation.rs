//! What remains valid of a revoked signer: the objects that are stored, each by its full key.
//!
//! A name alone is no object. A signer that expects revocation could store anything under the name of something that it
//! shows only later: so records are read, and are valid when their bytes match their name in the directory of their
//! kind.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use crate::backend::{ObjectInfo, ObjectKey};
use crate::crypto::envelope::RecordKind;
use crate::crypto::signing::SignerRole;
use crate::error::{Error, Result};
use crate::format::names::object_id_from_key;
use crate::id::ObjectId;
use crate::keys::key_objects::key_object_key;
use crate::parallel::try_map_in_parallel;
use crate::records::record_set::{CATALOG_DIRECTORIES, is_not_found};
use crate::records::sweeps;
use crate::store::Repository;

/// Directories of objects that are too large to be read whole. `docs/keys.md` gives the reason why names are enough.
const LARGE_DIRECTORIES: [&str; 2] = ["logs", "packs"];

impl Repository {
    /// Keys of everything stored now that a signer with some roles could have signed, except what was received after a given time and
    /// except some IDs.
    pub(crate) fn list_accepted_objects(
        &self,
        roles: &[SignerRole],
        received_until: Option<DateTime<Utc>>,
        except: &[ObjectId],
    ) -> Result<Vec<String>> {
        // A mistyped one would be valid for ever: a revocation is not repeated.
        let mut unseen: BTreeSet<&ObjectId> = except.iter().collect();
        let mut list = |directory: &str| -> Result<Vec<ObjectKey>> {
            let listed = self.inner.list_objects(directory)?;
            for id in listed
                .iter()
                .filter_map(|info| object_id_from_key(&info.key))
            {
                unseen.remove(&id);
            }
            let listed = listed.into_iter();
            let counts = |info: &ObjectInfo| {
                let late = info.received.zip(received_until);
                let late = late.is_some_and(|(received, until)| received > until);
                !late && object_id_from_key(&info.key).is_some_and(|id| !except.contains(&id))
            };
            Ok(listed.filter(counts).map(|info| info.key).collect())
        };
        let mut there = list("keys")?;
        // A record that is ignored now must not become valid once its signer can add nothing more.
        let applied = self.inner.keyring.applied_records().iter();
        let applied: Vec<ObjectKey> = applied.map(|applied| key_object_key(&applied.id)).collect();
        there.retain(|key| applied.contains(key));
        for (directory, kind) in CATALOG_DIRECTORIES {
            let listed = list(directory)?;
            if kind.signer_roles().iter().any(|role| roles.contains(role)) {
                there.extend(self.keep_intact_objects(kind, listed)?);
            }
        }
        for directory in LARGE_DIRECTORIES {
            let listed = list(directory)?;
            if roles.contains(&SignerRole::Writer) {
                there.extend(listed);
            }
        }
        if let Some(id) = unseen.first() {
            let reason = format!("no object has the ID {id}, so it cannot be excluded");
            return Err(Error::KeyChange { reason });
        }
        there.sort_unstable();
        Ok(there.iter().map(ToString::to_string).collect())
    }

    /// Of some objects those whose stored bytes match the hash in their name.
    fn keep_intact_objects(
        &self,
        kind: RecordKind,
        keys: Vec<ObjectKey>,
    ) -> Result<Vec<ObjectKey>> {
        let readers = self.inner.backend.capabilities().parallel_reads;
        let whole = try_map_in_parallel(readers, &keys, |key| {
            match self.inner.get_verified(key) {
                Ok(bytes) => Ok(!self.is_blocking_record(kind, &bytes, key)),
                Err(error) if is_not_found(&error) => Ok(false),
                Err(error @ Error::Damaged { .. }) => {
                    tracing::warn!(%key, %error, "if the revoked key signed this damaged object, it will no longer be accepted: repair it first");
                    Ok(false)
                }
                Err(error) => Err(error),
            }
        })?;
        let both = keys.into_iter().zip(whole);
        Ok(both
            .filter(|(_, whole)| *whole)
            .map(|(key, _)| key)
            .collect())
    }

    /// Whether a record can only hold others up, and to get rid of it may be the reason for a revocation: leases and
    /// sweeps hold nothing that is ever restored. What a prune announced that it deletes stays a warning: it may have
    /// been deleted.
    fn is_blocking_record(&self, kind: RecordKind, bytes: &[u8], key: &ObjectKey) -> bool {
        match kind {
            RecordKind::Lease => true,
            RecordKind::Sweep => !sweeps::announces_deletion(&self.inner, bytes, key),
            _ => false,
        }
    }
}
