//! The log archive: a server's binary log, kept continuously, so that any moment between two snapshots comes back.
//!
//! ```text
//! server ─► packets ─► events, checked and counted ─► pieces ─► spool on the local disk ─► repository
//! ```
//!
//! A piece is handed on every few seconds or when it is full. Where the stream begins follows from what is stored,
//! so that whatever dies, nothing is missing and nothing is there twice.

mod events;
mod facts;
mod intake;
mod join;
mod listing;
mod origin;
mod piece;
mod replication;
mod spool;
mod stored;
mod stream;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use reprise_repository::{LogKey, NewLog, ObjectId, Progress, Repository};

pub use events::LogEvents;
pub use facts::{Coverage, Gap, LogPlace, PieceFacts};
pub use join::Join;
pub use listing::{Listed, Rows, Transactions};
pub use origin::{is_placed, place_of, start_of};
pub use stored::{Break, StoredLog, StoredPiece, Stretch};

use super::address::Address;
use super::binlog;
use super::error::{DatabaseError, code};
use super::session::Session;
use super::wire::{Arrived, Wire, is_end, is_refusal, refusal};
use crate::error::{Error, Result};
use intake::{Intake, Sent, Taken};
use origin::{Begun, End, Source, Unfit, first_place};
use piece::Piece;
use spool::{NoSpool, Spool};
use stream::{HEARTBEAT_SECONDS, Replica};

/// First and longest pause before the server is tried again.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A server that says nothing for so long is not there any more.
const SILENCE_MAX: Duration = Duration::from_secs(HEARTBEAT_SECONDS * 15);

/// So long what was received may wait for the repository when the program is told to end.
const GRACE: Duration = Duration::from_secs(30);

/// A server that has nothing new is asked this often whether its log is still the one that it sends.
const ASK_AGAIN: Duration = Duration::from_secs(15);

/// MariaDB does not have the transaction after which it is asked for its log.
const NOT_IN_ITS_LOG: &str = "requested to start from GTID";

/// By so many microseconds the clocks of servers and hosts may differ.
const CLOCKS_APART: u64 = 60_000_000;

/// Another archiver has taken over: the server ended this stream for it.
const SAME_REPLICA: &str = "same server_uuid/server_id";

/// A server whose log is archived.
#[derive(Debug, Clone)]
pub struct ArchiveSource {
    /// The source's name.
    pub name: String,
    /// Where it is, and who asks.
    pub address: Address,
}

/// How a log is archived.
#[derive(Debug, Clone)]
pub struct ArchiveOptions {
    /// What was received is stored after this time at the latest.
    pub flush: Duration,
    /// Where nothing is written, this is recorded so often.
    pub idle: Duration,
    /// End when everything that the server has is stored.
    pub once: bool,
    /// A folder on the local disk for pieces that wait.
    pub spool: PathBuf,
    /// How many bytes may wait there.
    pub spool_bytes_max: u64,
    /// What archives, with version.
    pub program: String,
}

/// Something that people should know while it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It begins, or goes on, after a place.
    Begins(String),
    /// Pieces are stored up to a place.
    Stored {
        /// How many pieces since the beginning.
        pieces: u64,
        /// How many transactions were received since the beginning.
        transactions: u64,
        /// Until when, in microseconds since 1970, everything is stored.
        until: Option<u64>,
    },
    /// Something does not work for now. It is tried again, and nothing is lost.
    Trouble(String),
    /// Something is wrong, and named. The outcome is `degraded`.
    Alarm(String),
}

/// What was archived.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct ArchiveReport {
    /// Pieces stored.
    pub pieces: u64,
    /// Their bytes.
    pub stored_bytes: u64,
    /// The log's bytes in them.
    pub log_bytes: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Until when, in microseconds since 1970, everything is stored.
    pub until: Option<u64>,
    /// What was wrong, each once.
    pub alarms: Vec<String>,
}

