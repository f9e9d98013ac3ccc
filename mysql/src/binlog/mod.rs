//! The content of a server's binary log: events, the transactions that they make up, and their GTIDs.
//!
//! Everything here parses bytes that came over a network or from a repository: nothing is trusted, nothing
//! panics, and errors name what cannot be parsed.
//!
//! `event` frames, `control` has formats and times, `gtid` sets, `boundary` the ends of transactions, `query`,
//! `statement_settings` and `variables` statements, `rows` and `row_images` rows, `payload` decompresses, `xa`.

mod boundary;
mod control;
mod cursor;
mod event;
mod gtid;
mod payload;
mod position;
mod query;
mod row_images;
mod rows;
mod statement_settings;
mod variables;
mod xa;

pub use boundary::{EventBoundary, LoggedTransaction, TransactionBoundaryParser};
pub use control::{FormatDescription, Gtid, TransactionStart};
pub use cursor::ByteCursor;
pub use event::{
    Event, EventError, EventHeader, EventReader, FILE_START, HEADER_BYTES, MAGIC, event_checksum,
    kind,
};
pub use gtid::{GtidSet, GtidSource, MariadbPosition};
pub use payload::{TransactionPayload, decompress_rows, decompress_statement};
pub use position::{FilePosition, file_number};
pub use query::QueryEvent;
pub use row_images::TableColumns;
pub use rows::{MappedTable, ends_statement, is_rows_event, mark_statement_end};
pub use statement_settings::{AlterPhase, StatementSettings, option};
pub use variables::{StatementVariable, UserVariableValue};
pub use xa::{XaPrepare, Xid, prepared_xid};
