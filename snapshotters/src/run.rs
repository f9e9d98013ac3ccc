//! What all kinds of sources share: the names of a run, and the alarm when a source has shrunk.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use reprise_repository::{
    EntryCounts, Progress, RawText, Repository, ScheduledRun, Snapshot, SnapshotOptions,
    SourceKind, Warning,
};

use crate::error::Result;

/// Sources below these sizes may shrink without an alarm: a few files more or less are normal.
const ALARM_BYTES_MIN: u64 = 1 << 20;
const ALARM_ENTRIES_MIN: u64 = 20;

/// How much a source may shrink between two snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShrinkAlarm {
    percent_max: Option<u8>,
}

impl ShrinkAlarm {
    /// An alarm when entries or bytes fell by more than this percentage.
    #[must_use]
    pub fn above_percent(percent: u8) -> Self {
        Self {
            percent_max: Some(percent),
        }
    }

    /// No alarm.
    #[must_use]
    pub fn disabled() -> Self {
        Self { percent_max: None }
    }

    /// Whether there are alarms at all.
    #[must_use]
    pub fn is_enabled(self) -> bool {
        self.percent_max.is_some()
    }

    /// The alarms for these counts, compared with the earlier ones.
    #[must_use]
    pub fn check_counts(self, before: &EntryCounts, now: &EntryCounts) -> Vec<Warning> {
        let Some(percent) = self.percent_max else {
            return Vec::new();
        };
        let fell = |before: u64, now: u64, min: u64| {
            let kept_min = u128::from(before) * u128::from(100 - percent.min(100)) / 100;
            before >= min && u128::from(now) < kept_min
        };
        let mut alarms = Vec::new();
        if fell(before.entries, now.entries, ALARM_ENTRIES_MIN) {
            alarms.push(format!(
                "entries fell from {} to {}",
                before.entries, now.entries
            ));
        }
        if fell(before.bytes, now.bytes, ALARM_BYTES_MIN) {
            alarms.push(format!("bytes fell from {} to {}", before.bytes, now.bytes));
        }
        let alarm = |what| Warning {
            path: RawText::default(),
            message: format!("alarm: {what} since the last snapshot, by more than {percent} %"),
        };
        alarms.into_iter().map(alarm).collect()
    }
}

impl Default for ShrinkAlarm {
    fn default() -> Self {
        Self::above_percent(50)
    }
}

/// The names of a run, and where it reports its progress.
#[derive(Debug, Clone)]
pub struct RunContext {
    /// The source's name.
    pub source: String,
    /// This host's name.
    pub host: String,
    /// Labels.
    pub tags: BTreeMap<String, String>,
    /// When to raise an alarm.
    pub shrink_alarm: ShrinkAlarm,
    /// Tells the time.
    pub clock: fn() -> DateTime<Utc>,
    /// Advanced while the run goes on.
    pub progress: Arc<Progress>,
    /// The scheduled run that this is, if it is one.
    pub scheduled: Option<ScheduledRun>,
}

impl RunContext {
    /// This host's snapshot of the same source and kind before this run, and the options of the new one. What another
    /// host stores under the same name is another series.
    pub(crate) fn prepare_snapshot(
        &self,
        repository: &Repository,
        kind: SourceKind,
    ) -> Result<(Option<Snapshot>, SnapshotOptions)> {
        let mut history = repository.source_history(&self.source)?;
        let parent = history.own.pop().filter(|parent| parent.root.kind == kind);
        let options = SnapshotOptions {
            source: self.source.clone(),
            kind,
            host: self.host.clone(),
            tags: self.tags.clone(),
            started: (self.clock)(),
            run: self.scheduled.clone(),
            parent: parent.as_ref().map(|parent| parent.id),
            alarms: history.alarms,
        };
        Ok((parent, options))
    }

    /// The alarm when a source has lost everything, however little that was: a share that is not mounted. It stays
    /// until the source has content again.
    pub(crate) fn emptied_alarm(
        &self,
        repository: &Repository,
        parent: Option<&Snapshot>,
        now: &EntryCounts,
    ) -> reprise_repository::Result<Option<Warning>> {
        let is_empty = |counts: &EntryCounts| counts.files == 0 || counts.bytes == 0;
        let Some(parent) = parent.filter(|_| self.shrink_alarm.is_enabled() && is_empty(now))
        else {
            return Ok(None);
        };
        let before = if is_empty(&parent.root.counts) {
            let snapshots = repository.source_history(&self.source)?.own;
            let with_content =
                |one: &&Snapshot| one.root.kind == parent.root.kind && !is_empty(&one.root.counts);
            snapshots.iter().rev().find(with_content).cloned()
        } else {
            Some(parent.clone())
        };
        Ok(before.map(|before| emptied_warning(&before, now)))
    }

    /// The alarms for the new counts.
    pub(crate) fn shrink_alarms(
        &self,
        parent: Option<&Snapshot>,
        now: &EntryCounts,
    ) -> Vec<Warning> {
        parent.map_or_else(Vec::new, |parent| {
            self.shrink_alarm.check_counts(&parent.root.counts, now)
        })
    }
}

fn emptied_warning(before: &Snapshot, now: &EntryCounts) -> Warning {
    let what = if now.files == 0 { "files" } else { "content" };
    source_warning(format!(
        "alarm: it has no {what}: snapshot {} has {} files with {} bytes; check that it is mounted",
        before.id.short(),
        before.root.counts.files,
        before.root.counts.bytes
    ))
}

/// A warning about a source as a whole.
pub(crate) fn source_warning(message: impl Into<String>) -> Warning {
    Warning {
        path: RawText::default(),
        message: message.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(entries: u64, bytes: u64) -> EntryCounts {
        EntryCounts {
            entries,
            bytes,
            ..EntryCounts::default()
        }
    }

    #[test]
    fn a_sharp_fall_of_entries_or_bytes_is_an_alarm() {
        let alarm = ShrinkAlarm::above_percent(50);
        let cases = [
            (counts(100, 0), counts(50, 0), 0),
            (counts(100, 0), counts(49, 0), 1),
            (counts(100, 10 << 20), counts(0, 0), 2),
            (counts(10, 1000), counts(0, 0), 0),
            (counts(100, 10 << 20), counts(200, 20 << 20), 0),
        ];
        for (before, now, expected) in cases {
            assert_eq!(
                alarm.check_counts(&before, &now).len(),
                expected,
                "{before:?} {now:?}"
            );
        }
        assert_eq!(
            ShrinkAlarm::disabled().check_counts(&counts(100, 0), &counts(0, 0)),
            []
        );
    }
}
