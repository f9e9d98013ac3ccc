//! The stored format, as bytes and types, without storage: how contents are cut (`chunker`), compressed and encrypted
//! (`segment`), packed (`pack`) and ended (`trailer`); entries (`entry`), snapshot roots (`snapshot`), the description
//! of a repository (`config`), its `secrets`, which keys are valid (`keyring`), and the `names` of objects.
//! `docs/format.md` describes it all.

pub(crate) mod chunker;
pub(crate) mod config;
pub(crate) mod entry;
pub(crate) mod entry_list;
pub(crate) mod keyring;
pub(crate) mod names;
pub(crate) mod pack;
pub(crate) mod secrets;
pub(crate) mod segment;
pub(crate) mod snapshot;
pub(crate) mod trailer;
