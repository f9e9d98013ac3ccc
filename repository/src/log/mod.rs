//! Archived logs: sealing, storing and reading segments (`segments`), their records and keys (`segment_record`), their
//! order (`chain`), and a local cache of their records (`cache`);
//! who archives them (`log_writers`).

pub(crate) mod cache;
pub(crate) mod chain;
pub(crate) mod log_writers;
pub(crate) mod segment_record;
pub(crate) mod segments;
