//! To which moments a server can be brought back, and from which snapshot with which stretch of log.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use reprise_repository::{ObjectId, Repository, Snapshot, SourceKind};
use reprise_snapshotters::mysql::Flavour;
use reprise_snapshotters::mysql::archive::{
    Coverage, Join, LogEvents, StoredLog, StoredPiece, Stretch, is_placed, micros, shown_time,
    time_of,
};
use reprise_snapshotters::mysql::binlog::{Boundary, FilePosition, Gtid, Place};

use crate::error::{Error, Result};

/// A commit of MariaDB may come by so many microseconds later than its time says.
pub(super) const COMMITS_TAKE: u64 = 60_000_000;

/// The moment that is wanted.
#[derive(Debug, Clone)]
pub enum Moment {
    /// Everything that was committed at or before this time, in microseconds since 1970.
    Time(u64),
    /// Everything before this transaction.
    Before(Gtid),
    /// Everything that is archived.
    Latest,
    /// Exactly what a later snapshot holds, to be compared with it.
    Snapshot(Box<Snapshot>),
}

/// A span in which every moment can be restored.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Span {
    /// The data of its oldest snapshot.
    pub from: DateTime<Utc>,
    /// Until when the log is archived; without log, the moment of the snapshot.
    pub until: DateTime<Utc>,
    /// How many snapshots are in it.
    pub snapshots: usize,
    /// How many pieces of log.
    pub pieces: usize,
    /// How many transactions are in them.
    pub transactions: u64,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from == self.until {
            true => write!(
                f,
                "{} (only this moment, by its snapshot ID)",
                shown(&self.from)
            ),
            false => write!(f, "{} to {}", shown(&self.from), shown(&self.until)),
        }
    }
}

fn shown(time: &DateTime<Utc>) -> String {
    shown_time(micros(*time))
}

/// What is stored of a source: snapshots, oldest first, and log.
#[derive(Debug)]
pub struct Archive {
    source: String,
    snapshots: Vec<Snapshot>,
    log: StoredLog,
}

/// How a moment is reached.
#[derive(Debug)]
pub struct Way<'a> {
    /// The snapshot that is restored.
    pub snapshot: &'a Snapshot,
    /// Where the log goes on from it.
    pub join: Join,
    /// The log that follows it.
    pub stretch: Stretch<'a>,
    /// How many pieces are read, about.
    pub pieces: usize,
    /// The log's bytes in them.
    pub log_bytes: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Behind the stop, the log tells of times before it again, from this one on, in microseconds since 1970: the clock
    /// was set back.
    pub again: Option<u64>,
}

impl Archive {
    /// Reads what is stored of a source.
    ///
    /// # Errors
    /// When the source is unknown or no server, or the storage does not answer.
    pub fn read(repository: &Repository, source: &str) -> Result<Self> {
        let (all, _) = repository.snapshots_lossy()?;
        let snapshots: Vec<Snapshot> = all
            .into_iter()
            .filter(|snapshot| {
                snapshot.root.source == source && snapshot.root.kind == SourceKind::Mysql
            })
            .collect();
        let log = StoredLog::read(repository, source)?;
        Ok(Self {
            source: source.to_owned(),
            snapshots,
            log,
        })
    }

