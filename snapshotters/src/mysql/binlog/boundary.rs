//! Where transactions begin and end.

use serde::{Deserialize, Serialize};

use super::control::{Gtid, TransactionStart};
use super::event::{Event, EventError, kind};
use super::query::Query;

/// What is known of the transaction that an event belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It belongs to none.
    Outside,
    /// It says that one follows.
    Start,
    /// It is inside of one.
    Inside,
    /// It is the last of one.
    End,
}

/// A transaction that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its number.
    pub gtid: Gtid,
    /// Microseconds since 1970 of its commit. MariaDB tells seconds only.
    pub committed: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Between transactions.
    Outside,
    /// The number was read; what follows decides.
    Started,
    /// Between begin and commit.
    Open,
}

/// Follows a log event by event.
#[derive(Debug, Clone)]
pub struct Boundary {
    state: State,
    start: Option<TransactionStart>,
    ended: Option<Ended>,
}

impl Default for Boundary {
    fn default() -> Self {
        Self {
            state: State::Outside,
            start: None,
            ended: None,
        }
    }
}

impl Boundary {
    /// Whether a transaction is under way.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state != State::Outside
    }

    /// What the transaction that is under way, or was last, said of itself.
    #[must_use]
    pub fn start(&self) -> Option<&TransactionStart> {
        self.start.as_ref()
    }

    /// The transaction that ended with the event just passed.
    pub fn take_ended(&mut self) -> Option<Ended> {
        self.ended.take()
    }

    /// Forgets a transaction that will not be continued.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Passes an event, and says where it stands.
    ///
    /// # Errors
    /// When an event that matters for this cannot be understood.
    pub fn pass(&mut self, event: &Event) -> Result<Place, EventError> {
        if let Some(start) = TransactionStart::of(event)? {
            self.start = Some(start);
            self.state = State::Started;
            return Ok(Place::Start);
        }
        let place = match event.kind() {
            kind::FORMAT
            | kind::ROTATE
            | kind::STOP
            | kind::PREVIOUS_GTIDS
            | kind::MARIADB_GTID_LIST
            | kind::MARIADB_BINLOG_CHECKPOINT
            | kind::MARIADB_START_ENCRYPTION
            | kind::HEARTBEAT
            | kind::HEARTBEAT_V2 => {
                // Whatever was under way when the server stopped was not committed.
                if matches!(event.kind(), kind::FORMAT | kind::STOP) {
                    self.state = State::Outside;
                }
                Place::Outside
            }
            _ if self.state == State::Outside => self.without_start(event)?,
            kind::XID | kind::XA_PREPARE | kind::TRANSACTION_PAYLOAD => Place::End,
            kind::QUERY => self.statement(event)?,
            kind::MARIADB_QUERY_COMPRESSED => self.compressed_statement(),
            _ => Place::Inside,
        };
        if place == Place::End {
            self.end(event);
        }
        Ok(place)
    }

    /// A log without numbers, of an old server.
    fn without_start(&mut self, event: &Event) -> Result<Place, EventError> {
        match event.kind() {
            kind::QUERY
            | kind::INTVAR
            | kind::RAND
            | kind::USER_VAR
            | kind::TABLE_MAP
            | kind::MARIADB_ANNOTATE_ROWS => {
                self.start = None;
                self.state = State::Started;
                match event.kind() {
                    kind::QUERY => self.statement(event),
                    _ => Ok(Place::Inside),
                }
            }
            _ => Ok(Place::Outside),
        }
    }

    fn statement(&mut self, event: &Event) -> Result<Place, EventError> {
        let query = Query::of(event)?;
        // A transaction of MariaDB has no begin, unless it is a single statement.
        let begun = self.state == State::Open
            || self.start.as_ref().is_some_and(|start| {
                matches!(start.gtid, Gtid::Mariadb { .. }) && !start.standalone
            });
        if query.is("BEGIN") || query.begins("XA START") || query.begins("XA BEGIN") {
            self.state = State::Open;
            return Ok(Place::Inside);
        }
        let ends = ["COMMIT", "ROLLBACK"].iter().any(|words| query.is(words))
            || ["XA COMMIT", "XA ROLLBACK"]
                .iter()
                .any(|words| query.begins(words));
        if begun && !ends {
            self.state = State::Open;
            return Ok(Place::Inside);
        }
        Ok(Place::End)
    }

    /// Only statements of some length are compressed: none that begins or ends a transaction.
    fn compressed_statement(&mut self) -> Place {
        let standalone = self.start.as_ref().is_none_or(|start| start.standalone);
        if self.state == State::Open || !standalone {
            self.state = State::Open;
            return Place::Inside;
        }
        Place::End
    }

    fn end(&mut self, event: &Event) {
        self.state = State::Outside;
        let seconds = u64::from(event.header().timestamp) * 1_000_000;
        self.ended = Some(match &self.start {
            Some(start) => Ended {
                gtid: start.gtid.clone(),
                committed: start.committed.unwrap_or(seconds),
            },
            None => Ended {
                gtid: Gtid::Anonymous,
                committed: seconds,
            },
        });
    }
}
