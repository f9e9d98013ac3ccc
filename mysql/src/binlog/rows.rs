//! Row events: their tables and flags.

use crate::binlog::cursor::ByteCursor;
use crate::binlog::event::{Event, EventError, HEADER_BYTES, event_checksum, kind};

/// Type codes of row events.
const ROWS_EVENT_KINDS: [u8; 13] = [
    kind::WRITE_ROWS_V1,
    kind::UPDATE_ROWS_V1,
    kind::DELETE_ROWS_V1,
    kind::WRITE_ROWS,
    kind::UPDATE_ROWS,
    kind::DELETE_ROWS,
    kind::PARTIAL_UPDATE_ROWS,
    kind::MARIADB_WRITE_ROWS_COMPRESSED_V1,
    kind::MARIADB_UPDATE_ROWS_COMPRESSED_V1,
    kind::MARIADB_DELETE_ROWS_COMPRESSED_V1,
    kind::MARIADB_WRITE_ROWS_COMPRESSED,
    kind::MARIADB_UPDATE_ROWS_COMPRESSED,
    kind::MARIADB_DELETE_ROWS_COMPRESSED,
];

/// Offset of the flags in a row event, in bytes: after the table ID.
const FLAGS_OFFSET: usize = HEADER_BYTES + 6;

/// Flag of the last row event of a statement.
const STATEMENT_END_FLAG: u8 = 1;

/// Whether events of a type contain rows.
#[must_use]
pub fn is_rows_event(kind: u8) -> bool {
    ROWS_EVENT_KINDS.contains(&kind)
}

/// Whether these are the last rows of their statement.
#[must_use]
pub fn ends_statement(rows: &Event) -> bool {
    rows.bytes()
        .get(FLAGS_OFFSET)
        .is_some_and(|marks| marks & STATEMENT_END_FLAG != 0)
}

/// Flags rows as the last ones of their statement; other flags stay. `checked`: the event ends with a checksum,
/// which is recomputed.
pub fn mark_statement_end(event: &mut [u8], checked: bool) {
    let Some(marks) = event.get_mut(FLAGS_OFFSET) else {
        return;
    };
    *marks |= STATEMENT_END_FLAG;
    if checked && let Some((without, sum)) = event.split_last_chunk_mut::<4>() {
        *sum = event_checksum(without, without[4]).to_le_bytes();
    }
}

/// The table of rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MappedTable {
    /// Its database, in UTF-8.
    pub database: Vec<u8>,
    /// Its name, in UTF-8.
    pub name: Vec<u8>,
}

impl MappedTable {
    /// Parses a table map event.
    ///
    /// # Errors
    /// When the event is of another type, or too short.
    pub fn from_event(event: &Event) -> Result<Self, EventError> {
        let wrong = |reason| EventError::malformed(event.kind(), reason);
        if event.kind() != kind::TABLE_MAP {
            return Err(wrong("it is not a table map event"));
        }
        Self::parse(event.body()).ok_or_else(|| wrong("it is too short"))
    }

    fn parse(body: &[u8]) -> Option<Self> {
        let mut cursor = ByteCursor::new(body);
        // The table ID and flags.
        cursor.take(8)?;
        let mut name = || {
            let length = usize::try_from(cursor.length_encoded_int()?).ok()?;
            let name = cursor.take(length)?.to_vec();
            (cursor.u8()? == 0).then_some(name)
        };
        Some(Self {
            database: name()?,
            name: name()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::event::build_event;

    #[test]
    fn the_end_of_a_statement_is_marked_and_nothing_else() {
        let rows = build_event(7, kind::WRITE_ROWS, &[9, 0, 0, 0, 0, 0, 0b1010, 0, 2], true);
        assert!(!ends_statement(&rows));
        let mut bytes = rows.bytes().to_vec();
        mark_statement_end(&mut bytes, true);
        let marked = Event::new(bytes.into(), true).unwrap();
        assert!(ends_statement(&marked));
        assert_eq!(marked.body()[6], 0b1011);
    }

    #[test]
    fn tables_have_a_database_and_a_name() {
        let body = [&[9, 0, 0, 0, 0, 0, 1, 0, 3][..], b"app\0\x01t\0\x02"].concat();
        let map = build_event(7, kind::TABLE_MAP, &body, false);
        let table = MappedTable::from_event(&map).unwrap();
        assert_eq!(
            (table.database, table.name),
            (b"app".to_vec(), b"t".to_vec())
        );
        let cut = build_event(7, kind::TABLE_MAP, &body[..12], false);
        assert!(MappedTable::from_event(&cut).is_err());
    }
}
