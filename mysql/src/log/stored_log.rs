//! Reading an archive: its unbroken log ranges, and the events in them.

use reprise_repository::{
    ListedLogSegment, LogChainLink, LogSegmentKey, LogSegmentRecord, PossibleReaders, Repository,
};

use crate::log::events::LogEvents;
use crate::log::segment_facts::{BinlogPosition, SegmentFacts, StoredSegment};
use crate::log_time::LogTime;

/// A break in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogBreak {
    /// The segment after the break.
    pub before: u64,
    /// Why.
    pub reason: String,
    /// What it is.
    pub kind: LogBreakKind,
}

/// What a break in an archive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogBreakKind {
    /// Stored segments are damaged or missing.
    Damaged,
    /// Stored segments are encrypted to others than the given identities.
    Unreadable,
    /// The missing part was never archived.
    NotArchived,
}

/// The log of a source, as far as it is stored.
#[derive(Debug, Clone, Default)]
pub struct StoredLog {
    segments: Vec<StoredSegment>,
    breaks: Vec<LogBreak>,
    /// Segments that none of the given identities decrypts: how many, and who may be able to.
    unreadable: Option<(u64, PossibleReaders)>,
}

/// Consecutive log segments without a gap.
#[derive(Debug, Clone, Copy)]
pub struct LogRange<'a> {
    pub(super) segments: &'a [StoredSegment],
    /// Whether a diverged history follows, after a gap.
    pub(super) is_followed_by_divergence: bool,
}

impl StoredLog {
    /// Reads the records of all segments. A segment that is missing, damaged or encrypted to others is a break.
    ///
    /// # Errors
    /// When they cannot be listed, or the storage does not respond.
    pub fn read(repository: &Repository, source: &str) -> Result<Self, reprise_repository::Error> {
        let known = repository.load_log(source)?;
        let links = known.chain();
        let mut pieces: Vec<Option<ListedLogSegment>> =
            known.segments.into_iter().map(Some).collect();
        let mut log = Self::default();
        for link in links {
            match link {
                LogChainLink::Segment(index) => match pieces[index].take() {
                    Some((key, Ok(record))) => log.add_segment(parse_segment(key, record)),
                    Some((key, Err(error))) => {
                        let sequence = key.sequence;
                        let found = LogBreak {
                            before: sequence + 1,
                            reason: format!("log segment {sequence}: {error}"),
                            kind: match error.is_missing_identity() {
                                true => LogBreakKind::Unreadable,
                                false => LogBreakKind::Damaged,
                            },
                        };
                        log.note_unreadable(error);
                        log.add_segment(Err(found));
                    }
                    None => {}
                },
                LogChainLink::Missing { sequence, id } => {
                    let reason = format!("log segment {sequence} ({id}) is missing");
                    log.add_segment(Err(damaged_break(sequence + 1, reason)));
                }
                LogChainLink::NoPredecessor { sequence } => {
                    let reason = format!(
                        "log segment {sequence} names no previous segment, although there should be one"
                    );
                    log.add_segment(Err(damaged_break(sequence, reason)));
                }
            }
        }
        Ok(log)
    }

    fn add_segment(&mut self, item: Result<StoredSegment, LogBreak>) {
        let piece = match item {
            Ok(piece) => piece,
            Err(found) => {
                self.breaks.push(found);
                return;
            }
        };
        let sequence = piece.key.sequence;
        let broken = self.breaks.iter().any(|known| known.before == sequence);
        let before = self.segments.last();
        let reason = match (&piece.facts.gap, before) {
            _ if broken => None,
            (Some(gap), _) => Some((gap.reason.clone(), LogBreakKind::NotArchived)),
            (None, Some(before))
                if before.facts.to != piece.facts.from || before.key.sequence + 1 != sequence =>
            {
                Some((
                    format!("log segment {sequence} does not start where the previous one ends"),
                    LogBreakKind::Damaged,
                ))
            }
            _ => None,
        };
        if let Some((reason, kind)) = reason {
            self.breaks.push(LogBreak {
                before: sequence,
                reason,
                kind,
            });
        }
        if piece.facts.ambiguous {
            let reason = piece.facts.notes.join("; ");
            for before in [sequence, sequence + 1] {
                self.add_break(before, reason.clone());
            }
        }
        self.segments.push(piece);
    }

    fn add_break(&mut self, before: u64, reason: String) {
        if !self.breaks.iter().any(|known| known.before == before) {
            self.breaks.push(LogBreak {
                before,
                reason,
                kind: LogBreakKind::NotArchived,
            });
        }
    }

    fn note_unreadable(&mut self, error: reprise_repository::Error) {
        if let reprise_repository::Error::NoMatchingIdentity { readers, .. } = error {
            self.unreadable.get_or_insert((0, readers)).0 += 1;
        }
    }

