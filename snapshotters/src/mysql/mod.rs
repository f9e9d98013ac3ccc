//! A MySQL or MariaDB server as a source: snapshots of it (`dump/`), and its log (`archive/`).

pub mod archive;
mod dump;

pub use dump::{MysqlSource, TableChecksum, checksum_tables, take_snapshot};