/// Archives a server's log until `progress` is cancelled, or with `once` until everything is stored.
///
/// # Errors
/// When the server cannot be archived at all, the repository cannot be read, or what was received could not be
/// stored in the end. Whatever passes is waited for.
pub fn archive(
    repository: &Repository,
    source: &ArchiveSource,
    options: &ArchiveOptions,
    progress: &Arc<Progress>,
    say: &mut dyn FnMut(Said),
) -> Result<ArchiveReport> {
    repository.require_writer()?;
    let spool = open_spool(options)?;
    let newest = stored::newest(repository, &source.name)?;
    let mut archiver = Archiver {
        repository,
        source,
        options,
        progress,
        say,
        spool: &spool,
        replica: replica(repository, &source.name),
        end: newest.readable.map(|piece| End::of(piece.facts, None)),
        refused: None,
        sequence: newest.key.as_ref().map_or(0, |key| key.sequence),
        previous: newest.key.map(|key| key.id),
        report: ArchiveReport::default(),
    };
    archiver.adopt()?;
    std::thread::scope(|scope| {
        let storing = scope.spawn(|| spool.store_all(repository, &source.name));
        let result = archiver.run();
        let now = Instant::now();
        spool.close(if result.is_ok() { now + GRACE } else { now });
        let joined = storing.join();
        let report = archiver.finish();
        let over = result?;
        if joined.is_err() {
            return Err(internal("storing pieces ended by itself"));
        }
        let report = report?;
        match over {
            // Without an end of its own, being told to stop is how it ends.
            Over::Stopped if options.once => Err(reprise_repository::Error::Interrupted.into()),
            _ => Ok(report),
        }
    })
}

fn internal(reason: &str) -> Error {
    reprise_repository::Error::Internal(reason.to_owned()).into()
}

fn open_spool(options: &ArchiveOptions) -> Result<Spool> {
    Spool::open(&options.spool, options.spool_bytes_max).map_err(|error| match error {
        NoSpool::Taken => Error::ArchiveRuns {
            folder: options.spool.clone(),
        },
        NoSpool::Io(source) => Error::Spool {
            folder: options.spool.clone(),
            source,
        },
    })
}

/// The same for the same source in the same repository, wherever it is archived.
fn replica(repository: &Repository, source: &str) -> Replica {
    let name = format!("{} {source}", repository.config().repository);
    let hash = blake3::hash(name.as_bytes());
    let bytes = hash.as_bytes();
    let id = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) | 1 << 31;
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&bytes[4..20]);
    Replica {
        id,
        uuid: binlog::Source::new(uuid, None).to_string(),
    }
}

/// How a stream ended.
enum Over {
    /// The server has sent all that it had.
    CaughtUp,
    /// It was asked to stop.
    Stopped,
    /// The spool is full.
    Full,
}

struct Archiver<'a> {
    repository: &'a Repository,
    source: &'a ArchiveSource,
    options: &'a ArchiveOptions,
    progress: &'a Arc<Progress>,
    say: &'a mut dyn FnMut(Said),
    spool: &'a Spool,
    replica: Replica,
    /// Where the last piece ends that was handed on.
    end: Option<End>,
    /// Why the server does not go on there: its history is another one.
    refused: Option<String>,
    sequence: u64,
    previous: Option<ObjectId>,
    report: ArchiveReport,
}

