//! Assembles events into transactions, and gives those to the applier sessions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use reprise_mysql::Bytes;
use reprise_mysql::binlog::{
    Event, EventBoundary, Gtid, LoggedTransaction, MappedTable, TransactionBoundaryParser, kind,
};
use reprise_mysql::log::LogTime;

use crate::error::{Error, Result};
use crate::mysql::replay::applier::config::ApplierConfig;
use crate::mysql::replay::applier::pool::ApplierPool;
use crate::mysql::replay::applier::session::ApplierSession;
use crate::mysql::replay::batch::{GtidBatch, MergedBatch};
use crate::mysql::replay::messages::{describe_transaction, log_error};
use crate::mysql::replay::pending_change::PendingChange;
use crate::mysql::replay::read::transaction::{
    EventFollowUp, ReplayTransaction, TransactionStep, unsupported_event_reason,
};
use crate::mysql::replay::replay_progress::{ReplayDecision, ReplayProgress};
use crate::mysql::replay::transaction_context::{
    NonAtomicStatement, TransactionContext, TransactionEnding,
};

/// The time after the stop in which transactions that were committed before it are searched for.
const OUT_OF_ORDER_WINDOW: Duration = Duration::from_secs(10);

/// After a stop in the future, no more transactions than this are examined.
const OUT_OF_ORDER_SCAN_MAX: u64 = 100_000;

/// The number of them that are named.
const OUT_OF_ORDER_MAX: usize = 100;

/// Whether the replay continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReplayFlow {
    Continue,
    Stop,
}

/// The state of reading.
#[derive(Debug)]
pub(crate) struct ReplayCoordinator<'a, 'b> {
    config: &'a Arc<ApplierConfig>,
    pool: &'a ApplierPool,
    progress: &'a mut ReplayProgress<'b>,
    pending: Option<PendingChange>,
    boundary: TransactionBoundaryParser,
    format: Bytes,
    has_checksums: bool,
    current: Option<ReplayTransaction>,
    batch: MergedBatch,
    gtid_batch: GtidBatch,
    /// The sequence number of the newest transaction that was submitted for parallel applying.
    last_sequence_number: u64,
    /// Whether tables are transactional.
    transactional_tables: HashMap<MappedTable, bool>,
    stopped_before: Option<LoggedTransaction>,
}

impl<'a, 'b> ReplayCoordinator<'a, 'b> {
    pub(crate) fn new(
        config: &'a Arc<ApplierConfig>,
        pool: &'a ApplierPool,
        progress: &'a mut ReplayProgress<'b>,
        pending: Option<PendingChange>,
    ) -> Self {
        Self {
            config,
            pool,
            progress,
            pending,
            boundary: TransactionBoundaryParser::default(),
            format: Bytes::new(),
            has_checksums: false,
            current: None,
            batch: MergedBatch::default(),
            gtid_batch: GtidBatch::default(),
            last_sequence_number: 0,
            transactional_tables: HashMap::new(),
            stopped_before: None,
        }
    }

    /// Reads, and has applied, everything before the stop. Returns when all of it is applied.
    pub(crate) fn apply_events(
        &mut self,
        events: &mut dyn Iterator<Item = Result<Event>>,
    ) -> Result<()> {
        let mut flow = match self.progress.is_reached() {
            true => ReplayFlow::Stop,
            false => ReplayFlow::Continue,
        };
        while flow == ReplayFlow::Continue {
            self.config.progress().check_cancelled()?;
            match events.next() {
                Some(event) => flow = self.process_event(event?)?,
                None => break,
            }
        }
        self.abandon_transaction()?;
        self.wait_for_all()?;
        match flow {
            ReplayFlow::Continue => self.progress.check_end_of_log(),
            ReplayFlow::Stop => Ok(()),
        }
    }

    /// The transaction at which it stopped.
    pub(crate) fn stopped_before(&self) -> Option<LoggedTransaction> {
        self.stopped_before.clone()
    }

