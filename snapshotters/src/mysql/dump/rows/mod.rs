//! Reads rows: `reader` for a snapshot, `table_checksums` only to compare them.

pub(crate) mod reader;
pub(crate) mod table_checksums;
