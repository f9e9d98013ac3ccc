//! From events to transactions, and from those to the sessions that apply them.

use std::collections::HashMap;
use std::sync::Arc;

use reprise_snapshotters::mysql::Bytes;
use reprise_snapshotters::mysql::binlog::{Boundary, Ended, Event, Gtid, MappedTable, Place, kind};

use super::batch::{Batch, Run};
use super::course::{Course, Verdict};
use super::crew::Crew;
use super::interrupted::Pending;
use super::target::{About, Alone, Ending, Setup, Target};
use super::transaction::{Step, Taken, Transaction, unknown};
use super::{log_error, named};
use crate::error::{Error, Result};

/// So far behind the stop transactions are looked for that were committed before it, in microseconds.
const LATE: u64 = 10_000_000;

/// Behind a stop from the future, no more transactions than this are looked at.
const LOOKED_AT_MAX: u64 = 100_000;

/// So many of them are named.
const LATE_MAX: usize = 100;

/// Whether it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Stop,
}

/// What is being read.
#[derive(Debug)]
pub(super) struct Reading<'a, 'b> {
    setup: &'a Arc<Setup>,
    crew: &'a Crew,
    course: &'a mut Course<'b>,
    pending: Option<Pending>,
    boundary: Boundary,
    format: Bytes,
    checked: bool,
    current: Option<Transaction>,
    batch: Batch,
    run: Run,
    /// The place, in the order of commits, of the newest transaction that was to be applied beside others.
    last_place: u64,
    /// Whether tables take part in transactions.
    engines: HashMap<MappedTable, bool>,
    stopped: Option<Ended>,
}

impl<'a, 'b> Reading<'a, 'b> {
    pub(super) fn new(
        setup: &'a Arc<Setup>,
        crew: &'a Crew,
        course: &'a mut Course<'b>,
        pending: Option<Pending>,
    ) -> Self {
        Self {
            setup,
            crew,
            course,
            pending,
            boundary: Boundary::default(),
            format: Bytes::new(),
            checked: false,
            current: None,
            batch: Batch::default(),
            run: Run::default(),
            last_place: 0,
            engines: HashMap::new(),
            stopped: None,
        }
    }

    /// Reads and has applied what comes before the stop. Returns when all of it is applied.
    pub(super) fn run(&mut self, events: &mut dyn Iterator<Item = Result<Event>>) -> Result<()> {
        let mut flow = match self.course.is_reached() {
            true => Flow::Stop,
            false => Flow::On,
        };
        while flow == Flow::On {
            self.setup.progress().check()?;
            match events.next() {
                Some(event) => flow = self.event(event?)?,
                None => break,
            }
        }
        self.abandon()?;
        self.wait_for_all()?;
        match flow {
            Flow::On => self.course.end(),
            Flow::Stop => Ok(()),
        }
    }

    /// The transaction at which it stopped.
    pub(super) fn stopped(&self) -> Option<Ended> {
        self.stopped.clone()
    }

    /// Transactions shortly behind the stop that were committed before its time.
    pub(super) fn late(
        &mut self,
        events: &mut dyn Iterator<Item = Result<Event>>,
    ) -> Result<Vec<Ended>> {
        let mut late = Vec::new();
        let (Some(time), Some(stopped)) = (self.course.time(), &self.stopped) else {
            return Ok(late);
        };
        let end = stopped.committed.max(time).saturating_add(LATE);
        let mut passed = 0;
        for event in events {
            self.setup.progress().check()?;
            // What is wrong there is of no matter for what was asked for.
            let Ok(event) = event else { break };
            if self.boundary.pass(&event).is_err() {
                break;
            }
            let Some(ended) = self.boundary.take_ended() else {
                continue;
            };
            passed += 1;
            if ended.committed > end || late.len() == LATE_MAX || passed > LOOKED_AT_MAX {
                break;
            }
            if ended.committed <= time {
                late.push(ended);
            }
        }
        Ok(late)
    }

