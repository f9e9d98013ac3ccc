//! A snapshot of a server: all rows of one consistent state, and all definitions.
//!
//! ```text
//! schema ─► consistent snapshot ─► rows (several connections) ─► schema again: unchanged? ─► manifest, script, root
//! ```
//!
//! Writers are not blocked. If a definition changes meanwhile, the snapshot restarts.
//!
//! `snapshot` is that sequence, of a `source`. Definitions: `schema/`, `accounts`. Rows: `consistent_snapshot` (one state
//! over several connections), `rows/`. What is stored: `stored_files`, `script` (`load.sql`).

mod accounts;
pub(crate) mod consistent_snapshot;
mod rows;
mod schema;
mod script;
mod snapshot;
mod source;
mod stored_files;

pub use rows::table_checksums::{TableChecksum, checksum_tables};
pub use snapshot::take_snapshot;
pub use source::MysqlSource;
