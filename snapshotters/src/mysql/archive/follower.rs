//! Following a server: where its stream begins, what it sends, and whether that is still the server's current log.

use std::time::{Duration, Instant};

use reprise_mysql::log::{BinlogPosition, first_needed_position};
use reprise_mysql::wire::{
    ReceivedPacket, WireConnection, is_eof_packet, is_error_packet, parse_error_packet,
};
use reprise_mysql::{DatabaseError, Session, error_code};
use reprise_repository::{Snapshot, SourceKind};

use super::ArchiveEvent;
use super::archiver::{Archiver, LogStreamEnd};
use super::receiver::{LogReceiver, PacketKind};
use super::segment::LogSegmentBuilder;
use super::source_server::{LogUnavailable, SentPosition, SourceServer};
use super::start_position::FileCreationTimes;
use super::stream::{self, HEARTBEAT_SECONDS};
use crate::error::{Error, Result};

/// A server that is silent for this long is considered dead.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(HEARTBEAT_SECONDS * 15);

/// How often a server without new events is asked whether its log is still the one that it sends.
const RECHECK_INTERVAL: Duration = Duration::from_secs(15);

/// MariaDB lacks the transaction after which its log was requested.
const GTID_NOT_IN_LOG: &str = "requested to start from GTID";

impl Archiver<'_> {
    fn query_source(&self) -> Result<SourceServer> {
        let server = || self.source.address.to_string();
        self.open_and_query().map_err(|unfit| match unfit {
            LogUnavailable::BinlogDisabled => Error::NoBinaryLog { server: server() },
            LogUnavailable::ReplicaUpdatesOff(variable) => Error::IncompleteLog {
                server: server(),
                variable,
            },
            LogUnavailable::Database(error) => {
                Error::from_database(format!("query the binary log of {}", server()), error)
            }
        })
    }

    fn open_and_query(&self) -> std::result::Result<SourceServer, LogUnavailable> {
        let mut session = Session::open(&self.source.address, self.progress)?;
        SourceServer::query(&mut session, self.options.clock)
    }

    /// Where to resume, and in which log chain.
    fn start_segment(&mut self, server: &SourceServer) -> Result<LogSegmentBuilder, DatabaseError> {
        let Some(end) = self.archive_end.clone() else {
            let newest = self.newest_snapshot();
            let newest =
                newest.map_err(|error| DatabaseError::UnexpectedResponse(error.to_string()))?;
            let place = newest.as_ref().and_then(first_needed_position);
            let begun = self.file_creation_times(server, place.as_ref())?;
            let beginning = server.first_stream_start(newest.as_ref(), begun, self.refusal.take());
            if let Some(alarm) = &beginning.alarm {
                self.raise_alarm(alarm.clone());
            }
            (self.on_event)(ArchiveEvent::Started(beginning.position.to_string()));
            return Ok(LogSegmentBuilder::new(
                server,
                beginning,
                self.sequence.saturating_add(1),
            ));
        };
        let begun = self.file_creation_times(server, Some(&end.position))?;
        let beginning = server.stream_start_after(&end, begun, self.refusal.take());
        let chain = match &beginning.gap {
            None => end.chain,
            Some(gap) => {
                self.raise_alarm(format!(
                    "gap: {}. No point in time between the end of the archive and the next snapshot can be restored: take a snapshot now",
                    gap.reason
                ));
                self.sequence.saturating_add(1)
            }
        };
        (self.on_event)(ArchiveEvent::Started(beginning.position.to_string()));
        Ok(LogSegmentBuilder::new(server, beginning, chain))
    }

    fn newest_snapshot(&self) -> Result<Option<Snapshot>> {
        let snapshots = self.repository.bound_snapshots(&self.source.name)?;
        let mut newest = snapshots.into_iter().rev();
        Ok(newest.find(|one| one.root.kind == SourceKind::Mysql))
    }

    /// Creation times of the files that tell whether a position is in a server's history.
    fn file_creation_times(
        &self,
        server: &SourceServer,
        place: Option<&BinlogPosition>,
    ) -> Result<FileCreationTimes, DatabaseError> {
        let Some(place) = place else {
            return Ok(FileCreationTimes::default());
        };
        let begun = |file: Option<&str>| match file {
            Some(file) => {
                let address = &self.source.address;
                stream::file_creation_time(address, server, file, &self.replica, self.progress)
            }
            None => Ok(None),
        };
        let (oldest, named) = (server.oldest_file(), server.existing_file(place));
        let first = begun(oldest)?;
        Ok(FileCreationTimes {
            oldest: first,
            named: match named == oldest {
                true => first,
                false => begun(named)?,
            },
        })
    }

    pub(super) fn stream_log(&mut self, connected: &mut bool) -> Result<LogStreamEnd> {
        let mut server = self.query_source()?;
        let doing = format!("read the binary log of {}", self.source.address);
        let failed = |source| Error::from_database(doing.clone(), source);
        let mut piece = self.start_segment(&server).map_err(failed)?;
        for note in piece.notes().to_vec() {
            self.raise_alarm(note);
        }
        let (from, after_gap) = (piece.start_position().clone(), piece.begins_after_gap());
        // A gap must be recorded whatever happens next: a snapshot that closes it is newer.
        if after_gap {
            self.spool_segment(&mut piece, &mut server)
                .map_err(failed)?;
        }
        let mut wire = stream::open_stream(
            &self.source.address,
            &server,
            &from,
            &self.replica,
            self.options.once,
            self.progress,
        )
        .map_err(failed)?;
        *connected = true;
        let mut intake = LogReceiver::from_position(from.file_position());
        let over = self.receive_log(&mut wire, &mut server, &mut intake, &mut piece);
        drop(wire);
        if intake.is_open() {
            piece.discard_open_transaction();
        }
        if matches!(over, Ok(LogStreamEnd::CaughtUp)) {
            piece.confirm_until(server.complete_until());
        }
        let stopped = matches!(over, Ok(LogStreamEnd::Stopped));
        let tells = matches!(over, Ok(LogStreamEnd::CaughtUp)) || stopped && piece.has_until();
        if !piece.is_empty() || tells {
            self.spool_segment(&mut piece, &mut server)
                .map_err(failed)?;
        }
        if let Err(error) = &over
            && is_diverged_history(error)
            && !after_gap
        {
            self.refusal = Some(error.to_string());
        }
        over.map_err(failed)
    }

    fn receive_log(
        &mut self,
        wire: &mut WireConnection,
        server: &mut SourceServer,
        intake: &mut LogReceiver,
        piece: &mut LogSegmentBuilder,
    ) -> Result<LogStreamEnd, DatabaseError> {
        let mut heard = Instant::now();
        let mut marked = Instant::now();
        let mut waiting = None;
        loop {
            if self.progress.check_cancelled().is_err() {
                return Ok(LogStreamEnd::Stopped);
            }
            if let Some(reason) = self.spool.not_extended() {
                return Err(DatabaseError::UnexpectedResponse(reason));
            }
            if !self.spool.has_room(piece.len() as u64) {
                return Ok(LogStreamEnd::SpoolFull);
            }
            let wait = piece
                .first_event_at()
                .map_or(self.options.flush_interval, |begun| {
                    self.options.flush_interval.saturating_sub(begun.elapsed())
                });
            match wire.receive_packet(wait.min(Duration::from_secs(1)))? {
                ReceivedPacket::Timeout if heard.elapsed() > SILENCE_TIMEOUT => {
                    return Err(self
                        .connection_error("timed out: no event and no heartbeat from the server"));
                }
                ReceivedPacket::Timeout => {}
                ReceivedPacket::Packet { bytes, .. }
                    if !intake.expects_more() && is_error_packet(bytes) =>
                {
                    return Err(parse_error_packet(bytes));
                }
                ReceivedPacket::Packet { bytes, .. }
                    if !intake.expects_more() && is_eof_packet(bytes) =>
                {
                    return self.handle_stream_end(server, piece);
                }
                ReceivedPacket::Packet { bytes, more } => {
                    heard = Instant::now();
                    let mut full =
                        |piece: &mut LogSegmentBuilder| self.spool_segment(piece, server);
                    let taken = intake.take_packet(bytes, more, piece, &mut full)?;
                    if let PacketKind::Heartbeat(sent) = taken
                        && !intake.is_open()
                        && !self.options.once
                        && server.query_age() >= RECHECK_INTERVAL
                    {
                        let told = self.recheck_source(server, piece, sent, &mut waiting)?;
                        if told
                            && marked.elapsed() >= self.options.idle_interval
                            && piece.is_empty()
                        {
                            self.spool_segment(piece, server)?;
                            marked = Instant::now();
                        }
                    }
                }
            }
            let due = piece
                .first_event_at()
                .is_some_and(|begun| begun.elapsed() >= self.options.flush_interval);
            if due || piece.remaining_bytes() == 0 {
                self.spool_segment(piece, server)?;
                marked = Instant::now();
            }
        }
    }

    fn connection_error(&self, reason: impl Into<String>) -> DatabaseError {
        DatabaseError::Connection {
            address: self.source.address.to_string(),
            reason: reason.into(),
        }
    }

    /// The server reports nothing new. After a reset it reports so forever, of a log that no longer exists: it is
    /// queried before that is believed. `false`: it has more.
    fn recheck_source(
        &self,
        server: &mut SourceServer,
        piece: &mut LogSegmentBuilder,
        sent: SentPosition,
        waiting: &mut Option<SentPosition>,
    ) -> Result<bool, DatabaseError> {
        let now = self.requery_source()?;
        if !now.is_same_server(server) {
            return Err(self.connection_error("a different server answers at this address now"));
        }
        *server = now;
        let reached = piece.end_position();
        if let Some(reason) = server.find_divergence(reached) {
            return Err(self.connection_error(format!(
                "the server's binary log is no longer the one that it sends: {reason}"
            )));
        }
        if server.is_reached(reached) {
            *waiting = None;
            // A commit gets its time before it is written, and is in the executed set only afterwards.
            let quiet = server.is_idle_after(&sent);
            if quiet {
                piece.confirm_until(server.complete_until());
            }
            return Ok(quiet);
        }
        // It reports so too while it skips events that were not requested; then its position still advances.
        if waiting.as_ref() == Some(&sent) {
            return Err(self
                .connection_error("the server has committed transactions that it does not send"));
        }
        *waiting = Some(sent);
        Ok(false)
    }

    fn requery_source(&self) -> Result<SourceServer, DatabaseError> {
        self.open_and_query().map_err(|unfit| match unfit {
            LogUnavailable::Database(error) => error,
            LogUnavailable::BinlogDisabled | LogUnavailable::ReplicaUpdatesOff(_) => {
                self.connection_error("binary logging was turned off on the server")
            }
        })
    }

    /// The server ended the stream: as requested after the last event, or because it was forced to.
    fn handle_stream_end(
        &self,
        server: &SourceServer,
        piece: &LogSegmentBuilder,
    ) -> Result<LogStreamEnd, DatabaseError> {
        match self.options.once && server.is_reached(piece.end_position()) {
            true => Ok(LogStreamEnd::CaughtUp),
            false => Err(self.connection_error("the server ended the binary log stream")),
        }
    }

    /// A commit is ahead of the known clock of the server: the clock may have been set since.
    pub(super) fn refresh_clock(&self, server: &mut SourceServer) {
        match self.requery_source() {
            Ok(now) if now.is_same_server(server) => server.set_clock(&now),
            Ok(_) => {}
            // Only effect: segments stored now confirm less.
            Err(error) => tracing::debug!(%error, "cannot read the server's clock"),
        }
    }
}

/// Whether the server refuses because its history diverged: MariaDB tells by the GTIDs that it lacks.
fn is_diverged_history(error: &DatabaseError) -> bool {
    matches!(error, DatabaseError::Server { code: error_code::BINLOG_READ_FAILED, message }
        if message.contains(GTID_NOT_IN_LOG))
}
