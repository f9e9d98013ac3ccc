//! The transactions of a log, for people who search for one.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::error::{LogReadError, Result};
use crate::binlog::{
    ByteCursor, Event, EventBoundary, EventError, FormatDescription, LoggedTransaction,
    MappedTable, QueryEvent, TableColumns, TransactionBoundaryParser, TransactionPayload,
    decompress_rows, decompress_statement, is_rows_event, kind,
};
use crate::sql::contains_word;

/// At most this much of a statement is listed, in characters.
const STATEMENT_CHARACTERS_MAX: usize = 1000;

/// How many rows of a table a transaction changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RowCounts {
    /// Inserted.
    pub inserted: u64,
    /// Changed.
    pub updated: u64,
    /// Deleted.
    pub deleted: u64,
}

/// A transaction of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTransaction {
    /// Its GTID and commit time.
    pub transaction: LoggedTransaction,
    /// The rows that it changes, per `database.table`.
    pub rows: BTreeMap<String, RowCounts>,
    /// Its statements except begin and commit; for row events the original statements, where the log has them.
    pub statements: Vec<String>,
    /// Whether it has statements that change more than rows, such as DDL.
    pub has_statements: bool,
    /// The default databases of its statements.
    databases: Vec<String>,
}

impl ListedTransaction {
    /// Whether it touches a table: by its rows, or by the words of a statement.
    #[must_use]
    pub fn touches_table(&self, database: &str, table: &str) -> bool {
        let named = |text: &String| {
            let used = self.databases.iter().any(|used| used == database);
            contains_word(text, table) && (used || contains_word(text, database))
        };
        self.rows.contains_key(&format!("{database}.{table}"))
            || (self.has_statements && self.statements.iter().any(named))
    }

    /// A short label: `rows`, or the beginning of its first statement.
    #[must_use]
    pub fn kind(&self) -> String {
        match self.statements.first() {
            Some(statement) if self.has_statements => {
                let words = statement.split_whitespace().take(2);
                words.collect::<Vec<_>>().join(" ").to_uppercase()
            }
            _ => "rows".to_owned(),
        }
    }
}

/// Lists the transactions of events, in order.
#[derive(Debug)]
pub struct TransactionLister<I> {
    events: I,
    boundary: TransactionBoundaryParser,
    has_checksums: bool,
    tables: BTreeMap<u64, (String, Option<TableColumns>)>,
    current: TransactionInProgress,
    finished: VecDeque<ListedTransaction>,
}

#[derive(Debug, Default)]
struct TransactionInProgress {
    rows: BTreeMap<String, RowCounts>,
    statements: Vec<String>,
    databases: Vec<String>,
    has_statements: bool,
}

fn damaged_log(source: EventError) -> LogReadError {
    LogReadError::InvalidEvents { source }
}

impl<I: Iterator<Item = Result<Event>>> TransactionLister<I> {
    /// Reads events.
    pub fn new(events: I) -> Self {
        Self {
            events,
            boundary: TransactionBoundaryParser::default(),
            has_checksums: false,
            tables: BTreeMap::new(),
            current: TransactionInProgress::default(),
            finished: VecDeque::new(),
        }
    }

    fn process_event(&mut self, event: &Event) -> Result<()> {
        if event.kind() == kind::FORMAT_DESCRIPTION {
            self.has_checksums =
                FormatDescription::parse(event.bytes()).is_some_and(|format| format.has_checksums);
        }
        let place = self.boundary.feed_event(event).map_err(damaged_log)?;
        match place {
            EventBoundary::Start => self.begin_transaction(),
            EventBoundary::Outside => return Ok(()),
            EventBoundary::Inside | EventBoundary::End => self.inspect_event(event)?,
        }
        if place == EventBoundary::End
            && let Some(ended) = self.boundary.take_completed()
        {
            let current = std::mem::take(&mut self.current);
            self.finished.push_back(ListedTransaction {
                transaction: ended,
                rows: current.rows,
                statements: current.statements,
                has_statements: current.has_statements,
                databases: current.databases,
            });
            self.tables.clear();
        }
        Ok(())
    }