    /// The snapshots, oldest first.
    #[must_use]
    pub fn snapshots(&self) -> &[Snapshot] {
        &self.snapshots
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &StoredLog {
        &self.log
    }

    /// Of the snapshots from which a stretch of log goes on that reaches past a moment, the number of the stretch.
    #[must_use]
    pub fn stretches_since(&self, begin: DateTime<Utc>) -> HashMap<ObjectId, u32> {
        let reaching = self.log.stretches().into_iter();
        let reaching = reaching.filter(|s| s.until().is_none_or(|until| time_of(until) > begin));
        let mut found = HashMap::new();
        for (number, stretch) in (0..).zip(reaching) {
            let joined = self
                .snapshots
                .iter()
                .filter(|one| stretch.join(one).is_some());
            found.extend(joined.map(|snapshot| (snapshot.id, number)));
        }
        found
    }

    /// The place of the first piece of log that is needed for every moment since `begin`, if the log reaches past it.
    /// `bases` are the snapshots from which those moments are restored.
    ///
    /// What the storage received since a day before is needed in any case: whoever may add pieces could make others
    /// look useless, but cannot make them older.
    #[must_use]
    pub fn first_needed(&self, begin: DateTime<Utc>, bases: &BTreeSet<ObjectId>) -> Option<u64> {
        let reaches = |s: &Stretch<'_>| s.until().is_none_or(|until| time_of(until) > begin);
        let stretch = self.log.stretches().into_iter().find(reaches)?;
        let held = self.snapshots.iter().filter(|one| bases.contains(&one.id));
        let needs = held.filter_map(|one| first_of(one, &stretch));
        let (index, since) = needs.min().unwrap_or((0, begin));
        let needed = stretch.pieces().get(index)?.key.sequence;
        let since = since.min(begin) - TimeDelta::days(1);
        let recent = |piece: &&StoredPiece| piece.key.received.is_none_or(|time| time >= since);
        let recent = self.log.pieces().iter().find(recent);
        Some(recent.map_or(needed, |piece| piece.key.sequence.min(needed)))
    }

    /// The spans in which every moment can be restored, oldest first. Never wider than they are.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        let mut alone: Vec<bool> = vec![true; self.snapshots.len()];
        for stretch in self.log.stretches() {
            let held: Vec<usize> = (0..self.snapshots.len())
                .filter(|n| stretch.join(&self.snapshots[*n]).is_some())
                .collect();
            let Some(first) = held.first() else {
                continue;
            };
            held.iter().for_each(|n| alone[*n] = false);
            let from = self.snapshots[*first].root.data_time;
            let pieces = stretch.pieces();
            spans.push(Span {
                from,
                until: stretch.until().map_or(from, time_of).max(from),
                snapshots: held.len(),
                pieces: pieces.len(),
                transactions: pieces.iter().map(|piece| piece.facts.transactions).sum(),
            });
        }
        let singles = self
            .snapshots
            .iter()
            .zip(&alone)
            .filter(|(_, alone)| **alone);
        spans.extend(singles.map(|(snapshot, _)| Span {
            from: snapshot.root.data_time,
            until: snapshot.root.data_time,
            snapshots: 1,
            pieces: 0,
            transactions: 0,
        }));
        spans.sort_by_key(|span| span.from);
        spans
    }

