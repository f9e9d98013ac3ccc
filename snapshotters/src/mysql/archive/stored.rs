//! Reading an archive: which stretches of log are unbroken, and the events in them.

use reprise_repository::{ErrorClass, Link, LogKey, LogRecord, ReadPiece, Repository};

use super::events::LogEvents;
use super::facts::{LogPlace, PieceFacts, StoredPiece};
use crate::error::Result;

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
    pub(super) pieces: &'a [StoredPiece],
    /// Whether the log goes on, after a gap, as another history.
    pub(super) forks: bool,
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
                            format!("log segment {sequence}: {error}"),
                        )));
                    }
                    None => {}
                },
                Link::Missing { sequence, id } => {
                    let reason = format!("log segment {sequence} ({id}) is missing");
                    log.add(Err(damaged(sequence + 1, reason)));
                }
                Link::Headless { sequence } => {
                    let reason = format!(
                        "log segment {sequence} names no previous segment, although there should be one"
                    );
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
                    format!("log segment {sequence} does not start where the previous one ends"),
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
        if piece.facts.ambiguous {
            let reason = piece.facts.notes.join("; ");
            for before in [sequence, sequence + 1] {
                self.add_break(before, reason.clone());
            }
        }
        self.pieces.push(piece);
    }

    fn add_break(&mut self, before: u64, reason: String) {
        if !self.breaks.iter().any(|known| known.before == before) {
            self.breaks.push(Break {
                before,
                reason,
                damage: false,
            });
        }
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

    /// The unbroken stretches, oldest first. What is left of a transaction whose beginning is missing is in none.
    #[must_use]
    pub fn stretches(&self) -> Vec<Stretch<'_>> {
        let begins = |piece: &StoredPiece| {
            self.breaks
                .iter()
                .any(|known| known.before == piece.key.sequence)
        };
        let newest = self
            .pieces
            .iter()
            .filter_map(|piece| piece.facts.since)
            .max();
        let mut stretches = Vec::new();
        let mut rest = self.pieces.as_slice();
        while !rest.is_empty() {
            let end = rest
                .iter()
                .skip(1)
                .position(begins)
                .map_or(rest.len(), |n| n + 1);
            let (stretch, later) = rest.split_at(end);
            rest = later;
            let whole = stretch.iter().position(|piece| !piece.facts.continues);
            let pieces = &stretch[whole.unwrap_or(stretch.len())..];
            if let Some(last) = pieces.last() {
                let forks = newest > last.facts.since;
                stretches.push(Stretch { pieces, forks });
            }
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
            Err(error) => tracing::warn!(%key, %error, "cannot read a log segment"),
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
            format!("the record of log segment {sequence} is not valid: {reason}"),
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

    /// The events from the piece `skip` up to the piece `end`, which is not included. The events of a transaction
    /// that began earlier come first.
    #[must_use]
    pub fn events(&self, repository: &Repository, skip: usize, end: usize) -> LogEvents<'a> {
        let end = end.min(self.pieces.len());
        let skip = skip.min(end);
        let continues = |piece: &StoredPiece| piece.facts.continues;
        // A piece that continues a transaction is read together with the one that began it.
        let back = match self.pieces.get(skip) {
            Some(piece) if continues(piece) => self.pieces[..skip]
                .iter()
                .rposition(|piece| !continues(piece))
                .unwrap_or_default(),
            _ => skip,
        };
        let pieces = &self.pieces[back..end];
        let from = pieces.first().map(|piece| &piece.facts.from);
        LogEvents::new(repository, pieces, from.or_else(|| self.to()))
    }
}
