//! From packets to pieces: events are told apart, checked, counted, and kept as they came.

use bytes::Bytes;

use super::facts::Coverage;
use super::piece::Piece;
use super::server::Sent;
use crate::mysql::binlog::{
    Boundary, Event, FilePosition, Format, HEADER_BYTES, Header, Place, Query, kind,
};
use crate::mysql::error::DatabaseError;

/// The first byte of a packet with an event.
const EVENT: u8 = 0;

/// Where the server's stream is.
#[derive(Debug, Default)]
pub(super) struct Intake {
    boundary: Boundary,
    checked: bool,
    place: FilePosition,
    long: Option<Long>,
}

/// An event that comes in several packets.
#[derive(Debug)]
struct Long {
    header: Header,
    /// What came so far of an event that must be understood; of another one, nothing.
    kept: Option<Vec<u8>>,
    hasher: crc32fast::Hasher,
    left: usize,
    /// The last bytes that came: the checksum, in the end.
    tail: Vec<u8>,
}

/// What a packet was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Taken {
    /// A part of the log.
    Log,
    /// The server has nothing new.
    Heartbeat(Sent),
}

/// Where a piece must be handed on, as it is full.
pub(super) type Full<'a> = dyn FnMut(&mut Piece) -> Result<(), DatabaseError> + 'a;

fn wrong(error: impl std::fmt::Display) -> DatabaseError {
    DatabaseError::Unexpected(error.to_string())
}

impl Intake {
    /// Begins at a place.
    pub(super) fn at(place: FilePosition) -> Self {
        Self {
            place,
            ..Self::default()
        }
    }

    /// Whether a transaction is under way.
    pub(super) fn is_open(&self) -> bool {
        self.boundary.is_open() || self.long.is_some()
    }

    /// Whether the next packet continues an event.
    pub(super) fn expects_more(&self) -> bool {
        self.long.is_some()
    }

    /// Takes a packet. `more`: the next one continues it.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        more: bool,
        piece: &mut Piece,
        full: &mut Full<'_>,
    ) -> Result<Taken, DatabaseError> {
        if self.long.is_some() {
            self.continue_long(bytes, piece, full)?;
            return Ok(Taken::Log);
        }
        let event = bytes
            .split_first()
            .filter(|(mark, _)| **mark == EVENT)
            .map(|(_, event)| event)
            .ok_or_else(|| wrong("the server sent a packet that is not a binary log event"))?;
        if more {
            self.begin_long(event, piece, full)?;
            return Ok(Taken::Log);
        }
        self.event(event, piece, full)
    }

    fn event(
        &mut self,
        bytes: &[u8],
        piece: &mut Piece,
        full: &mut Full<'_>,
    ) -> Result<Taken, DatabaseError> {
        let header =
            Header::parse(bytes).ok_or_else(|| wrong("a binary log event is too short"))?;
        if header.kind == kind::FORMAT {
            self.checked = Format::parse(bytes)
                .ok_or_else(|| wrong("the format description event is not valid"))?
                .checked;
        }
        // The very first event comes before the one that says whether there are checksums.
        let checked = match (header.kind, header.is_artificial()) {
            (kind::ROTATE, true) => Event::new(Bytes::copy_from_slice(bytes), true).is_ok(),
            _ => self.checked,
        };
        let event = Event::new(Bytes::copy_from_slice(bytes), checked).map_err(wrong)?;
        match header.kind {
            kind::HEARTBEAT | kind::HEARTBEAT_V2 => {
                return Ok(Taken::Heartbeat(Sent {
                    file: String::from_utf8_lossy(event.body()).into_owned(),
                    position: header.next,
                }));
            }
            kind::FORMAT => {
                self.boundary.pass(&event).map_err(wrong)?;
                piece.describe(bytes);
            }
            kind::ROTATE if header.is_artificial() => self.change_file(&event, piece, full)?,
            _ => {
                self.note(&event, piece);
                piece.count_event();
                push(bytes, piece, full)?;
            }
        }
        self.pass(&event, piece)?;
        Ok(Taken::Log)
    }

    /// A server that starts begins a file without a word in the one before. Where transactions have no numbers, a piece
    /// has no such change: whoever reads it would take places of one file for those of the other.
    fn change_file(
        &self,
        rotate: &Event,
        piece: &mut Piece,
        full: &mut Full<'_>,
    ) -> Result<(), DatabaseError> {
        let mut next = self.place.clone();
        next.pass(rotate).map_err(wrong)?;
        let unnumbered = piece.place().coverage == Coverage::Unnumbered;
        if unnumbered && self.place.file.is_some() && next.file != self.place.file {
            piece.forget_open();
            piece.complete(&next, None);
            full(piece)?;
        }
        Ok(())
    }

    /// Moves past an event whose bytes are kept.
    fn pass(&mut self, event: &Event, piece: &mut Piece) -> Result<(), DatabaseError> {
        self.place.pass(event).map_err(wrong)?;
        let place = self.boundary.pass(event).map_err(wrong)?;
        if matches!(place, Place::End | Place::Outside) && !self.boundary.is_open() {
            let ended = self.boundary.take_ended();
            piece.complete(&self.place, ended);
        }
        Ok(())
    }

    /// Notes what cannot be replayed exactly.
    fn note(&self, event: &Event, piece: &mut Piece) {
        match event.kind() {
            kind::INCIDENT => piece.note(
                "the server logged an incident event: changes may be missing from its binary log"
                    .to_owned(),
            ),
            kind::BEGIN_LOAD_QUERY | kind::EXECUTE_LOAD_QUERY => {
                piece.note(
                    "LOAD DATA is in the binary log as a statement, which cannot be replayed"
                        .to_owned(),
                );
            }
            kind::QUERY
                if self.boundary.is_open()
                    && Query::of(event).is_ok_and(|query| changes_rows(&query)) =>
            {
                piece.note("rows are changed by statements in the binary log: values that depend on when a statement ran may differ after a replay".to_owned());
            }
            _ => {}
        }
    }

    fn begin_long(
        &mut self,
        bytes: &[u8],
        piece: &mut Piece,
        full: &mut Full<'_>,
    ) -> Result<(), DatabaseError> {
        let header =
            Header::parse(bytes).ok_or_else(|| wrong("a binary log event is too short"))?;
        let rows = matches!(header.kind, kind::WRITE_ROWS_V1..=kind::DELETE_ROWS_V1 | kind::WRITE_ROWS..=kind::DELETE_ROWS | kind::PARTIAL_UPDATE_ROWS | kind::TRANSACTION_PAYLOAD)
            || (kind::MARIADB_WRITE_ROWS_COMPRESSED_V1..=kind::MARIADB_DELETE_ROWS_COMPRESSED)
                .contains(&header.kind);
        self.long = Some(Long {
            header,
            kept: (!rows).then(Vec::new),
            hasher: crc32fast::Hasher::new(),
            left: header.size as usize,
            tail: Vec::new(),
        });
        piece.count_event();
        self.continue_long(bytes, piece, full)
    }

    fn continue_long(
        &mut self,
        bytes: &[u8],
        piece: &mut Piece,
        full: &mut Full<'_>,
    ) -> Result<(), DatabaseError> {
        let Some(long) = &mut self.long else {
            return Ok(());
        };
        long.left = long
            .left
            .checked_sub(bytes.len())
            .ok_or_else(|| wrong("a binary log event is longer than its header says"))?;
        long.add(bytes);
        push(bytes, piece, full)?;
        if long.left > 0 {
            return Ok(());
        }
        let Some(long) = self.long.take() else {
            return Ok(());
        };
        let event = long.event(self.checked)?;
        self.pass(&event, piece)
    }
}

