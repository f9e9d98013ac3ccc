//! Restores to any recovery target, from snapshots and the archived log of a server that is written to all the while, whose
//! log is rotated, whose connections break, and which dies; the archiver is killed again and again. Each restored
//! server is compared with the history of what was written.
//!
//! `REPRISE_TEST_TARGETS` says to how many recovery targets each server is restored; 3 unless told otherwise.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::env;
use std::io::Read;
use std::process::Child;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use reprise_tests::recorder::{
    ExpectedState, Random, Recorder, RecorderOptions, ServerFlavour, WriteHistory, now_micros, wipe,
};
use reprise_tests::servers::{Database, Mariadb, Mysql};
use serde_json::Value;
use support::{RunOutput, Sandbox, begin_captured, kill};

/// Rounds of disturbances while the recorder writes.
const ROUNDS: u64 = 5;

const SECOND: u64 = 1_000_000;

/// What a person regrets, after everything that was recorded, and what nobody does.
const REGRETTED: &str = "TRUNCATE TABLE bookkeeping.documents";
const AFTERWARDS: &str = "CREATE DATABASE afterwards; CREATE TABLE afterwards.t (id INT PRIMARY KEY); INSERT INTO afterwards.t VALUES (7)";

/// A transaction of the archived log.
#[derive(Debug, Clone)]
struct LoggedChange {
    gtid: String,
    /// Microseconds since 1970.
    committed: u64,
    tables: Vec<String>,
    statement: String,
}

/// The archiver, started again whenever it ends.
struct RestartedArchiver<'a> {
    sandbox: &'a Sandbox,
    url: String,
    child: Child,
}

impl<'a> RestartedArchiver<'a> {
    fn start(sandbox: &'a Sandbox, url: String) -> Self {
        let child = Self::run(sandbox, &url);
        Self {
            sandbox,
            url,
            child,
        }
    }

    fn run(sandbox: &Sandbox, url: &str) -> Child {
        begin_captured(
            sandbox.command(),
            ["archive", "db", "--url", url, "--flush", "1s"],
        )
    }

    fn kill(&mut self) {
        kill(&mut self.child);
        self.child = Self::run(self.sandbox, &self.url);
    }

    /// It may give up when its server dies, and is then started again, as a service would be.
    fn keep(&mut self) {
        if self.child.try_wait().unwrap().is_some() {
            self.child = Self::run(self.sandbox, &self.url);
        }
    }

    /// Ends it as a service is ended.
    fn end(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let code = self.child.wait().unwrap().code();
        let mut stderr_text = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut stderr_text).unwrap();
        assert_eq!(code, Some(0), "{stderr_text}");
    }
}

impl Drop for RestartedArchiver<'_> {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A source with its archive, and the history of what was written.
struct RecordedSource<D> {
    source: D,
    flavour: ServerFlavour,
    sandbox: Sandbox,
    history: WriteHistory,
    /// The first snapshot was begun after the first, and done before the second.
    first_snapshot: (u64, u64),
}

fn restore_count() -> u64 {
    let count = env::var("REPRISE_TEST_TARGETS").ok();
    count.map_or(3, |count| count.parse().unwrap())
}

fn large() -> u64 {
    match restore_count() {
        0..=6 => 8 << 20,
        _ => 110 << 20,
    }
}

impl<D: Database> RecordedSource<D> {
    fn record(mut source: D) -> Self {
        let flavour = ServerFlavour::of(&source);
        let sandbox = Sandbox::new();
        let options = RecorderOptions {
            seed: 11,
            large: Some(large()),
            pause: Duration::from_millis(10),
            ..RecorderOptions::default()
        };
        let mut recorder = Recorder::start(&source, options);
        recorder.wait_for(80);
        let begun = now_micros();
        snapshot(&sandbox, &source);
        let first_snapshot = (begun, now_micros());
        let mut archiver = RestartedArchiver::start(&sandbox, source.root_url());
        for round in 0..ROUNDS {
            disturb(round, &mut recorder, &mut source, &mut archiver);
        }
        let history = recorder.stop();
        history.compare(&source, &ExpectedState::Latest).unwrap();
        archiver.keep();
        catch_up(&sandbox, archiver, &source);
        Self {
            source,
            flavour,
            sandbox,
            history,
            first_snapshot,
        }
    }

