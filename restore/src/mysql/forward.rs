//! From a restored snapshot to a moment after it: the log that leads there is replayed, and what came of it compared.

use reprise_repository::{RawText, Repository, Warning};
use reprise_snapshotters::mysql::Session;
use reprise_snapshotters::mysql::archive::{self, LogEvents, LogPlace, shown_time};
use reprise_snapshotters::mysql::binlog::{
    Boundary, Ended, Event, FilePosition, Gtid, GtidSet, Prepared, Query, kind,
};
use serde::Serialize;

use super::moments::{COMMITS_TAKE, Moment, Way};
use super::options::MysqlRestore;
use super::progress::{self, Done};
use super::replay::{self, Coverage, Mode, Replay, ReplayReport, Stop};
use crate::error::{Error, Result};

/// Rough speeds on a small machine, for a guess of the time that a restore takes: bytes a second.
const LOAD_SPEED: u64 = 20 << 20;
const REPLAY_SPEED: u64 = 8 << 20;

/// So much the clocks of the server and of the host that took the snapshot may differ, in microseconds.
const CLOCKS_DIFFER: u64 = 5_000_000;

/// How a restored server is brought to a moment.
#[derive(Debug, Clone)]
pub struct PointInTime {
    /// The moment.
    pub moment: Moment,
    /// Transactions that are left out.
    pub skip: Vec<Gtid>,
    /// Every transaction keeps its number, in the target's own log, for replicas to follow.
    pub keep_numbers: bool,
    /// The log's changes of accounts are left out.
    pub leave_accounts: bool,
}

/// What is going to be replayed.
#[derive(Debug, Clone, Serialize)]
pub struct ForwardPlan {
    /// The moment, in words.
    pub moment: String,
    /// Pieces of log that are read.
    pub pieces: usize,
    /// Their bytes.
    pub log_bytes: u64,
    /// Transactions in them, at most.
    pub transactions: u64,
    /// What does not come back.
    pub lost: String,
    /// A guess of how long everything takes, in seconds.
    pub seconds: u64,
}

/// What was replayed.
#[derive(Debug, Clone, Serialize)]
pub struct ForwardReport {
    /// The moment, in words.
    pub moment: String,
    /// Transactions that were applied.
    pub transactions: u64,
    /// The last one.
    pub last_applied: Option<Named>,
    /// The one before which it stopped.
    pub stopped_before: Option<Named>,
    /// Transactions that were left out.
    pub skipped: Vec<String>,
    /// All transactions that the server now has.
    pub executed: Option<String>,
    /// The snapshot with whose checksums every table was compared afterwards.
    pub compared_with: Option<String>,
}

/// A transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// Its number.
    pub gtid: String,
    /// When it was committed.
    pub committed: String,
}

impl Named {
    fn of(ended: &Ended) -> Self {
        Self {
            gtid: ended.gtid.to_string(),
            committed: shown_time(ended.committed),
        }
    }
}

/// A way, and what is wanted at its end.
#[derive(Debug)]
pub(super) struct Forward<'a> {
    pub(super) repository: &'a Repository,
    pub(super) way: &'a Way<'a>,
    pub(super) wanted: &'a PointInTime,
}

impl<'a> Forward<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        way: &'a Way<'a>,
        wanted: &'a PointInTime,
    ) -> Result<Self> {
        if wanted.keep_numbers && way.join.place.coverage == Coverage::Unnumbered {
            return Err(Error::ReplayWithoutNumbers {
                transactions: format!("the transactions of {}", way.snapshot.root.source),
            });
        }
        Ok(Self {
            repository,
            way,
            wanted,
        })
    }
}

/// The step after which the snapshot is there.
const SNAPSHOT_THERE: &str = "snapshot restored";

/// The step after which the server has the source's history.
const HISTORY_THERE: &str = "history begun";

