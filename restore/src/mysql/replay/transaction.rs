//! A transaction of the log while it is read.

use reprise_snapshotters::mysql::binlog::{
    Event, Gtid, Payload, Prepared, Query, TransactionStart, Variable, begun, has_rows, kind,
    plain_rows, plain_statement,
};

use super::course::Verdict;
use super::rows::Rows;
use super::statement::Statement;
use super::target::Ending;
use super::{log_error, named};
use crate::error::{Error, Result};

/// What it consists of.
#[derive(Debug)]
pub(super) enum Step {
    Rows(Vec<u8>),
    Statement(Box<Statement>),
}

impl Step {
    fn len(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.len(),
            Self::Statement(statement) => statement.text.len(),
        }
    }
}

/// What is to be done with an event of a transaction, after what can be done with it alone.
#[derive(Debug)]
pub(super) enum Taken {
    Nothing,
    /// Rows of this table follow.
    Table(Event),
    /// It is compressed: its events follow.
    Payload(Payload),
}

/// A transaction, as far as it is read and not applied yet.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) gtid: Gtid,
    pub(super) committed: Option<u64>,
    pub(super) start: Option<TransactionStart>,
    pub(super) verdict: Verdict,
    /// Whether it has a begin and a commit.
    pub(super) group: bool,
    pub(super) xid: Option<String>,
    pub(super) ending: Ending,
    pub(super) steps: Vec<Step>,
    size: usize,
    pub(super) rows: Rows,
    variables: Vec<Variable>,
    /// Events with rows, and statements.
    pub(super) events: u64,
    pub(super) statements: u64,
    /// The first statement that commits by itself.
    pub(super) definition: Option<Statement>,
    pub(super) nontransactional: bool,
    /// Whether its beginning is being applied.
    pub(super) begun: bool,
}

impl Transaction {
    pub(super) fn new(start: Option<(&TransactionStart, &Event)>, verdict: Verdict) -> Self {
        let (said, event) = start.unzip();
        let gtid = said.map_or(Gtid::Anonymous, |start| start.gtid.clone());
        // MariaDB has no statement that begins one.
        let group =
            matches!(gtid, Gtid::Mariadb { .. }) && said.is_some_and(|start| !start.standalone);
        Self {
            committed: said.and_then(|start| start.committed),
            start: said.cloned(),
            gtid,
            verdict,
            group,
            xid: event.and_then(begun).map(|xid| xid.to_string()),
            ending: Ending::Itself,
            steps: Vec::new(),
            size: 0,
            rows: Rows::default(),
            variables: Vec::new(),
            events: 0,
            statements: 0,
            definition: None,
            nontransactional: false,
            begun: false,
        }
    }

    pub(super) fn name(&self) -> String {
        named(&self.gtid, self.committed)
    }

    /// Whether it is to be applied, as far as is known.
    pub(super) fn counts(&self) -> bool {
        matches!(self.verdict, Verdict::Apply | Verdict::Ask)
    }

    /// How much of it is waiting.
    pub(super) fn size(&self) -> usize {
        self.size + self.rows.len()
    }

    /// Takes what is waiting.
    pub(super) fn take_steps(&mut self) -> Vec<Step> {
        self.size = 0;
        std::mem::take(&mut self.steps)
    }

    pub(super) fn push(&mut self, step: Step) {
        self.size += step.len();
        self.steps.push(step);
    }

    /// What is left of its rows becomes a step.
    pub(super) fn rest_of_rows(&mut self) {
        if let Some(rows) = self.rows.take() {
            self.push(Step::Rows(rows));
        }
    }

    fn refused(&self, reason: String) -> Error {
        Error::ReplayRefused {
            transaction: self.name(),
            reason,
        }
    }

