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

    /// Prints the final event of a run for scripts, or for people what must not be missed, and returns its exit code.
    pub(super) fn finish(&self, context: &Context) -> Exit {
        if context.global.json {
            output::print_json(&json!({
                "event": "run",
                "outcome": Outcome::from(self.exit),
                "sources": self.sources,
                "copies": self.copies,
                "exit_code": self.exit as u8,
            }));
        } else if self.exit != Exit::Ok
            && let Some(counts) = self.describe_counts()
        {
            output::print_note(&counts);
        }
        self.exit
    }

    /// How many ended how; `None` where there was only one.
    fn describe_counts(&self) -> Option<String> {
        let (sources, copies) = (&self.sources, &self.copies);
        let [ok, degraded, failed] = [
            sources.ok + copies.ok,
            sources.degraded + copies.degraded,
            sources.failed + copies.failed,
        ];
        let all = ok + degraded + failed;
        (all > 1).then(|| format!("of {all}: {ok} ok, {degraded} degraded, {failed} failed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_results_are_counted_and_one_speaks_for_itself() {
        let mut summary = RunSummary::default();
        summary.count_source(Exit::Failed);
        assert_eq!(summary.describe_counts(), None);
        summary.count_source(Exit::Ok);
        summary.count_copy(Exit::Degraded);
        let counts = summary.describe_counts();
        assert_eq!(counts.as_deref(), Some("of 3: 1 ok, 1 degraded, 1 failed"));
    }
}
