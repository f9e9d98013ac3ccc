//! The events of stored pieces, put together again.

use reprise_repository::Repository;

use super::facts::{LogPlace, StoredPiece};
use crate::error::{Error, Result};
use crate::mysql::binlog::{Event, EventError, Events, FilePosition, Format, Header, MAGIC, kind};

/// The events of a stretch, in order.
#[derive(Debug)]
pub struct LogEvents<'a> {
    repository: Repository,
    pieces: &'a [StoredPiece],
    input: std::io::Cursor<Vec<u8>>,
    checked: bool,
    /// Whether what was read ends in the middle of a transaction.
    open: bool,
    place: FilePosition,
}

impl<'a> LogEvents<'a> {
    /// The events of pieces that follow each other, after a place; the first one continues none.
    pub(super) fn new(
        repository: &Repository,
        pieces: &'a [StoredPiece],
        from: Option<&LogPlace>,
    ) -> Self {
        Self {
            repository: repository.clone(),
            pieces,
            input: std::io::Cursor::new(Vec::new()),
            checked: false,
            open: false,
            place: from.map(LogPlace::in_files).unwrap_or_default(),
        }
    }

    /// Where in the server's files the next event begins, once [`Self::buffer_next_event`] has found it; or the last one ends.
    #[must_use]
    pub fn place(&self) -> &FilePosition {
        &self.place
    }

    /// Reads on until the next event is there as a whole; `false`: none follows.
    ///
    /// # Errors
    /// When a piece cannot be read, or ends in the middle of an event that is not continued.
    pub fn read_on(&mut self) -> Result<bool> {
        while !self.is_in_hand() {
            let Some((piece, rest)) = self.pieces.split_first() else {
                self.check_end()?;
                return Ok(false);
            };
            self.pieces = rest;
            self.load(piece)?;
        }
        Ok(true)
    }

    fn next_event(&mut self) -> Result<Option<Event>> {
        if !self.read_on()? {
            return Ok(None);
        }
        let failed = |source| Error::LogEvents { source };
        let mut events = Events::new(&mut self.input, self.checked);
        let event = events.next_event().map_err(failed)?;
        match &event {
            // A piece repeats the one of its file: that moves nothing.
            Some(event) if event.kind() == kind::FORMAT => {
                self.checked = Format::parse(event.bytes()).is_some_and(|format| format.checked);
            }
            Some(event) => self.place.pass(event).map_err(failed)?,
            None => {}
        }
        Ok(event)
    }

    fn is_in_hand(&self) -> bool {
        let rest = self.rest();
        Header::parse(rest).is_some_and(|header| rest.len() >= header.size as usize)
    }

    /// What is read, and not returned yet.
    fn rest(&self) -> &[u8] {
        let at = usize::try_from(self.input.position()).unwrap_or(usize::MAX);
        self.input.get_ref().get(at..).unwrap_or_default()
    }

    fn load(&mut self, piece: &StoredPiece) -> Result<()> {
        let (_, content) = self.repository.log_content(&piece.key)?;
        if piece.facts.continues {
            let mut joined = self.rest().to_vec();
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
            self.place = piece.facts.from.in_files();
        }
        self.open = piece.facts.open > 0;
        Ok(())
    }

    /// Nothing continues what is read: only a transaction that was not committed may end in the middle.
    fn check_end(&self) -> Result<()> {
        match !self.open && !self.rest().is_empty() {
            true => Err(Error::LogEvents {
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
