//! A piece of the archive while it is being filled.

use std::time::Instant;

use super::facts::{Coverage, Gap, LogPlace, PieceFacts};
use super::origin::Source;
use crate::mysql::binlog::{Ended, FilePosition, Gtid, MAGIC};

/// A piece has at most so many bytes, whatever an event or a transaction has. Below the repository's limit.
pub(super) const BYTES_MAX: usize = 16 << 20;

/// A commit that is earlier than the one before it by more than these microseconds means that the clock was set.
const CLOCK_STEP: u64 = 1_000_000;

/// How many remarks a piece carries at most.
const NOTES_MAX: usize = 16;

/// Bytes that are not stored yet, and what is known of them.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Vec<u8>,
    /// How many of the bytes belong to transactions that have ended.
    complete: usize,
    /// How many bytes only say what follows.
    preamble: usize,
    facts: PieceFacts,
    format: Vec<u8>,
    /// The time of the commit before, which may be in the piece before.
    clock: Option<u64>,
    /// When its first event came.
    begun: Option<Instant>,
}

impl Piece {
    /// An empty piece after a place.
    pub(super) fn new(source: &Source, from: LogPlace, chain: u64, gap: Option<Gap>) -> Self {
        let facts = PieceFacts {
            flavour: source.flavour,
            server_version: source.version.clone(),
            server_uuid: source.uuid.clone(),
            server_id: source.id,
            chain,
            gap,
            to: from.clone(),
            from,
            first: None,
            last: None,
            times: None,
            transactions: 0,
            events: 0,
            continues: false,
            open: 0,
            until: None,
            notes: source.notes.clone(),
        };
        Self {
            bytes: Vec::new(),
            complete: 0,
            preamble: 0,
            facts,
            format: Vec::new(),
            clock: None,
            begun: None,
        }
    }

    /// Takes the description of the format of what follows. A piece begins with it, and has it again where it
    /// changes.
    pub(super) fn describe(&mut self, format: &[u8]) {
        if self.is_empty() && !self.facts.continues {
            self.bytes.clear();
            self.bytes.extend_from_slice(&MAGIC);
            self.bytes.extend_from_slice(format);
            self.preamble = self.bytes.len();
            self.complete = self.preamble;
        } else if self.format != format {
            self.bytes.extend_from_slice(format);
        }
        self.format = format.to_vec();
    }

    /// Whether no event is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() == self.preamble
    }

    /// When its first event came.
    pub(super) fn begun(&self) -> Option<Instant> {
        self.begun
    }

    /// After how much of the log it begins.
    pub(super) fn place(&self) -> &LogPlace {
        &self.facts.from
    }

    /// How much of the log is complete in it, and in those before.
    pub(super) fn reached(&self) -> &LogPlace {
        &self.facts.to
    }

    /// Whether it must be recorded although nothing is in it.
    pub(super) fn begins_after_gap(&self) -> bool {
        self.facts.gap.is_some()
    }

    /// How many more bytes fit.
    pub(super) fn room(&self) -> usize {
        BYTES_MAX.saturating_sub(self.bytes.len())
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Counts an event of which the bytes follow.
    pub(super) fn count_event(&mut self) {
        self.facts.events += 1;
        self.begun.get_or_insert_with(Instant::now);
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Everything until here is complete, at a place in the log; with a transaction that has just ended.
    pub(super) fn complete(&mut self, place: &FilePosition, ended: Option<Ended>) {
        self.complete = self.bytes.len();
        self.facts.to.file.clone_from(&place.file);
        self.facts.to.position = place.position;
        let Some(ended) = ended else {
            return;
        };
        self.judge(&ended);
        self.facts.to.coverage.pass(&ended.gtid);
        let time = ended.committed;
        let (earliest, latest) = self.facts.times.unwrap_or((time, time));
        self.facts.times = Some((earliest.min(time), latest.max(time)));
        self.facts.until = self.facts.until.max(Some(time));
        self.facts.transactions += 1;
        self.facts.first.get_or_insert_with(|| ended.clone());
        self.facts.last = Some(ended);
    }

    /// Notes what a restore may stumble over.
    fn judge(&mut self, ended: &Ended) {
        let before = self.clock.replace(ended.committed);
        if let Some(before) = before
            && ended.committed + CLOCK_STEP < before
        {
            let seconds = (before - ended.committed) / 1_000_000;
            self.note(format!(
                "the clock was set back by {seconds} s at {}",
                ended.gtid
            ));
        }
        if ended.gtid == Gtid::Anonymous && self.facts.to.coverage != Coverage::Unnumbered {
            self.note("a transaction without a number is in the log: snapshots do not tell whether they have it".to_owned());
        }
    }

    /// Remembers a remark, once.
    pub(super) fn note(&mut self, note: String) {
        if self.facts.notes.len() < NOTES_MAX && !self.facts.notes.contains(&note) {
            self.facts.notes.push(note);
        }
    }

    pub(super) fn notes(&self) -> &[String] {
        &self.facts.notes
    }

    /// Whatever was committed until then is in it, or in those before.
    pub(super) fn until(&mut self, time: u64) {
        self.facts.until = self.facts.until.max(Some(time));
    }

    /// Ends it: the bytes, what is known of them, and the piece that follows.
    pub(super) fn finish(&mut self, source: &Source) -> (Vec<u8>, PieceFacts) {
        let open = self.bytes.len() - self.complete.min(self.bytes.len());
        let mut next = Self::new(source, self.facts.to.clone(), self.facts.chain, None);
        next.facts.continues = open > 0;
        if open == 0 && !self.format.is_empty() {
            next.describe(&self.format);
        }
        next.format.clone_from(&self.format);
        next.clock = self.clock;
        let mut done = std::mem::replace(self, next);
        done.facts.open = open as u64;
        if done.is_empty() {
            done.bytes.clear();
        }
        (done.bytes, done.facts)
    }

    /// Takes the room of a finished piece's bytes: growing anew each time would scatter the memory.
    pub(super) fn reuse(&mut self, mut room: Vec<u8>) {
        if room.capacity() > self.bytes.capacity() {
            room.clear();
            room.extend_from_slice(&self.bytes);
            self.bytes = room;
        }
    }

    /// Forgets what belongs to a transaction that was cut off.
    pub(super) fn forget_open(&mut self) {
        self.bytes.truncate(self.complete);
        if self.complete == 0 {
            // It may have continued one that is now void.
            self.facts.continues = false;
        }
    }
}
