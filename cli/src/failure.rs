//! Failures as people and scripts see them: a message with its causes, a hint, an exit code.

use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

use reprise_repository::backend::BackendError;
use reprise_repository::{ErrorClass, Outcome, format_error_chain};
use reprise_scheduler::JobError;
use reprise_times::TimeInputError;
use serde_json::json;

use crate::output;

/// Exit codes. The numbers are part of the command line: added, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Success.
    Ok = 0,
    /// Finished, but something named was skipped or inconsistent.
    Degraded = 3,
    /// Failed.
    Failed = 1,
    /// The command line or a policy is wrong.
    Usage = 2,
    /// Data is damaged or differs from what is expected.
    Damaged = 4,
    /// The named object does not exist.
    NotFound = 5,
    /// Not allowed.
    Refused = 6,
    /// Stopped on request.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<Exit> for Outcome {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Ok => Self::Ok,
            Exit::Degraded => Self::Degraded,
            Exit::Failed
            | Exit::Usage
            | Exit::Damaged
            | Exit::NotFound
            | Exit::Refused
            | Exit::Interrupted => Self::Failed,
        }
    }
}

impl From<Outcome> for Exit {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::Ok,
            Outcome::Degraded => Self::Degraded,
            Outcome::Failed => Self::Failed,
        }
    }
}

impl From<ErrorClass> for Exit {
    fn from(class: ErrorClass) -> Self {
        match class {
            ErrorClass::Failed => Self::Failed,
            ErrorClass::Damaged => Self::Damaged,
            ErrorClass::NotFound => Self::NotFound,
            ErrorClass::Refused => Self::Refused,
            ErrorClass::Usage => Self::Usage,
        }
    }
}

impl From<TimeInputError> for Failure {
    fn from(error: TimeInputError) -> Self {
        Self::usage(error.to_string(), error.hint())
    }
}

impl Exit {
    /// The exit code of several results together: any failure beats `degraded`, the first failure counts.
    pub(crate) fn combine_with(self, other: Self) -> Self {
        match (self, other) {
            (Self::Ok | Self::Degraded, Self::Ok) => self,
            (Self::Ok | Self::Degraded, other) => other,
            (failure, _) => failure,
        }
    }
}

/// An error that ended a command.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What failed, on which object, why.
    pub(crate) message: String,
    /// What to do next; may be empty.
    pub(crate) hint: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hint: hint.into(),
        }
    }

    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message, hint)
    }

    /// A failure to read or write a local file.
    pub(crate) fn file_error(action: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(
            Exit::Failed,
            format!("cannot {action} {}: {error}", path.display()),
            "",
        )
    }

    /// Prints the failure.
    pub(crate) fn report(&self, json: bool) {
        self.report_with(json, &[]);
    }

    /// Prints the failure; as JSON with further members, which say what it was that failed.
    pub(crate) fn report_with(&self, json: bool, members: &[(&str, &str)]) {
        if json {
            let mut event = json!({
                "event": "error",
                "message": self.message,
                "hint": self.hint,
                "exit_code": self.exit as u8,
            });
            for (name, value) in members {
                event[*name] = json!(value);
            }
            output::print_json(&event);
        }
        output::print_notes(&self.format_text());
    }

    /// Message and hint for people.
    pub(crate) fn format_text(&self) -> String {
        let mut text = format!("error: {}", self.message);
        for (n, line) in self.hint.lines().enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "\n  {}{line}",
                if n == 0 { "hint: " } else { "      " }
            );
        }
        text
    }
}

/// The repository's own message is enough: the errors that wrap it add nothing for a reader.
fn innermost_repository_error<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.is::<reprise_repository::Error>() {
            return inner;
        }
        cause = inner.source();
    }
    error
}

/// The message with its causes. What it quotes may have lines of its own: they are indented, so that none passes for a
/// line of this program.
fn describe_causes(error: &(dyn Error + 'static)) -> String {
    format_error_chain(innermost_repository_error(error)).replace('\n', "\n  ")
}

fn exit_for(error: &(dyn Error + 'static), class: ErrorClass) -> Exit {
    let inner = innermost_repository_error(error).downcast_ref::<reprise_repository::Error>();
    match inner {
        Some(
            reprise_repository::Error::Interrupted
            | reprise_repository::Error::Backend {
                source: BackendError::Interrupted { .. },
                ..
            },
        ) => Exit::Interrupted,
        _ => class.into(),
    }
}

macro_rules! from_error {
    ($error:ty) => {
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self {
                    exit: exit_for(&error, error.class()),
                    message: describe_causes(&error),
                    hint: error.hint(),
                }
            }
        }
    };
}

from_error!(reprise_repository::Error);
from_error!(reprise_snapshotters::Error);
from_error!(reprise_mysql::log::LogReadError);
from_error!(reprise_restore::Error);

impl From<JobError> for Failure {
    fn from(error: JobError) -> Self {
        // It is what the repository says itself: whether it was interrupted is told by its own type.
        if let JobError::Repository(error) = error {
            return error.into();
        }
        Self {
            exit: exit_for(&error, error.class()),
            message: describe_causes(&error),
            hint: error.hint(),
        }
    }
}

impl From<reprise_policies::PolicyErrors> for Failure {
    fn from(errors: reprise_policies::PolicyErrors) -> Self {
        Self::usage(errors.to_string().trim_end(), "")
    }
}

impl From<reprise_policies::SelectError> for Failure {
    fn from(error: reprise_policies::SelectError) -> Self {
        let hint = error.hint().unwrap_or_default();
        Self::new(Exit::NotFound, error.to_string(), hint)
    }
}

impl From<reprise_policies::SecretError> for Failure {
    fn from(error: reprise_policies::SecretError) -> Self {
        Self::new(Exit::Refused, format_error_chain(&error), error.hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_of_several_results_counts() {
        use Exit::{Damaged, Degraded, Failed, Ok};
        let cases = [
            (Ok, Ok, Ok),
            (Ok, Degraded, Degraded),
            (Degraded, Ok, Degraded),
            (Degraded, Failed, Failed),
            (Damaged, Failed, Damaged),
            (Failed, Ok, Failed),
        ];
        for (a, b, expected) in cases {
            assert_eq!(a.combine_with(b), expected, "{a:?} {b:?}");
        }
    }

    #[test]
    fn exit_codes_are_those_that_scripts_know() {
        let codes = [
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Degraded,
            Exit::Damaged,
            Exit::NotFound,
            Exit::Refused,
            Exit::Interrupted,
        ];
        assert_eq!(codes.map(|exit| exit as u8), [0, 1, 2, 3, 4, 5, 6, 130]);
    }
}