    /// What is archived, as it is told.
    fn logged(&self) -> Vec<LoggedChange> {
        let ran = self.sandbox.recover(["--json", "log", "db"]).exits(0);
        let lines = ran.stdout.lines();
        let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        let lines: Vec<Value> = lines.filter(|line| line["gtid"].is_string()).collect();
        lines.iter().map(LoggedChange::of).collect()
    }

    fn restore(&self, target: &impl Database, more: &[&str]) -> RunOutput {
        let url = target.root_url();
        let args = ["restore", "db", "--to", &url];
        self.sandbox.recover(args.iter().chain(more))
    }

    /// Restores to a recovery target and compares what came back; how many steps of each writer.
    fn restore_and_compare(
        &self,
        target: &impl Database,
        more: &[&str],
        expected: &ExpectedState,
    ) -> Vec<u64> {
        clear_target(target);
        let ran = self.restore(target, more);
        // What is prepared and not committed there is left for a person to decide.
        let noted = ran.stderr.contains("prepared");
        let code = ran.code;
        assert!(
            code == Some(0) || code == Some(3) && noted,
            "{more:?}: {code:?}\n{}\n{}",
            ran.stdout,
            ran.stderr
        );
        let comparison = self.history.compare(target, expected);
        comparison.unwrap_or_else(|error| panic!("{more:?}: {error}\n{}", ran.stderr))
    }

    fn restore_to_time(&self, target: &impl Database, time: u64) -> Vec<u64> {
        let text = format_micros(time);
        self.restore_and_compare(
            target,
            &["--point-in-time", &text],
            &ExpectedState::At(time),
        )
    }

    /// The first and the last possible recovery target.
    fn recovery_window(&self) -> (u64, u64) {
        let (_, ended) = self.history.span();
        (self.first_snapshot.1 + SECOND, ended - 2 * SECOND)
    }
}

impl LoggedChange {
    fn of(line: &Value) -> Self {
        let committed = line["committed"].as_str().unwrap();
        let tables = line["tables"].as_array().unwrap().iter();
        Self {
            gtid: line["gtid"].as_str().unwrap().to_owned(),
            committed: parse_micros(committed),
            tables: tables
                .map(|table| table.as_str().unwrap().to_owned())
                .collect(),
            statement: statement_text(&line["statement"]),
        }
    }

    /// Whether it is one visible step: no two-phase transaction writes to these tables.
    fn is_recorder_step(&self) -> bool {
        let plain = [
            "bookkeeping.documents",
            "warehouse.keyless",
            "warehouse.loaded",
        ];
        self.tables
            .iter()
            .any(|table| plain.contains(&table.as_str()))
    }
}

/// Its text, whatever stands beside it.
fn statement_text(told: &Value) -> String {
    match told {
        Value::String(text) => text.clone(),
        Value::Object(parts) => parts.get("text").map_or_else(String::new, statement_text),
        _ => String::new(),
    }
}

fn parse_micros(time: &str) -> u64 {
    let time = DateTime::parse_from_rfc3339(time).unwrap();
    u64::try_from(time.timestamp_micros()).unwrap()
}

