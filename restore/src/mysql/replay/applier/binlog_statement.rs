//! Rows as `BINLOG` statements, and what messages say of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reprise_mysql::binlog::{EventReader, FormatDescription, MappedTable, kind};
use reprise_mysql::{Bytes, DatabaseError};

use crate::error::Error;

pub(crate) fn replay_error(transaction: String, what: String, source: DatabaseError) -> Error {
    if let DatabaseError::Interrupted = source {
        return reprise_repository::Error::Interrupted.into();
    }
    Error::TransactionFailed {
        transaction,
        what,
        source,
    }
}

/// Events as a statement, after others: it must be the last one of a packet.
pub(crate) fn binlog_statement(prefix: &str, events: &[u8]) -> Vec<u8> {
    let mut sql = Vec::with_capacity(prefix.len() + events.len() / 3 * 4 + 16);
    sql.extend_from_slice(prefix.as_bytes());
    sql.extend_from_slice(b"BINLOG '");
    let begin = sql.len();
    sql.resize(begin + events.len().div_ceil(3) * 4, 0);
    // The capacity is exactly the needed size.
    let written = STANDARD
        .encode_slice(events, &mut sql[begin..])
        .unwrap_or(0);
    sql.truncate(begin + written);
    sql.push(b'\'');
    sql
}

/// The tables of some rows, for messages.
pub(crate) fn describe_row_tables(rows: &[u8], format: &Bytes) -> String {
    let checked = FormatDescription::parse(format).is_some_and(|format| format.has_checksums);
    let mut events = EventReader::new(rows, checked);
    let mut names: Vec<String> = Vec::new();
    while let Ok(Some(event)) = events.next_event() {
        if event.kind() == kind::TABLE_MAP
            && let Ok(table) = MappedTable::from_event(&event)
        {
            let part = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
            let name = format!("{}.{}", part(&table.database), part(&table.name));
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    format!("rows of {}", names.join(", "))
}