    /// Takes an event. Rows are put together up to `limit`, and none may be longer than `most`.
    pub(super) fn take(
        &mut self,
        event: Event,
        limit: usize,
        most: usize,
        checked: bool,
    ) -> Result<Taken> {
        match event.kind() {
            kind::QUERY => self.query(&event)?,
            kind::MARIADB_QUERY_COMPRESSED => {
                self.query(&plain_statement(&event).map_err(log_error)?)?;
            }
            kind::XID => self.ending = Ending::Commit,
            kind::XA_PREPARE => self.prepared(&event)?,
            kind::INTVAR | kind::RAND | kind::USER_VAR => {
                self.variables
                    .push(Variable::of(&event).map_err(log_error)?);
            }
            kind::TABLE_MAP => {
                let part = self.rows.table(event.clone(), limit);
                part.into_iter()
                    .for_each(|part| self.push(Step::Rows(part)));
                return Ok(Taken::Table(event));
            }
            kind::TRANSACTION_PAYLOAD => {
                let payload = Payload::open(&event, checked).map_err(log_error)?;
                return Ok(Taken::Payload(payload));
            }
            rows if has_rows(rows) => {
                let plain = plain_rows(&event).map_err(log_error)?;
                self.rows_event(plain.as_ref().unwrap_or(&event), limit, most)?;
            }
            kind::ROWS_QUERY | kind::MARIADB_ANNOTATE_ROWS => {}
            _ if event.header().is_ignorable() => {}
            kind => return Err(self.refused(unknown(kind))),
        }
        Ok(Taken::Nothing)
    }

    fn rows_event(&mut self, event: &Event, limit: usize, most: usize) -> Result<()> {
        if event.bytes().len() > most {
            return Err(self.refused(format!(
                "an event of {} bytes is larger than the target accepts: raise max_allowed_packet on the target",
                event.bytes().len()
            )));
        }
        self.events += 1;
        let part = self.rows.rows(event, limit);
        part.into_iter()
            .for_each(|part| self.push(Step::Rows(part)));
        Ok(())
    }

    fn prepared(&mut self, event: &Event) -> Result<()> {
        let prepared = Prepared::of(event).map_err(log_error)?;
        self.xid = Some(prepared.xid.to_string());
        self.ending = match prepared.one_phase {
            true => Ending::OnePhase,
            false => Ending::Prepare,
        };
        Ok(())
    }

    fn query(&mut self, event: &Event) -> Result<()> {
        let query = Query::of(event).map_err(log_error)?;
        if query.is("BEGIN") {
            self.group = true;
        } else if query.is("COMMIT") {
            self.ending = Ending::Commit;
        } else if query.is("ROLLBACK") {
            self.ending = Ending::Rollback;
        } else if query.begins("XA START ") {
            let xid = query.text.trim_ascii_start().get("XA START ".len()..);
            let xid = String::from_utf8_lossy(xid.unwrap_or_default());
            self.xid = Some(xid.trim().to_owned());
            self.group = true;
        } else if !(query.begins("XA END ") && self.xid.is_some()) {
            self.statement(event, &query)?;
        }
        Ok(())
    }

    fn statement(&mut self, event: &Event, query: &Query<'_>) -> Result<()> {
        let variables = std::mem::take(&mut self.variables);
        let statement =
            Statement::new(event, query, variables).map_err(|reason| self.refused(reason))?;
        if statement.begins(&["XA", "COMMIT"]) || statement.begins(&["XA", "ROLLBACK"]) {
            if self.xid.take().is_some() && self.events > 0 {
                return Err(self.refused("it ends in an unsupported way".to_owned()));
            }
            self.group = false;
        }
        if self.definition.is_none() && (statement.is_definition() || !self.group) {
            if self.begun {
                return Err(self.refused(
                    "a DDL statement follows too many rows in the same transaction".to_owned(),
                ));
            }
            self.definition = Some(statement.clone());
        }
        self.rest_of_rows();
        self.events += 1;
        self.statements += 1;
        self.push(Step::Statement(Box::new(statement)));
        Ok(())
    }
}

/// Why a kind of events is not replayed.
pub(super) fn unknown(number: u8) -> String {
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
