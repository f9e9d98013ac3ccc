//! Which snapshot a command line names.

use reprise_repository::{Repository, Snapshot};
use reprise_times::{DayMeaning, format_time, read_time};

use super::{Context, current_time};
use crate::failure::Failure;
use crate::output;

/// How a snapshot is named, in `--help`.
pub(crate) const SNAPSHOT_NAMES_HELP: &str = "\
A snapshot is named by the beginning of its ID, or as the newest of a source: SOURCE or SOURCE@latest for the newest of all,
SOURCE@2026-11-29 for the newest of that day or before, SOURCE@'2026-11-29 18:00' or SOURCE@'yesterday 18:00' for the newest at
or before that time.";

impl Context {
    /// Finds a snapshot by the beginning of its ID, `SOURCE`, `SOURCE@latest` or `SOURCE@TIME`. Prints a note if it is
    /// forgotten, and a warning if other hosts use the source's name.
    pub(crate) fn find_snapshot(
        &self,
        repository: &Repository,
        name: &str,
    ) -> Result<Snapshot, Failure> {
        let (source, time) = match name.split_once('@') {
            Some((source, "latest")) => (source, None),
            Some((source, time)) => (source, Some(time)),
            None => (name, None),
        };
        let snapshot = match time {
            Some(time) => self.find_snapshot_before(repository, source, time)?,
            None => repository.find_snapshot(name)?,
        };
        // An ID, or the name of a host, leaves open to nobody which one is meant.
        if snapshot.root.source == source && !repository.has_chosen_host() {
            self.print_foreign_series(repository, Some(source))?;
        }
        if let Some(alarm) = snapshot.clock_alarm(current_time()) {
            let id = snapshot.id.short();
            self.print_note(&format!("warning: snapshot {id}: {alarm}"));
        }
        if snapshot.forgotten {
            let id = snapshot.id.short();
            self.print_note(&format!(
                "note: snapshot {id} is forgotten and will be deleted by the next prune; `reprise unforget {id}` keeps it"
            ));
        }
        Ok(snapshot)
    }

    /// The newest snapshot of a source at or before a time as a person writes it. Which one it is, is said.
    fn find_snapshot_before(
        &self,
        repository: &Repository,
        source: &str,
        time: &str,
    ) -> Result<Snapshot, Failure> {
        let (zone, _) = self.zone_of_source(source);
        let read = read_time(time, &zone, current_time(), DayMeaning::End)?;
        let found = repository.find_snapshot_before(source, read.time)?;
        self.print_note(&format!(
            "note: {source}@{time} is snapshot {} of {}, the newest at or before {}",
            found.id.short(),
            format_time(&found.effective_time()),
            format_time(&read.time)
        ));
        Ok(found)
    }

    /// Prints a warning for each host that has stored snapshots under a name that means another one.
    pub(crate) fn print_foreign_series(
        &self,
        repository: &Repository,
        source: Option<&str>,
    ) -> Result<(), Failure> {
        for foreign in repository.find_foreign_series(source)? {
            output::print_note(&format!("warning: {foreign}"));
        }
        Ok(())
    }
}
