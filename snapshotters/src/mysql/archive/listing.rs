//! The transactions of a log, for people who look for one.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::mysql::binlog::{
    Boundary, Columns, Cursor, Ended, Event, EventError, Format, MappedTable, Payload, Place,
    Query, has_rows, kind, plain_rows, plain_statement,
};
use crate::mysql::sql::has_word;

/// No more of a statement is listed, in characters.
const STATEMENT_CHARACTERS_MAX: usize = 1000;

/// How many rows of a table a transaction changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Rows {
    /// Inserted.
    pub inserted: u64,
    /// Changed.
    pub updated: u64,
    /// Deleted.
    pub deleted: u64,
}

/// A transaction of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its number and time.
    pub ended: Ended,
    /// The rows that it changes, by `database.table`.
    pub rows: BTreeMap<String, Rows>,
    /// The statements in it that are no frame; behind rows those that made them, where the log has them.
    pub statements: Vec<String>,
    /// Whether it has statements that change more than rows, such as definitions.
    pub is_statement: bool,
    /// The databases in use by its statements.
    databases: Vec<String>,
}

impl Listed {
    /// Whether it touches a table: by its rows, or in the words of a statement.
    #[must_use]
    pub fn touches(&self, database: &str, table: &str) -> bool {
        let named = |text: &String| {
            let used = self.databases.iter().any(|used| used == database);
            has_word(text, table) && (used || has_word(text, database))
        };
        self.rows.contains_key(&format!("{database}.{table}"))
            || (self.is_statement && self.statements.iter().any(named))
    }

    /// What it is, in a word or two: `rows`, or how its first statement begins.
    #[must_use]
    pub fn kind(&self) -> String {
        match self.statements.first() {
            Some(statement) if self.is_statement => {
                let words = statement.split_whitespace().take(2);
                words.collect::<Vec<_>>().join(" ").to_uppercase()
            }
            _ => "rows".to_owned(),
        }
    }
}

/// Lists the transactions of events, in order.
#[derive(Debug)]
pub struct Transactions<I> {
    events: I,
    boundary: Boundary,
    checked: bool,
    tables: BTreeMap<u64, (String, Option<Columns>)>,
    current: Current,
    done: VecDeque<Listed>,
}

#[derive(Debug, Default)]
struct Current {
    rows: BTreeMap<String, Rows>,
    statements: Vec<String>,
    databases: Vec<String>,
    is_statement: bool,
}

fn damaged(source: EventError) -> Error {
    Error::LogEvents { source }
}

impl<I: Iterator<Item = Result<Event>>> Transactions<I> {
    /// Reads events.
    pub fn new(events: I) -> Self {
        Self {
            events,
            boundary: Boundary::default(),
            checked: false,
            tables: BTreeMap::new(),
            current: Current::default(),
            done: VecDeque::new(),
        }
    }

    fn pass(&mut self, event: &Event) -> Result<()> {
        if event.kind() == kind::FORMAT {
            self.checked = Format::parse(event.bytes()).is_some_and(|format| format.checked);
        }
        let place = self.boundary.pass(event).map_err(damaged)?;
        match place {
            Place::Start => self.begin(),
            Place::Outside => return Ok(()),
            Place::Inside | Place::End => self.look(event)?,
        }
        if place == Place::End
            && let Some(ended) = self.boundary.take_ended()
        {
            let current = std::mem::take(&mut self.current);
            self.done.push_back(Listed {
                ended,
                rows: current.rows,
                statements: current.statements,
                is_statement: current.is_statement,
                databases: current.databases,
            });
            self.tables.clear();
        }
        Ok(())
    }

    fn begin(&mut self) {
        self.current = Current::default();
        self.tables.clear();
    }

    fn look(&mut self, event: &Event) -> Result<()> {
        match event.kind() {
            kind::TRANSACTION_PAYLOAD => {
                let mut payload = Payload::open(event, self.checked).map_err(damaged)?;
                while let Some(inner) = payload.next_event().map_err(damaged)? {
                    self.look(&inner)?;
                }
            }
            kind::TABLE_MAP => {
                let table = MappedTable::of(event).map_err(damaged)?;
                let name = format!(
                    "{}.{}",
                    String::from_utf8_lossy(&table.database),
                    String::from_utf8_lossy(&table.name)
                );
                if let Some(number) = table_number(event) {
                    self.tables.insert(number, (name, Columns::of(event)));
                }
            }
            kind::QUERY => self.statement(event)?,
            kind::MARIADB_QUERY_COMPRESSED => {
                let plain = plain_statement(event).map_err(damaged)?;
                self.statement(&plain)?;
            }
            // One byte tells a length that nobody needs.
            kind::ROWS_QUERY => self.remember(event.body().get(1..).unwrap_or_default()),
            kind::MARIADB_ANNOTATE_ROWS => self.remember(event.body()),
            kind if has_rows(kind) => match plain_rows(event).map_err(damaged)? {
                Some(plain) => self.count(&plain),
                None => self.count(event),
            },
            _ => {}
        }
        Ok(())
    }

    fn statement(&mut self, event: &Event) -> Result<()> {
        let query = Query::of(event).map_err(damaged)?;
        let frame = ["BEGIN", "COMMIT", "ROLLBACK"]
            .iter()
            .any(|words| query.is(words))
            || ["SAVEPOINT", "ROLLBACK TO", "XA START", "XA END"]
                .iter()
                .any(|words| query.begins(words));
        if !frame {
            self.current.is_statement = true;
            let database = String::from_utf8_lossy(query.database).into_owned();
            self.current.databases.push(database);
            self.remember(query.text);
        }
        Ok(())
    }

    fn remember(&mut self, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        let short: String = text.chars().take(STATEMENT_CHARACTERS_MAX).collect();
        self.current.statements.push(short);
    }

    fn count(&mut self, event: &Event) {
        let Some((name, columns)) = table_number(event).and_then(|n| self.tables.get(&n)) else {
            return;
        };
        // What cannot be counted is there all the same.
        let rows = columns
            .as_ref()
            .and_then(|columns| columns.rows(event))
            .unwrap_or(1);
        let counts = self.current.rows.entry(name.clone()).or_default();
        match event.kind() {
            kind::WRITE_ROWS | kind::WRITE_ROWS_V1 => counts.inserted += rows,
            kind::DELETE_ROWS | kind::DELETE_ROWS_V1 => counts.deleted += rows,
            _ => counts.updated += rows,
        }
    }
}

/// The number by which rows name their table.
fn table_number(event: &Event) -> Option<u64> {
    Cursor::new(event.body()).number(6)
}

impl<I: Iterator<Item = Result<Event>>> Iterator for Transactions<I> {
    type Item = Result<Listed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(listed) = self.done.pop_front() {
                return Some(Ok(listed));
            }
            let passed = match self.events.next()? {
                Ok(event) => self.pass(&event),
                Err(error) => Err(error),
            };
            if let Err(error) = passed {
                return Some(Err(error));
            }
        }
    }
}
