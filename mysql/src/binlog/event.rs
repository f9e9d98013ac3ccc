//! Events as the server sent them, and splitting a byte stream into events.

use std::fmt;
use std::io::{self, Read};

use bytes::Bytes;

use crate::binlog::cursor::ByteCursor;

/// The magic bytes of a binary log file.
pub const MAGIC: [u8; 4] = [0xfe, b'b', b'i', b'n'];

/// Position of a file's first event, after the magic bytes.
pub const FILE_START: u64 = MAGIC.len() as u64;

/// Length of an event's header, in bytes.
pub const HEADER_BYTES: usize = 19;

/// Length of an event's checksum, in bytes.
pub(super) const CHECKSUM_BYTES: usize = 4;

/// Maximum event size of any server, in bytes.
const EVENT_BYTES_MAX: u32 = (1 << 30) + (1 << 20);

/// Memory is allocated in steps of this many bytes while an event is read, so that a wrong length wastes none.
const READ_STEP_BYTES: usize = 1 << 20;

/// Event type codes.
pub mod kind {
    /// A statement, as text.
    pub const QUERY: u8 = 2;
    /// The server was stopped.
    pub const STOP: u8 = 3;
    /// Rotation: the log continues in another file.
    pub const ROTATE: u8 = 4;
    /// Values for `AUTO_INCREMENT` of the statement that follows.
    pub const INTVAR: u8 = 5;
    /// Seeds for `RAND()` of the statement that follows.
    pub const RAND: u8 = 13;
    /// A user variable of the statement that follows.
    pub const USER_VAR: u8 = 14;
    /// Format description of a file.
    pub const FORMAT_DESCRIPTION: u8 = 15;
    /// Commit of a transaction.
    pub const XID: u8 = 16;
    /// The beginning of a file for `LOAD DATA` in statement format.
    pub const BEGIN_LOAD_QUERY: u8 = 17;
    /// `LOAD DATA` in statement format.
    pub const EXECUTE_LOAD_QUERY: u8 = 18;
    /// Table map: the table of the rows that follow.
    pub const TABLE_MAP: u8 = 19;
    /// Inserted rows, older format.
    pub const WRITE_ROWS_V1: u8 = 23;
    /// Updated rows, older format.
    pub const UPDATE_ROWS_V1: u8 = 24;
    /// Deleted rows, older format.
    pub const DELETE_ROWS_V1: u8 = 25;
    /// Incident: something happened that is not in the log.
    pub const INCIDENT: u8 = 26;
    /// Heartbeat: nothing new.
    pub const HEARTBEAT: u8 = 27;
    /// Ignorable by readers that do not know it.
    pub const IGNORABLE: u8 = 28;
    /// The original statement of the rows that follow.
    pub const ROWS_QUERY: u8 = 29;
    /// Inserted rows.
    pub const WRITE_ROWS: u8 = 30;
    /// Updated rows.
    pub const UPDATE_ROWS: u8 = 31;
    /// Deleted rows.
    pub const DELETE_ROWS: u8 = 32;
    /// The GTID of the transaction that follows (MySQL).
    pub const GTID: u8 = 33;
    /// A transaction without a GTID follows (MySQL).
    pub const ANONYMOUS_GTID: u8 = 34;
    /// The transactions in all previous files (MySQL).
    pub const PREVIOUS_GTIDS: u8 = 35;
    /// A transaction is prepared (XA), to be committed by a later statement.
    pub const XA_PREPARE: u8 = 38;
    /// Updated rows with partial JSON values.
    pub const PARTIAL_UPDATE_ROWS: u8 = 39;
    /// A transaction's events, compressed (MySQL).
    pub const TRANSACTION_PAYLOAD: u8 = 40;
    /// Heartbeat, newer format.
    pub const HEARTBEAT_V2: u8 = 41;
    /// The tagged GTID of the transaction that follows (MySQL).
    pub const GTID_TAGGED: u8 = 42;
    /// The original statement of the rows that follow (MariaDB).
    pub const MARIADB_ANNOTATE_ROWS: u8 = 160;
    /// The file from which crash recovery begins (MariaDB).
    pub const MARIADB_BINLOG_CHECKPOINT: u8 = 161;
    /// The GTID of the transaction that follows (MariaDB).
    pub const MARIADB_GTID: u8 = 162;
    /// The transactions in all previous files (MariaDB).
    pub const MARIADB_GTID_LIST: u8 = 163;
    /// The file is encrypted; not sent to replicas (MariaDB).
    pub const MARIADB_START_ENCRYPTION: u8 = 164;
    /// A statement, compressed (MariaDB).
    pub const MARIADB_QUERY_COMPRESSED: u8 = 165;
    /// Inserted rows, compressed (MariaDB), older format.
    pub const MARIADB_WRITE_ROWS_COMPRESSED_V1: u8 = 166;
    /// Updated rows, compressed (MariaDB), older format.
    pub const MARIADB_UPDATE_ROWS_COMPRESSED_V1: u8 = 167;
    /// Deleted rows, compressed (MariaDB), older format.
    pub const MARIADB_DELETE_ROWS_COMPRESSED_V1: u8 = 168;
    /// Inserted rows, compressed (MariaDB).
    pub const MARIADB_WRITE_ROWS_COMPRESSED: u8 = 169;
    /// Updated rows, compressed (MariaDB).
    pub const MARIADB_UPDATE_ROWS_COMPRESSED: u8 = 170;
    /// Deleted rows, compressed (MariaDB).
    pub const MARIADB_DELETE_ROWS_COMPRESSED: u8 = 171;
}

