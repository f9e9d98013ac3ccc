//! What still counts of a signer that is revoked: the objects that are there, each by its whole key.
//!
//! A name alone is no object. Who knows that he will be revoked could store anything under the name of something that
//! he shows only later: so records are read, and count when their bytes have their name in the folder of their kind.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use crate::backend::{ObjectInfo, ObjectKey};
use crate::envelope::{self, RecordKind};
use crate::error::{Error, Result};
use crate::id::ObjectId;
use crate::keys::keys_key;
use crate::names::object_in;
use crate::parallel::try_in_parallel;
use crate::records::{CATALOG_FOLDERS, is_gone};
use crate::repository::Repository;

/// Folders of objects that are too large to be read whole. `docs/keys.md` says why their names do.
const LARGE_FOLDERS: [&str; 2] = ["logs", "packs"];

impl Repository {
    /// Keys of everything that is there now and that a signer could have signed, without what was received after a
    /// moment and without some ids.
    pub(crate) fn objects_there(
        &self,
        received_until: Option<DateTime<Utc>>,
        except: &[ObjectId],
    ) -> Result<Vec<String>> {
        // A mistyped one would count for ever: a revocation is not repeated.
        let mut unseen: BTreeSet<&ObjectId> = except.iter().collect();
        let mut list = |folder: &str| -> Result<Vec<ObjectKey>> {
            let listed = self.inner.list(folder)?;
            for id in listed.iter().filter_map(|info| object_in(&info.key)) {
                unseen.remove(&id);
            }
            let listed = listed.into_iter();
            let counts = |info: &ObjectInfo| {
                let late = info.received.zip(received_until);
                let late = late.is_some_and(|(received, until)| received > until);
                !late && object_in(&info.key).is_some_and(|id| !except.contains(&id))
            };
            Ok(listed.filter(counts).map(|info| info.key).collect())
        };
        let mut there = list("keys")?;
        // A record that counts for nothing now must not count once its signer can add nothing more.
        let applied = self.inner.keyring.applied().iter();
        let applied: Vec<ObjectKey> = applied.map(|applied| keys_key(&applied.id)).collect();
        there.retain(|key| applied.contains(key));
        for (folder, kind) in CATALOG_FOLDERS {
            there.extend(self.that_have_their_names(kind, list(folder)?)?);
        }
        for folder in LARGE_FOLDERS {
            there.extend(list(folder)?);
        }
        if let Some(id) = unseen.first() {
            let reason = format!("no object has the ID {id}, so it cannot be excluded");
            return Err(Error::KeyChange { reason });
        }
        there.sort_unstable();
        Ok(there.iter().map(ToString::to_string).collect())
    }

    /// Of some objects those whose stored bytes have the hash that they are named by.
    fn that_have_their_names(
        &self,
        kind: RecordKind,
        keys: Vec<ObjectKey>,
    ) -> Result<Vec<ObjectKey>> {
        let readers = self.inner.backend.abilities().parallel_reads;
        let whole = try_in_parallel(readers, &keys, |key| match self.inner.get_named(key) {
            Ok(bytes) => Ok(!self.only_blocks(kind, &bytes, key)),
            Err(error) if is_gone(&error) => Ok(false),
            Err(error @ Error::Damaged { .. }) => {
                tracing::warn!(%key, %error, "if the revoked key signed this damaged object, it will no longer be accepted: repair it first");
                Ok(false)
            }
            Err(error) => Err(error),
        })?;
        let both = keys.into_iter().zip(whole);
        Ok(both
            .filter(|(_, whole)| *whole)
            .map(|(key, _)| key)
            .collect())
    }

    /// Whether a record can only keep others from working: a sweep or a lease of a newer version holds nothing that
    /// is ever restored, and to get rid of such ones may be why a host is revoked.
    fn only_blocks(&self, kind: RecordKind, bytes: &[u8], key: &ObjectKey) -> bool {
        matches!(kind, RecordKind::Lease | RecordKind::Sweep)
            && matches!(
                envelope::verify(kind, bytes, key, &self.inner.trust),
                Err(Error::UnsupportedFormat { .. })
            )
    }
}
