//! Tombstones: what a keeper has forgotten. They are added, never changed; a later one can revoke one.
//!
//! A snapshot is forgotten when an unrevoked tombstone names it. It is a matter of sets: times do not
//! matter, and nothing that only a writer has signed counts. A later prune deletes what is forgotten.
//!
//! `tombstone` is one, `storage` writes and reads them, `forgotten` is what all of them say, `unforget` revokes them;
//! a `keeper` signs them.

mod forgotten;
mod keeper;
mod storage;
mod tombstone;
mod unforget;

pub use forgotten::Tombstones;
pub use keeper::Keeper;
pub(crate) use storage::tombstone_key;
pub use tombstone::{
    ForgottenLog, PolicyVersion, RefusedTombstone, Tombstone, TombstoneMetadata, TombstoneRecord,
};