    fn begin_transaction(&mut self) {
        self.current = TransactionInProgress::default();
        self.tables.clear();
    }

    fn inspect_event(&mut self, event: &Event) -> Result<()> {
        match event.kind() {
            kind::TRANSACTION_PAYLOAD => {
                let mut payload =
                    TransactionPayload::open(event, self.has_checksums).map_err(damaged_log)?;
                while let Some(inner) = payload.next_event().map_err(damaged_log)? {
                    self.inspect_event(&inner)?;
                }
            }
            kind::TABLE_MAP => {
                let table = MappedTable::from_event(event).map_err(damaged_log)?;
                let name = format!(
                    "{}.{}",
                    String::from_utf8_lossy(&table.database),
                    String::from_utf8_lossy(&table.name)
                );
                if let Some(number) = table_id(event) {
                    self.tables
                        .insert(number, (name, TableColumns::from_table_map(event)));
                }
            }
            kind::QUERY => self.add_query(event)?,
            kind::MARIADB_QUERY_COMPRESSED => {
                let plain = decompress_statement(event).map_err(damaged_log)?;
                self.add_query(&plain)?;
            }
            // The first byte is a length that is not needed.
            kind::ROWS_QUERY => self.add_statement(event.body().get(1..).unwrap_or_default()),
            kind::MARIADB_ANNOTATE_ROWS => self.add_statement(event.body()),
            kind if is_rows_event(kind) => match decompress_rows(event).map_err(damaged_log)? {
                Some(plain) => self.count_rows(&plain),
                None => self.count_rows(event),
            },
            _ => {}
        }
        Ok(())
    }

    fn add_query(&mut self, event: &Event) -> Result<()> {
        let query = QueryEvent::from_event(event).map_err(damaged_log)?;
        let frame = ["BEGIN", "COMMIT", "ROLLBACK"]
            .iter()
            .any(|words| query.is_exactly(words))
            || ["SAVEPOINT", "ROLLBACK TO", "XA START", "XA END"]
                .iter()
                .any(|words| query.starts_with(words));
        if !frame {
            self.current.has_statements = true;
            let database = String::from_utf8_lossy(query.database).into_owned();
            self.current.databases.push(database);
            self.add_statement(query.text);
        }
        Ok(())
    }

    fn add_statement(&mut self, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        let short: String = text.chars().take(STATEMENT_CHARACTERS_MAX).collect();
        self.current.statements.push(short);
    }

    fn count_rows(&mut self, event: &Event) {
        let Some((name, columns)) = table_id(event).and_then(|n| self.tables.get(&n)) else {
            return;
        };
        // Rows that cannot be counted are listed all the same.
        let rows = columns
            .as_ref()
            .and_then(|columns| columns.count_rows(event))
            .unwrap_or(1);
        let counts = self.current.rows.entry(name.clone()).or_default();
        match event.kind() {
            kind::WRITE_ROWS | kind::WRITE_ROWS_V1 => counts.inserted += rows,
            kind::DELETE_ROWS | kind::DELETE_ROWS_V1 => counts.deleted += rows,
            _ => counts.updated += rows,
        }
    }
}

/// The table ID in an event of rows.
fn table_id(event: &Event) -> Option<u64> {
    ByteCursor::new(event.body()).fixed_int(6)
}

impl<I: Iterator<Item = Result<Event>>> Iterator for TransactionLister<I> {
    type Item = Result<ListedTransaction>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(listed) = self.finished.pop_front() {
                return Some(Ok(listed));
            }
            let passed = match self.events.next()? {
                Ok(event) => self.process_event(&event),
                Err(error) => Err(error),
            };
            if let Err(error) = passed {
                return Some(Err(error));
            }
        }
    }
}