impl Forward<'_> {
    /// The moment, in words.
    fn moment(&self) -> String {
        match &self.wanted.moment {
            Moment::Time(time) => shown_time(*time),
            Moment::Before(gtid) => format!("before {gtid}"),
            Moment::Latest => "the end of the archived log".to_owned(),
            Moment::Snapshot(snapshot) => format!(
                "snapshot {} ({})",
                snapshot.id.short(),
                shown_time(archive::micros(snapshot.root.data_time))
            ),
        }
    }

    /// What tells this restore from another to the same target.
    pub(super) fn name(&self) -> String {
        let skipped: Vec<String> = self.wanted.skip.iter().map(ToString::to_string).collect();
        let name = format!(
            "{} {} {}",
            self.moment(),
            skipped.join(" "),
            self.wanted.keep_numbers
        );
        super::short_hash(&name)
    }

    pub(super) fn plan(&self) -> ForwardPlan {
        let way = self.way;
        let end = way.stretch.until();
        let lost = match (&self.wanted.moment, end) {
            (Moment::Latest, Some(end)) => {
                format!(
                    "transactions committed after {} are not archived",
                    shown_time(end)
                )
            }
            (_, Some(end)) => format!(
                "transactions committed after the recovery target are not restored (the binary log is archived until {})",
                shown_time(end)
            ),
            (_, None) => {
                "transactions committed after the recovery target are not restored".to_owned()
            }
        };
        let lost = match self.told_again() {
            Some(again) => format!("{lost}; {again}"),
            None => lost,
        };
        let rows = way.snapshot.root.counts.bytes;
        ForwardPlan {
            moment: self.moment(),
            pieces: way.pieces,
            log_bytes: way.log_bytes,
            transactions: way.transactions,
            lost,
            seconds: 1 + rows / LOAD_SPEED + way.log_bytes / REPLAY_SPEED,
        }
    }

    /// What stays out because a time came a second time.
    fn told_again(&self) -> Option<String> {
        let again = shown_time(self.way.again?);
        Some(format!(
            "the clock was set back: transactions with commit times from {again} on may be later in the log than the recovery target, and are then not restored (use --before-gtid to name the first transaction to leave out)"
        ))
    }

    /// Whether an earlier attempt has brought the snapshot back already.
    pub(super) fn has_snapshot(done: &Done) -> bool {
        done.has(SNAPSHOT_THERE)
    }

    /// Remembers that the snapshot is there.
    pub(super) fn note_snapshot(control: &mut Session) -> Result<()> {
        note(control, SNAPSHOT_THERE)
    }

    /// Replays.
    pub(super) fn run(
        &self,
        control: &mut Session,
        options: &MysqlRestore,
        done: &Done,
        accounts: &[String],
        progress: &std::sync::Arc<reprise_repository::Progress>,
    ) -> Result<ReplayReport> {
        let also = self.prepared()?;
        let after = coverage(&self.way.join.place, &also);
        let mode = match self.wanted.keep_numbers {
            true => Mode::Gtid,
            false => Mode::Merged,
        };
        if mode == Mode::Gtid && !done.has(HISTORY_THERE) {
            replay::begin_history(control, &after, options.overwrite)?;
            note(control, HISTORY_THERE)?;
        }
        let replay = Replay {
            address: &options.address,
            run: &self.name(),
            mode,
            after,
            also: &also,
            accounts_until: archive::micros(self.way.snapshot.root.finished) + CLOCKS_DIFFER,
            accounts,
            leave_accounts: self.wanted.leave_accounts,
            stop: self.stop()?,
            skip: &self.wanted.skip,
            connections: options.connections,
            write_binlog: options.write_binlog || mode == Mode::Gtid,
            progress,
        };
        let events = self.way.events(self.repository);
        let mut events = Following::new(events, &self.way.join.place);
        replay::replay(&mut events, &replay)
    }

    /// The transactions that the snapshot covers and that were prepared, but not committed, at its moment.
    fn prepared(&self) -> Result<Vec<Gtid>> {
        let damaged = |source| reprise_snapshotters::Error::LogEvents { source };
        let (mut boundary, mut prepared) = (Boundary::default(), Vec::new());
        let way = self.way;
        for event in way.events(self.repository) {
            let event = event?;
            boundary.pass(&event).map_err(damaged)?;
            let Some(gtid) = boundary.start().map(|start| start.gtid.clone()) else {
                continue;
            };
            if !way.join.place.coverage.has(&gtid) {
                break;
            }
            match event.kind() {
                kind::XA_PREPARE => {
                    let ended = Prepared::of(&event).map_err(damaged)?;
                    if !ended.one_phase {
                        prepared.push((ended.xid.to_string(), gtid));
                    }
                }
                kind::QUERY => {
                    let query = Query::of(&event).map_err(damaged)?;
                    let text = String::from_utf8_lossy(query.text).into_owned();
                    let ended = ["XA COMMIT ", "XA ROLLBACK "]
                        .iter()
                        .find_map(|words| text.trim().strip_prefix(words));
                    prepared.retain(|(xid, _)| {
                        !ended.is_some_and(|ended| ended.starts_with(xid.as_str()))
                    });
                }
                _ => {}
            }
        }
        Ok(prepared.into_iter().map(|(_, gtid)| gtid).collect())
    }

    fn stop(&self) -> Result<Stop> {
        Ok(match &self.wanted.moment {
            Moment::Time(time) => Stop::Time(*time),
            Moment::Before(gtid) => Stop::Before(gtid.clone()),
            Moment::Latest => Stop::End,
            Moment::Snapshot(snapshot) => {
                let place = archive::place_of(snapshot).map(|place| place.coverage);
                match place {
                    Some(Coverage::Mysql(set)) => Stop::Set(set),
                    Some(Coverage::Mariadb(position)) => Stop::Position(position),
                    _ => {
                        return Err(Error::ReplayStop {
                            reason: format!(
                                "snapshot {} has no GTIDs: choose a time with --point-in-time",
                                snapshot.id.short()
                            ),
                        });
                    }
                }
            }
        })
    }

    /// What is told of a replay; and what should be known of it.
    pub(super) fn report(&self, report: &ReplayReport) -> (ForwardReport, Vec<Warning>) {
        let warn = |message: String| Warning {
            path: RawText::default(),
            message,
        };
        let mut warnings: Vec<Warning> = report.warnings.iter().cloned().map(warn).collect();
        warnings.extend(self.told_again().map(warn));
        let late = report.late.iter().filter(|ended| matters(ended, report));
        warnings.extend(late.map(|ended| {
            warn(format!(
                "transaction {} was not restored: its commit time is {}, but it is later in the log than the recovery target (a clock was set back)",
                ended.gtid,
                shown_time(ended.committed)
            ))
        }));
        let executed = match &report.executed {
            Coverage::Unnumbered => None,
            numbered => Some(numbered.to_string()),
        };
        let told = ForwardReport {
            moment: self.moment(),
            transactions: report.applied,
            last_applied: report.last_applied.as_ref().map(Named::of),
            stopped_before: report.stopped_before.as_ref().map(Named::of),
            skipped: report.skipped.iter().map(ToString::to_string).collect(),
            executed,
            compared_with: None,
        };
        (told, warnings)
    }
}

