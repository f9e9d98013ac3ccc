//! Reads rows: `reader` for a snapshot, `table_checksums` only to compare them. Connections share a `read_queue` of tables
//! and of ranges of large ones (`key_ranges`), and each writes with a `data_file_writer`.

mod data_file_writer;
mod key_ranges;
pub(crate) mod read_queue;
pub(crate) mod reader;
pub(crate) mod table_checksums;
