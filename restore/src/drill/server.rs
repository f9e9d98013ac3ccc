//! A drill in a dedicated server: the databases are restored, compared and queried.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, NaiveDateTime, Utc};
use reprise_mysql::{Address, CONNECTIONS_DEFAULT};
use reprise_policies::{Drill, DrillQuery, ExpectedValue, LogReplay};
use reprise_repository::{Outcome, Progress, Repository, Snapshot};
use serde_json::Value as Json;

use crate::drill::report::{
    CheckResult, DrillMeasurements, DrillReport, RestoredServer, build_report, join_limited,
    timed_check,
};
use crate::drill::scratch_server::DrillServer;
use crate::error::{Error, Result};
use crate::mysql::{
    self, MysqlRestoreOptions, MysqlRestoreReport, PointInTimeOptions, RecoveryCatalog,
    RecoveryTarget, VerifyLevel,
};

/// Runs a drill on a database server's snapshots and log. What it created in the drill server is always removed; if
/// this program dies, by the next drill.
///
/// # Errors
/// When the drill cannot be carried out. That the data is wrong is a verdict, not an error.
pub fn run_in_server(
    repository: &Repository,
    drill: &Drill,
    (address, replay): (&Address, LogReplay),
    clock: fn() -> DateTime<Utc>,
    progress: &Arc<Progress>,
) -> Result<DrillReport> {
    let (started, timer) = (clock(), Instant::now());
    let archive = RecoveryCatalog::load(repository, &drill.source)?;
    let mut scratch = DrillServer::acquire(address, progress)?;
    let result = ServerDrill {
        repository,
        archive: &archive,
        drill,
        options: restore_options(address),
        replay,
        progress,
    }
    .run_checks(&mut scratch, started, timer);
    let cleaned = scratch.clean();
    let report = result?;
    cleaned.map(|()| report)
}

fn restore_options(address: &Address) -> MysqlRestoreOptions {
    MysqlRestoreOptions {
        address: address.clone(),
        databases: Vec::new(),
        tables: Vec::new(),
        connections: CONNECTIONS_DEFAULT,
        verify: VerifyLevel::Checksums,
        resume: false,
        overwrite: false,
        users: None,
        write_binlog: false,
        definer: None,
        without_redo_log: false,
    }
}

struct ServerDrill<'a> {
    repository: &'a Repository,
    archive: &'a RecoveryCatalog,
    drill: &'a Drill,
    options: MysqlRestoreOptions,
    replay: LogReplay,
    progress: &'a Arc<Progress>,
}

impl ServerDrill<'_> {
    fn run_checks(
        &self,
        scratch: &mut DrillServer,
        started: DateTime<Utc>,
        timer: Instant,
    ) -> Result<DrillReport> {
        let (snapshot, data_time, restored) = self.restore_source()?;
        let restore_seconds = timer.elapsed().as_secs_f64();
        let mut checks = vec![completeness_check(&restored), equality_check(&restored)];
        let mut newest = None;
        for query in &self.drill.queries {
            checks.push(timed_check(&describe_query(query), || {
                evaluate_query(scratch, query, started, &mut newest)
            }));
        }
        let forward = restored.forward.as_ref();
        let server = RestoredServer {
            server: self.options.address.to_string(),
            tables: restored.tables,
            rows: restored.rows,
            transactions: forward.map_or(0, |forward| forward.transactions),
            compared_with: forward.and_then(|forward| forward.compared_with.clone()),
            newest_row_age_seconds: newest,
        };
        Ok(build_report(
            self.drill,
            &snapshot,
            DrillMeasurements {
                data_time,
                started,
                restore_seconds,
                timer,
                counts: snapshot.root.counts,
                server: Some(server),
            },
            checks,
        ))
    }

    /// Restores the source. Returns the resulting data time too.
    fn restore_source(&self) -> Result<(Snapshot, DateTime<Utc>, MysqlRestoreReport)> {
        let newest = self.archive.snapshots().last();
        let newest = newest.ok_or_else(|| reprise_repository::Error::NoSnapshot {
            name: self.drill.source.clone(),
            hint: "take one first".to_owned(),
        })?;
        let (moment, data_time) = match self.replay {
            LogReplay::None => return self.restore_snapshot(newest),
            LogReplay::Latest if self.archive.snapshot_after_log().is_some() => {
                return self.restore_snapshot(newest);
            }
            LogReplay::Latest => (RecoveryTarget::Latest, self.archived_until(newest)),
            LogReplay::Proof => (
                RecoveryTarget::Snapshot(Box::new(newest.clone())),
                newest.effective_time(),
            ),
        };
        let wanted = PointInTimeOptions {
            target: moment,
            skip: Vec::new(),
            keep_gtids: false,
            // The drill server's own objects must stay unchanged.
            skip_account_changes: true,
        };
        let (snapshot, restored) = mysql::restore_point_in_time(
            self.repository,
            self.archive,
            &wanted,
            &self.options,
            &mut |_, _| {},
            self.progress,
        )?;
        Ok((snapshot, data_time, restored))
    }

    fn restore_snapshot(
        &self,
        snapshot: &Snapshot,
    ) -> Result<(Snapshot, DateTime<Utc>, MysqlRestoreReport)> {
        let restored = mysql::restore(
            self.repository,
            snapshot,
            &self.options,
            &mut |_| {},
            self.progress,
        )?;
        Ok((snapshot.clone(), snapshot.effective_time(), restored))
    }

    fn archived_until(&self, newest: &Snapshot) -> DateTime<Utc> {
        let stretches = self.archive.log().ranges();
        let until = stretches
            .last()
            .and_then(|stretch| stretch.complete_until());
        until.map_or(newest.effective_time(), DateTime::from)
    }
}

