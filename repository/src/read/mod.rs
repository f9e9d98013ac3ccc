//! Reading chunks, streams and entries of snapshots, wherever an index finds them.

pub(crate) mod reader;
