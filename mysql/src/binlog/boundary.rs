//! Where transactions begin and end.

use serde::{Deserialize, Serialize};

use crate::binlog::control::{Gtid, TransactionStart};
use crate::binlog::event::{Event, EventError, kind};
use crate::binlog::query::QueryEvent;
use crate::log_time::LogTime;

/// Where an event is relative to transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventBoundary {
    /// In no transaction.
    Outside,
    /// It announces a transaction.
    Start,
    /// Inside a transaction.
    Inside,
    /// The last event of a transaction.
    End,
}

/// A complete transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedTransaction {
    /// Its GTID.
    pub gtid: Gtid,
    /// Commit time. MariaDB logs seconds only.
    pub committed: LogTime,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum BoundaryState {
    /// Between transactions.
    Outside,
    /// The GTID was read; the next event decides.
    Started,
    /// Between begin and commit.
    Open,
}

/// Tracks transaction boundaries event by event.
#[derive(Debug, Clone)]
pub struct TransactionBoundaryParser {
    state: BoundaryState,
    start: Option<TransactionStart>,
    completed: Option<LoggedTransaction>,
}

impl Default for TransactionBoundaryParser {
    fn default() -> Self {
        Self {
            state: BoundaryState::Outside,
            start: None,
            completed: None,
        }
    }
}

impl TransactionBoundaryParser {
    /// Whether a transaction is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state != BoundaryState::Outside
    }

    /// The start event of the open transaction, or of the last one.
    #[must_use]
    pub fn start(&self) -> Option<&TransactionStart> {
        self.start.as_ref()
    }

    /// The transaction that the last event completed.
    pub fn take_completed(&mut self) -> Option<LoggedTransaction> {
        self.completed.take()
    }

    /// Discards a transaction that will not be continued.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Processes an event and returns where it is.
    ///
    /// # Errors
    /// When a relevant event cannot be parsed.
    pub fn feed_event(&mut self, event: &Event) -> Result<EventBoundary, EventError> {
        if let Some(start) = TransactionStart::from_event(event)? {
            self.start = Some(start);
            self.state = BoundaryState::Started;
            return Ok(EventBoundary::Start);
        }
        let place = match event.kind() {
            kind::FORMAT_DESCRIPTION
            | kind::ROTATE
            | kind::STOP
            | kind::PREVIOUS_GTIDS
            | kind::MARIADB_GTID_LIST
            | kind::MARIADB_BINLOG_CHECKPOINT
            | kind::MARIADB_START_ENCRYPTION
            | kind::HEARTBEAT
            | kind::HEARTBEAT_V2 => {
                // A transaction that was open when the server stopped was not committed.
                if matches!(event.kind(), kind::FORMAT_DESCRIPTION | kind::STOP) {
                    self.state = BoundaryState::Outside;
                }
                EventBoundary::Outside
            }
            _ if self.state == BoundaryState::Outside => self.feed_outside_event(event)?,
            kind::XID | kind::XA_PREPARE | kind::TRANSACTION_PAYLOAD => EventBoundary::End,
            kind::QUERY => self.feed_query(event)?,
            kind::MARIADB_QUERY_COMPRESSED => self.feed_compressed_query(),
            _ => EventBoundary::Inside,
        };
        if place == EventBoundary::End {
            self.complete_transaction(event);
        }
        Ok(place)
    }

    /// A log without GTIDs, of an old server.
    fn feed_outside_event(&mut self, event: &Event) -> Result<EventBoundary, EventError> {
        match event.kind() {
            kind::QUERY
            | kind::INTVAR
            | kind::RAND
            | kind::USER_VAR
            | kind::TABLE_MAP
            | kind::MARIADB_ANNOTATE_ROWS => {
                self.start = None;
                self.state = BoundaryState::Started;
                match event.kind() {
                    kind::QUERY => self.feed_query(event),
                    _ => Ok(EventBoundary::Inside),
                }
            }
            _ => Ok(EventBoundary::Outside),
        }
    }

    fn feed_query(&mut self, event: &Event) -> Result<EventBoundary, EventError> {
        let query = QueryEvent::from_event(event)?;
        // A MariaDB transaction has no BEGIN, unless it is a single statement.
        let begun = self.state == BoundaryState::Open
            || self.start.as_ref().is_some_and(|start| {
                matches!(start.gtid, Gtid::Mariadb { .. }) && !start.standalone
            });
        if query.is_exactly("BEGIN")
            || query.starts_with("XA START")
            || query.starts_with("XA BEGIN")
        {
            self.state = BoundaryState::Open;
            return Ok(EventBoundary::Inside);
        }
        let ends = ["COMMIT", "ROLLBACK"]
            .iter()
            .any(|words| query.is_exactly(words))
            || ["XA COMMIT", "XA ROLLBACK"]
                .iter()
                .any(|words| query.starts_with(words));
        if begun && !ends {
            self.state = BoundaryState::Open;
            return Ok(EventBoundary::Inside);
        }
        Ok(EventBoundary::End)
    }

    /// Only long statements are compressed: none that begins or ends a transaction.
    fn feed_compressed_query(&mut self) -> EventBoundary {
        let standalone = self.start.as_ref().is_none_or(|start| start.standalone);
        if self.state == BoundaryState::Open || !standalone {
            self.state = BoundaryState::Open;
            return EventBoundary::Inside;
        }
        EventBoundary::End
    }

    fn complete_transaction(&mut self, event: &Event) {
        self.state = BoundaryState::Outside;
        let seconds = LogTime::from_seconds(event.header().timestamp);
        self.completed = Some(match &self.start {
            Some(start) => LoggedTransaction {
                gtid: start.gtid.clone(),
                committed: start.committed.unwrap_or(seconds),
            },
            None => LoggedTransaction {
                gtid: Gtid::Anonymous,
                committed: seconds,
            },
        });
    }
}
