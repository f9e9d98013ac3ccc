//! From packets to log segments: events are delimited, checked, counted, and stored unchanged.

use bytes::Bytes;
use reprise_mysql::DatabaseError;
use reprise_mysql::binlog::{
    Event, EventBoundary, EventHeader, FilePosition, FormatDescription, HEADER_BYTES, QueryEvent,
    TransactionBoundaryParser, kind,
};
use reprise_mysql::log::ExecutedSet;

use super::segment::LogSegmentBuilder;
use super::source_server::SentPosition;

/// First byte of a packet with an event.
const EVENT_PACKET: u8 = 0;

/// The state of the server's stream.
#[derive(Debug, Default)]
pub(super) struct LogReceiver {
    boundary: TransactionBoundaryParser,
    has_checksums: bool,
    file_position: FilePosition,
    partial_event: Option<PartialEvent>,
}

/// An event that arrives in several packets.
#[derive(Debug)]
struct PartialEvent {
    header: EventHeader,
    /// The bytes so far of an event that must be parsed; `None` for others.
    buffered: Option<Vec<u8>>,
    hasher: crc32fast::Hasher,
    remaining: usize,
    /// The last bytes that arrived: finally, the checksum.
    tail: Vec<u8>,
}

/// What a packet contained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PacketKind {
    /// Part of the log.
    Log,
    /// The server has nothing new.
    Heartbeat(SentPosition),
}

/// Called where a segment is full and must be spooled.
pub(super) type OnSegmentFull<'a> =
    dyn FnMut(&mut LogSegmentBuilder) -> Result<(), DatabaseError> + 'a;

fn unexpected_data(error: impl std::fmt::Display) -> DatabaseError {
    DatabaseError::UnexpectedResponse(error.to_string())
}

impl LogReceiver {
    /// Begins at a position.
    pub(super) fn from_position(file_position: FilePosition) -> Self {
        Self {
            file_position,
            ..Self::default()
        }
    }

    /// Whether a transaction is open.
    pub(super) fn is_open(&self) -> bool {
        self.boundary.is_open() || self.partial_event.is_some()
    }

    /// Whether the next packet continues an event.
    pub(super) fn expects_more(&self) -> bool {
        self.partial_event.is_some()
    }

    /// Processes a packet. `more`: the next one continues it.
    pub(super) fn take_packet(
        &mut self,
        bytes: &[u8],
        more: bool,
        piece: &mut LogSegmentBuilder,
        full: &mut OnSegmentFull<'_>,
    ) -> Result<PacketKind, DatabaseError> {
        if self.partial_event.is_some() {
            self.continue_partial_event(bytes, piece, full)?;
            return Ok(PacketKind::Log);
        }
        let event = bytes
            .split_first()
            .filter(|(mark, _)| **mark == EVENT_PACKET)
            .map(|(_, event)| event)
            .ok_or_else(|| {
                unexpected_data("the server sent a packet that is not a binary log event")
            })?;
        if more {
            self.begin_partial_event(event, piece, full)?;
            return Ok(PacketKind::Log);
        }
        self.take_event(event, piece, full)
    }

    fn take_event(
        &mut self,
        bytes: &[u8],
        piece: &mut LogSegmentBuilder,
        full: &mut OnSegmentFull<'_>,
    ) -> Result<PacketKind, DatabaseError> {
        let header = EventHeader::parse(bytes)
            .ok_or_else(|| unexpected_data("a binary log event is too short"))?;
        if header.kind == kind::FORMAT_DESCRIPTION {
            self.has_checksums = FormatDescription::parse(bytes)
                .ok_or_else(|| unexpected_data("the format description event is not valid"))?
                .has_checksums;
        }
        // The very first event precedes the one that says whether there are checksums.
        let checked = match (header.kind, header.is_artificial()) {
            (kind::ROTATE, true) => Event::new(Bytes::copy_from_slice(bytes), true).is_ok(),
            _ => self.has_checksums,
        };
        let event = Event::new(Bytes::copy_from_slice(bytes), checked).map_err(unexpected_data)?;
        match header.kind {
            kind::HEARTBEAT | kind::HEARTBEAT_V2 => {
                return Ok(PacketKind::Heartbeat(SentPosition {
                    file: String::from_utf8_lossy(event.body()).into_owned(),
                    position: header.end_position,
                }));
            }
            kind::FORMAT_DESCRIPTION => {
                self.boundary.feed_event(&event).map_err(unexpected_data)?;
                piece.set_format(bytes);
            }
            kind::ROTATE if header.is_artificial() => self.switch_file(&event, piece, full)?,
            _ => {
                self.note_inexact_event(&event, piece);
                piece.count_event();
                push_bytes(bytes, piece, full)?;
            }
        }
        self.advance_past(&event, piece)?;
        Ok(PacketKind::Log)
    }

    /// A server that starts begins a file without an event in the previous one. Without GTIDs, no segment contains such
    /// a change: a reader would take positions in one file for positions in the other.
    fn switch_file(
        &self,
        rotate: &Event,
        piece: &mut LogSegmentBuilder,
        full: &mut OnSegmentFull<'_>,
    ) -> Result<(), DatabaseError> {
        let mut next = self.file_position.clone();
        next.advance_past(rotate).map_err(unexpected_data)?;
        let unnumbered = piece.start_position().coverage == ExecutedSet::Unnumbered;
        if unnumbered && self.file_position.file.is_some() && next.file != self.file_position.file {
            piece.discard_open_transaction();
            piece.mark_complete(&next, None);
            full(piece)?;
        }
        Ok(())
    }

