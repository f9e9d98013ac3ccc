//! What became of a run: how many sources and copies ended how, and the exit code of all of it.

use reprise_repository::Outcome;
use serde::Serialize;
use serde_json::json;

use crate::context::Context;
use crate::failure::Exit;
use crate::output;

/// How many ended how.
#[derive(Debug, Default, Serialize)]
struct OutcomeCounts {
    ok: u64,
    degraded: u64,
    failed: u64,
}

impl OutcomeCounts {
    fn count(&mut self, exit: Exit) {
        let counter = match Outcome::from(exit) {
            Outcome::Ok => &mut self.ok,
            Outcome::Degraded => &mut self.degraded,
            Outcome::Failed => &mut self.failed,
        };
        *counter += 1;
    }
}

/// The result of a run so far.
#[derive(Debug)]
pub(super) struct RunSummary {
    sources: OutcomeCounts,
    copies: OutcomeCounts,
    exit: Exit,
}

impl Default for RunSummary {
    fn default() -> Self {
        Self {
            sources: OutcomeCounts::default(),
            copies: OutcomeCounts::default(),
            exit: Exit::Ok,
        }
    }
}

impl RunSummary {
    /// A source to one of its repositories has ended.
    pub(super) fn count_source(&mut self, exit: Exit) {
        self.sources.count(exit);
        self.add_exit(exit);
    }

    /// A copy has ended.
    pub(super) fn count_copy(&mut self, exit: Exit) {
        self.copies.count(exit);
        self.add_exit(exit);
    }

    /// Whether a stop was requested: nothing further is begun.
    pub(super) fn is_interrupted(&self) -> bool {
        self.exit == Exit::Interrupted
    }

    fn add_exit(&mut self, exit: Exit) {
        self.exit = match exit {
            Exit::Interrupted => exit,
            exit => self.exit.combine_with(exit),
        };
    }

    /// Prints the final event of a run for scripts, and returns its exit code.
    pub(super) fn finish(&self, context: &Context) -> Exit {
        if context.global.json {
            output::print_json(&json!({
                "event": "run",
                "outcome": Outcome::from(self.exit),
                "sources": self.sources,
                "copies": self.copies,
                "exit_code": self.exit as u8,
            }));
        }
        self.exit
    }
}
