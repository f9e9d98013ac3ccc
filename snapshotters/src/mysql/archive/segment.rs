//! A log segment of the archive while it is being filled.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use reprise_mysql::Flavour;
use reprise_mysql::binlog::{EventHeader, FilePosition, Gtid, LoggedTransaction, MAGIC};
use reprise_mysql::log::{BinlogPosition, CLOCK_SKEW_MAX, ExecutedSet, LogTime, SegmentFacts};

use super::source_server::SourceServer;
use super::start_position::LogStreamStart;

/// Maximum bytes of a log segment, however large an event or a transaction is. Below the repository's limit.
pub(super) const SEGMENT_BYTES_MAX: usize = 16 << 20;

/// A commit that is earlier than the previous one by more than this means that the clock was set. MariaDB
/// logs the time at which a statement began.
const CLOCK_STEP_MAX: Duration = Duration::from_secs(1);
const MARIADB_CLOCK_STEP_MAX: Duration = Duration::from_secs(60);

/// A commit may be ahead of the known clock of the server by this much.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);

/// Maximum number of notes of a log segment.
const NOTES_MAX: usize = 16;

/// Bytes that are not stored yet, and their facts.
#[derive(Debug)]
pub(super) struct LogSegmentBuilder {
    bytes: Vec<u8>,
    /// How many of the bytes belong to complete transactions.
    complete_bytes: usize,
    /// How many of the bytes only describe what follows.
    preamble_bytes: usize,
    facts: SegmentFacts,
    format: Vec<u8>,
    /// The time of the previous commit, which may be in the previous segment.
    last_commit_time: Option<LogTime>,
    /// Until when the server confirmed that everything was sent.
    confirmed_until: Option<LogTime>,
    /// When its first event arrived.
    first_event_at: Option<Instant>,
}

impl LogSegmentBuilder {
    /// An empty segment of the log chain `chain`.
    pub(super) fn new(source: &SourceServer, beginning: LogStreamStart, chain: u64) -> Self {
        let LogStreamStart {
            position: place,
            gap,
            history_since: since,
            last_commit_time,
            alarm: _,
        } = beginning;
        let facts = SegmentFacts {
            flavour: source.flavour,
            server_version: source.version.clone(),
            server_uuid: source.uuid.clone(),
            server_id: source.id,
            chain,
            gap,
            since,
            file_begun: None,
            at: None,
            ambiguous: false,
            to: place.clone(),
            from: place,
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
            complete_bytes: 0,
            preamble_bytes: 0,
            facts,
            format: Vec::new(),
            last_commit_time,
            confirmed_until: None,
            first_event_at: None,
        }
    }

    /// Sets the format description of what follows. A segment begins with it, and contains it again where it changes.
    pub(super) fn set_format(&mut self, format: &[u8]) {
        if self.is_empty() && !self.facts.continues {
            self.bytes.clear();
            self.bytes.extend_from_slice(&MAGIC);
            self.bytes.extend_from_slice(format);
            self.preamble_bytes = self.bytes.len();
            self.complete_bytes = self.preamble_bytes;
        } else if self.format != format {
            self.bytes.extend_from_slice(format);
        }
        self.format = format.to_vec();
        self.facts.file_begun = EventHeader::parse(format).map(|header| header.timestamp);
    }