    fn event(&mut self, event: Event) -> Result<Flow> {
        let place = self.boundary.pass(&event).map_err(log_error)?;
        match (place, event.kind()) {
            (Place::Outside, kind::FORMAT) => self.format(&event)?,
            // The next file may have the very same format, and then does not come with it.
            (Place::Outside, kind::ROTATE | kind::STOP) => self.wait_for_all()?,
            (Place::Outside, number) => outside(&event, number, self.boundary.is_open())?,
            (Place::Start, _) => {
                self.abandon()?;
                let start = self.boundary.start().cloned();
                if let Some(start) = start {
                    let verdict = self.verdict(&start.gtid, start.committed, &event)?;
                    self.current = Some(Transaction::new(Some((&start, &event)), verdict));
                    return Ok(flow_of(verdict));
                }
            }
            (Place::Inside | Place::End, _) => {
                if self.current.is_none() {
                    let verdict = self.verdict(&Gtid::Anonymous, None, &event)?;
                    self.current = Some(Transaction::new(None, verdict));
                    if verdict == Verdict::Stop {
                        return Ok(Flow::Stop);
                    }
                }
                self.take(event)?;
                if place == Place::End {
                    return self.end();
                }
            }
        }
        Ok(Flow::On)
    }

    fn verdict(&mut self, gtid: &Gtid, committed: Option<u64>, first: &Event) -> Result<Verdict> {
        let verdict = self.course.verdict(gtid, committed)?;
        let applied = matches!(verdict, Verdict::Apply | Verdict::Ask);
        if applied && self.setup.keeps_numbers() && *gtid == Gtid::Anonymous {
            return Err(Error::ReplayWithoutNumbers {
                transactions: named(gtid, committed),
            });
        }
        if verdict == Verdict::Stop {
            self.stopped = Some(Ended {
                gtid: gtid.clone(),
                // Where the beginning does not tell it, the second in which it was begun is close.
                committed: committed.unwrap_or(u64::from(first.header().timestamp) * 1_000_000),
            });
        }
        Ok(verdict)
    }

    fn format(&mut self, event: &Event) -> Result<()> {
        self.abandon()?;
        self.wait_for_all()?;
        self.format = event.bytes().clone();
        self.checked = event.is_checked();
        Ok(())
    }

    /// Places in the order of commits begin anew with a file: nothing of the one before may still be under way.
    fn wait_for_all(&mut self) -> Result<()> {
        self.last_place = 0;
        self.flush()?;
        self.crew.ask(|_| Ok(()))
    }

    /// Forgets a transaction that was not committed.
    fn abandon(&mut self) -> Result<()> {
        match self.current.take() {
            Some(transaction) if transaction.begun => self.crew.give(|target| target.give_up()),
            _ => Ok(()),
        }
    }

    fn take(&mut self, event: Event) -> Result<()> {
        let Some(transaction) = &mut self.current else {
            return Ok(());
        };
        if !transaction.counts() {
            return Ok(());
        }
        let most = self.setup.event_bytes_max;
        let limit = self.setup.piece_bytes();
        match transaction.take(event, limit, most, self.checked)? {
            Taken::Nothing => {}
            Taken::Table(map) => self.table(&map)?,
            Taken::Payload(mut payload) => {
                while let Some(event) = payload.next_event().map_err(log_error)? {
                    self.take(event)?;
                }
            }
        }
        let long = |transaction: &Transaction| transaction.size() > limit;
        match self.current.as_ref().is_some_and(long) {
            true => self.stream(),
            false => Ok(()),
        }
    }

    /// Asks whether a table takes part in transactions, once.
    fn table(&mut self, map: &Event) -> Result<()> {
        if self.setup.keeps_numbers() {
            return Ok(());
        }
        let table = MappedTable::of(map).map_err(log_error)?;
        let transactional = match self.engines.get(&table) {
            Some(known) => *known,
            None => {
                let asked = table.clone();
                let answer = self
                    .crew
                    .ask(move |target| target.is_transactional(&asked))?;
                self.engines.insert(table, answer);
                answer
            }
        };
        if let Some(transaction) = &mut self.current
            && !transactional
            && !transaction.nontransactional
        {
            transaction.nontransactional = true;
            if transaction.begun {
                self.crew.give(|target| target.note_aside())?;
            }
        }
        Ok(())
    }

    /// Has what there is of a long transaction applied.
    fn stream(&mut self) -> Result<()> {
        let Some(mut transaction) = self.current.take() else {
            return Ok(());
        };
        let undecided = transaction.verdict == Verdict::Ask;
        if undecided && (transaction.nontransactional || transaction.definition.is_some()) {
            return Err(Error::ReplayRefused {
                transaction: transaction.name(),
                reason: "it is large and cannot be rolled back, and its commit time is known only at its end"
                    .to_owned(),
            });
        }
        self.steps(&mut transaction)?;
        self.current = Some(transaction);
        Ok(())
    }