impl Long {
    /// Takes more of its bytes; the last four are held back, as they are the checksum of all others.
    fn add(&mut self, bytes: &[u8]) {
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(bytes);
            return;
        }
        self.tail.extend_from_slice(bytes);
        let hashed = self.tail.len().saturating_sub(4);
        self.hasher.update(&self.tail[..hashed]);
        self.tail.drain(..hashed);
    }

    /// The whole event, or one that stands for it: what is in rows does not matter here.
    fn event(self, checked: bool) -> Result<Event, DatabaseError> {
        if let Some(kept) = self.kept {
            return Event::new(kept.into(), checked).map_err(wrong);
        }
        if checked && self.hasher.finalize().to_le_bytes() != self.tail.as_slice() {
            return Err(wrong("the checksum of a binary log event does not match"));
        }
        let mut stub = self.header.timestamp.to_le_bytes().to_vec();
        stub.push(self.header.kind);
        stub.extend(self.header.server_id.to_le_bytes());
        stub.extend((HEADER_BYTES as u32).to_le_bytes());
        stub.extend(self.header.next.to_le_bytes());
        stub.extend(self.header.flags.to_le_bytes());
        Event::new(stub.into(), false).map_err(wrong)
    }
}

/// Adds bytes, and hands the piece on whenever it is full.
fn push(mut bytes: &[u8], piece: &mut Piece, full: &mut Full<'_>) -> Result<(), DatabaseError> {
    while bytes.len() > piece.room() {
        let (now, later) = bytes.split_at(piece.room());
        piece.push(now);
        full(piece)?;
        bytes = later;
    }
    piece.push(bytes);
    Ok(())
}

/// Whether a statement inside of a transaction is more than its frame.
fn changes_rows(query: &Query<'_>) -> bool {
    let frame = [
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT",
        "RELEASE",
        "XA ",
        "CREATE ",
        "DROP ",
    ];
    let words = ["INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD ", "WITH "];
    !frame.iter().any(|words| query.begins(words)) && words.iter().any(|words| query.begins(words))
}