    /// Out-of-order transactions: shortly after the stop, but committed before its time.
    pub(crate) fn find_out_of_order(
        &mut self,
        events: &mut dyn Iterator<Item = Result<Event>>,
    ) -> Result<Vec<LoggedTransaction>> {
        let mut late = Vec::new();
        let (Some(time), Some(stopped)) = (self.progress.stop_time(), &self.stopped_before) else {
            return Ok(late);
        };
        let end = stopped.committed.max(time) + OUT_OF_ORDER_WINDOW;
        let mut passed = 0;
        for event in events {
            self.config.progress().check_cancelled()?;
            // An error there does not matter for the requested replay.
            let Ok(event) = event else { break };
            if self.boundary.feed_event(&event).is_err() {
                break;
            }
            let Some(ended) = self.boundary.take_completed() else {
                continue;
            };
            passed += 1;
            if ended.committed > end
                || late.len() == OUT_OF_ORDER_MAX
                || passed > OUT_OF_ORDER_SCAN_MAX
            {
                break;
            }
            if ended.committed <= time {
                late.push(ended);
            }
        }
        Ok(late)
    }

    fn process_event(&mut self, event: Event) -> Result<ReplayFlow> {
        let place = self.boundary.feed_event(&event).map_err(log_error)?;
        match (place, event.kind()) {
            (EventBoundary::Outside, kind::FORMAT_DESCRIPTION) => self.set_format(&event)?,
            // The next file may have the same format, and then its format description event is not repeated.
            (EventBoundary::Outside, kind::ROTATE | kind::STOP) => self.wait_for_all()?,
            (EventBoundary::Outside, number) => {
                check_outside_event(&event, number, self.boundary.is_open())?
            }
            (EventBoundary::Start, _) => {
                self.abandon_transaction()?;
                let start = self.boundary.start().cloned();
                if let Some(start) = start {
                    let verdict = self.decide_transaction(&start.gtid, start.committed, &event)?;
                    self.current = Some(ReplayTransaction::new(Some((&start, &event)), verdict));
                    return Ok(flow_after(verdict));
                }
            }
            (EventBoundary::Inside | EventBoundary::End, _) => {
                if self.current.is_none() {
                    let verdict = self.decide_transaction(&Gtid::Anonymous, None, &event)?;
                    self.current = Some(ReplayTransaction::new(None, verdict));
                    if verdict == ReplayDecision::Stop {
                        return Ok(ReplayFlow::Stop);
                    }
                }
                self.add_event(event)?;
                if place == EventBoundary::End {
                    return self.end_transaction();
                }
            }
        }
        Ok(ReplayFlow::Continue)
    }

    fn decide_transaction(
        &mut self,
        gtid: &Gtid,
        committed: Option<LogTime>,
        first: &Event,
    ) -> Result<ReplayDecision> {
        let verdict = self.progress.decide_transaction(gtid, committed)?;
        let applied = matches!(
            verdict,
            ReplayDecision::Apply | ReplayDecision::DecideAtCommit
        );
        if applied && self.config.keeps_gtids() && *gtid == Gtid::Anonymous {
            return Err(Error::TransactionsWithoutGtid {
                transactions: describe_transaction(gtid, committed),
            });
        }
        if verdict == ReplayDecision::Stop {
            self.stopped_before = Some(LoggedTransaction {
                gtid: gtid.clone(),
                // Where the beginning has no commit time, the second in which it was begun is close.
                committed: committed.unwrap_or(LogTime::from_seconds(first.header().timestamp)),
            });
        }
        Ok(verdict)
    }

    fn set_format(&mut self, event: &Event) -> Result<()> {
        self.abandon_transaction()?;
        self.wait_for_all()?;
        self.format = event.bytes().clone();
        self.has_checksums = event.has_checksum();
        Ok(())
    }

    /// Sequence numbers restart with each file: nothing of the previous one may still be in flight.
    fn wait_for_all(&mut self) -> Result<()> {
        self.last_sequence_number = 0;
        self.flush_batches()?;
        self.pool.submit_and_wait(|_| Ok(()))
    }

    /// Drops a transaction that was not committed.
    fn abandon_transaction(&mut self) -> Result<()> {
        match self.current.take() {
            Some(transaction) if transaction.begun => self.pool.submit(|target| target.roll_back()),
            _ => Ok(()),
        }
    }

