//! What stands between the last pack and a snapshot that counts: nothing that it relies on may be going.
//!
//! The proof needs no clock. Before anything is deleted, a `final` record names it, and roots are listed after
//! that record was stored. So either this run sees the record, or the one who deletes sees this run's root.

use std::collections::HashSet;

use super::known::Known;
use crate::error::{Error, Result};
use crate::id::ObjectId;
use crate::leases::Lease;
use crate::names::id_in;
use crate::pack::pack_key;
use crate::repository::Inner;
use crate::snapshot::snapshot_key;
use crate::sweeps::Sweeps;

/// Makes sure that a root may be stored.
pub(super) fn before_root(inner: &Inner, known: &Known, lease: &Lease) -> Result<()> {
    lease.renew_if_due(inner.backend.as_ref())?;
    check(inner, known, lease, None)
}

/// Makes sure that the root that was just stored can be relied on.
pub(super) fn after_root(
    inner: &Inner,
    known: &Known,
    lease: &Lease,
    root: &ObjectId,
) -> Result<()> {
    check(inner, known, lease, Some(root))
}

fn check(inner: &Inner, known: &Known, lease: &Lease, root: Option<&ObjectId>) -> Result<()> {
    let swept = |pack: ObjectId| Error::Swept {
        object: pack_key(&pack).to_string(),
        root: root.map(|root| snapshot_key(root).to_string()),
    };
    let going = Sweeps::read(inner, inner.backend.as_ref())?.going();
    if let Some(pack) = known.relies_on_any(|pack| going.contains(pack)) {
        return Err(swept(pack));
    }
    if lease.has_lapsed() {
        // Nobody waited for this run, and whatever told of a deletion may be gone again.
        let listed = inner.list("packs")?;
        let stored: HashSet<ObjectId> = listed.iter().filter_map(|info| id_in(&info.key)).collect();
        if let Some(pack) = known.relies_on_any(|pack| !stored.contains(pack)) {
            return Err(swept(pack));
        }
    }
    Ok(())
}