    fn steps(&mut self, transaction: &mut Transaction) -> Result<()> {
        if !transaction.begun {
            self.flush()?;
            let about = self.about(transaction);
            self.crew.give(move |target| target.begin(about))?;
            transaction.begun = true;
        }
        for step in transaction.take_steps() {
            self.crew.give(move |target| match step {
                Step::Rows(rows) => target.rows(&rows),
                Step::Statement(statement) => target.statement(&statement),
            })?;
        }
        Ok(())
    }

    fn about(&self, transaction: &Transaction) -> About {
        let number = self.course.now.passed + 1;
        let alone = match &transaction.definition {
            Some(statement) => Some(Alone::Definition(Box::new(statement.clone()))),
            None => transaction.nontransactional.then_some(Alone::Rows),
        };
        About {
            gtid: transaction.gtid.clone(),
            committed: transaction.committed,
            start: transaction.start.clone(),
            number,
            format: self.format.clone(),
            group: transaction.group,
            alone,
            xid: transaction.xid.clone(),
            pending: self
                .pending
                .clone()
                .filter(|pending| pending.number == number),
        }
    }

    /// A transaction is complete.
    fn end(&mut self) -> Result<Flow> {
        let (Some(mut transaction), Some(ended)) =
            (self.current.take(), self.boundary.take_ended())
        else {
            return Ok(Flow::On);
        };
        if !transaction.counts() {
            self.course.pass(&ended, transaction.verdict);
            return Ok(Flow::On);
        }
        if transaction.verdict == Verdict::Ask && self.course.is_behind(ended.committed) {
            self.current = Some(transaction);
            self.stopped = Some(ended);
            return Ok(Flow::Stop);
        }
        transaction.committed = Some(ended.committed);
        let only_rows = !transaction.begun
            && transaction.statements == 0
            && !transaction.nontransactional
            && transaction.xid.is_none()
            && transaction.ending == Ending::Commit;
        match only_rows {
            true if self.setup.keeps_numbers() => self.fly(transaction, &ended)?,
            true => self.merge(transaction, &ended)?,
            false => self.step_by_step(transaction, &ended)?,
        }
        Ok(match self.course.is_reached() {
            true => Flow::Stop,
            false => Flow::On,
        })
    }

    fn merge(&mut self, mut transaction: Transaction, ended: &Ended) -> Result<()> {
        let rows = transaction.rows.take().unwrap_or_default();
        if !self.batch.takes(rows.len(), self.setup.piece_bytes()) {
            self.flush()?;
        }
        self.batch.add(ended.clone(), &rows);
        self.course.apply(ended, transaction.events);
        Ok(())
    }

    /// Has the transactions applied that were put together.
    fn flush(&mut self) -> Result<()> {
        if !self.run.is_empty() {
            let run = std::mem::take(&mut self.run);
            let (places, order) = (run.places(), self.crew.order());
            let job = move |target: &mut Target| target.numbered(&run, &order);
            match places {
                Some(places) => self.crew.fly(places, job)?,
                None => self.crew.give(job)?,
            }
        }
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        let (format, noted) = (self.format.clone(), self.course.now.clone());
        self.crew
            .give(move |target| target.batch(&batch, &format, &noted))
    }

    fn fly(&mut self, mut transaction: Transaction, ended: &Ended) -> Result<()> {
        let rows = transaction.rows.take().unwrap_or_default();
        let about = self.about(&transaction);
        let place = about.place();
        if (1..=self.last_place).contains(&place) {
            self.wait_for_all()?;
        }
        self.last_place = place;
        let beside = self.crew.is_parallel() && place > 0;
        if !self.run.takes(rows.len(), beside) {
            self.flush()?;
        }
        self.run.add(about, rows);
        self.course.apply(ended, transaction.events);
        Ok(())
    }

    fn step_by_step(&mut self, mut transaction: Transaction, ended: &Ended) -> Result<()> {
        transaction.rest_of_rows();
        self.steps(&mut transaction)?;
        self.course.apply(ended, transaction.events);
        let (ending, noted) = (transaction.ending, self.course.now.clone());
        self.crew.give(move |target| target.end(ending, &noted))?;
        if transaction.statements > 0 {
            // A definition may have given a table another engine.
            self.engines.clear();
        }
        Ok(())
    }
}

fn flow_of(verdict: Verdict) -> Flow {
    match verdict {
        Verdict::Stop => Flow::Stop,
        _ => Flow::On,
    }
}

/// What stands between transactions and matters must be known.
fn outside(event: &Event, number: u8, open: bool) -> Result<()> {
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
    let seconds = u64::from(event.header().timestamp) * 1_000_000;
    Err(Error::ReplayRefused {
        transaction: named(&Gtid::Anonymous, Some(seconds)),
        reason: unknown(number),
    })
}
