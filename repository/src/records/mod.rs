//! Signed records beside the snapshots: active runs (`leases`), what a prune is about to delete (`sweeps`), what is
//! forgotten (`tombstones`), which packs replace which (`replaced_packs`), what is damaged (`quarantine`), and how a
//! set of records is read (`record_set`).

pub(crate) mod leases;
pub(crate) mod quarantine;
pub(crate) mod record_set;
pub(crate) mod replaced_packs;
pub(crate) mod sweeps;
pub(crate) mod tombstones;