    /// Why parts of the log cannot be read, if they are encrypted to others than the given identities.
    #[must_use]
    pub fn missing_identity(&self, source: &str) -> Option<reprise_repository::Error> {
        let (count, readers) = self.unreadable.as_ref()?;
        let what = match count {
            1 => "1 log segment".to_owned(),
            count => format!("{count} log segments"),
        };
        Some(reprise_repository::Error::NoMatchingIdentity {
            object: format!("{what} of {source}"),
            readers: readers.clone(),
        })
    }

    /// The readable segments in order.
    #[must_use]
    pub fn segments(&self) -> &[StoredSegment] {
        &self.segments
    }

    /// The breaks.
    #[must_use]
    pub fn breaks(&self) -> &[LogBreak] {
        &self.breaks
    }

    /// The unbroken log ranges, oldest first. The rest of a transaction whose beginning is missing is in none.
    #[must_use]
    pub fn ranges(&self) -> Vec<LogRange<'_>> {
        let begins = |piece: &StoredSegment| {
            self.breaks
                .iter()
                .any(|known| known.before == piece.key.sequence)
        };
        let newest = self
            .segments
            .iter()
            .filter_map(|piece| piece.facts.since)
            .max();
        let mut stretches = Vec::new();
        let mut rest = self.segments.as_slice();
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
                stretches.push(LogRange {
                    segments: pieces,
                    is_followed_by_divergence: forks,
                });
            }
        }
        stretches
    }
}

/// The end of a log.
#[derive(Debug, Default)]
pub struct NewestSegment {
    /// The newest segment that a reader sees. If this host can read none, because it was added later, the newest of those.
    pub key: Option<LogSegmentKey>,
    /// The segment, if it can be read.
    pub readable: Option<StoredSegment>,
}

/// Finds the end of a log as a reader sees it. Nothing that another writer adds beside the log moves it.
///
/// # Errors
/// When segments cannot be listed, or the storage does not respond.
pub fn find_newest_segment(
    repository: &Repository,
    source: &str,
) -> Result<NewestSegment, reprise_repository::Error> {
    let mut newest = NewestSegment::default();
    let log = repository.load_log(source)?;
    let links = log.chain();
    let mut pieces: Vec<Option<ListedLogSegment>> = log.segments.into_iter().map(Some).collect();
    for link in links.into_iter().rev() {
        let LogChainLink::Segment(index) = link else {
            continue;
        };
        match pieces[index].take() {
            Some((key, Ok(record))) => {
                if let Ok(segment) = parse_segment(key, record) {
                    newest.key = Some(segment.key.clone());
                    newest.readable = Some(segment);
                    return Ok(newest);
                }
            }
            Some((key, Err(error))) => {
                tracing::warn!(%key, %error, "cannot read a log segment");
                if error.is_missing_identity() {
                    newest.key.get_or_insert(key);
                }
            }
            None => {}
        }
    }
    Ok(newest)
}

fn parse_segment(key: LogSegmentKey, record: LogSegmentRecord) -> Result<StoredSegment, LogBreak> {
    let sequence = key.sequence;
    match SegmentFacts::from_record(&record) {
        Ok(facts) => Ok(StoredSegment { key, record, facts }),
        Err(reason) => Err(damaged_break(
            sequence + 1,
            format!("the record of log segment {sequence} is not valid: {reason}"),
        )),
    }
}

fn damaged_break(before: u64, reason: String) -> LogBreak {
    LogBreak {
        before,
        reason,
        kind: LogBreakKind::Damaged,
    }
}

impl<'a> LogRange<'a> {
    /// Its segments.
    #[must_use]
    pub fn segments(&self) -> &'a [StoredSegment] {
        self.segments
    }

    /// Where it begins.
    #[must_use]
    pub fn start_position(&self) -> Option<&'a BinlogPosition> {
        self.segments.first().map(|piece| &piece.facts.from)
    }

    /// Where it ends.
    #[must_use]
    pub fn end_position(&self) -> Option<&'a BinlogPosition> {
        self.segments.last().map(|piece| &piece.facts.to)
    }

    /// Until when it contains everything that was committed.
    #[must_use]
    pub fn complete_until(&self) -> Option<LogTime> {
        self.segments
            .iter()
            .filter_map(|piece| piece.facts.until)
            .max()
    }

    /// The events from segment `skip` up to segment `end`, exclusive. Events of a transaction that began earlier first.
    #[must_use]
    pub fn read_events(&self, repository: &Repository, skip: usize, end: usize) -> LogEvents<'a> {
        let end = end.min(self.segments.len());
        let skip = skip.min(end);
        let continues = |piece: &StoredSegment| piece.facts.continues;
        // A segment that continues a transaction is read together with the one in which it began.
        let back = match self.segments.get(skip) {
            Some(piece) if continues(piece) => self.segments[..skip]
                .iter()
                .rposition(|piece| !continues(piece))
                .unwrap_or_default(),
            _ => skip,
        };
        let pieces = &self.segments[back..end];
        let from = pieces.first().map(|piece| &piece.facts.from);
        LogEvents::new(repository, pieces, from.or_else(|| self.end_position()))
    }
}
