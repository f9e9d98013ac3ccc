//! The promises of sources: `fresh_within` and `reaches_back`, judged by what repositories hold, not by what runs said.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use reprise_policies::{Policy, PolicySource, PolicySourceKind};
use reprise_repository::{Outcome, Repository, Snapshot};
use serde::Serialize;

use crate::environment::JobEnvironment;
use crate::error::JobResult;
use crate::repositories::{find_repository, open_existing};

/// What a repository holds of a source, and what is promised of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceCoverage {
    /// `POLICY/SOURCE`
    pub source: String,
    /// The repository's name in the policy.
    pub repository: String,
    /// When the newest good snapshot, or the newest part of the log behind it, was made.
    pub newest: Option<DateTime<Utc>>,
    /// The oldest snapshot that is not forgotten.
    pub oldest: Option<DateTime<Utc>>,
    /// How old the newest may be, in seconds.
    pub fresh_within: Option<u64>,
    /// How old the oldest must be, in seconds.
    pub reaches_back: Option<u64>,
    /// What is wrong; empty: every promise is kept.
    pub alarms: Vec<String>,
    /// What is not wrong yet, but worth knowing.
    pub notes: Vec<String>,
}

/// Judges the promises of a source for one of its repositories.
///
/// # Errors
/// When the repository cannot be read: then nothing is known, which is not the same as fine.
pub fn judge_promises(
    environment: &JobEnvironment,
    policy: &Policy,
    source: &PolicySource,
    repository: &str,
) -> JobResult<SourceCoverage> {
    let opened = open_existing(environment, find_repository(policy, repository)?, &[])?;
    let mut coverage = SourceCoverage {
        source: format!("{}/{}", policy.name, source.name),
        repository: repository.to_owned(),
        newest: None,
        oldest: None,
        fresh_within: source.fresh_within.map(|promise| promise.as_secs()),
        reaches_back: source.reaches_back.map(|promise| promise.as_secs()),
        alarms: Vec::new(),
        notes: Vec::new(),
    };
    let ever = coverage.find_times(&opened, source)?;
    coverage.judge(source, ever, (environment.clock)());
    Ok(coverage)
}

impl SourceCoverage {
    /// Finds the newest and the oldest moment. When the source was first stored, forgotten snapshots included.
    fn find_times(
        &mut self,
        repository: &Repository,
        source: &PolicySource,
    ) -> JobResult<Option<DateTime<Utc>>> {
        let (all, unreadable) = repository.all_snapshots_lossy()?;
        if !unreadable.is_empty() {
            let alarm = format!("{} snapshots cannot be read", unreadable.len());
            self.alarms.push(alarm);
        }
        // Those of other hosts under the same name prove nothing.
        let of_source = all.into_iter().filter(|one| one.root.source == source.name);
        let mut own: Vec<Snapshot> = of_source.collect();
        let series = repository.bound_series(&source.name, &own)?;
        own.retain(|one| series.contains(&repository.series_signer(one)));
        let ever = own.iter().map(Snapshot::effective_time).min();
        let kept: Vec<_> = own.iter().filter(|snapshot| !snapshot.forgotten).collect();
        self.oldest = kept.iter().map(|snapshot| snapshot.effective_time()).min();
        let good = kept
            .iter()
            .filter(|snapshot| snapshot.root.outcome == Outcome::Ok);
        self.newest = good.map(|snapshot| snapshot.effective_time()).max();
        if let PolicySourceKind::Mysql(mysql) = &source.kind
            && mysql.log_archive.is_some()
        {
            let log = repository.load_log(&source.name)?;
            let records = log
                .segments
                .iter()
                .filter_map(|(_, record)| record.as_ref().ok());
            self.newest = self.newest.max(records.map(|record| record.written).max());
        }
        Ok(ever)
    }

    fn judge(&mut self, source: &PolicySource, ever: Option<DateTime<Utc>>, now: DateTime<Utc>) {
        if let Some(promise) = source.fresh_within {
            match self.newest {
                None => self.alarms.push("there is no good snapshot".to_owned()),
                Some(newest) if now - newest > to_delta(promise) => self.alarms.push(format!(
                    "stale: the newest good snapshot is {} old, and `fresh_within` promises {}",
                    describe_age(now - newest),
                    describe_age(to_delta(promise))
                )),
                Some(_) => {}
            }
        }
        let Some(promise) = source.reaches_back.map(to_delta) else {
            return;
        };
        let reaches = |time: Option<DateTime<Utc>>| time.is_some_and(|time| now - time >= promise);
        if reaches(self.oldest) {
            return;
        }
        let depth = self
            .oldest
            .map_or_else(TimeDelta::zero, |oldest| now - oldest);
        let said = format!(
            "reaches back {}, and `reaches_back` promises {}",
            describe_age(depth),
            describe_age(promise)
        );
        if reaches(ever) {
            self.alarms.push(said);
        } else {
            self.notes
                .push(format!("{said}: it has not been stored for so long yet"));
        }
    }
}

fn to_delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

/// An age in the two largest units: `3 d 4 h`.
fn describe_age(age: TimeDelta) -> String {
    let minutes = age.num_minutes().max(0);
    let (days, hours, rest) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    match (days, hours) {
        (0, 0) => format!("{rest} min"),
        (0, _) => format!("{hours} h {rest} min"),
        _ => format!("{days} d {hours} h"),
    }
}
