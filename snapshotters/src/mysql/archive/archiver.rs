//! Keeping a log: what an archiver that died has left, streams one after the other, pieces handed on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use reprise_repository::{LogKey, NewLog, ObjectId, Progress, Repository};

use super::facts::PieceFacts;
use super::origin::End;
use super::piece::Piece;
use super::server::Source;
use super::spool::{NoSpool, Spool};
use super::stored;
use super::stream::Replica;
use super::{ArchiveOptions, ArchiveReport, ArchiveSource, Said};
use crate::error::{Error, Result};
use crate::mysql::binlog;
use crate::mysql::error::DatabaseError;

/// First and longest pause before the server is tried again.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// So long what was received may wait for the repository when the program is told to end.
const GRACE: Duration = Duration::from_secs(30);

/// Another archiver has taken over: the server ended this stream for it.
const SAME_REPLICA: &str = "same server_uuid/server_id";

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
            return Err(internal(
                "the thread that stores log segments ended unexpectedly",
            ));
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
pub(super) enum Over {
    /// The server has sent all that it had.
    CaughtUp,
    /// It was asked to stop.
    Stopped,
    /// The spool is full.
    Full,
}

/// Keeps a server's log.
pub(super) struct Archiver<'a> {
    pub(super) repository: &'a Repository,
    pub(super) source: &'a ArchiveSource,
    pub(super) options: &'a ArchiveOptions,
    pub(super) progress: &'a Arc<Progress>,
    pub(super) say: &'a mut dyn FnMut(Said),
    pub(super) spool: &'a Spool,
    pub(super) replica: Replica,
    /// Where the last piece ends that was handed on.
    pub(super) end: Option<End>,
    /// Why the server does not go on there: its history is another one.
    pub(super) refused: Option<String>,
    pub(super) sequence: u64,
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
            let trouble = format!("{}; retrying", described(&failure));
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
            "the spool is full (log segments waiting: {}, bytes: {}): the binary log is not read until segments are stored{}",
            status.waiting,
            status.bytes,
            status
                .failing
                .map_or_else(String::new, |reason| format!("; last error: {reason}")),
        )));
        while self.progress.check().is_ok()
            && !self.spool.has_room(self.options.spool_bytes_max / 2)
        {
            self.spool.wait(Duration::from_secs(1));
        }
    }

    pub(super) fn alarm(&mut self, alarm: String) {
        if !self.report.alarms.contains(&alarm) {
            self.report.alarms.push(alarm.clone());
        }
        (self.say)(Said::Alarm(alarm));
    }

    /// Seals a piece and gives it to the spool.
    pub(super) fn hand_on(
        &mut self,
        piece: &mut Piece,
        server: &mut Source,
    ) -> Result<(), DatabaseError> {
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
                reason: status.failing.unwrap_or_else(|| {
                    "they were not stored before the archiver had to stop".to_owned()
                }),
            });
        }
        Ok(self.report.clone())
    }
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