    /// Moves past an event whose bytes are added.
    fn advance_past(
        &mut self,
        event: &Event,
        piece: &mut LogSegmentBuilder,
    ) -> Result<(), DatabaseError> {
        self.file_position
            .advance_past(event)
            .map_err(unexpected_data)?;
        let place = self.boundary.feed_event(event).map_err(unexpected_data)?;
        if matches!(place, EventBoundary::End | EventBoundary::Outside) && !self.boundary.is_open()
        {
            let ended = self.boundary.take_completed();
            piece.mark_complete(&self.file_position, ended);
        }
        Ok(())
    }

    /// Adds a note about what cannot be replayed exactly.
    fn note_inexact_event(&self, event: &Event, piece: &mut LogSegmentBuilder) {
        match event.kind() {
            kind::INCIDENT => piece.add_note(
                "the server logged an incident event: changes may be missing from its binary log"
                    .to_owned(),
            ),
            kind::BEGIN_LOAD_QUERY | kind::EXECUTE_LOAD_QUERY => {
                piece.add_note(
                    "LOAD DATA is in the binary log as a statement, which cannot be replayed"
                        .to_owned(),
                );
            }
            kind::QUERY
                if self.boundary.is_open()
                    && QueryEvent::from_event(event).is_ok_and(|query| changes_rows(&query)) =>
            {
                piece.add_note("rows are changed by statements in the binary log: values that depend on when a statement ran may differ after a replay".to_owned());
            }
            _ => {}
        }
    }

    fn begin_partial_event(
        &mut self,
        bytes: &[u8],
        piece: &mut LogSegmentBuilder,
        full: &mut OnSegmentFull<'_>,
    ) -> Result<(), DatabaseError> {
        let header = EventHeader::parse(bytes)
            .ok_or_else(|| unexpected_data("a binary log event is too short"))?;
        let rows = matches!(header.kind, kind::WRITE_ROWS_V1..=kind::DELETE_ROWS_V1 | kind::WRITE_ROWS..=kind::DELETE_ROWS | kind::PARTIAL_UPDATE_ROWS | kind::TRANSACTION_PAYLOAD)
            || (kind::MARIADB_WRITE_ROWS_COMPRESSED_V1..=kind::MARIADB_DELETE_ROWS_COMPRESSED)
                .contains(&header.kind);
        self.partial_event = Some(PartialEvent {
            header,
            buffered: (!rows).then(Vec::new),
            hasher: crc32fast::Hasher::new(),
            remaining: header.size as usize,
            tail: Vec::new(),
        });
        piece.count_event();
        self.continue_partial_event(bytes, piece, full)
    }

    fn continue_partial_event(
        &mut self,
        bytes: &[u8],
        piece: &mut LogSegmentBuilder,
        full: &mut OnSegmentFull<'_>,
    ) -> Result<(), DatabaseError> {
        let Some(long) = &mut self.partial_event else {
            return Ok(());
        };
        long.remaining = long
            .remaining
            .checked_sub(bytes.len())
            .ok_or_else(|| unexpected_data("a binary log event is longer than its header says"))?;
        long.add_bytes(bytes);
        push_bytes(bytes, piece, full)?;
        if long.remaining > 0 {
            return Ok(());
        }
        let Some(long) = self.partial_event.take() else {
            return Ok(());
        };
        let event = long.into_event(self.has_checksums)?;
        self.advance_past(&event, piece)
    }
}

impl PartialEvent {
    /// Adds bytes; the last four are held back, as they are the checksum of all others.
    fn add_bytes(&mut self, bytes: &[u8]) {
        if let Some(kept) = &mut self.buffered {
            kept.extend_from_slice(bytes);
            return;
        }
        self.tail.extend_from_slice(bytes);
        let hashed = self.tail.len().saturating_sub(4);
        self.hasher.update(&self.tail[..hashed]);
        self.tail.drain(..hashed);
    }

    /// The whole event, or a substitute with its header: the content of rows does not matter here.
    fn into_event(self, checked: bool) -> Result<Event, DatabaseError> {
        if let Some(kept) = self.buffered {
            return Event::new(kept.into(), checked).map_err(unexpected_data);
        }
        if checked && self.hasher.finalize().to_le_bytes() != self.tail.as_slice() {
            return Err(unexpected_data(
                "the checksum of a binary log event does not match",
            ));
        }
        let mut stub = self.header.timestamp.to_le_bytes().to_vec();
        stub.push(self.header.kind);
        stub.extend(self.header.server_id.to_le_bytes());
        stub.extend((HEADER_BYTES as u32).to_le_bytes());
        stub.extend(self.header.end_position.to_le_bytes());
        stub.extend(self.header.flags.to_le_bytes());
        Event::new(stub.into(), false).map_err(unexpected_data)
    }
}

/// Adds bytes, and spools the segment whenever it is full.
fn push_bytes(
    mut bytes: &[u8],
    piece: &mut LogSegmentBuilder,
    full: &mut OnSegmentFull<'_>,
) -> Result<(), DatabaseError> {
    while bytes.len() > piece.remaining_bytes() {
        let (now, later) = bytes.split_at(piece.remaining_bytes());
        piece.push_bytes(now);
        full(piece)?;
        bytes = later;
    }
    piece.push_bytes(bytes);
    Ok(())
}

/// Whether a statement inside a transaction is more than begin or commit.
fn changes_rows(query: &QueryEvent<'_>) -> bool {
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
    !frame.iter().any(|words| query.starts_with(words))
        && words.iter().any(|words| query.starts_with(words))
}
