//! Control events: the format of a file, and the GTID and commit time of a transaction.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::binlog::cursor::ByteCursor;
use crate::binlog::event::{CHECKSUM_BYTES, Event, EventError, HEADER_BYTES, kind};
use crate::binlog::gtid::GtidSource;
use crate::log_time::LogTime;

/// Byte range of the server's version in the body of a format description.
const VERSION_RANGE: std::ops::Range<usize> = 2..52;

/// The format of the events of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatDescription {
    /// The server's version, as the server reports it.
    pub version: String,
    /// Whether events end with checksums.
    pub has_checksums: bool,
    /// Start time of the server in seconds since 1970, if its start began the file.
    pub server_started: u32,
}

impl FormatDescription {
    /// Parses a whole event, header and checksum included; `None` when it is too short.
    #[must_use]
    pub fn parse(event: &[u8]) -> Option<Self> {
        let body = event.get(HEADER_BYTES..)?;
        let version = body.get(VERSION_RANGE)?;
        let end = version.iter().position(|byte| *byte == 0);
        let created = ByteCursor::new(body.get(VERSION_RANGE.end..)?).u32()?;
        // The last byte before the checksum, which is always present, is the algorithm.
        let algorithm = body.len().checked_sub(CHECKSUM_BYTES + 1)?;
        Some(Self {
            version: String::from_utf8_lossy(&version[..end.unwrap_or(version.len())]).into_owned(),
            has_checksums: body.get(algorithm) == Some(&1),
            server_started: created,
        })
    }
}

/// The GTID of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gtid {
    /// MySQL: the originating server, with or without a tag, and a number.
    Mysql {
        /// The server, and the tag.
        source: GtidSource,
        /// The number.
        number: u64,
    },
    /// MariaDB.
    Mariadb {
        /// The domain.
        domain: u32,
        /// The server.
        server: u32,
        /// The sequence number in the domain.
        sequence: u64,
    },
    /// No GTID.
    Anonymous,
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mysql { source, number } => write!(f, "{source}:{number}"),
            Self::Mariadb {
                domain,
                server,
                sequence,
            } => write!(f, "{domain}-{server}-{sequence}"),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}

impl std::str::FromStr for Gtid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a GTID: those of MySQL look like 3e11fa47-71ca-11e1-9e33-c80aa9429562:23, those of MariaDB like 0-1-23"
            )
        };
        if let Some((source, number)) = text.rsplit_once(':') {
            return Ok(Self::Mysql {
                source: source.parse().map_err(|_| wrong())?,
                number: number.parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?,
            });
        }
        let mut parts = text.split('-');
        let mut next = || parts.next().and_then(|part| part.parse::<u64>().ok());
        let (domain, server, sequence) = (next(), next(), next());
        let narrow = |n: Option<u64>| n.and_then(|n| u32::try_from(n).ok()).ok_or_else(wrong);
        let gtid = Self::Mariadb {
            domain: narrow(domain)?,
            server: narrow(server)?,
            sequence: sequence.ok_or_else(wrong)?,
        };
        if parts.next().is_some() {
            Err(wrong())
        } else {
            Ok(gtid)
        }
    }
}

/// What the event before a transaction states about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionStart {
    /// Its GTID.
    pub gtid: Gtid,
    /// Commit time at this server; `None` where the log does not contain it.
    pub committed: Option<LogTime>,
    /// Commit time at the originating server.
    pub originally_committed: Option<LogTime>,
    /// The version of the originating server, as in `original_server_version`.
    pub original_version: Option<u32>,
    /// The version of this server, as in `immediate_server_version`.
    pub immediate_version: Option<u32>,
    /// The last transaction (by sequence number) that may have been committed before this one began. Within a file.
    pub last_committed: u64,
    /// Its own sequence number in the commit order. Within a file.
    pub sequence_number: u64,
    /// Whether it may have parts in statement format.
    pub has_statements: bool,
    /// MariaDB: it is a single statement without BEGIN and COMMIT.
    pub standalone: bool,
}

impl TransactionStart {
    /// Parses the event before a transaction; `None` for other events.
    ///
    /// # Errors
    /// When it cannot be parsed.
    pub fn from_event(event: &Event) -> Result<Option<Self>, EventError> {
        let body = ByteCursor::new(event.body());
        let start = match event.kind() {
            kind::GTID | kind::ANONYMOUS_GTID => parse_gtid_event(body, event.kind() == kind::GTID),
            kind::GTID_TAGGED => parse_tagged_gtid_event(body),
            kind::MARIADB_GTID => parse_mariadb_gtid_event(body, event.header().server_id),
            _ => return Ok(None),
        };
        start.map(Some).ok_or_else(|| {
            EventError::malformed(event.kind(), "it is too short or has unknown fields")
        })
    }
}

/// Bit 55 of a time means that a second one follows; bit 31 of a version likewise.
const MORE_TIME: u64 = 1 << 55;
const MORE_VERSION: u32 = 1 << 31;

/// Type code before the two logical timestamps.
const LOGICAL_TIMESTAMPS_TYPE: u8 = 2;

