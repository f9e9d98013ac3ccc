//! Archived logs: sealing, storing and reading segments (`segments`), their order (`chain`), and a local cache of their
//! records (`cache`).

pub(crate) mod cache;
pub(crate) mod chain;
pub(crate) mod segments;
