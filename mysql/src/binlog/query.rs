//! Statements in a log.

use crate::binlog::cursor::ByteCursor;
use crate::binlog::event::{Event, EventError, kind};

/// A statement with its context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryEvent<'a> {
    /// The server's ID of the connection that ran it.
    pub thread_id: u32,
    /// The error code with which it ended at the server; 0: none.
    pub error_code: u16,
    /// The settings under which it ran, encoded.
    pub settings: &'a [u8],
    /// The database in use.
    pub database: &'a [u8],
    /// Its text.
    pub text: &'a [u8],
}

impl<'a> QueryEvent<'a> {
    /// Parses a statement.
    ///
    /// # Errors
    /// When the event is of another type, or too short.
    pub fn from_event(event: &'a Event) -> Result<Self, EventError> {
        if event.kind() != kind::QUERY {
            return Err(EventError::malformed(
                event.kind(),
                "it is not a query event",
            ));
        }
        Self::parse(event.body())
            .ok_or_else(|| EventError::malformed(event.kind(), "it is too short"))
    }

    /// Parses the body of a statement's event.
    #[must_use]
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let mut cursor = ByteCursor::new(body);
        let thread = cursor.u32()?;
        cursor.u32()?;
        let database = usize::from(cursor.u8()?);
        let error = cursor.u16()?;
        let settings = usize::from(cursor.u16()?);
        let settings = cursor.take(settings)?;
        let database = cursor.take(database)?;
        cursor.u8()?;
        Some(Self {
            thread_id: thread,
            error_code: error,
            settings,
            database,
            text: cursor.rest(),
        })
    }

    /// Whether the statement is exactly these words, ignoring case.
    #[must_use]
    pub fn is_exactly(&self, words: &str) -> bool {
        self.text
            .trim_ascii()
            .eq_ignore_ascii_case(words.as_bytes())
    }

    /// Whether the statement begins with these words, ignoring case.
    #[must_use]
    pub fn starts_with(&self, words: &str) -> bool {
        let text = self.text.trim_ascii_start();
        text.get(..words.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(words.as_bytes()))
    }
}
