//! A server whose log is archived.

use std::io::{BufRead, BufReader, Lines};
use std::path::PathBuf;
use std::process::{Child, ChildStdout};

use reprise_tests::servers::Database;
use serde_json::Value;

use super::{RunOutput, Sandbox, begin_captured, interrupt};

pub(crate) const TABLE: &str = "
CREATE DATABASE app; CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(100)) ENGINE = InnoDB;
INSERT INTO app.t (v) VALUES ('one'), ('two');
";

pub(crate) fn archive(sandbox: &Sandbox, server: &impl Database, more: &[&str]) -> RunOutput {
    let url = server.root_url();
    let args = ["archive", "db", "--url", url.as_str(), "--once"];
    sandbox.run(args.iter().chain(more))
}

/// Words that are in the log's statements or values, one transaction each.
pub(crate) fn log_transactions(sandbox: &Sandbox, more: &[&str]) -> Vec<Value> {
    let args = ["--json", "log", "db"];
    let ran = sandbox.recover(args.iter().chain(more)).exits(0);
    let lines = ran.stdout.lines();
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["gtid"].is_string()).collect()
}

pub(crate) fn show_source(sandbox: &Sandbox) -> Value {
    sandbox.run(["--json", "show", "db"]).exits(0).json()
}

pub(crate) fn log_segments(sandbox: &Sandbox) -> Vec<PathBuf> {
    let mut segments = sandbox.objects("logs");
    segments.sort();
    segments
}

pub(crate) fn restore(sandbox: &Sandbox, target: &impl Database, more: &[&str]) -> RunOutput {
    let url = target.root_url();
    let args = ["restore", "db", "--to", url.as_str()];
    sandbox.recover(args.iter().chain(more))
}

/// A server with a snapshot and some log.
pub(crate) fn archived_source(server: &impl Database) -> Sandbox {
    let sandbox = Sandbox::new();
    server.execute(TABLE);
    sandbox.store(&server.root_url(), &[]).exits(0);
    server.execute("INSERT INTO app.t (v) VALUES ('three')");
    archive(&sandbox, server, &[]).exits(0);
    sandbox
}

/// An archiver that follows a server, and reports what happens.
pub(crate) struct ArchiverProcess {
    child: Child,
    events: Lines<BufReader<ChildStdout>>,
}

impl ArchiverProcess {
    pub(crate) fn start(sandbox: &Sandbox, server: &impl Database) -> Self {
        let url = server.root_url();
        let args = ["--json", "archive", "db", "--url", url.as_str()];
        let mut child = begin_captured(sandbox.command(), args.iter().chain(&["--flush", "1s"]));
        while server.idle_log_senders().is_empty() {}
        let events = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, events }
    }

    /// Waits for an event with a word in it; `false` when it has ended without.
    pub(crate) fn waits_for_event(&mut self, event: &str, word: &str) -> bool {
        self.events.by_ref().map(Result::unwrap).any(|line| {
            let told: Value = serde_json::from_str(&line).unwrap();
            told["event"] == event && line.contains(word)
        })
    }

    pub(crate) fn stop(self) {
        self.stop_with_code(0);
    }

    /// Stops it.
    pub(crate) fn stop_with_code(mut self, code: i32) {
        interrupt(&self.child);
        assert_eq!(self.child.wait().unwrap().code(), Some(code));
    }
}
