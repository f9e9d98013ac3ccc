//! What was written and when, and the comparison with a server that should hold it.

use std::collections::BTreeMap;

use super::observed::{ObservedServer, ServerContent, observe};
use super::schema::{ACCOUNTS, BALANCE};
use super::steps::{StepGenerator, StepOutcome};
use super::writer::StepTimes;
use super::{RecorderOptions, ServerFlavour, StepCounts};
use crate::servers::{Database, Row};

/// A server may take its time from a clock that ticks every few milliseconds only.
const TICK: u64 = 20_000;

const SECOND: u64 = 1_000_000;

/// Which state a server must be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedState {
    /// Everything that was written.
    Latest,
    /// At this microsecond since 1970, inclusively; with MariaDB, whose log has whole seconds, at the end of its
    /// second.
    At(u64),
    /// Just before a step of a writer.
    Before {
        /// The writer, from 0.
        writer: u64,
        /// The step, from 1.
        number: u64,
    },
    /// Whole steps of each writer, whichever they are.
    Any,
}

/// What the writers have written.
#[derive(Debug)]
pub struct WriteHistory {
    flavour: ServerFlavour,
    options: RecorderOptions,
    steps: Vec<Vec<StepTimes>>,
}

/// What was acknowledged until the first must be there; what was sent after the second must not.
#[derive(Debug, Clone, Copy)]
struct StepBounds {
    acknowledged: u64,
    sent: u64,
}

impl WriteHistory {
    pub(super) fn new(
        flavour: ServerFlavour,
        options: RecorderOptions,
        steps: Vec<Vec<StepTimes>>,
    ) -> Self {
        Self {
            flavour,
            options,
            steps,
        }
    }