/// Whether a transaction behind the stop is so much earlier that a clock must have been set back. MariaDB tells when
/// commits began: one that waited, for a large one before it, say, is rightly behind those that began after it.
fn matters(late: &Ended, report: &ReplayReport) -> bool {
    let stop = report.stopped_before.as_ref();
    let begins = matches!(late.gtid, Gtid::Mariadb { .. });
    // What a server writes while it starts may have no time at all.
    late.committed > 0
        && (!begins || stop.is_none_or(|stop| late.committed + COMMITS_TAKE < stop.committed))
}

fn note(control: &mut Session, step: &str) -> Result<()> {
    progress::note(control, step)
        .map_err(|error| Error::database("record a completed step on the target", error))
}

/// What the snapshot holds. Of what was only prepared it does not hold the rows.
fn coverage(place: &LogPlace, prepared: &[Gtid]) -> Coverage {
    match &place.coverage {
        Coverage::Mysql(set) => {
            let mut without = GtidSet::default();
            prepared.iter().for_each(|gtid| without.insert_gtid(gtid));
            Coverage::Mysql(set.without(&without))
        }
        other => other.clone(),
    }
}

/// The events after a place. Where transactions have numbers, those tell; otherwise the place in the files does.
struct Following<'a> {
    events: LogEvents<'a>,
    /// Where the snapshot is; `None` when it is passed, or numbers tell.
    wanted: Option<FilePosition>,
}

impl<'a> Following<'a> {
    fn new(events: LogEvents<'a>, wanted: &LogPlace) -> Self {
        let unnumbered = wanted.coverage == Coverage::Unnumbered;
        Self {
            events,
            wanted: unnumbered.then(|| wanted.in_files()),
        }
    }

    /// Whether what comes next is after the place. Fails when nothing comes, and the place was not reached.
    fn is_behind(&mut self) -> Result<bool> {
        let Some(wanted) = &self.wanted else {
            return Ok(true);
        };
        let more = self.events.read_on()?;
        let behind = wanted.is_before(self.events.place()) == Some(true);
        if behind || !more {
            self.wanted = None;
        }
        match more || behind {
            true => Ok(behind),
            false => Err(Error::ReplayStop {
                reason: "the archived binary log does not reach the position of the snapshot: a log rotation is missing from it".to_owned(),
            }),
        }
    }
}

impl Iterator for Following<'_> {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let behind = match self.is_behind() {
                Ok(behind) => behind,
                Err(error) => return Some(Err(error)),
            };
            match self.events.next()? {
                // How what follows is to be read is always told.
                Ok(event) if behind || event.kind() == kind::FORMAT => return Some(Ok(event)),
                Ok(_) => {}
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}
