//! A logged transaction while it is read.

use reprise_mysql::binlog::{
    Event, Gtid, QueryEvent, StatementVariable, TransactionPayload, TransactionStart, XaPrepare,
    decompress_rows, decompress_statement, is_rows_event, kind, prepared_xid,
};
use reprise_mysql::log::LogTime;

use crate::error::{Error, Result};
use crate::mysql::replay::messages::{describe_transaction, log_error};
use crate::mysql::replay::read::row_buffer::RowEventBuffer;
use crate::mysql::replay::replay_progress::ReplayDecision;
use crate::mysql::replay::statement::LoggedStatement;
use crate::mysql::replay::transaction_context::TransactionEnding;

/// Its contents.
#[derive(Debug)]
pub(crate) enum TransactionStep {
    Rows(Vec<u8>),
    Statement(Box<LoggedStatement>),
}

impl TransactionStep {
    fn len(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.len(),
            Self::Statement(statement) => statement.text.len(),
        }
    }
}

/// What the caller must still do with an event of a transaction.
#[derive(Debug)]
pub(crate) enum EventFollowUp {
    Nothing,
    /// Rows of this table follow.
    Table(Event),
    /// It is compressed: its events follow.
    Payload(TransactionPayload),
}

/// A transaction, as far as it is read and not applied yet.
#[derive(Debug)]
pub(crate) struct ReplayTransaction {
    pub(crate) gtid: Gtid,
    pub(crate) committed: Option<LogTime>,
    pub(crate) start: Option<TransactionStart>,
    pub(crate) decision: ReplayDecision,
    /// Whether it has a begin and a commit.
    pub(crate) group: bool,
    pub(crate) xid: Option<String>,
    pub(crate) ending: TransactionEnding,
    pub(crate) steps: Vec<TransactionStep>,
    size: usize,
    pub(crate) rows: RowEventBuffer,
    variables: Vec<StatementVariable>,
    /// Events with rows, and statements.
    pub(crate) events: u64,
    pub(crate) statements: u64,
    /// The first statement that commits implicitly.
    pub(crate) ddl: Option<LoggedStatement>,
    pub(crate) nontransactional: bool,
    /// Whether its first part is being applied.
    pub(crate) begun: bool,
}

impl ReplayTransaction {
    pub(crate) fn new(
        start: Option<(&TransactionStart, &Event)>,
        decision: ReplayDecision,
    ) -> Self {
        let (said, event) = start.unzip();
        let gtid = said.map_or(Gtid::Anonymous, |start| start.gtid.clone());
        // MariaDB has no statement that begins one.
        let group =
            matches!(gtid, Gtid::Mariadb { .. }) && said.is_some_and(|start| !start.standalone);
        Self {
            committed: said.and_then(|start| start.committed),
            start: said.cloned(),
            gtid,
            decision,
            group,
            xid: event.and_then(prepared_xid).map(|xid| xid.to_string()),
            ending: TransactionEnding::Autocommit,
            steps: Vec::new(),
            size: 0,
            rows: RowEventBuffer::default(),
            variables: Vec::new(),
            events: 0,
            statements: 0,
            ddl: None,
            nontransactional: false,
            begun: false,
        }
    }

    pub(crate) fn describe(&self) -> String {
        describe_transaction(&self.gtid, self.committed)
    }

    /// Whether it is to be applied, as far as is known.
    pub(crate) fn should_apply(&self) -> bool {
        matches!(
            self.decision,
            ReplayDecision::Apply | ReplayDecision::DecideAtCommit
        )
    }

