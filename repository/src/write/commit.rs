//! The checks between the last pack and a valid snapshot: nothing that it relies on may be in deletion.
//!
//! The proof needs no clock. Before anything is deleted, a `final` record names it, and roots are listed after
//! that record was stored. So either this run sees the record, or the prune that deletes sees this run's root.

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::format::names::id_from_key;
use crate::format::pack::pack_key;
use crate::format::snapshot::snapshot_key;
use crate::id::ObjectId;
use crate::records::leases::Lease;
use crate::records::sweeps::Sweeps;
use crate::store::Store;
use crate::write::dedup_index::DedupIndex;

/// Makes sure that a root may be stored.
pub(super) fn check_before_root(inner: &Store, known: &DedupIndex, lease: &Lease) -> Result<()> {
    lease.renew_if_due(inner.backend.as_ref())?;
    check_used_packs(inner, known, lease, None)
}

/// Makes sure that the root that was just stored can be relied on.
pub(super) fn check_after_root(
    inner: &Store,
    known: &DedupIndex,
    lease: &Lease,
    root: &ObjectId,
) -> Result<()> {
    check_used_packs(inner, known, lease, Some(root))
}

fn check_used_packs(
    inner: &Store,
    known: &DedupIndex,
    lease: &Lease,
    root: Option<&ObjectId>,
) -> Result<()> {
    let swept = |pack: ObjectId| Error::ObjectSwept {
        object: pack_key(&pack).to_string(),
        root: root.map(|root| snapshot_key(root).to_string()),
    };
    let going = Sweeps::read(inner, inner.backend.as_ref())?.packs_being_deleted();
    if let Some(pack) = known.find_used_pack(|pack| going.contains(pack)) {
        return Err(swept(pack));
    }
    if lease.has_expired() {
        // No prune waited for this run, and the records of a deletion may be deleted already.
        let listed = inner.list_objects("packs")?;
        let stored: HashSet<ObjectId> = listed
            .iter()
            .filter_map(|info| id_from_key(&info.key))
            .collect();
        if let Some(pack) = known.find_used_pack(|pack| !stored.contains(pack)) {
            return Err(swept(pack));
        }
    }
    Ok(())
}
