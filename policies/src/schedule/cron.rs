//! Cron expressions of five fields, in local time without a time zone.

use std::fmt;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;

/// Names for common expressions. `@reboot` is none: a schedule does not depend on when a host was started.
const NICKNAMES: &[(&str, &str)] = &[
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// A rule that matches less often than once in this time is a mistake: 29 February is eight years apart around 2100.
const RECURRENCE_YEARS_MAX: i16 = 12;

/// A cron expression: minute, hour, day of the month, month, day of the week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronExpression {
    text: String,
    cron: Box<Cron>,
}

/// Why a text is not a cron expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronExpressionError {
    /// It begins with `@`, and is none of the names.
    #[error("is none of {}", nicknames().collect::<Vec<_>>().join(", "))]
    UnknownNickname,
    /// It does not have five fields.
    #[error(
        "has {found} fields; a cron expression has five: minute, hour, day of the month, month, day of the week"
    )]
    FieldCount {
        /// How many it has.
        found: usize,
    },
    /// A field is not valid.
    #[error("is not a cron expression: {reason}")]
    Invalid {
        /// Why.
        reason: String,
    },
    /// No date matches.
    #[error("never matches: no such date exists")]
    NeverMatches,
}

fn nicknames() -> impl Iterator<Item = &'static str> {
    NICKNAMES.iter().map(|(name, _)| *name)
}

impl CronExpression {
    /// Reads an expression of five fields, or a nickname such as `@daily`.
    ///
    /// # Errors
    /// When it is neither, or matches no date.
    pub fn parse(text: &str) -> Result<Self, CronExpressionError> {
        let text = text.trim();
        let nickname = NICKNAMES.iter().find(|(name, _)| *name == text);
        let expression = match nickname {
            Some((_, expression)) => expression,
            None if text.starts_with('@') => return Err(CronExpressionError::UnknownNickname),
            None => text,
        };
        let found = expression.split_whitespace().count();
        if found != 5 {
            return Err(CronExpressionError::FieldCount { found });
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let cron = parser
            .parse(expression)
            .map_err(|error| CronExpressionError::Invalid {
                reason: error.to_string(),
            })?;
        let expression = Self {
            text: text.to_owned(),
            cron: Box::new(cron),
        };
        // 2096 to 2108 has the longest time without a 29 February.
        let from = jiff::civil::date(2096, 3, 1).at(0, 0, 0, 0);
        let until = jiff::civil::date(2096 + RECURRENCE_YEARS_MAX, 3, 1).at(0, 0, 0, 0);
        match expression.next_match(from) {
            Some(found) if found < until => Ok(expression),
            _ => Err(CronExpressionError::NeverMatches),
        }
    }

    /// The first match after a local time.
    pub(super) fn next_match(&self, after: DateTime) -> Option<DateTime> {
        self.cron.find_next_occurrence(&after, false).ok()
    }

    /// The last match at or before a local time.
    pub(super) fn last_match(&self, until: DateTime) -> Option<DateTime> {
        self.cron.find_previous_occurrence(&until, true).ok()
    }

    /// Whether it matches in every hour or every few hours: then it follows elapsed time, and matches in both passes of
    /// an hour that clocks show twice. What names its hours is meant once a day for each.
    pub(super) fn follows_elapsed_time(&self) -> bool {
        let expression = NICKNAMES
            .iter()
            .find(|(name, _)| *name == self.text)
            .map_or(self.text.as_str(), |(_, expression)| expression);
        let hours = expression.split_whitespace().nth(1);
        hours.is_some_and(|hours| hours.starts_with('*'))
    }
}

impl fmt::Display for CronExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
