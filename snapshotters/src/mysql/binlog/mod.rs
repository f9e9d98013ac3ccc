//! What a server's binary log consists of: events, the transactions that they make up, and their numbers.
//!
//! Everything here takes bytes that came over a network or from a repository: nothing is trusted, nothing
//! panics, and what is not understood is named.

mod boundary;
mod bytes;
mod control;
mod event;
mod gtid;
mod images;
mod payload;
mod position;
mod query;
mod rows;
mod settings;
mod variables;
mod xa;

pub use boundary::{Boundary, Ended, Place};
pub use bytes::Cursor;
pub use control::{Format, Gtid, TransactionStart};
pub use event::{Event, EventError, Events, HEADER_BYTES, Header, MAGIC, checksum_of, kind};
pub use gtid::{GtidSet, MariadbPosition, Source};
pub use images::Columns;
pub use payload::{Payload, plain_rows, plain_statement};
pub use position::{FilePosition, file_number};
pub use query::Query;
pub use rows::{MappedTable, end_statement, ends_statement, has_rows};
pub use settings::{Phase, Settings, option};
pub use variables::{UserValue, Variable};
pub use xa::{Prepared, Xid, begun};