fn completeness_check(restored: &MysqlRestoreReport) -> CheckResult {
    timed_check("restored without loss", || match restored.outcome {
        Outcome::Ok => Ok(format!(
            "tables: {}, rows: {}{}",
            restored.tables,
            restored.rows,
            match &restored.forward {
                Some(forward) => format!(
                    "; transactions replayed: {}, to {}",
                    forward.transactions, forward.moment
                ),
                None => String::new(),
            }
        )),
        _ => Err(join_limited(restored.warnings.iter())),
    })
}

fn equality_check(restored: &MysqlRestoreReport) -> CheckResult {
    let compared = restored
        .forward
        .as_ref()
        .and_then(|forward| forward.compared_with.as_ref());
    let name = match compared {
        Some(_) => "equal to the later snapshot",
        None => "equal to the snapshot",
    };
    timed_check(name, || match (restored.differences.is_empty(), compared) {
        (true, Some(snapshot)) => Ok(format!(
            "after the replay every row of every table matches snapshot {snapshot}"
        )),
        (true, None) => Ok("every row read back matches the snapshot".to_owned()),
        (false, _) => Err(join_limited(restored.differences.iter())),
    })
}

fn describe_query(query: &DrillQuery) -> String {
    match &query.expected {
        ExpectedValue::Equals(value) => format!("{} is {value}", query.sql),
        ExpectedValue::AtLeast(least) => format!("{} is at least {least}", query.sql),
        ExpectedValue::Newest(Some(within)) => {
            format!("{} is within {} s", query.sql, within.as_secs())
        }
        ExpectedValue::Newest(None) => format!("{} returns a time", query.sql),
    }
}

fn evaluate_query(
    scratch: &mut DrillServer,
    query: &DrillQuery,
    started: DateTime<Utc>,
    newest: &mut Option<f64>,
) -> std::result::Result<String, String> {
    let value = scratch
        .query_value(&query.sql)
        .map_err(|error| Error::from_database("run the query", error))
        .map_err(|error| reprise_repository::format_error_chain(&error))?;
    let shown = value.clone().unwrap_or_else(|| "NULL".to_owned());
    match &query.expected {
        ExpectedValue::Equals(expected) if equals_expected(value.as_deref(), expected) => Ok(shown),
        ExpectedValue::AtLeast(least) => match shown.parse::<f64>() {
            Ok(number) if number >= f64::from(*least) => Ok(shown),
            Ok(_) => Err(format!("the value is only {shown}")),
            Err(_) => Err(format!("the value is {shown}, which is not a number")),
        },
        ExpectedValue::Newest(within) => {
            let time = parse_server_time(&shown)
                .ok_or_else(|| format!("the value is {shown}, which is not a time"))?;
            let age = started - time;
            #[expect(clippy::cast_precision_loss, reason = "seconds, for people")]
            let seconds = age.num_milliseconds() as f64 / 1000.0;
            newest.get_or_insert(seconds);
            let told =
                format!("the newest row is from {shown} UTC, {seconds:.0} s before the drill");
            match within {
                Some(within) if age.to_std().is_ok_and(|age| age > *within) => Err(told),
                _ => Ok(told),
            }
        }
        ExpectedValue::Equals(_) => Err(format!("the value is {shown}")),
    }
}

/// Whether the server's result, as text, equals this value.
fn equals_expected(value: Option<&str>, expected: &Json) -> bool {
    match (value, expected) {
        (None, Json::Null) => true,
        (None, _) | (_, Json::Null) => false,
        (Some(value), Json::Bool(expected)) => value == if *expected { "1" } else { "0" },
        (Some(value), Json::String(expected)) => value == expected,
        (Some(value), Json::Number(expected)) => {
            value == expected.to_string() || value.parse::<f64>().ok() == expected.as_f64()
        }
        (Some(_), Json::Array(_) | Json::Object(_)) => false,
    }
}

/// A time as servers write it, in UTC.
fn parse_server_time(text: &str) -> Option<DateTime<Utc>> {
    let formats = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"];
    let parsed = formats
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    parsed.map(|time| time.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_by_what_they_mean() {
        assert!(equals_expected(Some("3"), &Json::from(3)));
        assert!(equals_expected(Some("3.50"), &Json::from(3.5)));
        assert!(equals_expected(Some("1"), &Json::Bool(true)));
        assert!(equals_expected(Some("a"), &Json::from("a")));
        assert!(equals_expected(None, &Json::Null));
        assert!(!equals_expected(None, &Json::from(0)));
        assert!(!equals_expected(Some("NULL"), &Json::Null));
        assert!(!equals_expected(Some("x"), &Json::from(3)));
    }

    #[test]
    fn times_of_servers_are_understood() {
        let wanted: DateTime<Utc> = "2026-11-21T14:03:07.25Z".parse().unwrap();
        assert_eq!(parse_server_time("2026-11-21 14:03:07.25"), Some(wanted));
        assert_eq!(parse_server_time("NULL"), None);
        assert_eq!(parse_server_time("12"), None);
    }
}