impl Archiver<'_> {
    /// Goes on with pieces that an archiver which died has left in the spool, as far as they fit.
    fn adopt(&mut self) -> Result<()> {
        let folder = self.spool.folder().to_owned();
        let failed = |source| Error::Spool {
            folder: folder.clone(),
            source,
        };
        for (sequence, id, path) in self.spool.left().map_err(failed)? {
            let bytes = std::fs::read(&path).map_err(failed)?;
            let sealed = self
                .repository
                .log_of_bytes(&self.source.name, sequence, bytes.into());
            let record = self.repository.sealed_record(&sealed);
            match record {
                Ok(record)
                    if sealed.key().id == id
                        && sequence == self.sequence + 1
                        && record.previous == self.previous =>
                {
                    let facts = PieceFacts::of(&record).map_err(|reason| internal(&reason))?;
                    self.spool.queue(sequence, path, sealed.key().size);
                    self.took(sealed.key(), facts, record.plain);
                }
                // It is stored already, or follows nothing that is: the server is asked for it again.
                _ => std::fs::remove_file(&path).map_err(failed)?,
            }
        }
        Ok(())
    }

    fn run(&mut self) -> Result<Over> {
        let mut pause = PAUSE_MIN;
        let mut connected = false;
        while self.progress.check().is_ok() {
            let (before, refused) = (self.sequence, self.refused.is_some());
            let failure = match self.stream(&mut connected) {
                Ok(Over::Full) => {
                    self.wait_for_room();
                    continue;
                }
                Ok(over) => return Ok(over),
                Err(failure) => failure,
            };
            if self.progress.check().is_err() {
                return match is_of_the_connection(&failure) {
                    true => Ok(Over::Stopped),
                    false => Err(failure),
                };
            }
            if self.refused.is_some() && !refused {
                continue;
            }
            let passes = matches!(&failure, Error::Database { source, .. } if may_pass(source));
            // Who never got in will not get in by waiting.
            if !passes || self.options.once || !connected {
                return Err(failure);
            }
            let trouble = format!("{}; trying again", described(&failure));
            (self.say)(Said::Trouble(trouble));
            if self.sequence > before {
                pause = PAUSE_MIN;
            }
            self.pause(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Ok(Over::Stopped)
    }

    fn pause(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && self.progress.check().is_ok() {
            self.spool.wait(Duration::from_millis(200));
        }
    }

    /// Not connected: a stream that nobody reads would keep the server from purging its log.
    fn wait_for_room(&mut self) {
        let status = self.spool.status();
        (self.say)(Said::Trouble(format!(
            "the spool is full ({} pieces, {} bytes): the server's log is not read until pieces are stored{}",
            status.waiting,
            status.bytes,
            status
                .failing
                .map_or_else(String::new, |reason| format!("; {reason}")),
        )));
        while self.progress.check().is_ok()
            && !self.spool.has_room(self.options.spool_bytes_max / 2)
        {
            self.spool.wait(Duration::from_secs(1));
        }
    }

    fn alarm(&mut self, alarm: String) {
        if !self.report.alarms.contains(&alarm) {
            self.report.alarms.push(alarm.clone());
        }
        (self.say)(Said::Alarm(alarm));
    }

    fn ask(&self) -> Result<Source> {
        let server = || self.source.address.to_string();
        self.asked().map_err(|unfit| match unfit {
            Unfit::Off => Error::NoBinaryLog { server: server() },
            Unfit::Incomplete(variable) => Error::IncompleteLog {
                server: server(),
                variable,
            },
            Unfit::Database(error) => {
                Error::database(format!("ask {} for its log", server()), error)
            }
        })
    }

    fn asked(&self) -> std::result::Result<Source, Unfit> {
        let mut session = Session::open(&self.source.address, self.progress)?;
        Source::ask(&mut session)
    }

    /// Where to go on, and with which stretch of log.
    fn begin(&mut self, server: &Source) -> Result<Piece, DatabaseError> {
        let Some(end) = self.end.clone() else {
            let newest = self.repository.latest(&self.source.name);
            let newest = newest.map_err(|error| DatabaseError::Unexpected(error.to_string()))?;
            let place = newest.as_ref().and_then(first_place);
            let begun = self.files_begun(server, place.as_ref())?;
            let beginning = server.first(newest.as_ref(), begun);
            if let Some(alarm) = &beginning.alarm {
                self.alarm(alarm.clone());
            }
            (self.say)(Said::Begins(beginning.place.to_string()));
            return Ok(Piece::new(server, beginning, self.sequence + 1));
        };
        let begun = self.files_begun(server, Some(&end.place))?;
        let beginning = server.after(&end, begun, self.refused.take());
        let chain = match &beginning.gap {
            None => end.chain,
            Some(gap) => {
                self.alarm(format!(
                    "gap: {}. No moment between the end of the archive and the next snapshot can be restored: take a snapshot now",
                    gap.reason
                ));
                self.sequence + 1
            }
        };
        (self.say)(Said::Begins(beginning.place.to_string()));
        Ok(Piece::new(server, beginning, chain))
    }

    /// When the files were begun that tell whether a place is in the history of a server.
    fn files_begun(
        &self,
        server: &Source,
        place: Option<&LogPlace>,
    ) -> Result<Begun, DatabaseError> {
        let Some(place) = place else {
            return Ok(Begun::default());
        };
        let begun = |file: Option<&str>| match file {
            Some(file) => {
                let address = &self.source.address;
                stream::file_begun(address, server, file, &self.replica, self.progress)
            }
            None => Ok(None),
        };
        let (oldest, named) = (server.oldest_file(), server.file_of(place));
        let first = begun(oldest)?;
        Ok(Begun {
            oldest: first,
            named: match named == oldest {
                true => first,
                false => begun(named)?,
            },
        })
    }

    fn stream(&mut self, connected: &mut bool) -> Result<Over> {
        let mut server = self.ask()?;
        let doing = format!("follow the log of {}", self.source.address);
        let failed = |source| Error::database(doing.clone(), source);
        let mut piece = self.begin(&server).map_err(failed)?;
        for note in piece.notes().to_vec() {
            self.alarm(note);
        }
        let (from, after_gap) = (piece.place().clone(), piece.begins_after_gap());
        // What is told of a gap must be known whatever happens next: a snapshot that closes it is newer.
        if after_gap {
            self.hand_on(&mut piece, &mut server).map_err(failed)?;
        }
        let mut wire = stream::open(
            &self.source.address,
            &server,
            &from,
            &self.replica,
            self.options.once,
            self.progress,
        )
        .map_err(failed)?;
        *connected = true;
        let mut intake = Intake::at(from.in_files());
        let over = self.follow(&mut wire, &mut server, &mut intake, &mut piece);
        drop(wire);
        if intake.is_open() {
            piece.forget_open();
        }
        if matches!(over, Ok(Over::CaughtUp)) {
            piece.until(server.complete_until());
        }
        if !piece.is_empty() || matches!(over, Ok(Over::CaughtUp)) {
            self.hand_on(&mut piece, &mut server).map_err(failed)?;
        }
        if let Err(error) = &over
            && is_of_another_history(error)
            && !after_gap
        {
            self.refused = Some(error.to_string());
        }
        over.map_err(failed)
    }

    fn follow(
        &mut self,
        wire: &mut Wire,
        server: &mut Source,
        intake: &mut Intake,
        piece: &mut Piece,
    ) -> Result<Over, DatabaseError> {
        let mut heard = Instant::now();
        let mut marked = Instant::now();
        let mut waiting = None;
        loop {
            if self.progress.check().is_err() {
                return Ok(Over::Stopped);
            }
            if !self.spool.has_room(piece.len() as u64) {
                return Ok(Over::Full);
            }
            let wait = piece.begun().map_or(self.options.flush, |begun| {
                self.options.flush.saturating_sub(begun.elapsed())
            });
            match wire.arrived(wait.min(Duration::from_secs(1)))? {
                Arrived::Nothing if heard.elapsed() > SILENCE_MAX => {
                    return Err(self.broken("the server has been silent for too long"));
                }
                Arrived::Nothing => {}
                Arrived::Packet { bytes, .. } if !intake.expects_more() && is_refusal(bytes) => {
                    return Err(refusal(bytes));
                }
                Arrived::Packet { bytes, .. } if !intake.expects_more() && is_end(bytes) => {
                    return self.ended(server, piece);
                }
                Arrived::Packet { bytes, more } => {
                    heard = Instant::now();
                    let mut full = |piece: &mut Piece| self.hand_on(piece, server);
                    let taken = intake.take(bytes, more, piece, &mut full)?;
                    if let Taken::Heartbeat(sent) = taken
                        && !intake.is_open()
                        && !self.options.once
                        && server.age() >= ASK_AGAIN
                    {
                        self.ask_again(server, piece, sent, &mut waiting)?;
                        if marked.elapsed() >= self.options.idle && piece.is_empty() {
                            self.hand_on(piece, server)?;
                            marked = Instant::now();
                        }
                    }
                }
            }
            let due = piece
                .begun()
                .is_some_and(|begun| begun.elapsed() >= self.options.flush);
            if due || piece.room() == 0 {
                self.hand_on(piece, server)?;
                marked = Instant::now();
            }
        }
    }

    fn broken(&self, reason: impl Into<String>) -> DatabaseError {
        DatabaseError::Connection {
            address: self.source.address.to_string(),
            reason: reason.into(),
        }
    }

    /// The server says that it has nothing new. After a reset it says so for ever, of a log that is not there any more:
    /// it is asked what it has before it is believed.
    fn ask_again(
        &self,
        server: &mut Source,
        piece: &mut Piece,
        sent: Sent,
        waiting: &mut Option<Sent>,
    ) -> Result<(), DatabaseError> {
        let now = self.asked_again()?;
        if !now.is_same(server) {
            return Err(self.broken("another server answers there"));
        }
        *server = now;
        let reached = piece.reached();
        if let Some(reason) = server.is_not_read_from(reached) {
            return Err(self.broken(format!("its log is not the one that it sends: {reason}")));
        }
        if server.is_reached(reached) {
            *waiting = None;
            // A commit has its time before it is written, and is not among the transactions until it is.
            if server.is_quiet_behind(&sent) {
                piece.until(server.complete_until());
            }
            return Ok(());
        }
        // It says so too while it passes over what was not asked for; then it comes further.
        if waiting.as_ref() == Some(&sent) {
            return Err(self.broken("the server has transactions that it does not send"));
        }
        *waiting = Some(sent);
        Ok(())
    }

    fn asked_again(&self) -> Result<Source, DatabaseError> {
        self.asked().map_err(|unfit| match unfit {
            Unfit::Database(error) => error,
            Unfit::Off | Unfit::Incomplete(_) => self.broken("its log was turned off"),
        })
    }

    /// The server has ended the stream: as it was asked to after everything, or because it was told to.
    fn ended(&self, server: &Source, piece: &Piece) -> Result<Over, DatabaseError> {
        match self.options.once && server.is_reached(piece.reached()) {
            true => Ok(Over::CaughtUp),
            false => Err(self.broken("the server has ended the stream of its log")),
        }
    }

    /// Seals a piece and gives it to the spool.
    fn hand_on(&mut self, piece: &mut Piece, server: &mut Source) -> Result<(), DatabaseError> {
        let wrong = |error: &dyn std::fmt::Display| DatabaseError::Unexpected(error.to_string());
        if piece.is_ahead_of(server) {
            self.look_at_clock(server);
        }
        let (bytes, facts) = piece.finish(server);
        for note in &facts.notes {
            if !self.report.alarms.contains(note) {
                self.alarm(note.clone());
            }
        }
        let new = NewLog {
            source: self.source.name.clone(),
            sequence: self.sequence + 1,
            previous: self.previous,
            written: Utc::now(),
            program: self.options.program.clone(),
            facts: serde_json::to_value(&facts).map_err(|error| wrong(&error))?,
        };
        let sealed = self
            .repository
            .seal_log(&new, &bytes)
            .map_err(|error| wrong(&error))?;
        self.spool
            .push(&sealed)
            .map_err(|error| wrong(&format!("{}: {error}", self.spool.folder().display())))?;
        self.took(sealed.key(), facts, bytes.len() as u64);
        piece.reuse(bytes);
        let status = self.spool.status();
        (self.say)(Said::Stored {
            pieces: status.stored,
            transactions: self.report.transactions,
            until: self.report.until,
        });
        Ok(())
    }

    /// A commit is ahead of what is known of the server's clock: the clock may have been set since.
    fn look_at_clock(&self, server: &mut Source) {
        match self.asked_again() {
            Ok(now) if now.is_same(server) => server.set_clock(&now),
            Ok(_) => {}
            // What is stored now promises less, that is all.
            Err(error) => tracing::debug!(%error, "the server does not tell its time"),
        }
    }

    /// A piece is in the spool: what follows goes on behind it.
    fn took(&mut self, key: &LogKey, facts: PieceFacts, plain: u64) {
        self.sequence = key.sequence;
        self.previous = Some(key.id);
        self.report.transactions += facts.transactions;
        self.report.log_bytes += plain;
        self.report.until = self.report.until.max(facts.until);
        let clock = self.end.as_ref().and_then(End::clock);
        self.end = Some(End::of(facts, clock));
    }

    fn finish(&mut self) -> Result<ArchiveReport> {
        let status = self.spool.status();
        self.report.pieces = status.stored;
        self.report.stored_bytes = status.stored_bytes;
        if status.waiting > 0 {
            return Err(Error::NotStored {
                pieces: status.waiting,
                folder: self.spool.folder().to_owned(),
                reason: status
                    .failing
                    .unwrap_or_else(|| "there was no time".to_owned()),
            });
        }
        Ok(self.report.clone())
    }
}

/// Microseconds since 1970.
#[must_use]
pub fn micros(time: DateTime<Utc>) -> u64 {
    u64::try_from(time.timestamp_micros()).unwrap_or_default()
}

/// Microseconds since 1970 as a time.
#[must_use]
pub fn time_of(micros: u64) -> DateTime<Utc> {
    i64::try_from(micros)
        .ok()
        .and_then(DateTime::from_timestamp_micros)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Microseconds since 1970, for people.
#[must_use]
pub fn shown_time(micros: u64) -> String {
    time_of(micros).to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Whether nothing went wrong but the connection, which was not needed any more.
fn is_of_the_connection(error: &Error) -> bool {
    matches!(
        error,
        Error::Repository(reprise_repository::Error::Interrupted)
            | Error::Database {
                source: DatabaseError::Connection { .. },
                ..
            }
    )
}

/// Whether the server refuses because its history is another one: MariaDB tells so by the numbers that it lacks.
fn is_of_another_history(error: &DatabaseError) -> bool {
    matches!(error, DatabaseError::Server { code: code::LOG_NOT_READABLE, message }
        if message.contains(NOT_IN_ITS_LOG))
}

/// Whether waiting may help.
fn may_pass(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::Connection { .. } => true,
        // Of another archiver both would wait for the other to end.
        DatabaseError::Server { message, .. } => !message.contains(SAME_REPLICA),
        DatabaseError::Unexpected(_) => true,
        _ => false,
    }
}

fn described(error: &Error) -> String {
    match error {
        Error::Database { doing, source } => format!("cannot {doing}: {source}"),
        other => other.to_string(),
    }
}
