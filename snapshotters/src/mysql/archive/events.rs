//! The events of stored pieces, put together again.

use reprise_repository::Repository;

use super::segment_facts::{BinlogPosition, StoredSegment};
use crate::error::{Error, Result};
use crate::mysql::binlog::{
    Event, EventError, EventHeader, EventReader, FilePosition, FormatDescription, MAGIC, kind,
};

/// The events of a stretch, in order.
#[derive(Debug)]
pub struct LogEvents<'a> {
    repository: Repository,
    segments: &'a [StoredSegment],
    input: std::io::Cursor<Vec<u8>>,
    has_checksums: bool,
    /// Whether what was read ends in the middle of a transaction.
    ends_in_transaction: bool,
    file_position: FilePosition,
}

impl<'a> LogEvents<'a> {
    /// The events of pieces that follow each other, after a place; the first one continues none.
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

    /// Where in the server's files the next event begins, once [`Self::buffer_next_event`] has found it; or the last one ends.
    #[must_use]
    pub fn file_position(&self) -> &FilePosition {
        &self.file_position
    }

    /// Reads on until the next event is there as a whole; `false`: none follows.
    ///
    /// # Errors
    /// When a piece cannot be read, or ends in the middle of an event that is not continued.
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
        let failed = |source| Error::UnreadableLog { source };
        let mut events = EventReader::new(&mut self.input, self.has_checksums);
        let event = events.next_event().map_err(failed)?;
        match &event {
            // A piece repeats the one of its file: that moves nothing.
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

    /// What is read, and not returned yet.
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
                true => MAGIC.len() as u64,
                false => 0,
            };
            self.input = std::io::Cursor::new(content.to_vec());
            self.input.set_position(mark);
            self.file_position = piece.facts.from.file_position();
        }
        self.ends_in_transaction = piece.facts.open > 0;
        Ok(())
    }

    /// Nothing continues what is read: only a transaction that was not committed may end in the middle.
    fn check_end(&self) -> Result<()> {
        match !self.ends_in_transaction && !self.unread_bytes().is_empty() {
            true => Err(Error::UnreadableLog {
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
