//! A snapshot of a server: all rows of one consistent state, and all definitions.
//!
//! ```text
//! schema ─► consistent snapshot ─► rows (several connections) ─► schema again: unchanged? ─► manifest, script, root
//! ```
//!
//! Writers are not blocked. If a definition changes meanwhile, the snapshot restarts.
//!
//! `snapshot` is that sequence, of a `source`. Definitions: `schema`, `accounts`, `view_order`. Rows:
//! `consistent_snapshot` (one state over several connections), `keys` (ranges), `row_reader`. What is stored:
//! `stored_files`, `script` (`load.sql`). `table_checksums` reads rows only to compare them.

mod accounts;
pub(super) mod consistent_snapshot;
mod keys;
mod row_reader;
mod schema;
mod script;
mod snapshot;
mod source;
mod stored_files;
mod table_checksums;
mod view_order;

pub use snapshot::take_snapshot;
pub use source::MysqlSource;
pub use table_checksums::{TableChecksum, checksum_tables};