    /// Whether it has no event.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() == self.preamble_bytes
    }

    /// When its first event arrived.
    pub(super) fn first_event_at(&self) -> Option<Instant> {
        self.first_event_at
    }

    /// The binary log position at which it begins.
    pub(super) fn start_position(&self) -> &BinlogPosition {
        &self.facts.from
    }

    /// The binary log position up to which the log is complete in it and its predecessors.
    pub(super) fn end_position(&self) -> &BinlogPosition {
        &self.facts.to
    }

    /// Whether it must be stored even when it is empty.
    pub(super) fn begins_after_gap(&self) -> bool {
        self.facts.gap.is_some()
    }

    /// How many more bytes fit.
    pub(super) fn remaining_bytes(&self) -> usize {
        SEGMENT_BYTES_MAX.saturating_sub(self.bytes.len())
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Counts an event whose bytes follow.
    pub(super) fn count_event(&mut self) {
        self.facts.events += 1;
        self.first_event_at.get_or_insert_with(Instant::now);
    }

    pub(super) fn push_bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Everything up to this position in the log is complete; with the transaction that just ended, if any.
    pub(super) fn mark_complete(&mut self, place: &FilePosition, ended: Option<LoggedTransaction>) {
        self.complete_bytes = self.bytes.len();
        if self.facts.to.file != place.file {
            self.facts.file_begun = None;
        }
        self.facts.to.file.clone_from(&place.file);
        self.facts.to.position = place.position;
        let Some(ended) = ended else {
            return;
        };
        self.check_clock(&ended);
        self.check_gtid_order(&ended.gtid);
        self.facts.to.coverage.add_gtid(&ended.gtid);
        let time = ended.committed;
        let (earliest, latest) = self.facts.times.unwrap_or((time, time));
        self.facts.times = Some((earliest.min(time), latest.max(time)));
        self.facts.until = self.facts.until.max(Some(time));
        self.facts.transactions += 1;
        self.facts.first.get_or_insert_with(|| ended.clone());
        self.facts.last = Some(ended);
    }

    /// Adds a note when the clock was set.
    fn check_clock(&mut self, ended: &LoggedTransaction) {
        let step = match self.facts.flavour {
            Flavour::Mariadb => MARIADB_CLOCK_STEP_MAX,
            Flavour::Mysql => CLOCK_STEP_MAX,
        };
        let latest = ended.committed + step;
        let before = self.last_commit_time.replace(ended.committed);
        if let Some(before) = before.filter(|before| latest < *before) {
            let seconds = before.duration_since(ended.committed).as_secs();
            self.add_note(format!(
                "the clock was set back by {seconds} s at {}",
                ended.gtid
            ));
        } else if self.confirmed_until > Some(latest) && self.facts.flavour == Flavour::Mysql {
            self.add_note(format!(
                "{} was committed at {}, a time for which the server had already reported all commits: the clock was set back",
                ended.gtid,
                ended.committed.to_utc_text()
            ));
        }
    }

    /// Adds a note when nothing tells whether a snapshot contains a transaction.
    fn check_gtid_order(&mut self, gtid: &Gtid) {
        let note = match &self.facts.to.coverage {
            ExecutedSet::Unnumbered => return,
            _ if *gtid == Gtid::Anonymous => {
                "the binary log has a transaction without a GTID: nothing shows whether a snapshot contains it"
                    .to_owned()
            }
            ExecutedSet::Mariadb(position) if position.contains_gtid(gtid) => format!(
                "{gtid} is out of order: it comes after {position} in the binary log, and nothing shows whether a snapshot contains it (see gtid_strict_mode)"
            ),
            _ => return,
        };
        self.facts.ambiguous = true;
        self.add_note(format!(
            "{note}. No point in time between it and the next snapshot can be restored: take a snapshot now"
        ));
    }

    /// Adds a note, once.
    pub(super) fn add_note(&mut self, note: String) {
        if self.facts.notes.len() < NOTES_MAX && !self.facts.notes.contains(&note) {
            self.facts.notes.push(note);
        }
    }

    pub(super) fn notes(&self) -> &[String] {
        &self.facts.notes
    }

    /// Everything committed until then is in it or its predecessors, as the server confirms.
    pub(super) fn confirm_until(&mut self, time: Option<LogTime>) {
        self.confirmed_until = self.confirmed_until.max(time);
        self.facts.until = self.facts.until.max(time);
    }

    /// Whether it states until when everything is archived.
    pub(super) fn has_until(&self) -> bool {
        self.facts.until.is_some()
    }

    /// Whether it has a commit that is ahead of the server's clock.
    pub(super) fn is_ahead_of(&self, source: &SourceServer) -> bool {
        self.facts.until > Some(LogTime::from(source.clock()) + CLOCK_TOLERANCE)
    }

    /// Finishes it at a time of this host: returns its bytes and facts, and becomes the next segment.
    pub(super) fn finish(
        &mut self,
        source: &SourceServer,
        host_time: DateTime<Utc>,
    ) -> (Vec<u8>, SegmentFacts) {
        let open = self.bytes.len() - self.complete_bytes.min(self.bytes.len());
        let now = LogTime::from(source.clock());
        if self.facts.ambiguous {
            // Older commits than an out-of-order transaction cannot be located after it.
            self.facts.since = self.facts.since.max(Some(now));
        }
        let beginning = LogStreamStart {
            position: self.facts.to.clone(),
            gap: None,
            history_since: self.facts.since,
            last_commit_time: self.last_commit_time,
            alarm: None,
        };
        let mut next = Self::new(source, beginning, self.facts.chain);
        next.facts.continues = open > 0;
        if open == 0 && !self.format.is_empty() {
            next.set_format(&self.format);
        }
        next.format.clone_from(&self.format);
        next.facts.file_begun = self.facts.file_begun;
        next.confirmed_until = self.confirmed_until;
        let mut done = std::mem::replace(self, next);
        done.facts.open = open as u64;
        done.facts.at = Some(now);
        // A clock that was wrong for a while would confirm times still to come.
        let most = (now + CLOCK_TOLERANCE).min(LogTime::from(host_time) + CLOCK_SKEW_MAX);
        done.facts.until = done.facts.until.map(|until| until.min(most));
        if done.is_empty() {
            done.bytes.clear();
        }
        (done.bytes, done.facts)
    }

    /// Reuses the buffer of a finished segment: growing a new one each time would fragment the memory.
    pub(super) fn reuse_buffer(&mut self, mut room: Vec<u8>) {
        if room.capacity() > self.bytes.capacity() {
            room.clear();
            room.extend_from_slice(&self.bytes);
            self.bytes = room;
        }
    }

    /// Discards the bytes and facts of a transaction that was cut off.
    pub(super) fn discard_open_transaction(&mut self) {
        self.bytes.truncate(self.complete_bytes);
        if self.complete_bytes == 0 {
            // It may have continued a transaction that is now void.
            self.facts.continues = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::super::source_server::tests::test_server;
    use super::*;

    const NUMBERS: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-10";

    fn host_time() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000)
    }

    /// The facts of a segment with one transaction, which ended at the time of the server's clock.
    fn facts(gtid: &str, clock: DateTime<Utc>) -> SegmentFacts {
        let server = test_server(ExecutedSet::Mysql(NUMBERS.parse().unwrap()), clock);
        let beginning = server.first_stream_start(
            None,
            super::super::start_position::FileCreationTimes::default(),
            None,
        );
        let mut piece = LogSegmentBuilder::new(&server, beginning, 1);
        let ended = LoggedTransaction {
            gtid: gtid.parse().unwrap_or(Gtid::Anonymous),
            committed: LogTime::from(clock),
        };
        piece.mark_complete(&FilePosition::default(), Some(ended));
        piece.finish(&server, host_time()).1
    }

    #[test]
    fn a_server_whose_clock_is_ahead_promises_nothing_of_the_future() {
        let tomorrow = host_time() + TimeDelta::days(1);
        let until = facts("3e11fa47-71ca-11e1-9e33-c80aa9429562:11", tomorrow).until;
        assert!(until < Some(LogTime::from(host_time() + TimeDelta::minutes(2))));
    }

    #[test]
    fn what_is_older_than_a_transaction_without_a_gtid_has_no_position_from_its_segment_on() {
        let now = host_time();
        let numbered = facts("3e11fa47-71ca-11e1-9e33-c80aa9429562:11", now);
        assert!(!numbered.ambiguous && numbered.since.is_none());
        let without = facts("none", now);
        assert!(without.ambiguous && without.since >= Some(LogTime::from(now)));
    }
}
