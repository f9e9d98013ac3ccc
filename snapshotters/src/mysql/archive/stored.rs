//! Reading an archive: which stretches of log are unbroken, and the events in them.

use std::io::Read;

use reprise_repository::{ErrorClass, Link, LogKey, LogRecord, ReadPiece, Repository};

use super::facts::{Coverage, LogPlace, PieceFacts};
use crate::error::{Error, Result};
use crate::mysql::binlog::{Event, EventError, Events, Format, Header, MAGIC, kind};

/// A piece, and what it says of itself.
#[derive(Debug, Clone)]
pub struct StoredPiece {
    /// Where it is.
    pub key: LogKey,
    /// What it says of itself.
    pub record: LogRecord,
    /// What it says of its content.
    pub facts: PieceFacts,
}

/// Where an archive cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// Before which piece.
    pub before: u64,
    /// Why.
    pub reason: String,
    /// Whether stored pieces are damaged or missing; otherwise nobody ever had what is missing.
    pub damage: bool,
}

/// The log of a source, as far as it is stored.
#[derive(Debug, Clone, Default)]
pub struct StoredLog {
    pieces: Vec<StoredPiece>,
    breaks: Vec<Break>,
}

/// Pieces that follow each other without a gap.
#[derive(Debug, Clone, Copy)]
pub struct Stretch<'a> {
    pieces: &'a [StoredPiece],
}

impl StoredLog {
    /// Reads what all pieces say of themselves. A piece that is missing or damaged is a break.
    ///
    /// # Errors
    /// When they cannot be listed, or the storage does not answer.
    pub fn read(repository: &Repository, source: &str) -> Result<Self> {
        let known = repository.known_log(source)?;
        let links = known.line();
        let mut pieces: Vec<Option<ReadPiece>> = known.pieces.into_iter().map(Some).collect();
        let mut log = Self::default();
        for link in links {
            match link {
                Link::Piece(index) => match pieces[index].take() {
                    Some((key, Ok(record))) => log.add(understood(key, record)),
                    Some((key, Err(error))) => {
                        let sequence = key.sequence;
                        log.add(Err(damaged(
                            sequence + 1,
                            format!("piece {sequence}: {error}"),
                        )));
                    }
                    None => {}
                },
                Link::Missing { sequence, id } => {
                    let reason = format!("piece {sequence} ({id}) is missing");
                    log.add(Err(damaged(sequence + 1, reason)));
                }
                Link::Headless { sequence } => {
                    let reason = format!("piece {sequence} says that none is before it");
                    log.add(Err(damaged(sequence, reason)));
                }
            }
        }
        Ok(log)
    }

    fn add(&mut self, item: std::result::Result<StoredPiece, Break>) {
        let piece = match item {
            Ok(piece) => piece,
            Err(found) => {
                self.breaks.push(found);
                return;
            }
        };
        let sequence = piece.key.sequence;
        let broken = self.breaks.iter().any(|known| known.before == sequence);
        let before = self.pieces.last();
        let reason = match (&piece.facts.gap, before) {
            _ if broken => None,
            (Some(gap), _) => Some((gap.reason.clone(), false)),
            (None, Some(before))
                if before.facts.to != piece.facts.from || before.key.sequence + 1 != sequence =>
            {
                Some((
                    format!("piece {sequence} does not begin where the one before it ends"),
                    true,
                ))
            }
            _ => None,
        };
        if let Some((reason, damage)) = reason {
            self.breaks.push(Break {
                before: sequence,
                reason,
                damage,
            });
        }
        self.pieces.push(piece);
    }

    /// The readable pieces in order.
    #[must_use]
    pub fn pieces(&self) -> &[StoredPiece] {
        &self.pieces
    }

    /// Where it cannot be read on.
    #[must_use]
    pub fn breaks(&self) -> &[Break] {
        &self.breaks
    }

    /// The unbroken stretches, oldest first.
    #[must_use]
    pub fn stretches(&self) -> Vec<Stretch<'_>> {
        let begins = |piece: &StoredPiece| {
            self.breaks
                .iter()
                .any(|known| known.before == piece.key.sequence)
        };
        let mut stretches = Vec::new();
        let mut rest = self.pieces.as_slice();
        while !rest.is_empty() {
            let end = rest
                .iter()
                .skip(1)
                .position(begins)
                .map_or(rest.len(), |n| n + 1);
            let (stretch, later) = rest.split_at(end);
            stretches.push(Stretch { pieces: stretch });
            rest = later;
        }
        stretches
    }
}

/// Where a log ends.
#[derive(Debug, Default)]
pub(super) struct Newest {
    /// The newest piece, readable or not.
    pub(super) key: Option<LogKey>,
    /// The newest one that is readable.
    pub(super) readable: Option<StoredPiece>,
}

/// Finds where a log ends. No more pieces are read than must be.
pub(super) fn newest(repository: &Repository, source: &str) -> Result<Newest> {
    let mut keys = repository.logs(source)?;
    let mut newest = Newest {
        key: keys.last().cloned(),
        readable: None,
    };
    while let Some(key) = keys.pop() {
        match repository.log_record(&key) {
            Ok(record) => newest.readable = understood(key, record).ok(),
            Err(error) if error.class() == ErrorClass::Failed => return Err(error.into()),
            Err(error) => tracing::warn!(%key, %error, "a piece of the log cannot be read"),
        }
        if newest.readable.is_some() {
            break;
        }
    }
    Ok(newest)
}

