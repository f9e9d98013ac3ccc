//! Events as the server sent them, and cutting a stream of bytes into them.

use std::fmt;
use std::io::{self, Read};

use bytes::Bytes;

use super::cursor::ByteCursor;

/// How every file of a binary log begins.
pub const MAGIC: [u8; 4] = [0xfe, b'b', b'i', b'n'];

/// Length of an event's header, in bytes.
pub const HEADER_BYTES: usize = 19;

/// Length of an event's checksum, in bytes.
pub(super) const CHECKSUM_BYTES: usize = 4;

/// No server makes a larger event, in bytes.
const EVENT_BYTES_MAX: u32 = (1 << 30) + (1 << 20);

/// Memory is taken in such steps while an event is read, in bytes, so that a wrong length takes none in vain.
const READ_STEP_BYTES: usize = 1 << 20;

/// The numbers of the kinds of events.
pub mod kind {
    /// A statement, as text.
    pub const QUERY: u8 = 2;
    /// The server was stopped.
    pub const STOP: u8 = 3;
    /// The log goes on in another file.
    pub const ROTATE: u8 = 4;
    /// Values for `AUTO_INCREMENT` of the statement that follows.
    pub const INTVAR: u8 = 5;
    /// Seeds for `RAND()` of the statement that follows.
    pub const RAND: u8 = 13;
    /// A user variable of the statement that follows.
    pub const USER_VAR: u8 = 14;
    /// What the events of a file look like.
    pub const FORMAT_DESCRIPTION: u8 = 15;
    /// The commit of a transaction.
    pub const XID: u8 = 16;
    /// The beginning of a file for `LOAD DATA` in statement format.
    pub const BEGIN_LOAD_QUERY: u8 = 17;
    /// `LOAD DATA` in statement format.
    pub const EXECUTE_LOAD_QUERY: u8 = 18;
    /// The table of the rows that follow.
    pub const TABLE_MAP: u8 = 19;
    /// Inserted rows, older form.
    pub const WRITE_ROWS_V1: u8 = 23;
    /// Changed rows, older form.
    pub const UPDATE_ROWS_V1: u8 = 24;
    /// Deleted rows, older form.
    pub const DELETE_ROWS_V1: u8 = 25;
    /// Something happened that is not in the log.
    pub const INCIDENT: u8 = 26;
    /// Nothing is new.
    pub const HEARTBEAT: u8 = 27;
    /// May be left out by whoever does not know it.
    pub const IGNORABLE: u8 = 28;
    /// The statement behind the rows that follow.
    pub const ROWS_QUERY: u8 = 29;
    /// Inserted rows.
    pub const WRITE_ROWS: u8 = 30;
    /// Changed rows.
    pub const UPDATE_ROWS: u8 = 31;
    /// Deleted rows.
    pub const DELETE_ROWS: u8 = 32;
    /// The number of the transaction that follows (MySQL).
    pub const GTID: u8 = 33;
    /// A transaction without a number follows (MySQL).
    pub const ANONYMOUS_GTID: u8 = 34;
    /// The transactions in all files before (MySQL).
    pub const PREVIOUS_GTIDS: u8 = 35;
    /// A transaction is prepared, to be committed by a later statement.
    pub const XA_PREPARE: u8 = 38;
    /// Rows of which parts of JSON values changed.
    pub const PARTIAL_UPDATE_ROWS: u8 = 39;
    /// A transaction's events, compressed (MySQL).
    pub const TRANSACTION_PAYLOAD: u8 = 40;
    /// Nothing is new; newer form.
    pub const HEARTBEAT_V2: u8 = 41;
    /// The number, with a tag, of the transaction that follows (MySQL).
    pub const GTID_TAGGED: u8 = 42;
    /// The statement behind the rows that follow (MariaDB).
    pub const MARIADB_ANNOTATE_ROWS: u8 = 160;
    /// From which file on a crash is mended (MariaDB).
    pub const MARIADB_BINLOG_CHECKPOINT: u8 = 161;
    /// The number of the transaction that follows (MariaDB).
    pub const MARIADB_GTID: u8 = 162;
    /// The transactions in all files before (MariaDB).
    pub const MARIADB_GTID_LIST: u8 = 163;
    /// The file is encrypted; not sent to replicas (MariaDB).
    pub const MARIADB_START_ENCRYPTION: u8 = 164;
    /// A statement, compressed (MariaDB).
    pub const MARIADB_QUERY_COMPRESSED: u8 = 165;
    /// Inserted rows, compressed (MariaDB), older form.
    pub const MARIADB_WRITE_ROWS_COMPRESSED_V1: u8 = 166;
    /// Changed rows, compressed (MariaDB), older form.
    pub const MARIADB_UPDATE_ROWS_COMPRESSED_V1: u8 = 167;
    /// Deleted rows, compressed (MariaDB), older form.
    pub const MARIADB_DELETE_ROWS_COMPRESSED_V1: u8 = 168;
    /// Inserted rows, compressed (MariaDB).
    pub const MARIADB_WRITE_ROWS_COMPRESSED: u8 = 169;
    /// Changed rows, compressed (MariaDB).
    pub const MARIADB_UPDATE_ROWS_COMPRESSED: u8 = 170;
    /// Deleted rows, compressed (MariaDB).
    pub const MARIADB_DELETE_ROWS_COMPRESSED: u8 = 171;
}

