//! Compressed content: whole transactions (MySQL), statements (MariaDB).

use std::fmt;
use std::io::Read;

use bytes::{Buf as _, Bytes};

use crate::binlog::cursor::ByteCursor;
use crate::binlog::event::{
    CHECKSUM_BYTES, Event, EventError, EventHeader, EventReader, HEADER_BYTES, event_checksum, kind,
};

/// Maximum size of a statement, in bytes.
const STATEMENT_BYTES_MAX: u64 = 1 << 30;

/// The events of a compressed transaction, one after the other; never in memory as a whole.
pub struct TransactionPayload {
    events: EventReader<Box<dyn Read + Send>>,
    add_checksums: bool,
}

impl fmt::Debug for TransactionPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionPayload").finish_non_exhaustive()
    }
}

impl TransactionPayload {
    /// Opens a compressed transaction. `checked`: outer events have checksums, so these get one too.
    ///
    /// # Errors
    /// When the event is of another type, or its compression is unknown.
    pub fn open(event: &Event, checked: bool) -> Result<Self, EventError> {
        let wrong = |reason| EventError::malformed(event.kind(), reason);
        if event.kind() != kind::TRANSACTION_PAYLOAD {
            return Err(wrong("it is not a compressed transaction"));
        }
        let (form, content) =
            parse_payload(event).ok_or_else(|| wrong("its fields cannot be parsed"))?;
        let input: Box<dyn Read + Send> = match form {
            PayloadCompression::Zstd => Box::new(zstd::Decoder::new(content.reader())?),
            PayloadCompression::Uncompressed => Box::new(content.reader()),
        };
        Ok(Self {
            events: EventReader::new(input, false),
            add_checksums: checked,
        })
    }

    /// The next event; `None` at the end.
    ///
    /// # Errors
    /// When the content is damaged.
    pub fn next_event(&mut self) -> Result<Option<Event>, EventError> {
        match self.events.next_event()? {
            Some(event) if self.add_checksums => add_checksum(&event).map(Some),
            other => Ok(other),
        }
    }
}

enum PayloadCompression {
    Zstd,
    Uncompressed,
}

/// Fields, each preceded by type and length; the content follows the last one.
fn parse_payload(event: &Event) -> Option<(PayloadCompression, Bytes)> {
    const END: u64 = 0;
    const SIZE: u64 = 1;
    const COMPRESSION: u64 = 2;
    const ZSTD: u64 = 0;
    const NONE: u64 = 255;
    let mut cursor = ByteCursor::new(event.body());
    let (mut form, mut size) = (None, None);
    loop {
        let field = cursor.length_encoded_int()?;
        if field == END {
            break;
        }
        let length = usize::try_from(cursor.length_encoded_int()?).ok()?;
        let mut value = ByteCursor::new(cursor.take(length)?);
        match field {
            SIZE => size = Some(value.length_encoded_int()?),
            COMPRESSION => {
                form = Some(match value.length_encoded_int()? {
                    ZSTD => PayloadCompression::Zstd,
                    NONE => PayloadCompression::Uncompressed,
                    _ => return None,
                });
            }
            // The uncompressed length, which is not needed, and unknown fields.
            _ => {}
        }
    }
    let begin = HEADER_BYTES + (event.body().len() - cursor.rest().len());
    let size = usize::try_from(size?).ok()?;
    if size != cursor.rest().len() {
        return None;
    }
    Some((form?, event.bytes().slice(begin..begin + size)))
}

/// The same event with a checksum appended.
fn add_checksum(event: &Event) -> Result<Event, EventError> {
    rebuild_event(event.header(), event.kind(), event.body(), true)
}