    /// How many steps there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.steps.iter().map(|steps| steps.len() as u64).sum()
    }

    /// Microseconds since 1970 before the first and after the last step.
    #[must_use]
    pub fn span(&self) -> (u64, u64) {
        let all = || self.steps.iter().flatten();
        let first = all().map(|times| times.begun).min();
        let last = all().map(|times| times.acknowledged).max();
        (first.unwrap_or_default(), last.unwrap_or_default())
    }

    /// How many steps of each kind there were.
    #[must_use]
    pub fn kinds(&self) -> StepCounts {
        let mut kinds = StepCounts::new();
        for (writer, steps) in (0..).zip(&self.steps) {
            let mut script = self.script(writer);
            for _ in steps {
                *kinds.entry(script.next().kind).or_default() += 1;
            }
        }
        kinds
    }

    /// What the tables hold after everything that was written.
    #[must_use]
    pub fn final_state(&self) -> ServerContent {
        let all: Vec<u64> = self.steps.iter().map(|steps| steps.len() as u64).collect();
        self.state(&all)
    }

    /// What the tables hold after so many steps of each writer.
    #[must_use]
    pub fn state(&self, prefix: &[u64]) -> ServerContent {
        let mut state = ServerContent::new();
        let mut ledger: BTreeMap<u64, i64> =
            (0..ACCOUNTS).map(|account| (account, BALANCE)).collect();
        for (writer, steps) in (0..).zip(prefix) {
            let mut script = self.script(writer);
            (0..*steps).for_each(|_| drop(script.next()));
            let model = script.model();
            model.add_rows(&mut state);
            for (account, amount) in &model.ledger {
                *ledger.entry(*account).or_default() += amount;
            }
        }
        let text = |value: &str| Some(value.to_owned());
        let rows = ledger
            .iter()
            .map(|(account, balance)| vec![text(&account.to_string()), text(&balance.to_string())]);
        state.insert("bookkeeping.ledger".to_owned(), rows.collect());
        let triggers = ["item_deleted", "item_inserted", "item_updated"];
        let triggers = triggers.map(|name| vec![text(name)]).to_vec();
        state.insert("triggers".to_owned(), triggers);
        let keys = [
            ["child_of", "CASCADE", "CASCADE"],
            ["friend_of", "SET NULL", "CASCADE"],
        ];
        let keys = keys.map(|key| key.map(text).to_vec()).to_vec();
        state.insert("foreign keys".to_owned(), keys);
        state.values_mut().for_each(|rows| rows.sort());
        state
    }

    /// Compares a server with the history; how many steps of each writer it holds.
    ///
    /// # Errors
    /// When it is not in the expected state. It says what differs.
    pub fn compare(
        &self,
        server: &impl Database,
        expected: &ExpectedState,
    ) -> Result<Vec<u64>, String> {
        let observed = observe(server)?;
        let bounds = self.bounds(expected)?;
        let mut prefix = Vec::new();
        for writer in 0..self.steps.len() as u64 {
            prefix.push(self.steps_of(writer, &observed, bounds)?);
        }
        assert_same_content(&self.state(&prefix), &observed.state)
            .map_err(|error| format!("after {prefix:?} steps: {error}"))?;
        self.check_times(&observed)?;
        for (writer, steps) in (0..).zip(&prefix) {
            self.check_bounds(writer, *steps, bounds)?;
        }
        if let ExpectedState::Before { writer, number } = *expected {
            let found = prefix[usize::try_from(writer).unwrap()];
            if found != number - 1 {
                return Err(format!(
                    "writer {writer} has done {found} steps, not those before {number}"
                ));
            }
        }
        Ok(prefix)
    }

    /// The DDL statements that were sent once, each with the state before it.
    #[must_use]
    pub fn ddl_statements(&self) -> BTreeMap<String, ExpectedState> {
        let mut found: BTreeMap<String, Vec<ExpectedState>> = BTreeMap::new();
        for (writer, steps) in (0..).zip(&self.steps) {
            let mut script = self.script(writer);
            for _ in steps {
                let step = script.next();
                if matches!(step.outcome, StepOutcome::Ddl(_)) {
                    let number = step.number;
                    let before = ExpectedState::Before { writer, number };
                    found.entry(step.commit).or_default().push(before);
                }
            }
        }
        let once = found.into_iter().filter(|(_, all)| all.len() == 1);
        once.map(|(statement, all)| (statement, all[0])).collect()
    }

    fn script(&self, writer: u64) -> StepGenerator {
        StepGenerator::new(self.flavour, writer, &self.options)
    }

    fn bounds(&self, expected: &ExpectedState) -> Result<StepBounds, String> {
        let bounds = match *expected {
            ExpectedState::Latest => StepBounds {
                acknowledged: u64::MAX,
                sent: u64::MAX,
            },
            ExpectedState::At(time) if self.flavour == ServerFlavour::Mariadb => {
                let end = time / SECOND * SECOND + SECOND - 1;
                StepBounds {
                    acknowledged: end,
                    sent: end + TICK,
                }
            }
            ExpectedState::At(time) => StepBounds {
                acknowledged: time,
                sent: time,
            },
            ExpectedState::Before { writer, number } => {
                let times = self.times(writer, number).ok_or("there is no such step")?;
                StepBounds {
                    acknowledged: times.sent - 1,
                    sent: times.acknowledged,
                }
            }
            ExpectedState::Any => StepBounds {
                acknowledged: 0,
                sent: u64::MAX,
            },
        };
        Ok(bounds)
    }

    fn times(&self, writer: u64, number: u64) -> Option<&StepTimes> {
        let steps = self.steps.get(usize::try_from(writer).ok()?)?;
        steps.get(usize::try_from(number.checked_sub(1)?).ok()?)
    }

    /// How many steps of a writer a server holds. Its progress says which transaction was the last one; DDL
    /// after that is seen by what it makes.
    fn steps_of(
        &self,
        writer: u64,
        observed: &ObservedServer,
        bounds: StepBounds,
    ) -> Result<u64, String> {
        let progress = read_progress(writer, &observed.state)?;
        let mut script = self.script(writer);
        let mut last = None;
        for _ in 0..progress {
            last = Some(script.next());
        }
        let known = self.steps[usize::try_from(writer).unwrap()].len() as u64;
        if progress > known {
            return Err(format!(
                "writer {writer} has done {known} steps, the server says {progress}"
            ));
        }
        if last.is_some_and(|step| matches!(step.outcome, StepOutcome::Ddl(_))) {
            return Err(format!(
                "step {progress} of writer {writer} is none that leaves its number"
            ));
        }
        let objects = own_objects(writer, &observed.state);
        let mut found: Option<u64> = None;
        for steps in progress..=known {
            let mut state = ServerContent::new();
            script.model().add_ddl_objects(&mut state);
            state.values_mut().for_each(|rows| rows.sort());
            let fits = self.check_bounds(writer, steps, bounds).is_ok();
            if own_objects(writer, &state) == objects && (found.is_none() || fits) {
                found = Some(steps);
            }
            if !matches!(script.next().outcome, StepOutcome::Ddl(_)) {
                break;
            }
        }
        Ok(found.unwrap_or(progress))
    }

    fn check_bounds(&self, writer: u64, steps: u64, bounds: StepBounds) -> Result<(), String> {
        if let Some(last) = self
            .times(writer, steps)
            .filter(|times| times.sent > bounds.sent)
        {
            let late = last.sent - bounds.sent;
            return Err(format!(
                "step {steps} of writer {writer} is there, which was sent {late} µs after the expected state"
            ));
        }
        let next = self.times(writer, steps + 1);
        if let Some(next) = next.filter(|times| times.acknowledged <= bounds.acknowledged) {
            let early = bounds.acknowledged - next.acknowledged;
            return Err(format!(
                "step {} of writer {writer} is missing, which was acknowledged {early} µs before the expected state",
                steps + 1
            ));
        }
        Ok(())
    }

    /// The server's own times lie within the steps that wrote them.
    fn check_times(&self, observed: &ObservedServer) -> Result<(), String> {
        for (writer, number, at) in &observed.times {
            let (first, _) = self.span();
            let begun = self
                .times(*writer, *number)
                .map_or(first, |times| times.begun);
            let acknowledged = self
                .times(*writer, *number)
                .map_or(first, |times| times.acknowledged);
            // The first rows are older than all steps.
            if *number > 0 && (*at + TICK < begun || *at > acknowledged) {
                return Err(format!(
                    "a row of step {number} of writer {writer} says that it was written at {at}, which was between \
                     {begun} and {acknowledged}"
                ));
            }
        }
        Ok(())
    }
}

