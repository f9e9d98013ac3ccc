//! Applies a transaction step by step: begin, rows, end. Statements are in `statements`.

use reprise_mysql::{DatabaseError, Flavour};
use reprise_repository::Progress;

use crate::error::Result;
use crate::mysql::replay::applier::binlog_statement::{binlog_statement, describe_row_tables};
use crate::mysql::replay::applier::session::ApplierSession;
use crate::mysql::replay::checkpoint;
use crate::mysql::replay::messages::describe_transaction;
use crate::mysql::replay::pending_change::{self, PendingChange, PendingChangeKind};
use crate::mysql::replay::replay_progress::ReplayCheckpoint;
use crate::mysql::replay::transaction_context::{
    NonAtomicStatement, TransactionContext, TransactionEnding,
};

impl ApplierSession {
    /// Begins a transaction that is applied step by step.
    pub(crate) fn begin_transaction(&mut self, about: TransactionContext) -> Result<()> {
        self.set_format(&about.format)?;
        self.already_applied = false;
        self.prefix.clear();
        self.check_pending(&about).map_err(|error| {
            self.transaction_error(&about, "writing the replay checkpoint", error)
        })?;
        if let Some(xid) = &about.xid {
            self.begin_xa(&about, xid)?;
        } else {
            self.prefix = self.gtid_assignment(&about);
            if about.group {
                self.prefix.push_str("BEGIN");
            }
        }
        self.transaction = Some(about);
        Ok(())
    }

    /// Records a pending change, or finds out whether an interrupted attempt applied it.
    fn check_pending(&mut self, about: &TransactionContext) -> Result<(), DatabaseError> {
        if self.config.keeps_gtids() {
            return Ok(());
        }
        if let Some(pending) = &about.pending {
            self.already_applied = match &pending.what {
                PendingChangeKind::Definition(before) => match &about.non_atomic {
                    Some(NonAtomicStatement::Ddl(statement)) => {
                        pending_change::table_digests(
                            &mut self.session,
                            self.config.flavour,
                            statement,
                        )? != *before
                    }
                    _ => false,
                },
                PendingChangeKind::Prepare if about.xid.is_some() => self.is_prepared(about)?,
                PendingChangeKind::Commit => true,
                _ => false,
            };
            return Ok(());
        }
        let what = match (&about.non_atomic, &about.xid) {
            (_, Some(_)) => PendingChangeKind::Prepare,
            (Some(NonAtomicStatement::Ddl(statement)), None) => PendingChangeKind::Definition(
                pending_change::table_digests(&mut self.session, self.config.flavour, statement)?,
            ),
            (Some(NonAtomicStatement::NontransactionalRows), None) => PendingChangeKind::Rows,
            (None, None) => return Ok(()),
        };
        self.record_pending(about, what)
    }

    pub(crate) fn record_pending(
        &mut self,
        about: &TransactionContext,
        what: PendingChangeKind,
    ) -> Result<(), DatabaseError> {
        let pending = PendingChange {
            transaction: describe_transaction(&about.gtid, about.committed),
            number: about.index,
            what,
        };
        self.execute_plain(checkpoint::set_pending_statement(&pending))
    }

    /// Applies rows of the open transaction.
    pub(crate) fn apply_rows(&mut self, rows: &[u8]) -> Result<()> {
        if self.already_applied {
            return Ok(());
        }
        if let Some(other) = &mut self.xa_session {
            return other.apply_rows(rows);
        }
        let mut prefix = std::mem::take(&mut self.prefix);
        if !prefix.is_empty() && !prefix.ends_with(';') {
            prefix.push(';');
        }
        match self.session.execute(binlog_statement(&prefix, rows)) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.step_error(&describe_row_tables(rows, &self.format), error)),
        }
    }

    /// Ends the open transaction.
    pub(crate) fn end_transaction(
        &mut self,
        ending: TransactionEnding,
        noted: &ReplayCheckpoint,
    ) -> Result<()> {
        let about = self.transaction.clone();
        if matches!(
            ending,
            TransactionEnding::Prepare | TransactionEnding::OnePhase
        ) {
            self.end_xa(ending)?;
        } else if !self.already_applied {
            self.send_prefix()?;
        }
        let atomic = about.as_ref().is_some_and(|about| {
            let alone = match about.non_atomic {
                None => false,
                Some(NonAtomicStatement::NontransactionalRows) => true,
                Some(NonAtomicStatement::Ddl(_)) => self.config.flavour == Flavour::Mysql,
            };
            about.group && !alone && ending == TransactionEnding::Commit
        });
        let word = match ending {
            _ if self.already_applied => "",
            TransactionEnding::Commit => "COMMIT",
            TransactionEnding::Rollback => "ROLLBACK",
            TransactionEnding::Autocommit
            | TransactionEnding::Prepare
            | TransactionEnding::OnePhase => "",
        };
        let note = checkpoint::update_statement(noted, None);
        let sql = match (self.config.keeps_gtids(), word) {
            (true, "") => String::new(),
            (true, word) => word.to_owned(),
            (false, "") => note,
            (false, word) if atomic => format!("{note};{word}"),
            (false, word) => format!("{word};{note}"),
        };
        if !sql.is_empty() {
            let ended = self.execute_plain(sql);
            ended.map_err(|error| self.step_error("ending the transaction", error))?;
        }
        self.transaction = None;
        Progress::add(&self.config.progress.items, 1);
        Ok(())
    }

    /// Records, on another session because a transaction is open, that it changes a non-transactional table too.
    pub(crate) fn record_nontransactional(&mut self) -> Result<()> {
        if let Some(about) = &self.transaction
            && !self.config.keeps_gtids()
        {
            let noted = Self::open(&self.config)?.record_pending(about, PendingChangeKind::Rows);
            noted.map_err(|error| self.step_error("writing the replay checkpoint", error))?;
        }
        Ok(())
    }

    /// Rolls back the open transaction: it is after the stop.
    pub(crate) fn roll_back(&mut self) -> Result<()> {
        self.prefix.clear();
        self.xa_session = None;
        let given_up = self.execute_plain("ROLLBACK");
        given_up.map_err(|error| self.step_error("ending the transaction", error))?;
        self.transaction = None;
        Ok(())
    }
}