/// Flags in an event's header.
pub(super) mod flag {
    /// The file was in use when the event was read: the server may be running, or may have crashed.
    pub(in crate::binlog) const IN_USE: u16 = 0x1;
    /// The statement's default database is not to be used.
    pub(in crate::binlog) const WITHOUT_USE: u16 = 0x8;
    /// Artificial: the server created the event for this client; it is in no file.
    pub(in crate::binlog) const ARTIFICIAL: u16 = 0x20;
    /// Readers that do not know the type may ignore the event.
    pub(in crate::binlog) const IGNORABLE: u16 = 0x80;
}

/// The header of every event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventHeader {
    /// Start time of the statement in seconds since 1970, by the server's clock.
    pub timestamp: u32,
    /// Its type code.
    pub kind: u8,
    /// The `server_id` of the server that created it.
    pub server_id: u32,
    /// Its length with header and checksum, in bytes.
    pub size: u32,
    /// The lower 32 bits of the position after it.
    pub end_position: u32,
    /// Flags; see the server's manual.
    pub flags: u16,
}

impl EventHeader {
    /// Parses a header; `None` when there are too few bytes.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut cursor = ByteCursor::new(bytes);
        Some(Self {
            timestamp: cursor.u32()?,
            kind: cursor.u8()?,
            server_id: cursor.u32()?,
            size: cursor.u32()?,
            end_position: cursor.u32()?,
            flags: cursor.u16()?,
        })
    }

    /// Whether readers that do not know its type may ignore it.
    #[must_use]
    pub fn is_ignorable(&self) -> bool {
        self.flags & flag::IGNORABLE != 0
    }

    /// Whether the database of a statement was not in use, as with `DROP DATABASE`.
    #[must_use]
    pub fn is_without_use(&self) -> bool {
        self.flags & flag::WITHOUT_USE != 0
    }

    /// Whether the server created it for this client.
    #[must_use]
    pub fn is_artificial(&self) -> bool {
        self.flags & flag::ARTIFICIAL != 0 || (self.timestamp == 0 && self.end_position == 0)
    }
}

