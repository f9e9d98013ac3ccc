//! Reading segments (`segment_read`), chunks and files (`reader`) and the streams of snapshots (`snapshot_reader`),
//! wherever an index finds them.

pub(crate) mod reader;
pub(crate) mod segment_read;
pub(crate) mod snapshot_reader;