    /// The number of bytes that wait.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.size + self.rows.len()
    }

    /// Takes the waiting steps.
    pub(crate) fn take_steps(&mut self) -> Vec<TransactionStep> {
        self.size = 0;
        std::mem::take(&mut self.steps)
    }

    pub(crate) fn push_step(&mut self, step: TransactionStep) {
        self.size += step.len();
        self.steps.push(step);
    }

    /// Makes the remaining rows a step.
    pub(crate) fn push_remaining_rows(&mut self) {
        if let Some(rows) = self.rows.take_all() {
            self.push_step(TransactionStep::Rows(rows));
        }
    }

    fn refused_error(&self, reason: String) -> Error {
        Error::TransactionNotReplayable {
            transaction: self.describe(),
            reason,
        }
    }

    /// Adds an event. Rows are combined up to `limit`, and no part may be longer than `most`.
    pub(crate) fn add_event(
        &mut self,
        event: Event,
        limit: usize,
        most: usize,
        checked: bool,
    ) -> Result<EventFollowUp> {
        match event.kind() {
            kind::QUERY => self.add_query(&event)?,
            kind::MARIADB_QUERY_COMPRESSED => {
                self.add_query(&decompress_statement(&event).map_err(log_error)?)?;
            }
            kind::XID => self.ending = TransactionEnding::Commit,
            kind::XA_PREPARE => self.add_xa_prepare(&event)?,
            kind::INTVAR | kind::RAND | kind::USER_VAR => {
                self.variables
                    .push(StatementVariable::from_event(&event).map_err(log_error)?);
            }
            kind::TABLE_MAP => {
                let part = self.rows.add_table_map(event.clone(), limit);
                part.into_iter()
                    .for_each(|part| self.push_step(TransactionStep::Rows(part)));
                return Ok(EventFollowUp::Table(event));
            }
            kind::TRANSACTION_PAYLOAD => {
                let payload = TransactionPayload::open(&event, checked).map_err(log_error)?;
                return Ok(EventFollowUp::Payload(payload));
            }
            rows if is_rows_event(rows) => {
                let plain = decompress_rows(&event).map_err(log_error)?;
                self.add_rows_event(plain.as_ref().unwrap_or(&event), limit, most)?;
            }
            kind::ROWS_QUERY | kind::MARIADB_ANNOTATE_ROWS => {}
            _ if event.header().is_ignorable() => {}
            kind => return Err(self.refused_error(unsupported_event_reason(kind))),
        }
        Ok(EventFollowUp::Nothing)
    }

    fn add_rows_event(&mut self, event: &Event, limit: usize, most: usize) -> Result<()> {
        if event.bytes().len() > most {
            return Err(self.refused_error(format!(
                "an event of {} bytes is larger than the target accepts: raise max_allowed_packet on the target",
                event.bytes().len()
            )));
        }
        self.events += 1;
        let part = self.rows.add_rows(event, limit);
        part.into_iter()
            .for_each(|part| self.push_step(TransactionStep::Rows(part)));
        Ok(())
    }

    fn add_xa_prepare(&mut self, event: &Event) -> Result<()> {
        let prepared = XaPrepare::from_event(event).map_err(log_error)?;
        self.xid = Some(prepared.xid.to_string());
        self.ending = match prepared.one_phase {
            true => TransactionEnding::OnePhase,
            false => TransactionEnding::Prepare,
        };
        Ok(())
    }

    fn add_query(&mut self, event: &Event) -> Result<()> {
        let query = QueryEvent::from_event(event).map_err(log_error)?;
        if query.is_exactly("BEGIN") {
            self.group = true;
        } else if query.is_exactly("COMMIT") {
            self.ending = TransactionEnding::Commit;
        } else if query.is_exactly("ROLLBACK") {
            self.ending = TransactionEnding::Rollback;
        } else if query.starts_with("XA START ") {
            let xid = query.text.trim_ascii_start().get("XA START ".len()..);
            let xid = String::from_utf8_lossy(xid.unwrap_or_default());
            self.xid = Some(xid.trim().to_owned());
            self.group = true;
        } else if !(query.starts_with("XA END ") && self.xid.is_some()) {
            self.add_statement(event, &query)?;
        }
        Ok(())
    }

    fn add_statement(&mut self, event: &Event, query: &QueryEvent<'_>) -> Result<()> {
        let variables = std::mem::take(&mut self.variables);
        let statement = LoggedStatement::new(event, query, variables)
            .map_err(|reason| self.refused_error(reason))?;
        if statement.starts_with(&["XA", "COMMIT"]) || statement.starts_with(&["XA", "ROLLBACK"]) {
            if self.xid.take().is_some() && self.events > 0 {
                return Err(self.refused_error("it ends in an unsupported way".to_owned()));
            }
            self.group = false;
        }
        if self.ddl.is_none() && (statement.is_ddl() || !self.group) {
            if self.begun {
                return Err(self.refused_error(
                    "a DDL statement follows too many rows in the same transaction".to_owned(),
                ));
            }
            self.ddl = Some(statement.clone());
        }
        self.push_remaining_rows();
        self.events += 1;
        self.statements += 1;
        self.push_step(TransactionStep::Statement(Box::new(statement)));
        Ok(())
    }
}

/// Why an event kind is not replayed.
pub(crate) fn unsupported_event_reason(number: u8) -> String {
    match number {
        kind::INCIDENT => "the source lost events here (incident event)".to_owned(),
        6 | 9 | 10 | 11 | 12 | kind::BEGIN_LOAD_QUERY | kind::EXECUTE_LOAD_QUERY => {
            format!(
                "it contains LOAD DATA in statement format (event type {number}), which is not supported"
            )
        }
        _ => format!("it contains an event of the unknown type {number}"),
    }
}
