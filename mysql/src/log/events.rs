//! The events of stored log segments, reassembled.

use reprise_repository::Repository;

use super::error::{LogReadError, Result};
use crate::binlog::{
    Event, EventError, EventHeader, EventReader, FILE_START, FilePosition, FormatDescription,
    MAGIC, kind,
};
use crate::log::segment_facts::{BinlogPosition, StoredSegment};

/// The events of a log range, in order.
#[derive(Debug)]
pub struct LogEvents<'a> {
    repository: Repository,
    segments: &'a [StoredSegment],
    input: std::io::Cursor<Vec<u8>>,
    has_checksums: bool,
    /// Whether the bytes end inside a transaction.
    ends_in_transaction: bool,
    file_position: FilePosition,
}

impl<'a> LogEvents<'a> {
    /// The events of consecutive log segments, after a position; the first segment continues no transaction.
    pub(super) fn new(
        repository: &Repository,
        segments: &'a [StoredSegment],
        from: Option<&BinlogPosition>,
    ) -> Self {
        Self {
            repository: repository.clone(),
            segments,
            input: std::io::Cursor::new(Vec::new()),
            has_checksums: false,
            ends_in_transaction: false,
            file_position: from.map(BinlogPosition::file_position).unwrap_or_default(),
        }
    }

    /// Position of the next event, after [`Self::buffer_next_event`] found it; otherwise the end of the last event.
    #[must_use]
    pub fn file_position(&self) -> &FilePosition {
        &self.file_position
    }

    /// Reads until the next event is buffered as a whole; `false`: no event follows.
    ///
    /// # Errors
    /// When a log segment cannot be read, or ends inside an event that is not continued.
    pub fn buffer_next_event(&mut self) -> Result<bool> {
        while !self.has_whole_event() {
            let Some((piece, rest)) = self.segments.split_first() else {
                self.check_end()?;
                return Ok(false);
            };
            self.segments = rest;
            self.load_segment(piece)?;
        }
        Ok(true)
    }

    fn next_event(&mut self) -> Result<Option<Event>> {
        if !self.buffer_next_event()? {
            return Ok(None);
        }
        let failed = |source| LogReadError::InvalidEvents { source };
        let mut events = EventReader::new(&mut self.input, self.has_checksums);
        let event = events.next_event().map_err(failed)?;
        match &event {
            // Every segment repeats the one of its file: the position does not move.
            Some(event) if event.kind() == kind::FORMAT_DESCRIPTION => {
                self.has_checksums = FormatDescription::parse(event.bytes())
                    .is_some_and(|format| format.has_checksums);
            }
            Some(event) => self.file_position.advance_past(event).map_err(failed)?,
            None => {}
        }
        Ok(event)
    }

    fn has_whole_event(&self) -> bool {
        let rest = self.unread_bytes();
        EventHeader::parse(rest).is_some_and(|header| rest.len() >= header.size as usize)
    }

    /// Bytes that are read but not returned yet.
    fn unread_bytes(&self) -> &[u8] {
        let at = usize::try_from(self.input.position()).unwrap_or(usize::MAX);
        self.input.get_ref().get(at..).unwrap_or_default()
    }

    fn load_segment(&mut self, piece: &StoredSegment) -> Result<()> {
        let (_, content) = self.repository.read_log_segment(&piece.key)?;
        if piece.facts.continues {
            let mut joined = self.unread_bytes().to_vec();
            joined.extend_from_slice(&content);
            self.input = std::io::Cursor::new(joined);
        } else {
            self.check_end()?;
            let mark = match content.starts_with(&MAGIC) {
                true => FILE_START,
                false => 0,
            };
            self.input = std::io::Cursor::new(content.to_vec());
            self.input.set_position(mark);
            self.file_position = piece.facts.from.file_position();
        }
        self.ends_in_transaction = piece.facts.open > 0;
        Ok(())
    }

    /// Nothing continues the bytes: only an uncommitted transaction may be incomplete.
    fn check_end(&self) -> Result<()> {
        match !self.ends_in_transaction && !self.unread_bytes().is_empty() {
            true => Err(LogReadError::InvalidEvents {
                source: EventError::Truncated {
                    at: self.input.position(),
                },
            }),
            false => Ok(()),
        }
    }
}

impl Iterator for LogEvents<'_> {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_event().transpose()
    }
}