fn understood(key: LogKey, record: LogRecord) -> std::result::Result<StoredPiece, Break> {
    let sequence = key.sequence;
    match PieceFacts::of(&record) {
        Ok(facts) => Ok(StoredPiece { key, record, facts }),
        Err(reason) => Err(damaged(
            sequence + 1,
            format!("piece {sequence} cannot be understood: {reason}"),
        )),
    }
}

fn damaged(before: u64, reason: String) -> Break {
    Break {
        before,
        reason,
        damage: true,
    }
}

impl<'a> Stretch<'a> {
    /// Its pieces.
    #[must_use]
    pub fn pieces(&self) -> &'a [StoredPiece] {
        self.pieces
    }

    /// Where it begins.
    #[must_use]
    pub fn from(&self) -> Option<&'a LogPlace> {
        self.pieces.first().map(|piece| &piece.facts.from)
    }

    /// Where it ends.
    #[must_use]
    pub fn to(&self) -> Option<&'a LogPlace> {
        self.pieces.last().map(|piece| &piece.facts.to)
    }

    /// Until when, in microseconds since 1970, it holds everything that was committed.
    #[must_use]
    pub fn until(&self) -> Option<u64> {
        self.pieces
            .iter()
            .filter_map(|piece| piece.facts.until)
            .max()
    }

    /// Whether everything that follows a place, up to its end, is in it; and how many of its pieces are before the
    /// place.
    #[must_use]
    pub fn continues(&self, place: &LogPlace, uuid: Option<&str>) -> Option<usize> {
        let first = self.pieces.first()?;
        let is_before = |earlier: &LogPlace, later: &LogPlace| match &earlier.coverage {
            Coverage::Unnumbered => {
                let same = uuid == first.facts.server_uuid.as_deref();
                same && earlier.in_files().is_before(&later.in_files()) == Some(true)
            }
            coverage => coverage.is_within(&later.coverage) == Some(true),
        };
        if !is_before(&first.facts.from, place) || !is_before(place, self.to()?) {
            return None;
        }
        Some(
            self.pieces
                .partition_point(|piece| is_before(&piece.facts.to, place)),
        )
    }

    /// The events from the piece `skip` up to the piece `end`, which is not included. The events of a transaction
    /// that began earlier come first.
    #[must_use]
    pub fn events(&self, repository: &Repository, skip: usize, end: usize) -> LogEvents<'a> {
        let begins = |piece: &&StoredPiece| !piece.facts.continues;
        let end = end.min(self.pieces.len());
        let skip = skip.min(end);
        // A piece that continues a transaction is read together with the one that began it.
        let back = match self.pieces.get(skip) {
            Some(piece) if piece.facts.continues => self.pieces[..skip]
                .iter()
                .rev()
                .position(|piece| begins(&piece))
                .map_or(skip, |n| n + 1),
            _ => 0,
        };
        LogEvents {
            repository: repository.clone(),
            pieces: &self.pieces[skip - back..end],
            input: std::io::Cursor::new(Vec::new()),
            checked: false,
            open: false,
        }
    }
}

/// The events of a stretch, in order.
#[derive(Debug)]
pub struct LogEvents<'a> {
    repository: Repository,
    pieces: &'a [StoredPiece],
    input: std::io::Cursor<Vec<u8>>,
    checked: bool,
    /// Whether what was read ends in the middle of a transaction.
    open: bool,
}

impl LogEvents<'_> {
    fn next_event(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.in_hand()? {
                return Ok(Some(event));
            }
            let Some((piece, rest)) = self.pieces.split_first() else {
                return Ok(None);
            };
            self.pieces = rest;
            self.load(piece)?;
        }
    }

    /// The next event of what is read, if it is whole.
    fn in_hand(&mut self) -> Result<Option<Event>> {
        let at = usize::try_from(self.input.position()).unwrap_or(usize::MAX);
        let mut rest = self.input.get_ref().get(at..).unwrap_or_default();
        if rest.starts_with(&MAGIC) {
            rest = &rest[MAGIC.len()..];
        }
        let Some(header) = Header::parse(rest) else {
            return Ok(None);
        };
        if rest.len() < header.size as usize {
            return Ok(None);
        }
        let failed = |source| Error::LogEvents { source };
        let mut events = Events::new(&mut self.input, self.checked);
        let event = events.next_event().map_err(failed)?;
        if let Some(event) = &event
            && event.kind() == kind::FORMAT
        {
            self.checked = Format::parse(event.bytes()).is_some_and(|format| format.checked);
        }
        Ok(event)
    }

    fn load(&mut self, piece: &StoredPiece) -> Result<()> {
        let (_, content) = self.repository.log_content(&piece.key)?;
        let mut left = Vec::new();
        if piece.facts.continues {
            self.input
                .read_to_end(&mut left)
                .map_err(|source| Error::LogEvents {
                    source: source.into(),
                })?;
        } else if !self.open && self.input.position() < self.input.get_ref().len() as u64 {
            return Err(Error::LogEvents {
                source: EventError::Truncated {
                    at: self.input.position(),
                },
            });
        }
        left.extend_from_slice(&content);
        self.input = std::io::Cursor::new(left);
        self.open = piece.facts.open > 0;
        Ok(())
    }
}

impl Iterator for LogEvents<'_> {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_event().transpose()
    }
}