fn parse_gtid_event(mut cursor: ByteCursor<'_>, numbered: bool) -> Option<TransactionStart> {
    let flags = cursor.u8()?;
    let uuid = cursor.take(16)?.try_into().ok()?;
    let number = cursor.u64()?;
    let gtid = if numbered {
        let source = GtidSource::new(uuid, None);
        Gtid::Mysql { source, number }
    } else {
        Gtid::Anonymous
    };
    let mut start = TransactionStart {
        has_statements: flags & 1 != 0,
        ..start_with_gtid(gtid)
    };
    if cursor.rest().first() != Some(&LOGICAL_TIMESTAMPS_TYPE) {
        return Some(start);
    }
    cursor.u8()?;
    start.last_committed = cursor.u64()?;
    start.sequence_number = cursor.u64()?;
    if let Some(time) = cursor.fixed_int(7) {
        let committed = LogTime::from_micros(time & !MORE_TIME);
        start.committed = Some(committed);
        start.originally_committed = match time & MORE_TIME {
            0 => Some(committed),
            _ => Some(LogTime::from_micros(cursor.fixed_int(7)?)),
        };
    }
    if !cursor.is_empty() {
        cursor.length_encoded_int()?;
    }
    if let Some(version) = cursor.u32() {
        let immediate = version & !MORE_VERSION;
        start.immediate_version = Some(immediate);
        start.original_version = match version & MORE_VERSION {
            0 => Some(immediate),
            _ => Some(cursor.u32()?),
        };
    }
    Some(start)
}

/// The newer, tagged format: fields, each preceded by its ID.
fn parse_tagged_gtid_event(mut cursor: ByteCursor<'_>) -> Option<TransactionStart> {
    const FORM: u8 = 2;
    if cursor.u8()? != FORM {
        return None;
    }
    cursor.variable_length_int()?;
    cursor.variable_length_int()?;
    let (mut uuid, mut number, mut tag) = ([0; 16], 0, None);
    let mut start = start_with_gtid(Gtid::Anonymous);
    while let Some(field) = cursor.variable_length_int() {
        match field {
            0 => start.has_statements = cursor.variable_length_int()? & 1 != 0,
            1 => {
                for byte in &mut uuid {
                    *byte = u8::try_from(cursor.variable_length_int()?).ok()?;
                }
            }
            // Signed integers have their sign in the lowest bit.
            2 => number = cursor.variable_length_int()? >> 1,
            3 => {
                let length = usize::try_from(cursor.variable_length_int()?).ok()?;
                tag = Some(std::str::from_utf8(cursor.take(length)?).ok()?.to_owned());
            }
            4 => start.last_committed = cursor.variable_length_int()? >> 1,
            5 => start.sequence_number = cursor.variable_length_int()? >> 1,
            6 => start.committed = Some(LogTime::from_micros(cursor.variable_length_int()?)),
            7 => {
                start.originally_committed =
                    Some(LogTime::from_micros(cursor.variable_length_int()?));
            }
            9 => start.immediate_version = u32::try_from(cursor.variable_length_int()?).ok(),
            10 => start.original_version = u32::try_from(cursor.variable_length_int()?).ok(),
            8 | 11 => drop(cursor.variable_length_int()?),
            _ => return None,
        }
    }
    start.originally_committed = start.originally_committed.or(start.committed);
    start.original_version = start.original_version.or(start.immediate_version);
    start.gtid = Gtid::Mysql {
        source: GtidSource::new(uuid, tag.filter(|tag| !tag.is_empty())),
        number,
    };
    Some(start)
}

fn parse_mariadb_gtid_event(mut cursor: ByteCursor<'_>, server: u32) -> Option<TransactionStart> {
    const STANDALONE: u8 = 1;
    let sequence = cursor.u64()?;
    let domain = cursor.u32()?;
    let flags = cursor.u8()?;
    let gtid = Gtid::Mariadb {
        domain,
        server,
        sequence,
    };
    Some(TransactionStart {
        standalone: flags & STANDALONE != 0,
        ..start_with_gtid(gtid)
    })
}

fn start_with_gtid(gtid: Gtid) -> TransactionStart {
    TransactionStart {
        gtid,
        committed: None,
        originally_committed: None,
        original_version: None,
        immediate_version: None,
        last_committed: 0,
        sequence_number: 0,
        has_statements: false,
        standalone: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for text in [
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:23",
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:tag:5",
            "0-1-23",
        ] {
            assert_eq!(text.parse::<Gtid>().unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "0-1",
            "0-1-2-3",
            "3e11fa47:23",
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:0",
            "a-b-c",
        ] {
            assert!(wrong.parse::<Gtid>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_transaction_says_when_it_was_committed() {
        let mut body = vec![0];
        body.extend([7; 16]);
        body.extend(23_u64.to_le_bytes());
        body.push(LOGICAL_TIMESTAMPS_TYPE);
        body.extend(4_u64.to_le_bytes());
        body.extend(5_u64.to_le_bytes());
        body.extend(&1_763_733_787_123_456_u64.to_le_bytes()[..7]);
        let start = parse_gtid_event(ByteCursor::new(&body), true).unwrap();
        let committed = LogTime::from_micros(1_763_733_787_123_456);
        assert_eq!(start.committed, Some(committed));
        assert_eq!((start.last_committed, start.sequence_number), (4, 5));
        assert!(start.gtid.to_string().ends_with(":23"));
    }
}