    /// Finds the way to a moment.
    ///
    /// # Errors
    /// When there is none, with what is possible instead.
    pub fn way(&self, repository: &Repository, moment: &Moment) -> Result<Way<'_>> {
        match moment {
            Moment::Time(time) => self.way_to_time(repository, *time),
            Moment::Before(gtid) => self.way_before(gtid),
            Moment::Latest => self.way_to_latest(),
            Moment::Snapshot(snapshot) => self.way_to_snapshot(snapshot),
        }
    }

    fn unreachable(&self, wanted: String, mut why: String) -> Error {
        let unproven = self.snapshots.iter().rev().find(|one| !is_placed(one));
        if let Some(snapshot) = unproven {
            why.push_str(&format!(
                "; the exact binary log position of snapshot {} is unknown (the account that takes snapshots needs BACKUP_ADMIN; in MariaDB, RELOAD)",
                snapshot.id.short()
            ));
        }
        Error::MomentUnreachable {
            source_name: self.source.clone(),
            wanted,
            why,
            possible: self.spans().iter().map(ToString::to_string).collect(),
        }
    }

    /// Snapshots with stretches that continue them, newest first.
    fn ways(&self) -> impl Iterator<Item = Way<'_>> {
        let stretches = self.log.stretches();
        self.snapshots.iter().rev().flat_map(move |snapshot| {
            let stretches = stretches.clone().into_iter().rev();
            stretches.filter_map(move |stretch| {
                let join = stretch.join(snapshot)?;
                let end = stretch.pieces().len();
                Some(Way::new(snapshot, join, stretch, end))
            })
        })
    }

    fn way_to_time(&self, repository: &Repository, time: u64) -> Result<Way<'_>> {
        let wanted = shown_time(time);
        let mut why = match self.snapshots.first() {
            None => "there is no snapshot".to_owned(),
            Some(first) if micros(first.root.data_time) > time => {
                format!(
                    "the oldest snapshot was taken at {}",
                    shown(&first.root.data_time)
                )
            }
            Some(_) => "the binary log of that time is not archived".to_owned(),
        };
        for way in self.ways() {
            if micros(way.snapshot.root.data_time) > time {
                continue;
            }
            let snapshot = micros(way.snapshot.root.data_time);
            let until = way.stretch.until().unwrap_or(snapshot);
            if until < time {
                let end = shown_time(until);
                why = match self.break_after(&way.stretch) {
                    Some(reason) => {
                        format!("the archived binary log has a gap after {end}: {reason}")
                    }
                    None => format!("the binary log is archived only until {end}"),
                };
                break;
            }
            if way.is_ahead_of(repository, time)? {
                continue;
            }
            let pieces = way.stretch.pieces();
            let stops = |n: &usize| pieces[*n].facts.times.is_some_and(|(_, last)| last > time);
            let stop = (way.join.at..pieces.len()).find(stops);
            let end = stop.map_or(pieces.len(), |stop| stop + 1);
            let again = stop.and_then(|stop| tells_again(&pieces[stop..], time));
            return Ok(Way {
                again,
                ..way.until(end)
            });
        }
        Err(self.unreachable(wanted, why))
    }

    fn break_after(&self, stretch: &Stretch<'_>) -> Option<&str> {
        let last = stretch.pieces().last()?.key.sequence;
        let next = self.log.breaks().iter().find(|found| found.before > last);
        next.map(|found| found.reason.as_str())
    }

    fn way_before(&self, gtid: &Gtid) -> Result<Way<'_>> {
        let wanted = format!("before {gtid}");
        let has = |coverage: &Coverage| coverage.has(gtid);
        let mut why = format!("transaction {gtid} is not in the archived binary log");
        for way in self.ways() {
            if !way.stretch.to().is_some_and(|place| has(&place.coverage)) {
                continue;
            }
            if has(&way.join.place.coverage) {
                why = format!(
                    "every snapshot that the archived binary log continues from already contains {gtid}"
                );
                continue;
            }
            let pieces = way.stretch.pieces();
            let end = pieces.partition_point(|piece| !has(&piece.facts.to.coverage));
            return Ok(way.until(end + 1));
        }
        Err(self.unreachable(wanted, why))
    }

    fn way_to_latest(&self) -> Result<Way<'_>> {
        let newest = self.log.stretches().last().and_then(Stretch::to).cloned();
        let reaches = |way: &Way<'_>| way.stretch.to() == newest.as_ref();
        let found = self.ways().find(reaches);
        found.ok_or_else(|| {
            let why = match self.log.pieces().is_empty() {
                true => "no binary log is archived",
                false => "the newest range of the archived binary log does not continue from any snapshot: take one",
            };
            self.unreachable("the latest state".to_owned(), why.to_owned())
        })
    }

    fn way_to_snapshot(&self, wanted: &Snapshot) -> Result<Way<'_>> {
        let older = self
            .ways()
            .filter(|way| way.snapshot.root.data_time < wanted.root.data_time);
        let mut leading = older.filter_map(|way| {
            let end = way.stretch.join(wanted)?.at;
            Some(way.until(end + 1))
        });
        let found = leading.next();
        found.ok_or_else(|| {
            self.unreachable(
                format!("the state of snapshot {}", wanted.id.short()),
                "no older snapshot is followed by an archived binary log without gaps up to it"
                    .to_owned(),
            )
        })
    }
}

