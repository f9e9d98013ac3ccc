//! Archiving a log: segments left by a dead archiver, one stream after the other, segments handed to the spool.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reprise_mysql::log::{SegmentFacts, find_newest_segment};
use reprise_mysql::{DatabaseError, binlog};
use reprise_repository::{LogSegmentKey, NewLogSegment, ObjectId, Progress, Repository};

use super::segment::LogSegmentBuilder;
use super::source_server::SourceServer;
use super::spool::{Spool, SpoolError};
use super::start_position::ArchiveEnd;
use super::stream::ReplicaIdentity;
use super::types::{ArchiveEvent, ArchiveOptions, ArchiveReport, ArchiveSource};
use crate::error::{Error, Result};

/// First and longest delay before the server is tried again.
const RETRY_PAUSE_MIN: Duration = Duration::from_secs(1);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);

/// How long received bytes may wait for the repository when the program is asked to end.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);

/// How often keys are read again where a request is dear.
const KEYS_INTERVAL: Duration = Duration::from_secs(60);

/// Another archiver took over: the server ended this stream in favour of the other one.
const DUPLICATE_REPLICA_ID: &str = "same server_uuid/server_id";

/// Archives a server's log until `progress` is cancelled, or with `once` until everything is stored.
///
/// # Errors
/// When the server cannot be archived at all, the repository cannot be read, or what was received could not be
/// be stored in the end. Transient errors are retried.
pub fn archive_log(
    repository: &Repository,
    source: &ArchiveSource,
    options: &ArchiveOptions,
    progress: &Arc<Progress>,
    say: &mut dyn FnMut(ArchiveEvent),
) -> Result<ArchiveReport> {
    repository.require_writer()?;
    let spool = open_spool(options)?;
    let newest = find_newest_segment(repository, &source.name)?;
    let mut archiver = Archiver {
        repository: repository.clone(),
        keys_read: Instant::now(),
        source,
        options,
        progress,
        on_event: say,
        spool: &spool,
        replica: replica_identity(repository, &source.name),
        refusal: None,
        sequence: newest.key.as_ref().map_or(0, |key| key.sequence),
        previous: newest.key.map(|key| key.id),
        archive_end: newest
            .readable
            .map(|piece| ArchiveEnd::after_segment(piece.facts, None)),
        report: ArchiveReport::default(),
    };
    archiver.resume_spooled_segments()?;
    std::thread::scope(|scope| {
        let storing = scope.spawn(|| spool.store_all(repository, &source.name));
        let result = archiver.run();
        let now = Instant::now();
        spool.close(if result.is_ok() {
            now + SHUTDOWN_GRACE
        } else {
            now
        });
        let joined = storing.join();
        let report = archiver.final_report();
        let over = result?;
        if joined.is_err() {
            return Err(internal_error(
                "the thread that stores log segments ended unexpectedly",
            ));
        }
        let report = report?;
        match over {
            // Without `once`, a stop request is the normal end.
            LogStreamEnd::Stopped if options.once => {
                Err(reprise_repository::Error::Interrupted.into())
            }
            _ => Ok(report),
        }
    })
}

fn internal_error(reason: &str) -> Error {
    reprise_repository::Error::Internal(reason.to_owned()).into()
}

fn open_spool(options: &ArchiveOptions) -> Result<Spool> {
    Spool::open(&options.spool_directory, options.spool_bytes_max).map_err(|error| match error {
        SpoolError::Locked => Error::ArchiverRunning {
            directory: options.spool_directory.clone(),
        },
        SpoolError::Io(source) => Error::Spool {
            directory: options.spool_directory.clone(),
            source,
        },
    })
}

/// The same for the same source in the same repository, wherever the archiver runs.
fn replica_identity(repository: &Repository, source: &str) -> ReplicaIdentity {
    let name = format!("{} {source}", repository.config().repository);
    let hash = blake3::hash(name.as_bytes());
    let bytes = hash.as_bytes();
    let id = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) | 1 << 31;
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&bytes[4..20]);
    ReplicaIdentity {
        id,
        uuid: binlog::GtidSource::new(uuid, None).to_string(),
    }
}

/// How a stream ended.
pub(super) enum LogStreamEnd {
    /// The server has sent all that it had.
    CaughtUp,
    /// A stop was requested.
    Stopped,
    /// The spool is full.
    SpoolFull,
}