    fn add_event(&mut self, event: Event) -> Result<()> {
        let Some(transaction) = &mut self.current else {
            return Ok(());
        };
        if !transaction.should_apply() {
            return Ok(());
        }
        let most = self.config.event_bytes_max;
        let limit = self.config.row_part_bytes();
        match transaction.add_event(event, limit, most, self.has_checksums)? {
            EventFollowUp::Nothing => {}
            EventFollowUp::Table(map) => self.check_table_engine(&map)?,
            EventFollowUp::Payload(mut payload) => {
                while let Some(event) = payload.next_event().map_err(log_error)? {
                    self.add_event(event)?;
                }
            }
        }
        let long = |transaction: &ReplayTransaction| transaction.buffered_bytes() > limit;
        match self.current.as_ref().is_some_and(long) {
            true => self.submit_partially(),
            false => Ok(()),
        }
    }

    /// Queries whether a table is transactional, once.
    fn check_table_engine(&mut self, map: &Event) -> Result<()> {
        if self.config.keeps_gtids() {
            return Ok(());
        }
        let table = MappedTable::from_event(map).map_err(log_error)?;
        let transactional = match self.transactional_tables.get(&table) {
            Some(known) => *known,
            None => {
                let asked = table.clone();
                let answer = self
                    .pool
                    .submit_and_wait(move |target| target.is_transactional(&asked))?;
                self.transactional_tables.insert(table, answer);
                answer
            }
        };
        if let Some(transaction) = &mut self.current
            && !transactional
            && !transaction.nontransactional
        {
            transaction.nontransactional = true;
            if transaction.begun {
                self.pool
                    .submit(|target| target.record_nontransactional())?;
            }
        }
        Ok(())
    }

    /// Has the part of a long transaction applied that was read so far.
    fn submit_partially(&mut self) -> Result<()> {
        let Some(mut transaction) = self.current.take() else {
            return Ok(());
        };
        let undecided = transaction.decision == ReplayDecision::DecideAtCommit;
        if undecided && (transaction.nontransactional || transaction.ddl.is_some()) {
            return Err(Error::TransactionNotReplayable {
                transaction: transaction.describe(),
                reason: "it is large and cannot be rolled back, and its commit time is known only at its end"
                    .to_owned(),
            });
        }
        self.submit_steps(&mut transaction)?;
        self.current = Some(transaction);
        Ok(())
    }

    fn submit_steps(&mut self, transaction: &mut ReplayTransaction) -> Result<()> {
        if !transaction.begun {
            self.flush_batches()?;
            let about = self.transaction_context(transaction);
            self.pool
                .submit(move |target| target.begin_transaction(about))?;
            transaction.begun = true;
        }
        for step in transaction.take_steps() {
            self.pool.submit(move |target| match step {
                TransactionStep::Rows(rows) => target.apply_rows(&rows),
                TransactionStep::Statement(statement) => target.apply_statement(&statement),
            })?;
        }
        Ok(())
    }

    fn transaction_context(&self, transaction: &ReplayTransaction) -> TransactionContext {
        let number = self.progress.checkpoint.transactions_read + 1;
        let alone = match &transaction.ddl {
            Some(statement) => Some(NonAtomicStatement::Ddl(Box::new(statement.clone()))),
            None => transaction
                .nontransactional
                .then_some(NonAtomicStatement::NontransactionalRows),
        };
        TransactionContext {
            gtid: transaction.gtid.clone(),
            committed: transaction.committed,
            start: transaction.start.clone(),
            index: number,
            format: self.format.clone(),
            group: transaction.group,
            non_atomic: alone,
            xid: transaction.xid.clone(),
            pending: self
                .pending
                .clone()
                .filter(|pending| pending.number == number),
        }
    }

    /// Handles a complete transaction.
    fn end_transaction(&mut self) -> Result<ReplayFlow> {
        let (Some(mut transaction), Some(ended)) =
            (self.current.take(), self.boundary.take_completed())
        else {
            return Ok(ReplayFlow::Continue);
        };
        if !transaction.should_apply() {
            self.progress.record_passed(&ended, transaction.decision);
            return Ok(ReplayFlow::Continue);
        }
        if transaction.decision == ReplayDecision::DecideAtCommit
            && self.progress.is_after_stop(ended.committed)
        {
            self.current = Some(transaction);
            self.stopped_before = Some(ended);
            return Ok(ReplayFlow::Stop);
        }
        transaction.committed = Some(ended.committed);
        let only_rows = !transaction.begun
            && transaction.statements == 0
            && !transaction.nontransactional
            && transaction.xid.is_none()
            && transaction.ending == TransactionEnding::Commit;
        match only_rows {
            true if self.config.keeps_gtids() => self.add_to_gtid_batch(transaction, &ended)?,
            true => self.add_to_merged_batch(transaction, &ended)?,
            false => self.submit_in_steps(transaction, &ended)?,
        }
        Ok(match self.progress.is_reached() {
            true => ReplayFlow::Stop,
            false => ReplayFlow::Continue,
        })
    }