/// Why bytes are not valid events.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// They end inside an event.
    #[error("the binary log ends in the middle of the event at byte {at}")]
    Truncated {
        /// Where the event begins.
        at: u64,
    },
    /// Its length is invalid.
    #[error("the binary log event at byte {at} has an impossible length: {size} bytes")]
    InvalidLength {
        /// Where the event begins.
        at: u64,
        /// The length in its header.
        size: u32,
    },
    /// Its checksum does not match.
    #[error("the checksum of the binary log event at byte {at} does not match")]
    ChecksumMismatch {
        /// Where the event begins.
        at: u64,
    },
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Its content does not match its type.
    #[error("cannot parse a binary log event of type {kind}: {reason}")]
    Malformed {
        /// Its type code.
        kind: u8,
        /// What is wrong.
        reason: String,
    },
}

impl EventError {
    pub(super) fn malformed(kind: u8, reason: impl Into<String>) -> Self {
        Self::Malformed {
            kind,
            reason: reason.into(),
        }
    }
}

/// A complete event.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    header: EventHeader,
    bytes: Bytes,
    has_checksum: bool,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Event({:?})", self.header)
    }
}

impl Event {
    /// Takes the bytes of one event. `checked`: it ends with a checksum, which is verified.
    ///
    /// # Errors
    /// When the bytes are not exactly one event with the right checksum.
    pub fn new(bytes: Bytes, checked: bool) -> Result<Self, EventError> {
        let header = EventHeader::parse(&bytes).ok_or(EventError::Truncated { at: 0 })?;
        let least = HEADER_BYTES + if checked { CHECKSUM_BYTES } else { 0 };
        if header.size as usize != bytes.len() || bytes.len() < least {
            return Err(EventError::InvalidLength {
                at: 0,
                size: header.size,
            });
        }
        if checked && !checksum_matches(&bytes, &header) {
            return Err(EventError::ChecksumMismatch { at: 0 });
        }
        Ok(Self {
            header,
            bytes,
            has_checksum: checked,
        })
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> &EventHeader {
        &self.header
    }

    /// Its type code.
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.header.kind
    }

    /// All its bytes, as sent.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes between header and checksum.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        let end = self.bytes.len() - if self.has_checksum { CHECKSUM_BYTES } else { 0 };
        &self.bytes[HEADER_BYTES..end]
    }

    /// Whether it ends with a checksum.
    #[must_use]
    pub fn has_checksum(&self) -> bool {
        self.has_checksum
    }
}

/// The checksum of an event without its last four bytes. The in-use flag is excluded.
#[must_use]
pub fn event_checksum(without: &[u8], kind: u8) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    match (kind, without.get(..HEADER_BYTES)) {
        (kind::FORMAT_DESCRIPTION, Some(header)) => {
            let mut header = header.to_vec();
            header[17] &= !(flag::IN_USE.to_le_bytes()[0]);
            hasher.update(&header);
            hasher.update(&without[HEADER_BYTES..]);
        }
        _ => hasher.update(without),
    }
    hasher.finalize()
}

fn checksum_matches(bytes: &[u8], header: &EventHeader) -> bool {
    let Some((without, stored)) = bytes.split_last_chunk::<CHECKSUM_BYTES>() else {
        return false;
    };
    event_checksum(without, header.kind) == u32::from_le_bytes(*stored)
}

/// Splits a byte stream into events and verifies their checksums. A format description says whether what follows has
/// checksums. The file magic ([`MAGIC`]) is no event: in one second of 2028, events begin with these bytes.
#[derive(Debug)]
pub struct EventReader<R> {
    input: R,
    offset: u64,
    has_checksums: bool,
}

impl<R: Read> EventReader<R> {
    /// Reads bytes that begin with an event; `checked`: that one has a checksum.
    pub fn new(input: R, has_checksums: bool) -> Self {
        Self {
            input,
            offset: 0,
            has_checksums,
        }
    }

