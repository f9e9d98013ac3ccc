//! Restores to any moment, from snapshots and the archived log of a server that is written to all the while, whose
//! log is rotated, whose connections break, and which dies; the archiver is killed again and again. Each restored
//! server is judged by the account of what was written.
//!
//! `REPRISE_TEST_MOMENTS` says to how many moments each server is restored; 6 unless told otherwise.

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
use reprise_tests::recorder::{Account, Flavour, Moment, Options, Random, Recorder, now, wipe};
use reprise_tests::servers::{Database, Mariadb, Mysql};
use serde_json::Value;
use support::{Ran, Sandbox, begin_heard, kill};

/// Rounds of trouble while the recorder writes.
const ROUNDS: u64 = 5;

const SECOND: u64 = 1_000_000;

/// What a person regrets, after everything that was recorded, and what nobody does.
const REGRETTED: &str = "TRUNCATE TABLE bookkeeping.documents";
const AFTERWARDS: &str = "CREATE DATABASE afterwards; CREATE TABLE afterwards.t (id INT PRIMARY KEY); INSERT INTO afterwards.t VALUES (7)";

/// A transaction of the archived log.
#[derive(Debug, Clone)]
struct Logged {
    gtid: String,
    /// Microseconds since 1970.
    committed: u64,
    tables: Vec<String>,
    statement: String,
}

/// The archiver, started again whenever it ends.
struct Archiver<'a> {
    sandbox: &'a Sandbox,
    url: String,
    child: Child,
}

impl<'a> Archiver<'a> {
    fn start(sandbox: &'a Sandbox, url: String) -> Self {
        let child = Self::run(sandbox, &url);
        Self {
            sandbox,
            url,
            child,
        }
    }

    fn run(sandbox: &Sandbox, url: &str) -> Child {
        begin_heard(
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
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        assert_eq!(code, Some(0), "{said}");
    }
}

impl Drop for Archiver<'_> {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A source with its archive, and the account of what was written.
struct Story<D> {
    source: D,
    flavour: Flavour,
    sandbox: Sandbox,
    account: Account,
    /// The first snapshot was begun after the first, and done before the second.
    first_snapshot: (u64, u64),
}

fn moments() -> u64 {
    let wanted = env::var("REPRISE_TEST_MOMENTS").ok();
    wanted.map_or(3, |wanted| wanted.parse().unwrap())
}

fn large() -> u64 {
    match moments() {
        0..=6 => 8 << 20,
        _ => 110 << 20,
    }
}

impl<D: Database> Story<D> {
    fn tell(mut source: D) -> Self {
        let flavour = Flavour::of(&source);
        let sandbox = Sandbox::new();
        let options = Options {
            seed: 11,
            large: Some(large()),
            pause: Duration::from_millis(10),
            ..Options::default()
        };
        let mut recorder = Recorder::start(&source, options);
        recorder.wait_for(80);
        let begun = now();
        snapshot(&sandbox, &source);
        let first_snapshot = (begun, now());
        let mut archiver = Archiver::start(&sandbox, source.root_url());
        for round in 0..ROUNDS {
            trouble(round, &mut recorder, &mut source, &mut archiver);
        }
        let account = recorder.stop();
        account.judge(&source, &Moment::Latest).unwrap();
        archiver.keep();
        catch_up(&sandbox, archiver, &source);
        Self {
            source,
            flavour,
            sandbox,
            account,
            first_snapshot,
        }
    }

    /// What is archived, as it is told.
    fn logged(&self) -> Vec<Logged> {
        let ran = self.sandbox.recover(["--json", "log", "db"]).exits(0);
        let lines = ran.stdout.lines();
        let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        let lines: Vec<Value> = lines.filter(|line| line["gtid"].is_string()).collect();
        lines.iter().map(Logged::of).collect()
    }

    fn restore(&self, target: &impl Database, more: &[&str]) -> Ran {
        let url = target.root_url();
        let args = ["restore", "db", "--to", &url];
        self.sandbox.recover(args.iter().chain(more))
    }

    /// Restores to a moment and judges what came back; how many steps of each writer.
    fn judged(&self, target: &impl Database, more: &[&str], moment: &Moment) -> Vec<u64> {
        clear(target);
        let ran = self.restore(target, more);
        // What is prepared and not committed at the moment is left for a person to decide.
        let noted = ran.stderr.contains("prepared");
        let code = ran.code;
        assert!(
            code == Some(0) || code == Some(3) && noted,
            "{more:?}: {code:?}\n{}\n{}",
            ran.stdout,
            ran.stderr
        );
        let judgement = self.account.judge(target, moment);
        judgement.unwrap_or_else(|error| panic!("{more:?}: {error}\n{}", ran.stderr))
    }