    fn add_to_merged_batch(
        &mut self,
        mut transaction: ReplayTransaction,
        ended: &LoggedTransaction,
    ) -> Result<()> {
        let rows = transaction.rows.take_all().unwrap_or_default();
        if !self
            .batch
            .has_room_for(rows.len(), self.config.row_part_bytes())
        {
            self.flush_batches()?;
        }
        self.batch.add(ended.clone(), &rows);
        self.progress.record_applied(ended, transaction.events);
        Ok(())
    }

    /// Has the batched transactions applied.
    fn flush_batches(&mut self) -> Result<()> {
        if !self.gtid_batch.is_empty() {
            let run = std::mem::take(&mut self.gtid_batch);
            let (places, order) = (run.sequence_numbers(), self.pool.commit_order());
            let job = move |target: &mut ApplierSession| target.apply_gtid_batch(&run, &order);
            match places {
                Some(places) => self.pool.submit_parallel(places, job)?,
                None => self.pool.submit(job)?,
            }
        }
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        let (format, noted) = (self.format.clone(), self.progress.checkpoint.clone());
        self.pool
            .submit(move |target| target.apply_batch(&batch, &format, &noted))
    }

    fn add_to_gtid_batch(
        &mut self,
        mut transaction: ReplayTransaction,
        ended: &LoggedTransaction,
    ) -> Result<()> {
        let rows = transaction.rows.take_all().unwrap_or_default();
        let about = self.transaction_context(&transaction);
        let place = about.sequence_number();
        if (1..=self.last_sequence_number).contains(&place) {
            self.wait_for_all()?;
        }
        self.last_sequence_number = place;
        let beside = self.pool.is_parallel() && place > 0;
        if !self.gtid_batch.has_room_for(rows.len(), beside) {
            self.flush_batches()?;
        }
        self.gtid_batch.add(about, rows);
        self.progress.record_applied(ended, transaction.events);
        Ok(())
    }

    fn submit_in_steps(
        &mut self,
        mut transaction: ReplayTransaction,
        ended: &LoggedTransaction,
    ) -> Result<()> {
        transaction.push_remaining_rows();
        self.submit_steps(&mut transaction)?;
        self.progress.record_applied(ended, transaction.events);
        let (ending, noted) = (transaction.ending, self.progress.checkpoint.clone());
        self.pool
            .submit(move |target| target.end_transaction(ending, &noted))?;
        if transaction.statements > 0 {
            // DDL may have given a table another engine.
            self.transactional_tables.clear();
        }
        Ok(())
    }
}

fn flow_after(verdict: ReplayDecision) -> ReplayFlow {
    match verdict {
        ReplayDecision::Stop => ReplayFlow::Stop,
        _ => ReplayFlow::Continue,
    }
}

/// Events between transactions that matter must be of a known kind.
fn check_outside_event(event: &Event, number: u8, open: bool) -> Result<()> {
    let known = matches!(
        number,
        kind::ROTATE
            | kind::STOP
            | kind::PREVIOUS_GTIDS
            | kind::HEARTBEAT
            | kind::HEARTBEAT_V2
            | kind::IGNORABLE
            | kind::MARIADB_GTID_LIST
            | kind::MARIADB_BINLOG_CHECKPOINT
    );
    if known || event.header().is_ignorable() || open {
        return Ok(());
    }
    let seconds = LogTime::from_seconds(event.header().timestamp);
    Err(Error::TransactionNotReplayable {
        transaction: describe_transaction(&Gtid::Anonymous, Some(seconds)),
        reason: unsupported_event_reason(number),
    })
}