/// Flags in an event's header.
pub(in crate::mysql) mod flag {
    /// The file was open when the event was read: the server may be alive, or may have crashed.
    pub(in crate::mysql) const IN_USE: u16 = 0x1;
    /// The statement's database is not to be used.
    pub(in crate::mysql) const WITHOUT_USE: u16 = 0x8;
    /// The server made the event up for the one it sends it to; no file has it.
    pub(in crate::mysql) const ARTIFICIAL: u16 = 0x20;
    /// Whoever does not know the kind may leave the event out.
    pub(in crate::mysql) const IGNORABLE: u16 = 0x80;
}

/// What every event begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventHeader {
    /// Seconds since 1970 at which the statement began, by the server's clock.
    pub timestamp: u32,
    /// Its kind.
    pub kind: u8,
    /// The server that made it.
    pub server_id: u32,
    /// Its length with header and checksum, in bytes.
    pub size: u32,
    /// The lower 32 bits of the position after it.
    pub end_position: u32,
    /// Marks; see the manual of the server.
    pub flags: u16,
}

impl EventHeader {
    /// Reads a header; `None` when there are too few bytes.
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

    /// Whether whoever does not know its kind may leave it out.
    #[must_use]
    pub fn is_ignorable(&self) -> bool {
        self.flags & flag::IGNORABLE != 0
    }

    /// Whether the database of a statement was not in use, as with `DROP DATABASE`.
    #[must_use]
    pub fn is_without_use(&self) -> bool {
        self.flags & flag::WITHOUT_USE != 0
    }

    /// Whether the server made it up for the one it sent it to.
    #[must_use]
    pub fn is_artificial(&self) -> bool {
        self.flags & flag::ARTIFICIAL != 0 || (self.timestamp == 0 && self.end_position == 0)
    }
}

/// Why bytes are no events.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// They end in the middle of one.
    #[error("the binary log ends in the middle of the event at byte {at}")]
    Truncated {
        /// Where the event begins.
        at: u64,
    },
    /// Its length cannot be right.
    #[error("the binary log event at byte {at} has an impossible length: {size} bytes")]
    InvalidLength {
        /// Where the event begins.
        at: u64,
        /// What its header says.
        size: u32,
    },
    /// Its checksum differs.
    #[error("the checksum of the binary log event at byte {at} does not match")]
    ChecksumMismatch {
        /// Where the event begins.
        at: u64,
    },
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Its content is not what its kind demands.
    #[error("cannot parse a binary log event of type {kind}: {reason}")]
    Malformed {
        /// Its kind.
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

/// An event, whole.
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
    /// Takes the bytes of one event. `checked`: it ends with a checksum, which is compared.
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

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.header.kind
    }

    /// All of it, as it was sent.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What is between header and checksum.
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

/// The checksum that belongs to an event without its last four bytes. The mark of an open file is left out of it.
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

/// Cuts a stream of bytes into events and compares their checksums. A format description says whether what follows has
/// checksums. What marks a file ([`MAGIC`]) is no event: in 2028 there is a second whose events begin with these bytes.
#[derive(Debug)]
pub struct EventReader<R> {
    input: R,
    offset: u64,
    has_checksums: bool,
}

impl<R: Read> EventReader<R> {
    /// Reads what begins with an event; `checked`, whether that has a checksum.
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
    /// When what follows is not a whole event with the right checksum.
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
            self.has_checksums = super::control::FormatDescription::parse(&bytes)
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
        other => other,
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