    /// The next event; `None` at the end.
    ///
    /// # Errors
    /// When the next bytes are not a complete event with the right checksum.
    pub fn next_event(&mut self) -> Result<Option<Event>, EventError> {
        let at = self.offset;
        let mut bytes = vec![0; HEADER_BYTES];
        match read_up_to(&mut self.input, &mut bytes)? {
            0 => return Ok(None),
            HEADER_BYTES => {}
            _ => return Err(EventError::Truncated { at }),
        }
        let header = parse_header(&bytes, at)?;
        self.read_body(&mut bytes, header.size as usize, at)?;
        if header.kind == kind::FORMAT_DESCRIPTION {
            self.has_checksums = crate::binlog::control::FormatDescription::parse(&bytes)
                .ok_or(EventError::malformed(
                    kind::FORMAT_DESCRIPTION,
                    "it is too short",
                ))?
                .has_checksums;
        }
        self.offset += bytes.len() as u64;
        Event::new(bytes.into(), self.has_checksums)
            .map(Some)
            .map_err(|error| with_offset(error, at))
    }

    fn read_body(&mut self, bytes: &mut Vec<u8>, size: usize, at: u64) -> Result<(), EventError> {
        while bytes.len() < size {
            let begin = bytes.len();
            bytes.resize(size.min(begin + READ_STEP_BYTES), 0);
            let wanted = bytes.len() - begin;
            if read_up_to(&mut self.input, &mut bytes[begin..])? < wanted {
                return Err(EventError::Truncated { at });
            }
        }
        Ok(())
    }
}

fn parse_header(bytes: &[u8], at: u64) -> Result<EventHeader, EventError> {
    let header = EventHeader::parse(bytes).ok_or(EventError::Truncated { at })?;
    if header.size < HEADER_BYTES as u32 || header.size > EVENT_BYTES_MAX {
        return Err(EventError::InvalidLength {
            at,
            size: header.size,
        });
    }
    Ok(header)
}

fn with_offset(error: EventError, at: u64) -> EventError {
    match error {
        EventError::ChecksumMismatch { .. } => EventError::ChecksumMismatch { at },
        EventError::InvalidLength { size, .. } => EventError::InvalidLength { at, size },
        EventError::Truncated { .. } | EventError::Io(_) | EventError::Malformed { .. } => error,
    }
}

fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// An event of server 1, for tests.
#[cfg(test)]
pub(super) fn build_event(timestamp: u32, kind: u8, body: &[u8], checked: bool) -> Event {
    let sum = if checked { CHECKSUM_BYTES } else { 0 };
    let size = (HEADER_BYTES + body.len() + sum) as u32;
    let mut bytes = timestamp.to_le_bytes().to_vec();
    bytes.push(kind);
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend(0_u16.to_le_bytes());
    bytes.extend(body);
    if checked {
        bytes.extend(event_checksum(&bytes, kind).to_le_bytes());
    }
    Event::new(bytes.into(), checked).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event with a checksum.
    fn event(kind: u8, body: &[u8]) -> Vec<u8> {
        build_event(7, kind, body, true).bytes().to_vec()
    }

    #[test]
    fn a_stream_is_cut_into_the_events_it_was_made_of() {
        let parts = [event(kind::QUERY, b"one"), event(kind::XID, &[0; 8])];
        let stream = parts.concat();
        let mut events = EventReader::new(stream.as_slice(), true);
        for part in &parts {
            assert_eq!(events.next_event().unwrap().unwrap().bytes(), part);
        }
        assert!(events.next_event().unwrap().is_none());
    }

    #[test]
    fn an_event_whose_time_has_the_bytes_of_the_mark_of_a_file_is_an_event() {
        let time = u32::from_le_bytes(MAGIC);
        let bytes = build_event(time, kind::XID, &[0; 8], true).bytes().to_vec();
        let event = EventReader::new(bytes.as_slice(), true)
            .next_event()
            .unwrap();
        assert_eq!(event.unwrap().header().timestamp, time);
    }

    #[test]
    fn a_flipped_bit_and_a_missing_end_are_found() {
        let whole = event(kind::QUERY, b"insert");
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(
                EventReader::new(bytes.as_slice(), true)
                    .next_event()
                    .is_err()
            );
        }
        for end in 1..whole.len() {
            assert!(EventReader::new(&whole[..end], true).next_event().is_err());
        }
    }
}
