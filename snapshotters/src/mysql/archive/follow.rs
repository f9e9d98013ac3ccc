//! Following a server: where its stream begins, what comes, and whether it is still the log that it says it is.

use std::time::{Duration, Instant};

use reprise_repository::{Snapshot, SourceKind};

use super::Said;
use super::archiver::{Archiver, Over};
use super::facts::LogPlace;
use super::intake::{Intake, Taken};
use super::origin::Begun;
use super::piece::Piece;
use super::placed::first_place;
use super::server::{Sent, Source, Unfit};
use super::stream::{self, HEARTBEAT_SECONDS};
use crate::error::{Error, Result};
use crate::mysql::error::{DatabaseError, code};
use crate::mysql::session::Session;
use crate::mysql::wire::{Arrived, Wire, is_end, is_refusal, refusal};

/// A server that says nothing for so long is not there any more.
const SILENCE_MAX: Duration = Duration::from_secs(HEARTBEAT_SECONDS * 15);

/// A server that has nothing new is asked this often whether its log is still the one that it sends.
const ASK_AGAIN: Duration = Duration::from_secs(15);

/// MariaDB does not have the transaction after which it is asked for its log.
const NOT_IN_ITS_LOG: &str = "requested to start from GTID";

impl Archiver<'_> {
    fn ask(&self) -> Result<Source> {
        let server = || self.source.address.to_string();
        self.asked().map_err(|unfit| match unfit {
            Unfit::Off => Error::NoBinaryLog { server: server() },
            Unfit::Incomplete(variable) => Error::IncompleteLog {
                server: server(),
                variable,
            },
            Unfit::Database(error) => {
                Error::database(format!("query the binary log of {}", server()), error)
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
            let newest = self.newest_snapshot();
            let newest = newest.map_err(|error| DatabaseError::Unexpected(error.to_string()))?;
            let place = newest.as_ref().and_then(first_place);
            let begun = self.files_begun(server, place.as_ref())?;
            let beginning = server.first(newest.as_ref(), begun, self.refused.take());
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
                    "gap: {}. No point in time between the end of the archive and the next snapshot can be restored: take a snapshot now",
                    gap.reason
                ));
                self.sequence + 1
            }
        };
        (self.say)(Said::Begins(beginning.place.to_string()));
        Ok(Piece::new(server, beginning, chain))
    }

    fn newest_snapshot(&self) -> Result<Option<Snapshot>> {
        let (snapshots, _) = self.repository.snapshots_lossy()?;
        let mut newest = snapshots.into_iter().rev();
        Ok(newest
            .find(|one| one.root.source == self.source.name && one.root.kind == SourceKind::Mysql))
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

    pub(super) fn stream(&mut self, connected: &mut bool) -> Result<Over> {
        let mut server = self.ask()?;
        let doing = format!("read the binary log of {}", self.source.address);
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
        let stopped = matches!(over, Ok(Over::Stopped));
        let tells = matches!(over, Ok(Over::CaughtUp)) || stopped && piece.tells_until();
        if !piece.is_empty() || tells {
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
                    return Err(self.broken("timed out: no event and no heartbeat from the server"));
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
                        let told = self.ask_again(server, piece, sent, &mut waiting)?;
                        if told && marked.elapsed() >= self.options.idle && piece.is_empty() {
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
    /// it is asked what it has before it is believed. `false`: it has more.
    fn ask_again(
        &self,
        server: &mut Source,
        piece: &mut Piece,
        sent: Sent,
        waiting: &mut Option<Sent>,
    ) -> Result<bool, DatabaseError> {
        let now = self.asked_again()?;
        if !now.is_same(server) {
            return Err(self.broken("a different server answers at this address now"));
        }
        *server = now;
        let reached = piece.reached();
        if let Some(reason) = server.is_not_read_from(reached) {
            return Err(self.broken(format!(
                "the server's binary log is no longer the one that it sends: {reason}"
            )));
        }
        if server.is_reached(reached) {
            *waiting = None;
            // A commit has its time before it is written, and is not among the transactions until it is.
            let quiet = server.is_quiet_behind(&sent);
            if quiet {
                piece.until(server.complete_until());
            }
            return Ok(quiet);
        }
        // It says so too while it passes over what was not asked for; then it comes further.
        if waiting.as_ref() == Some(&sent) {
            return Err(self.broken("the server has committed transactions that it does not send"));
        }
        *waiting = Some(sent);
        Ok(false)
    }

    fn asked_again(&self) -> Result<Source, DatabaseError> {
        self.asked().map_err(|unfit| match unfit {
            Unfit::Database(error) => error,
            Unfit::Off | Unfit::Incomplete(_) => {
                self.broken("binary logging was turned off on the server")
            }
        })
    }

    /// The server has ended the stream: as it was asked to after everything, or because it was told to.
    fn ended(&self, server: &Source, piece: &Piece) -> Result<Over, DatabaseError> {
        match self.options.once && server.is_reached(piece.reached()) {
            true => Ok(Over::CaughtUp),
            false => Err(self.broken("the server ended the binary log stream")),
        }
    }

    /// A commit is ahead of what is known of the server's clock: the clock may have been set since.
    pub(super) fn look_at_clock(&self, server: &mut Source) {
        match self.asked_again() {
            Ok(now) if now.is_same(server) => server.set_clock(&now),
            Ok(_) => {}
            // What is stored now promises less, that is all.
            Err(error) => tracing::debug!(%error, "cannot read the server's clock"),
        }
    }
}

/// Whether the server refuses because its history is another one: MariaDB tells so by the numbers that it lacks.
fn is_of_another_history(error: &DatabaseError) -> bool {
    matches!(error, DatabaseError::Server { code: code::LOG_NOT_READABLE, message }
        if message.contains(NOT_IN_ITS_LOG))
}