    fn judged_at(&self, target: &impl Database, time: u64) -> Vec<u64> {
        let text = shown(time);
        self.judged(target, &["--point-in-time", &text], &Moment::At(time))
    }

    /// The first and the last moment between which all are possible.
    fn span(&self) -> (u64, u64) {
        let (_, ended) = self.account.span();
        (self.first_snapshot.1 + SECOND, ended - 2 * SECOND)
    }
}

impl Logged {
    fn of(line: &Value) -> Self {
        let committed = line["committed"].as_str().unwrap();
        let tables = line["tables"].as_array().unwrap().iter();
        Self {
            gtid: line["gtid"].as_str().unwrap().to_owned(),
            committed: micros(committed),
            tables: tables
                .map(|table| table.as_str().unwrap().to_owned())
                .collect(),
            statement: statement(&line["statement"]),
        }
    }

    /// Whether it is one visible step: no two-phase transaction writes to these tables.
    fn is_a_step(&self) -> bool {
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
fn statement(told: &Value) -> String {
    match told {
        Value::String(text) => text.clone(),
        Value::Object(parts) => parts.get("text").map_or_else(String::new, statement),
        _ => String::new(),
    }
}

fn micros(time: &str) -> u64 {
    let time = DateTime::parse_from_rfc3339(time).unwrap();
    u64::try_from(time.timestamp_micros()).unwrap()
}

fn shown(time: u64) -> String {
    let time = DateTime::from_timestamp_micros(i64::try_from(time).unwrap()).unwrap();
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn snapshot(sandbox: &Sandbox, source: &impl Database) {
    let ran = sandbox.store(&source.root_url(), &[]);
    // Large rows come and go, which may look like a loss.
    let shrunk = ran.stderr.contains("bytes fell");
    ran.exits(if shrunk { 3 } else { 0 });
}

fn trouble(
    round: u64,
    recorder: &mut Recorder,
    source: &mut impl Database,
    archiver: &mut Archiver<'_>,
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
fn catch_up(sandbox: &Sandbox, archiver: Archiver<'_>, source: &impl Database) {
    archiver.end();
    let url = source.root_url();
    sandbox
        .run(["archive", "db", "--url", &url, "--once"])
        .exits(0);
}

fn clear(target: &impl Database) {
    wipe(target);
    target.execute("DROP DATABASE IF EXISTS afterwards");
}

/// Every transaction is told once, and none is left out.
fn the_log_is_whole(story: &Story<impl Database>, log: &[Logged]) {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for logged in log {
        *counts.entry(&logged.gtid).or_default() += 1;
    }
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let last = format!(
        "SELECT COUNT(*) AS n FROM (SELECT 1) AS one WHERE {}",
        covered(story, log)
    );
    assert_eq!(story.source.value(&last), "1");
}

/// That the last transaction of the server is the last of the log.
fn covered(story: &Story<impl Database>, log: &[Logged]) -> String {
    let last = &log.last().unwrap().gtid;
    match story.flavour {
        Flavour::Mysql => format!("GTID_SUBSET('{last}', @@GLOBAL.gtid_executed) = 1"),
        Flavour::Mariadb => format!("@@GLOBAL.gtid_binlog_pos = '{last}'"),
    }
}

fn random_instants(story: &Story<impl Database>, target: &impl Database, random: &mut Random) {
    let (first, last) = story.span();
    for _ in 0..moments().div_ceil(3) {
        story.judged_at(target, first + random.below(last - first));
    }
}

/// At the very moment of a commit its transaction is there; a microsecond before, it is not.
fn exact_instants(
    story: &Story<impl Database>,
    target: &impl Database,
    log: &[Logged],
    random: &mut Random,
) {
    let (first, last) = story.span();
    let alone = |at: &Logged| {
        log.iter()
            .filter(|other| other.committed == at.committed)
            .count()
            == 1
    };
    let alone = |at: &Logged| story.flavour == Flavour::Mariadb || alone(at);
    let steps: Vec<&Logged> = log
        .iter()
        .filter(|at| (first..last).contains(&at.committed) && at.is_a_step() && alone(at))
        .collect();
    for _ in 0..moments().div_ceil(6) {
        let at = steps[usize::try_from(random.below(steps.len() as u64)).unwrap()];
        let with: u64 = story.judged_at(target, at.committed).iter().sum();
        let without: u64 = story.judged_at(target, at.committed - 1).iter().sum();
        match story.flavour {
            Flavour::Mysql => assert_eq!(with, without + 1, "{at:?}"),
            Flavour::Mariadb => assert!(with > without, "{at:?}: {with} {without}"),
        }
    }
}

/// Right before a definition.
fn before_definitions(
    story: &Story<impl Database>,
    target: &impl Database,
    log: &[Logged],
    random: &mut Random,
) {
    let (first, last) = story.span();
    let known = story.account.definitions();
    let definitions: Vec<(&Logged, &Moment)> = log
        .iter()
        .filter(|at| (first..last).contains(&at.committed))
        .filter_map(|at| Some((at, known.get(&at.statement)?)))
        .collect();
    for _ in 0..moments().div_ceil(6) {
        let chosen = usize::try_from(random.below(definitions.len() as u64)).unwrap();
        let (at, moment) = &definitions[chosen];
        story.judged(target, &["--before-gtid", &at.gtid], moment);
    }
}

/// What nobody regrets comes back without what somebody does: up to it, or all but it.
fn what_is_regretted_is_undone(story: &Story<impl Database>, target: &impl Database) {
    let source = &story.source;
    source.execute(&format!("{REGRETTED}; {AFTERWARDS};"));
    let url = source.root_url();
    let once = ["archive", "db", "--url", &url, "--once"];
    story.sandbox.run(once).exits(0);
    let log = story.logged();
    let regretted = log
        .iter()
        .find(|logged| logged.statement.contains(REGRETTED))
        .unwrap();
    let gtid = regretted.gtid.as_str();
    story.judged(target, &["--before-gtid", gtid], &Moment::Latest);
    assert!(target.try_query("SELECT * FROM afterwards.t").is_err());
    let all_but = ["--until", "latest", "--skip-gtid", gtid];
    story.judged(target, &all_but, &Moment::Latest);
    assert_eq!(target.value("SELECT id FROM afterwards.t"), "7");
    clear(target);
    story.restore(target, &["--until", "latest"]).exits(0);
    let documents = "SELECT COUNT(*) FROM bookkeeping.documents";
    assert_eq!(target.value(documents), "0");
}

/// What cannot be done is refused before anything is touched, with what could be.
fn what_is_impossible_is_refused(story: &Story<impl Database>, target: &impl Database) {
    let (before, _) = story.first_snapshot;
    let unknown = match story.flavour {
        Flavour::Mysql => "11111111-2222-3333-4444-555555555555:7",
        Flavour::Mariadb => "9-99-7",
    };
    let (early, late) = (shown(before - 10 * SECOND), shown(now() + 3600 * SECOND));
    let day = &shown(before)[..10];
    let databases = "SELECT COUNT(*) FROM information_schema.schemata";
    clear(target);
    let empty = target.value(databases);
    for (more, words) in [
        (["--point-in-time", &early], day),
        (["--point-in-time", &late], day),
        (["--before-gtid", unknown], unknown),
    ] {
        let ran = story.restore(target, &more).says(words);
        assert!(matches!(ran.code, Some(5 | 6)), "{more:?}: {:?}", ran.code);
        assert_eq!(target.value(databases), empty, "{more:?}");
    }
    target.execute("CREATE DATABASE afterwards; CREATE TABLE afterwards.t (id INT PRIMARY KEY)");
    let (_, last) = story.span();
    let time = ["--point-in-time", &shown(last)];
    story.restore(target, &time).exits(6).says("afterwards");
    assert!(
        target
            .try_query("SELECT * FROM bookkeeping.ledger")
            .is_err()
    );
    clear(target);
}

fn any_moment_comes_back<D: Database>(source: D, target: &D) {
    let story = Story::tell(source);
    let mut random = Random::new(5, 0);
    let log = story.logged();
    the_log_is_whole(&story, &log);
    story.judged(target, &["--until", "latest"], &Moment::Latest);
    random_instants(&story, target, &mut random);
    exact_instants(&story, target, &log, &mut random);
    before_definitions(&story, target, &log, &mut random);
    what_is_impossible_is_refused(&story, target);
    what_is_regretted_is_undone(&story, target);
}

#[test]
fn any_moment_of_mysql_comes_back() {
    any_moment_comes_back(Mysql::start(), &Mysql::start());
}

#[test]
fn any_moment_of_mariadb_comes_back() {
    any_moment_comes_back(Mariadb::start(), &Mariadb::start());
}