/// Archives a server's log.
pub(super) struct Archiver<'a> {
    pub(super) repository: Repository,
    /// When its keys were read.
    keys_read: Instant,
    pub(super) source: &'a ArchiveSource,
    pub(super) options: &'a ArchiveOptions,
    pub(super) progress: &'a Arc<Progress>,
    pub(super) on_event: &'a mut dyn FnMut(ArchiveEvent),
    pub(super) spool: &'a Spool,
    pub(super) replica: ReplicaIdentity,
    /// The end of the last segment that was spooled.
    pub(super) archive_end: Option<ArchiveEnd>,
    /// Why the server does not continue there: its history diverged.
    pub(super) refusal: Option<String>,
    pub(super) sequence: u64,
    previous: Option<ObjectId>,
    report: ArchiveReport,
}

impl Archiver<'_> {
    /// Resumes with segments that a dead archiver left in the spool, as far as they fit.
    fn resume_spooled_segments(&mut self) -> Result<()> {
        let folder = self.spool.directory().to_owned();
        let failed = |source| Error::Spool {
            directory: folder.clone(),
            source,
        };
        for (sequence, id, path) in self.spool.leftover_segments().map_err(failed)? {
            let bytes = std::fs::read(&path).map_err(failed)?;
            let sealed =
                self.repository
                    .log_segment_from_bytes(&self.source.name, sequence, bytes.into());
            let record = self.repository.read_sealed_record(&sealed);
            match record {
                Ok(record)
                    if sealed.key().id == id
                        && Some(sequence) == self.sequence.checked_add(1)
                        && record.previous == self.previous =>
                {
                    let facts = SegmentFacts::from_record(&record)
                        .map_err(|reason| internal_error(&reason))?;
                    self.spool.enqueue(sequence, path, sealed.key().size);
                    self.record_spooled_segment(sealed.key(), facts, record.plain);
                }
                // Already stored, or without a stored predecessor: the server is asked for it again.
                _ => std::fs::remove_file(&path).map_err(failed)?,
            }
        }
        Ok(())
    }

    fn run(&mut self) -> Result<LogStreamEnd> {
        let mut pause = RETRY_PAUSE_MIN;
        let mut connected = false;
        while self.progress.check_cancelled().is_ok() {
            let (before, refused) = (self.sequence, self.refusal.is_some());
            let ended = self.stream_log(&mut connected);
            self.check_log_extended()?;
            let failure = match ended {
                Ok(LogStreamEnd::SpoolFull) => {
                    self.wait_for_room();
                    continue;
                }
                Ok(over) => return Ok(over),
                Err(failure) => failure,
            };
            if self.progress.check_cancelled().is_err() {
                return match is_connection_error(&failure) {
                    true => Ok(LogStreamEnd::Stopped),
                    false => Err(failure),
                };
            }
            if self.refusal.is_some() && !refused {
                continue;
            }
            let passes = matches!(&failure, Error::Database { source, .. } if is_retryable(source));
            // A first connection that fails does not succeed by waiting.
            if !passes || self.options.once || !connected {
                return Err(failure);
            }
            let trouble = format!("{}; retrying", describe_error(&failure));
            (self.on_event)(ArchiveEvent::Warning(trouble));
            if self.sequence > before {
                pause = RETRY_PAUSE_MIN;
            }
            self.wait_before_retry(pause);
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
        Ok(LogStreamEnd::Stopped)
    }

    /// What is stored must be what a reader takes for the log.
    fn check_log_extended(&self) -> Result<()> {
        match self.spool.not_extended() {
            None => Ok(()),
            Some(reason) => Err(Error::LogNotExtended {
                source_name: self.source.name.clone(),
                reason,
            }),
        }
    }

    fn wait_before_retry(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && self.progress.check_cancelled().is_ok() {
            self.spool.wait_for_change(Duration::from_millis(200));
        }
    }

    /// Disconnected: a stream that nobody reads would keep the server from purging its log.
    fn wait_for_room(&mut self) {
        let status = self.spool.status();
        (self.on_event)(ArchiveEvent::Warning(format!(
            "the spool is full (log segments waiting: {}, bytes: {}): the binary log is not read until segments are stored{}",
            status.waiting,
            status.bytes,
            status
                .last_error
                .map_or_else(String::new, |reason| format!("; last error: {reason}")),
        )));
        while self.progress.check_cancelled().is_ok()
            && !self.spool.has_room(self.options.spool_bytes_max / 2)
        {
            self.spool.wait_for_change(Duration::from_secs(1));
        }
    }

    pub(super) fn raise_alarm(&mut self, alarm: String) {
        if !self.report.alarms.contains(&alarm) {
            self.report.alarms.push(alarm.clone());
        }
        (self.on_event)(ArchiveEvent::Alarm(alarm));
    }

    /// Finishes a segment and gives it to the spool.
    pub(super) fn spool_segment(
        &mut self,
        piece: &mut LogSegmentBuilder,
        server: &mut SourceServer,
    ) -> Result<(), DatabaseError> {
        let wrong =
            |error: &dyn std::fmt::Display| DatabaseError::UnexpectedResponse(error.to_string());
        if piece.is_ahead_of(server) {
            self.refresh_clock(server);
        }
        let host_time = (self.options.clock)();
        let (bytes, facts) = piece.finish(server, host_time);
        for note in &facts.notes {
            if !self.report.alarms.contains(note) {
                self.raise_alarm(note.clone());
            }
        }
        let new = NewLogSegment {
            source: self.source.name.clone(),
            sequence: self.sequence.saturating_add(1),
            previous: self.previous,
            written: host_time,
            program: self.options.program.clone(),
            facts: serde_json::to_value(&facts).map_err(|error| wrong(&error))?,
        };
        self.read_keys_again();
        let sealed = self
            .repository
            .seal_log_segment(&new, &bytes)
            .map_err(|error| wrong(&error))?;
        self.spool
            .write_segment(&sealed)
            .map_err(|error| wrong(&format!("{}: {error}", self.spool.directory().display())))?;
        self.record_spooled_segment(sealed.key(), facts, bytes.len() as u64);
        piece.reuse_buffer(bytes);
        let status = self.spool.status();
        (self.on_event)(ArchiveEvent::Stored {
            segments: status.stored,
            transactions: self.report.transactions,
            until: self.report.until,
        });
        Ok(())
    }

    /// Whom a segment is encrypted to must not be what was true when the archiver was started, months ago.
    fn read_keys_again(&mut self) {
        if !self.repository.reads_are_cheap() && self.keys_read.elapsed() < KEYS_INTERVAL {
            return;
        }
        match self.repository.with_current_keys() {
            Ok(current) => {
                self.repository = current;
                self.keys_read = Instant::now();
            }
            // The repository is away: what is received is kept for the recipients that are known.
            Err(error) => tracing::warn!(%error, "cannot read the keys of the repository again"),
        }
    }

    /// A segment is in the spool: the next one continues after it.
    fn record_spooled_segment(&mut self, key: &LogSegmentKey, facts: SegmentFacts, plain: u64) {
        self.sequence = key.sequence;
        self.previous = Some(key.id);
        // Stored numbers may be anything.
        self.report.transactions = self.report.transactions.saturating_add(facts.transactions);
        self.report.log_bytes = self.report.log_bytes.saturating_add(plain);
        self.report.until = self.report.until.max(facts.until);
        let clock = self
            .archive_end
            .as_ref()
            .and_then(ArchiveEnd::last_commit_time);
        self.archive_end = Some(ArchiveEnd::after_segment(facts, clock));
    }

    fn final_report(&mut self) -> Result<ArchiveReport> {
        self.check_log_extended()?;
        let status = self.spool.status();
        self.report.pieces = status.stored;
        self.report.stored_bytes = status.stored_bytes;
        if status.waiting > 0 {
            return Err(Error::LogNotStored {
                segments: status.waiting,
                directory: self.spool.directory().to_owned(),
                reason: status.last_error.unwrap_or_else(|| {
                    "they were not stored before the archiver had to stop".to_owned()
                }),
            });
        }
        Ok(self.report.clone())
    }
}

/// Whether only the connection failed, which was no longer needed.
fn is_connection_error(error: &Error) -> bool {
    matches!(
        error,
        Error::Repository(reprise_repository::Error::Interrupted)
            | Error::Database {
                source: DatabaseError::Connection { .. },
                ..
            }
    )
}

/// Whether a retry may help.
fn is_retryable(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::Connection { .. } => true,
        // Two archivers would wait for each other to end.
        DatabaseError::Server { message, .. } => !message.contains(DUPLICATE_REPLICA_ID),
        DatabaseError::UnexpectedResponse(_) => true,
        DatabaseError::UnsupportedAuthPlugin { .. }
        | DatabaseError::ServerKeyChanged(_)
        | DatabaseError::TlsNotOffered { .. }
        | DatabaseError::PasswordNotSent { .. }
        | DatabaseError::Interrupted => false,
    }
}

fn describe_error(error: &Error) -> String {
    if let Error::Database { operation, source } = error {
        return format!("cannot {operation}: {source}");
    }
    error.to_string()
}