fn format_micros(time: u64) -> String {
    let time = DateTime::from_timestamp_micros(i64::try_from(time).unwrap()).unwrap();
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn snapshot(sandbox: &Sandbox, source: &impl Database) {
    let ran = sandbox.store(&source.root_url(), &[]);
    // Large rows come and go, which may look like a loss.
    let shrunk = ran.stderr.contains("bytes fell");
    ran.exits(if shrunk { 3 } else { 0 });
}

fn disturb(
    round: u64,
    recorder: &mut Recorder,
    source: &mut impl Database,
    archiver: &mut RestartedArchiver<'_>,
) {
    recorder.wait_for(150);
    source.execute("FLUSH BINARY LOGS");
    recorder.wait_for(100);
    archiver.kill();
    recorder.wait_for(100);
    recorder.kill_connections(source);
    recorder.wait_for(50);
    for sender in source.log_senders() {
        // It may have ended meanwhile.
        drop(source.try_execute(&format!("KILL {sender}")));
    }
    recorder.wait_for(100);
    match round {
        1 => {
            recorder.kill_server(source);
            recorder.wait_for(50);
        }
        3 => snapshot(archiver.sandbox, source),
        _ => {}
    }
    archiver.keep();
}

/// Lets everything be stored that the server has.
fn catch_up(sandbox: &Sandbox, archiver: RestartedArchiver<'_>, source: &impl Database) {
    archiver.end();
    let url = source.root_url();
    sandbox
        .run(["archive", "db", "--url", &url, "--once"])
        .exits(0);
}

fn clear_target(target: &impl Database) {
    wipe(target);
    target.execute("DROP DATABASE IF EXISTS afterwards");
}

/// Every transaction is told once, and none is left out.
fn the_log_is_whole(recorded: &RecordedSource<impl Database>, log: &[LoggedChange]) {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for logged in log {
        *counts.entry(&logged.gtid).or_default() += 1;
    }
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let last = format!(
        "SELECT COUNT(*) AS n FROM (SELECT 1) AS one WHERE {}",
        covered(recorded, log)
    );
    assert_eq!(recorded.source.value(&last), "1");
}

/// That the last transaction of the server is the last of the log.
fn covered(recorded: &RecordedSource<impl Database>, log: &[LoggedChange]) -> String {
    let last = &log.last().unwrap().gtid;
    match recorded.flavour {
        ServerFlavour::Mysql => format!("GTID_SUBSET('{last}', @@GLOBAL.gtid_executed) = 1"),
        ServerFlavour::Mariadb => format!("@@GLOBAL.gtid_binlog_pos = '{last}'"),
    }
}

fn random_instants(
    recorded: &RecordedSource<impl Database>,
    target: &impl Database,
    random: &mut Random,
) {
    let (first, last) = recorded.recovery_window();
    for _ in 0..restore_count().div_ceil(3) {
        recorded.restore_to_time(target, first + random.below(last - first));
    }
}

/// At the very microsecond of a commit its transaction is there; a microsecond before, it is not.
fn exact_instants(
    recorded: &RecordedSource<impl Database>,
    target: &impl Database,
    log: &[LoggedChange],
    random: &mut Random,
) {
    let (first, last) = recorded.recovery_window();
    let alone = |at: &LoggedChange| {
        log.iter()
            .filter(|other| other.committed == at.committed)
            .count()
            == 1
    };
    let alone = |at: &LoggedChange| recorded.flavour == ServerFlavour::Mariadb || alone(at);
    let steps: Vec<&LoggedChange> = log
        .iter()
        .filter(|at| (first..last).contains(&at.committed) && at.is_recorder_step() && alone(at))
        .collect();
    for _ in 0..restore_count().div_ceil(6) {
        let at = steps[usize::try_from(random.below(steps.len() as u64)).unwrap()];
        let with: u64 = recorded.restore_to_time(target, at.committed).iter().sum();
        let without: u64 = recorded
            .restore_to_time(target, at.committed - 1)
            .iter()
            .sum();
        match recorded.flavour {
            ServerFlavour::Mysql => assert_eq!(with, without + 1, "{at:?}"),
            ServerFlavour::Mariadb => assert!(with > without, "{at:?}: {with} {without}"),
        }
    }
}

/// Right before a DDL statement.
fn before_ddl(
    recorded: &RecordedSource<impl Database>,
    target: &impl Database,
    log: &[LoggedChange],
    random: &mut Random,
) {
    let (first, last) = recorded.recovery_window();
    let known = recorded.history.ddl_statements();
    let ddl: Vec<(&LoggedChange, &ExpectedState)> = log
        .iter()
        .filter(|at| (first..last).contains(&at.committed))
        .filter_map(|at| Some((at, known.get(&at.statement)?)))
        .collect();
    for _ in 0..restore_count().div_ceil(6) {
        let chosen = usize::try_from(random.below(ddl.len() as u64)).unwrap();
        let (at, expected) = &ddl[chosen];
        recorded.restore_and_compare(target, &["--before-gtid", &at.gtid], expected);
    }
}

/// What nobody regrets comes back without what somebody does: up to it, or all but it.
fn a_regretted_change_is_undone(recorded: &RecordedSource<impl Database>, target: &impl Database) {
    let source = &recorded.source;
    source.execute(&format!("{REGRETTED}; {AFTERWARDS};"));
    let url = source.root_url();
    let once = ["archive", "db", "--url", &url, "--once"];
    recorded.sandbox.run(once).exits(0);
    let log = recorded.logged();
    let regretted = log
        .iter()
        .find(|logged| logged.statement.contains(REGRETTED))
        .unwrap();
    let gtid = regretted.gtid.as_str();
    recorded.restore_and_compare(target, &["--before-gtid", gtid], &ExpectedState::Latest);
    assert!(target.try_query("SELECT * FROM afterwards.t").is_err());
    let all_but = ["--until", "latest", "--skip-gtid", gtid];
    recorded.restore_and_compare(target, &all_but, &ExpectedState::Latest);
    assert_eq!(target.value("SELECT id FROM afterwards.t"), "7");
    clear_target(target);
    recorded.restore(target, &["--until", "latest"]).exits(0);
    let documents = "SELECT COUNT(*) FROM bookkeeping.documents";
    assert_eq!(target.value(documents), "0");
}

/// What cannot be done is refused before anything is touched, with what could be.
fn impossible_targets_are_refused(
    recorded: &RecordedSource<impl Database>,
    target: &impl Database,
) {
    let (before, after) = recorded.first_snapshot;
    let unknown = match recorded.flavour {
        ServerFlavour::Mysql => "11111111-2222-3333-4444-555555555555:7",
        ServerFlavour::Mariadb => "9-99-7",
    };
    let (early, late) = (
        format_micros(before - 10 * SECOND),
        format_micros(now_micros() + 3600 * SECOND),
    );
    // The message names the recovery window, which may begin on either side of midnight.
    let days = [before, after].map(|time| format_micros(time)[..10].to_owned());
    let gtids = [unknown, unknown].map(str::to_owned);
    let databases = "SELECT COUNT(*) FROM information_schema.schemata";
    clear_target(target);
    let empty = target.value(databases);
    for (more, words) in [
        (["--point-in-time", &early], &days),
        (["--point-in-time", &late], &days),
        (["--before-gtid", unknown], &gtids),
    ] {
        let ran = recorded.restore(target, &more);
        let is_named = words.iter().any(|word| ran.stderr.contains(word));
        assert!(is_named, "{words:?} is not in: {}", ran.stderr);
        assert!(matches!(ran.code, Some(5 | 6)), "{more:?}: {:?}", ran.code);
        assert_eq!(target.value(databases), empty, "{more:?}");
    }
    target.execute("CREATE DATABASE afterwards; CREATE TABLE afterwards.t (id INT PRIMARY KEY)");
    let (_, last) = recorded.recovery_window();
    let time = ["--point-in-time", &format_micros(last)];
    recorded.restore(target, &time).exits(6).says("afterwards");
    assert!(
        target
            .try_query("SELECT * FROM bookkeeping.ledger")
            .is_err()
    );
    clear_target(target);
}

fn every_recovery_target_is_reached<D: Database>(source: D, target: &D) {
    let recorded = RecordedSource::record(source);
    let mut random = Random::new(5, 0);
    let log = recorded.logged();
    the_log_is_whole(&recorded, &log);
    recorded.restore_and_compare(target, &["--until", "latest"], &ExpectedState::Latest);
    random_instants(&recorded, target, &mut random);
    exact_instants(&recorded, target, &log, &mut random);
    before_ddl(&recorded, target, &log, &mut random);
    impossible_targets_are_refused(&recorded, target);
    a_regretted_change_is_undone(&recorded, target);
}

#[test]
fn every_recovery_target_of_mysql_is_reached() {
    every_recovery_target_is_reached(Mysql::start(), &Mysql::start());
}

#[test]
fn every_recovery_target_of_mariadb_is_reached() {
    every_recovery_target_is_reached(Mariadb::start(), &Mariadb::start());
}