impl<'a> Way<'a> {
    /// Through the stretch up to the piece `end`, which is not included.
    fn new(snapshot: &'a Snapshot, join: Join, stretch: Stretch<'a>, end: usize) -> Self {
        let end = end.min(stretch.pieces().len());
        let read = stretch.pieces()[join.skip..end.max(join.skip)].iter();
        Self {
            snapshot,
            pieces: read.len(),
            log_bytes: read.clone().map(|piece| piece.record.plain).sum(),
            transactions: read.map(|piece| piece.facts.transactions).sum(),
            join,
            stretch,
            again: None,
        }
    }

    fn until(self, end: usize) -> Self {
        Self::new(self.snapshot, self.join, self.stretch, end)
    }

    /// The events that are read. Where to stop is decided by what they say: the number of pieces is a guess for the plan.
    pub(super) fn events(&self, repository: &Repository) -> LogEvents<'a> {
        let skip = self.join.skip;
        self.stretch.events(repository, skip, usize::MAX)
    }

    /// Whether the snapshot holds a transaction that was committed after a time: a clock was set back before it was
    /// taken.
    fn is_ahead_of(&self, repository: &Repository, time: u64) -> Result<bool> {
        let later = |n: &usize| {
            let times = self.stretch.pieces()[*n].facts.times;
            times.is_some_and(|(_, last)| last > time)
        };
        let end = (self.join.at + 1).min(self.stretch.pieces().len());
        let Some(first) = (0..end).find(later) else {
            return Ok(false);
        };
        let mut boundary = Boundary::default();
        let mut events = self.stretch.events(repository, first, end);
        let failed = |source| reprise_snapshotters::Error::LogEvents { source };
        while let Some(event) = events.next() {
            let place = boundary.pass(&event?).map_err(failed)?;
            if place != Place::End {
                continue;
            }
            match boundary.take_ended() {
                Some(ended) if !self.covers(&ended.gtid, events.place()) => return Ok(false),
                Some(ended) if ended.committed > time => return Ok(true),
                _ => {}
            }
        }
        Ok(false)
    }

    /// Whether the snapshot has a transaction that ends at a place in the server's files.
    fn covers(&self, gtid: &Gtid, end: &FilePosition) -> bool {
        let place = &self.join.place;
        match &place.coverage {
            Coverage::Unnumbered => end.is_before(&place.in_files()) == Some(true),
            numbered => numbered.has(gtid),
        }
    }
}

/// From when on, by times that come a second time, a log goes on behind a stop that is in the first of some pieces.
fn tells_again(pieces: &[StoredPiece], time: u64) -> Option<u64> {
    let (stop, behind) = pieces.split_first()?;
    // MariaDB tells when commits began.
    let slack = match stop.facts.flavour {
        Flavour::Mariadb => COMMITS_TAKE,
        Flavour::Mysql => 0,
    };
    let again = behind.iter().filter_map(|piece| {
        let (first, _) = piece.facts.times?;
        // What a server writes while it starts may have no time at all.
        (first > 0 && first + slack <= time).then_some(first)
    });
    let within = stop.facts.times.and_then(|(first, latest)| {
        let last = stop.facts.last.as_ref()?.committed;
        let back = last > 0 && last + slack < latest;
        (back && first > 0 && first <= time).then_some(first)
    });
    again.chain(within).min()
}

/// How many pieces of a stretch a snapshot does not need, and its moment.
fn first_of(snapshot: &Snapshot, stretch: &Stretch<'_>) -> Option<(usize, DateTime<Utc>)> {
    let join = stretch.join(snapshot)?;
    Some((join.skip, snapshot.root.data_time))
}