fn read_progress(writer: u64, state: &ServerContent) -> Result<u64, String> {
    let rows = state.get("bookkeeping.progress").into_iter().flatten();
    let name = Some(writer.to_string());
    let number = rows
        .filter(|row| row[0] == name)
        .find_map(|row| row[1].clone());
    let number = number.and_then(|number| number.parse().ok());
    number.ok_or_else(|| format!("bookkeeping.progress has no row of writer {writer}"))
}

/// What a writer has defined.
fn own_objects(writer: u64, state: &ServerContent) -> BTreeMap<&str, &[Row]> {
    let prefixes = [
        format!(".side_{writer}_"),
        format!("user clerk_{writer}_"),
        format!("database annex{writer}"),
    ];
    let own = state.iter().filter(|(name, _)| {
        name.contains(&prefixes[0]) || name.starts_with(&prefixes[1]) || **name == prefixes[2]
    });
    own.map(|(name, rows)| (name.as_str(), rows.as_slice()))
        .collect()
}

/// Fails with what differs, and with the rows that show it.
fn assert_same_content(
    expected: &ServerContent,
    found_content: &ServerContent,
) -> Result<(), String> {
    let mut found = Vec::new();
    for name in expected
        .keys()
        .filter(|name| !found_content.contains_key(*name))
    {
        found.push(format!("{name} is missing"));
    }
    for (name, rows) in found_content {
        match expected.get(name) {
            None => found.push(format!("{name} should not be there")),
            Some(expected) if expected != rows => {
                found.push(describe_difference(name, expected, rows))
            }
            Some(_) => {}
        }
    }
    match found.is_empty() {
        true => Ok(()),
        false => Err(found.join("; ")),
    }
}

fn describe_difference(name: &str, expected: &[Row], found_content: &[Row]) -> String {
    let only = |of: &[Row], not: &[Row]| {
        let mut counts: BTreeMap<&Row, i64> = BTreeMap::new();
        not.iter()
            .for_each(|row| *counts.entry(row).or_default() -= 1);
        of.iter()
            .for_each(|row| *counts.entry(row).or_default() += 1);
        let more = counts.into_iter().filter(|(_, count)| *count > 0);
        more.map(|(row, _)| display_row(row)).collect::<Vec<_>>()
    };
    let (missing, surplus) = (only(expected, found_content), only(found_content, expected));
    format!(
        "{name} differs: {} rows are missing, such as {:?}; {} are too many, such as {:?}",
        missing.len(),
        &missing[..missing.len().min(3)],
        surplus.len(),
        &surplus[..surplus.len().min(3)]
    )
}

fn display_row(row: &Row) -> String {
    let cells = row.iter().map(|cell| match cell {
        Some(text) => text.chars().take(60).collect(),
        None => "NULL".to_owned(),
    });
    cells.collect::<Vec<String>>().join(" | ")
}