fn rebuild_event(
    header: &EventHeader,
    kind: u8,
    body: &[u8],
    checked: bool,
) -> Result<Event, EventError> {
    let sum = if checked { CHECKSUM_BYTES } else { 0 };
    let size = HEADER_BYTES + body.len() + sum;
    let size = u32::try_from(size).map_err(|_| EventError::malformed(kind, "it is too large"))?;
    let mut bytes = Vec::with_capacity(size as usize);
    bytes.extend(header.timestamp.to_le_bytes());
    bytes.push(kind);
    bytes.extend(header.server_id.to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes.extend(header.end_position.to_le_bytes());
    bytes.extend(header.flags.to_le_bytes());
    bytes.extend(body);
    if checked {
        bytes.extend(event_checksum(&bytes, kind).to_le_bytes());
    }
    Event::new(bytes.into(), checked)
}

/// A statement that MariaDB compressed, as a plain event.
///
/// # Errors
/// When the event is of another type or damaged.
pub fn decompress_statement(event: &Event) -> Result<Event, EventError> {
    let wrong = |reason| EventError::malformed(event.kind(), reason);
    if event.kind() != kind::MARIADB_QUERY_COMPRESSED {
        return Err(wrong("it is not a compressed statement"));
    }
    let begin = statement_offset(event.body()).ok_or_else(|| wrong("it is too short"))?;
    let (before, compressed) = event.body().split_at(begin);
    let text = decompress_zlib(compressed).ok_or_else(|| wrong("its text is damaged"))?;
    let body = [before, &text].concat();
    rebuild_event(event.header(), kind::QUERY, &body, event.has_checksum())
}

/// Rows that MariaDB compressed, as a plain event; `None` for other events. The server accepts compressed rows from
/// its own log only.
///
/// # Errors
/// When the event is damaged.
pub fn decompress_rows(event: &Event) -> Result<Option<Event>, EventError> {
    let kind = match event.kind() {
        kind::MARIADB_WRITE_ROWS_COMPRESSED_V1 => kind::WRITE_ROWS_V1,
        kind::MARIADB_UPDATE_ROWS_COMPRESSED_V1 => kind::UPDATE_ROWS_V1,
        kind::MARIADB_DELETE_ROWS_COMPRESSED_V1 => kind::DELETE_ROWS_V1,
        kind::MARIADB_WRITE_ROWS_COMPRESSED => kind::WRITE_ROWS,
        kind::MARIADB_UPDATE_ROWS_COMPRESSED => kind::UPDATE_ROWS,
        kind::MARIADB_DELETE_ROWS_COMPRESSED => kind::DELETE_ROWS,
        _ => return Ok(None),
    };
    let wrong = |reason| EventError::malformed(event.kind(), reason);
    let begin = rows_offset(event.body(), kind).ok_or_else(|| wrong("it is too short"))?;
    let (before, compressed) = event.body().split_at(begin);
    let rows = decompress_zlib(compressed).ok_or_else(|| wrong("its rows are damaged"))?;
    let body = [before, &rows].concat();
    rebuild_event(event.header(), kind, &body, event.has_checksum()).map(Some)
}

/// Where the rows begin: after the table ID, the flags, the extra data of the newer format, and the column bitmaps
/// (before and after a change).
fn rows_offset(body: &[u8], kind: u8) -> Option<usize> {
    let mut cursor = ByteCursor::new(body);
    cursor.take(8)?;
    if kind >= kind::WRITE_ROWS {
        let more = usize::from(cursor.u16()?).checked_sub(2)?;
        cursor.take(more)?;
    }
    let columns = usize::try_from(cursor.length_encoded_int()?)
        .ok()?
        .div_ceil(8);
    cursor.take(columns)?;
    if matches!(kind, kind::UPDATE_ROWS | kind::UPDATE_ROWS_V1) {
        cursor.take(columns)?;
    }
    Some(body.len() - cursor.rest().len())
}

/// Where the statement's text begins.
fn statement_offset(body: &[u8]) -> Option<usize> {
    let mut cursor = ByteCursor::new(body);
    cursor.take(8)?;
    let database = usize::from(cursor.u8()?);
    cursor.u16()?;
    let settings = usize::from(cursor.u16()?);
    cursor.take(settings + database + 1)?;
    Some(body.len() - cursor.rest().len())
}

/// A byte with the algorithm and the number of length bytes; the length, most significant byte first; the content.
fn decompress_zlib(bytes: &[u8]) -> Option<Vec<u8>> {
    const ALGORITHM_MASK: u8 = 0x70;
    let (head, rest) = bytes.split_first()?;
    if head & ALGORITHM_MASK != 0 {
        return None;
    }
    let (length, content) = rest.split_at_checked(usize::from(head & 7))?;
    let length = length
        .iter()
        .fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
    if length > STATEMENT_BYTES_MAX {
        return None;
    }
    let mut text = Vec::new();
    // One byte more than expected, so that longer content is detected.
    flate2::read::ZlibDecoder::new(content)
        .take(length + 1)
        .read_to_end(&mut text)
        .ok()?;
    (text.len() as u64 == length).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::binlog::QueryEvent;
    use crate::binlog::event::build_event;

    fn payload(events: &[Event]) -> Event {
        let plain: Vec<u8> = events
            .iter()
            .flat_map(|event| event.bytes().to_vec())
            .collect();
        let packed = zstd::encode_all(plain.as_slice(), 3).unwrap();
        let mut body = vec![2, 1, 0, 1, 3, 0xfc];
        body.extend(u16::try_from(packed.len()).unwrap().to_le_bytes());
        body.push(0);
        body.extend(packed);
        build_event(7, kind::TRANSACTION_PAYLOAD, &body, true)
    }

    #[test]
    fn a_compressed_transaction_gives_its_events_with_checksums() {
        let inner = [
            build_event(7, kind::QUERY, b"BEGIN", false),
            build_event(8, kind::XID, &[1; 8], false),
        ];
        let mut opened = TransactionPayload::open(&payload(&inner), true).unwrap();
        for event in &inner {
            let read = opened.next_event().unwrap().unwrap();
            assert!(read.has_checksum());
            assert_eq!((read.kind(), read.body()), (event.kind(), event.body()));
        }
        assert!(opened.next_event().unwrap().is_none());
    }

    #[test]
    fn damaged_content_is_no_end() {
        let whole = payload(&[build_event(7, kind::QUERY, &[b'x'; 500], false)]);
        let body = whole.body();
        let mut cut = body[..body.len() - 3].to_vec();
        let size = u16::try_from(cut.len() - 9).unwrap();
        cut[6..8].copy_from_slice(&size.to_le_bytes());
        let cut = build_event(7, kind::TRANSACTION_PAYLOAD, &cut, true);
        let mut opened = TransactionPayload::open(&cut, true).unwrap();
        assert!(opened.next_event().is_err());
        let shorter = build_event(7, kind::TRANSACTION_PAYLOAD, &body[..body.len() - 3], true);
        assert!(TransactionPayload::open(&shorter, true).is_err());
    }

    fn deflated(text: &[u8]) -> Vec<u8> {
        let mut packer =
            flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        packer.write_all(text).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn compressed_rows_become_rows() {
        let mut body = vec![9, 0, 0, 0, 0, 0, 1, 0, 9, 0xff, 1, 0xff, 1];
        let begin = body.len();
        body.extend([0x81, 4]);
        body.extend(deflated(b"rows"));
        let event = build_event(7, kind::MARIADB_UPDATE_ROWS_COMPRESSED_V1, &body, true);
        let plain = decompress_rows(&event).unwrap().unwrap();
        assert_eq!(plain.kind(), kind::UPDATE_ROWS_V1);
        assert_eq!(plain.body(), [&body[..begin], b"rows"].concat());
        assert!(decompress_rows(&plain).unwrap().is_none());
        let cut = build_event(
            7,
            kind::MARIADB_UPDATE_ROWS_COMPRESSED_V1,
            &body[..20],
            true,
        );
        assert!(decompress_rows(&cut).is_err());
    }

    #[test]
    fn a_compressed_statement_becomes_a_statement() {
        let text = b"INSERT INTO t VALUES (1), (2), (3), (4)";
        let mut body = vec![5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, b'a', 0];
        body.extend([0x81, u8::try_from(text.len()).unwrap()]);
        body.extend(deflated(text));
        let event = build_event(7, kind::MARIADB_QUERY_COMPRESSED, &body, true);
        let plain = decompress_statement(&event).unwrap();
        let query = QueryEvent::from_event(&plain).unwrap();
        assert_eq!((query.text, query.database), (&text[..], &b"a"[..]));
        body[16] += 1;
        assert!(
            decompress_statement(&build_event(7, kind::MARIADB_QUERY_COMPRESSED, &body, true))
                .is_err()
        );
    }
}
