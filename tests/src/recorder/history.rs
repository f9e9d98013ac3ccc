//! What was written and when, and the judgement over a server that is said to hold it.

use std::collections::BTreeMap;

use super::observed::{Observed, State, observe};
use super::schema::{ACCOUNTS, BALANCE};
use super::steps::{Outcome, Script};
use super::writer::Times;
use super::{Flavour, Kinds, Options};
use crate::servers::{Database, Row};

/// A server may take its time from a clock that ticks every few milliseconds only.
const TICK: u64 = 20_000;

const SECOND: u64 = 1_000_000;

/// Which state a server must be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
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
pub struct Account {
    flavour: Flavour,
    options: Options,
    steps: Vec<Vec<Times>>,
}

/// What was acknowledged until the first must be there; what was sent after the second must not.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    acknowledged: u64,
    sent: u64,
}

impl Account {
    pub(super) fn new(flavour: Flavour, options: Options, steps: Vec<Vec<Times>>) -> Self {
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
    pub fn kinds(&self) -> Kinds {
        let mut kinds = Kinds::new();
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
    pub fn final_state(&self) -> State {
        let all: Vec<u64> = self.steps.iter().map(|steps| steps.len() as u64).collect();
        self.state(&all)
    }

    /// What the tables hold after so many steps of each writer.
    #[must_use]
    pub fn state(&self, prefix: &[u64]) -> State {
        let mut state = State::new();
        let mut ledger: BTreeMap<u64, i64> =
            (0..ACCOUNTS).map(|account| (account, BALANCE)).collect();
        for (writer, steps) in (0..).zip(prefix) {
            let mut script = self.script(writer);
            (0..*steps).for_each(|_| drop(script.next()));
            let books = script.books();
            books.show(&mut state);
            for (account, amount) in &books.ledger {
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

    /// Compares a server with the account; how many steps of each writer it holds.
    ///
    /// # Errors
    /// When it is not in the state of the moment. It says what differs.
    pub fn judge(&self, server: &impl Database, moment: &Moment) -> Result<Vec<u64>, String> {
        let observed = observe(server)?;
        let bounds = self.bounds(moment)?;
        let mut prefix = Vec::new();
        for writer in 0..self.steps.len() as u64 {
            prefix.push(self.steps_of(writer, &observed, bounds)?);
        }
        same(&self.state(&prefix), &observed.state)
            .map_err(|error| format!("after {prefix:?} steps: {error}"))?;
        self.check_times(&observed)?;
        for (writer, steps) in (0..).zip(&prefix) {
            self.check_bounds(writer, *steps, bounds)?;
        }
        if let Moment::Before { writer, number } = *moment {
            let there = prefix[usize::try_from(writer).unwrap()];
            if there != number - 1 {
                return Err(format!(
                    "writer {writer} has done {there} steps, not those before {number}"
                ));
            }
        }
        Ok(prefix)
    }

    /// The statements that define something and were sent once, each with the moment before it.
    #[must_use]
    pub fn definitions(&self) -> BTreeMap<String, Moment> {
        let mut found: BTreeMap<String, Vec<Moment>> = BTreeMap::new();
        for (writer, steps) in (0..).zip(&self.steps) {
            let mut script = self.script(writer);
            for _ in steps {
                let step = script.next();
                if matches!(step.outcome, Outcome::Definition(_)) {
                    let number = step.number;
                    let before = Moment::Before { writer, number };
                    found.entry(step.commit).or_default().push(before);
                }
            }
        }
        let once = found.into_iter().filter(|(_, all)| all.len() == 1);
        once.map(|(statement, all)| (statement, all[0])).collect()
    }

    fn script(&self, writer: u64) -> Script {
        Script::new(self.flavour, writer, &self.options)
    }

    fn bounds(&self, moment: &Moment) -> Result<Bounds, String> {
        let bounds = match *moment {
            Moment::Latest => Bounds {
                acknowledged: u64::MAX,
                sent: u64::MAX,
            },
            Moment::At(time) if self.flavour == Flavour::Mariadb => {
                let end = time / SECOND * SECOND + SECOND - 1;
                Bounds {
                    acknowledged: end,
                    sent: end + TICK,
                }
            }
            Moment::At(time) => Bounds {
                acknowledged: time,
                sent: time,
            },
            Moment::Before { writer, number } => {
                let times = self.times(writer, number).ok_or("there is no such step")?;
                Bounds {
                    acknowledged: times.sent - 1,
                    sent: times.acknowledged,
                }
            }
            Moment::Any => Bounds {
                acknowledged: 0,
                sent: u64::MAX,
            },
        };
        Ok(bounds)
    }

    fn times(&self, writer: u64, number: u64) -> Option<&Times> {
        let steps = self.steps.get(usize::try_from(writer).ok()?)?;
        steps.get(usize::try_from(number.checked_sub(1)?).ok()?)
    }

    /// How many steps of a writer a server holds. Its progress says which transaction was the last one; definitions
    /// after that are seen by what they define.
    fn steps_of(&self, writer: u64, observed: &Observed, bounds: Bounds) -> Result<u64, String> {
        let progress = progress(writer, &observed.state)?;
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
        if last.is_some_and(|step| matches!(step.outcome, Outcome::Definition(_))) {
            return Err(format!(
                "step {progress} of writer {writer} is none that leaves its number"
            ));
        }
        let defined = defined(writer, &observed.state);
        let mut found: Option<u64> = None;
        for steps in progress..=known {
            let mut state = State::new();
            script.books().show_definitions(&mut state);
            state.values_mut().for_each(|rows| rows.sort());
            let fits = self.check_bounds(writer, steps, bounds).is_ok();
            if self::defined(writer, &state) == defined && (found.is_none() || fits) {
                found = Some(steps);
            }
            if !matches!(script.next().outcome, Outcome::Definition(_)) {
                break;
            }
        }
        Ok(found.unwrap_or(progress))
    }

    fn check_bounds(&self, writer: u64, steps: u64, bounds: Bounds) -> Result<(), String> {
        if let Some(last) = self
            .times(writer, steps)
            .filter(|times| times.sent > bounds.sent)
        {
            let late = last.sent - bounds.sent;
            return Err(format!(
                "step {steps} of writer {writer} is there, which was sent {late} µs after the moment"
            ));
        }
        let next = self.times(writer, steps + 1);
        if let Some(next) = next.filter(|times| times.acknowledged <= bounds.acknowledged) {
            let early = bounds.acknowledged - next.acknowledged;
            return Err(format!(
                "step {} of writer {writer} is missing, which was acknowledged {early} µs before the moment",
                steps + 1
            ));
        }
        Ok(())
    }

    /// The server's own times lie within the steps that wrote them.
    fn check_times(&self, observed: &Observed) -> Result<(), String> {
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

fn progress(writer: u64, state: &State) -> Result<u64, String> {
    let rows = state.get("bookkeeping.progress").into_iter().flatten();
    let name = Some(writer.to_string());
    let number = rows
        .filter(|row| row[0] == name)
        .find_map(|row| row[1].clone());
    let number = number.and_then(|number| number.parse().ok());
    number.ok_or_else(|| format!("bookkeeping.progress has no row of writer {writer}"))
}

/// What a writer has defined.
fn defined(writer: u64, state: &State) -> BTreeMap<&str, &[Row]> {
    let marks = [
        format!(".side_{writer}_"),
        format!("user clerk_{writer}_"),
        format!("database annex{writer}"),
    ];
    let own = state.iter().filter(|(name, _)| {
        name.contains(&marks[0]) || name.starts_with(&marks[1]) || **name == marks[2]
    });
    own.map(|(name, rows)| (name.as_str(), rows.as_slice()))
        .collect()
}

/// Fails with what differs, and with the rows that show it.
fn same(expected: &State, there: &State) -> Result<(), String> {
    let mut found = Vec::new();
    for name in expected.keys().filter(|name| !there.contains_key(*name)) {
        found.push(format!("{name} is missing"));
    }
    for (name, rows) in there {
        match expected.get(name) {
            None => found.push(format!("{name} should not be there")),
            Some(expected) if expected != rows => found.push(difference(name, expected, rows)),
            Some(_) => {}
        }
    }
    match found.is_empty() {
        true => Ok(()),
        false => Err(found.join("; ")),
    }
}

fn difference(name: &str, expected: &[Row], there: &[Row]) -> String {
    let only = |of: &[Row], not: &[Row]| {
        let mut counts: BTreeMap<&Row, i64> = BTreeMap::new();
        not.iter()
            .for_each(|row| *counts.entry(row).or_default() -= 1);
        of.iter()
            .for_each(|row| *counts.entry(row).or_default() += 1);
        let more = counts.into_iter().filter(|(_, count)| *count > 0);
        more.map(|(row, _)| shown(row)).collect::<Vec<_>>()
    };
    let (missing, surplus) = (only(expected, there), only(there, expected));
    format!(
        "{name} differs: {} rows are missing, such as {:?}; {} are too many, such as {:?}",
        missing.len(),
        &missing[..missing.len().min(3)],
        surplus.len(),
        &surplus[..surplus.len().min(3)]
    )
}

fn shown(row: &Row) -> String {
    let cells = row.iter().map(|cell| match cell {
        Some(text) => text.chars().take(60).collect(),
        None => "NULL".to_owned(),
    });
    cells.collect::<Vec<String>>().join(" | ")
}
