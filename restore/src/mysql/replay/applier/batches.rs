//! Applies row transactions, several as one or one after the other.

use reprise_mysql::{Bytes, DatabaseError, Flavour};
use reprise_repository::Progress;

use crate::error::{Error, Result};
use crate::mysql::replay::applier::binlog_statement::{
    binlog_statement, describe_row_tables, replay_error,
};
use crate::mysql::replay::applier::commit_order::CommitOrder;
use crate::mysql::replay::applier::session::ApplierSession;
use crate::mysql::replay::batch::{GtidBatch, MergedBatch};
use crate::mysql::replay::checkpoint;
use crate::mysql::replay::messages::describe_transaction;
use crate::mysql::replay::replay_progress::ReplayCheckpoint;
use crate::mysql::replay::transaction_context::TransactionContext;

/// The number of times that a transaction is applied again after it lost a lock conflict.
const ATTEMPTS_MAX: usize = 10;

impl ApplierSession {
    /// Applies several row transactions as one.
    pub(crate) fn apply_batch(
        &mut self,
        batch: &MergedBatch,
        format: &Bytes,
        noted: &ReplayCheckpoint,
    ) -> Result<()> {
        self.set_format(format)?;
        if !batch.bytes.is_empty() {
            let applied = self
                .session
                .execute(binlog_statement("BEGIN;", &batch.bytes));
            if let Err(error) = applied {
                return Err(self.find_failing_transaction(batch, error));
            }
        }
        let note = format!("{};COMMIT", checkpoint::update_statement(noted, None));
        self.session
            .execute(note)
            .map_err(|error| Error::from_database("write the replay checkpoint", error))?;
        Progress::add(&self.config.progress.items, batch.members.len() as u64);
        Ok(())
    }

    /// Finds the transaction that the server rejects.
    fn find_failing_transaction(&mut self, batch: &MergedBatch, error: DatabaseError) -> Error {
        if error.code().is_some()
            && self.execute_plain("ROLLBACK").is_ok()
            && self.execute_plain("BEGIN").is_ok()
        {
            for (ended, rows) in batch.transactions().filter(|(_, rows)| !rows.is_empty()) {
                if let Err(error) = self.session.execute(binlog_statement("", rows)) {
                    let name = describe_transaction(&ended.gtid, Some(ended.committed));
                    drop(self.execute_plain("ROLLBACK"));
                    return replay_error(name, describe_row_tables(rows, &self.format), error);
                }
            }
            drop(self.execute_plain("ROLLBACK"));
        }
        let ends = [batch.members.first(), batch.members.last()];
        let names = ends.into_iter().flatten();
        let names: Vec<String> = names
            .map(|member| describe_transaction(&member.ended.gtid, Some(member.ended.committed)))
            .collect();
        replay_error(
            names.join(" to "),
            describe_row_tables(&batch.bytes, &self.format),
            error,
        )
    }

    /// Applies row transactions, each under its GTID and when those that it depends on are applied. The commit of one
    /// and the rows of the next are one packet, unless the next has to wait.
    pub(crate) fn apply_gtid_batch(&mut self, run: &GtidBatch, order: &CommitOrder) -> Result<()> {
        let mut open = None;
        for (n, (about, rows)) in run.members.iter().enumerate() {
            self.set_format(&about.format)?;
            if let Some(before) =
                open.take_if(|open| !order.can_start(about.last_committed(), *open))
            {
                if let Err(error) = self.session.execute("COMMIT") {
                    return self.apply_one_by_one(run, order, (n - 1, n - 1), error);
                }
                order.mark_applied(before);
            }
            order.wait_for_dependencies(
                about.last_committed(),
                open.unwrap_or(about.sequence_number()),
            )?;
            let commit = if open.is_some() { "COMMIT;" } else { "" };
            let begin = format!("{commit}{}BEGIN", self.gtid_assignment(about));
            let applied = match rows.is_empty() {
                true => self.session.execute(begin),
                false => self
                    .session
                    .execute(binlog_statement(&format!("{begin};"), rows)),
            };
            if let Err(error) = applied {
                let first = n - usize::from(open.is_some());
                return self.apply_one_by_one(run, order, (first, n), error);
            }
            if let Some(before) = open.replace(about.sequence_number()) {
                order.mark_applied(before);
            }
        }
        if let Err(error) = self.session.execute("COMMIT") {
            let last = run.members.len().saturating_sub(1);
            return self.apply_one_by_one(run, order, (last, last), error);
        }
        open.into_iter().for_each(|last| order.mark_applied(last));
        Progress::add(&self.config.progress.items, run.members.len() as u64);
        Ok(())
    }

    /// Continues after a failed packet, with the first transaction that it was to commit. If that was committed, the
    /// server skips it because of its GTID. MariaDB does not, but there nothing else is in progress that could
    /// conflict.
    fn apply_one_by_one(
        &mut self,
        run: &GtidBatch,
        order: &CommitOrder,
        (first, refused): (usize, usize),
        error: DatabaseError,
    ) -> Result<()> {
        if error.code().is_none() || self.config.flavour == Flavour::Mariadb {
            let (about, rows) = &run.members[refused];
            return Err(self.transaction_error(
                about,
                &describe_row_tables(rows, &about.format),
                error,
            ));
        }
        for (about, rows) in run.members.iter().skip(first) {
            order.wait_for_dependencies(about.last_committed(), about.sequence_number())?;
            self.apply_with_retries(about, rows)?;
            order.mark_applied(about.sequence_number());
        }
        Progress::add(&self.config.progress.items, run.members.len() as u64);
        Ok(())
    }

    /// Applies a row transaction under its GTID, again if it lost a lock conflict.
    fn apply_with_retries(&mut self, about: &TransactionContext, rows: &[u8]) -> Result<()> {
        let begin = format!("{}BEGIN;", self.gtid_assignment(about));
        let mut attempts = 0;
        loop {
            attempts += 1;
            let rolled_back = self.execute_plain("ROLLBACK");
            rolled_back.map_err(|error| self.transaction_error(about, "", error))?;
            let sql = match rows.is_empty() {
                true => begin.trim_end_matches(';').as_bytes().to_vec(),
                false => binlog_statement(&begin, rows),
            };
            let applied = self.session.execute(sql);
            match applied.and_then(|_| self.session.execute("COMMIT")) {
                Ok(_) => return Ok(()),
                Err(DatabaseError::Server {
                    code: 1205 | 1213, ..
                }) if attempts < ATTEMPTS_MAX => {}
                Err(error) => {
                    let tables = describe_row_tables(rows, &about.format);
                    return Err(self.transaction_error(about, &tables, error));
                }
            }
        }
    }
}
