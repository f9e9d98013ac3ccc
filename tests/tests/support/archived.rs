//! A server whose log is archived.

use std::path::PathBuf;

use reprise_tests::servers::Database;
use serde_json::Value;

use super::{Ran, Sandbox};

pub(crate) const TABLE: &str = "
CREATE DATABASE app; CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(100)) ENGINE = InnoDB;
INSERT INTO app.t (v) VALUES ('one'), ('two');
";

pub(crate) fn archive(sandbox: &Sandbox, server: &impl Database, more: &[&str]) -> Ran {
    let url = server.root_url();
    let args = ["archive", "db", "--url", url.as_str(), "--once"];
    sandbox.run(args.iter().chain(more))
}

/// Words that are in the log's statements or values, one transaction each.
pub(crate) fn logged(sandbox: &Sandbox, more: &[&str]) -> Vec<Value> {
    let args = ["--json", "log", "db"];
    let ran = sandbox.recover(args.iter().chain(more)).exits(0);
    let lines = ran.stdout.lines();
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["gtid"].is_string()).collect()
}

pub(crate) fn shown(sandbox: &Sandbox) -> Value {
    sandbox.run(["--json", "show", "db"]).exits(0).json()
}

pub(crate) fn pieces(sandbox: &Sandbox) -> Vec<PathBuf> {
    let mut pieces = sandbox.objects("logs");
    pieces.sort();
    pieces
}

pub(crate) fn restore(sandbox: &Sandbox, target: &impl Database, more: &[&str]) -> Ran {
    let url = target.root_url();
    let args = ["restore", "db", "--to", url.as_str()];
    sandbox.recover(args.iter().chain(more))
}

/// A server with a snapshot and some log.
pub(crate) fn begun(server: &impl Database) -> Sandbox {
    let sandbox = Sandbox::new();
    server.execute(TABLE);
    sandbox.store(&server.root_url(), &[]).exits(0);
    server.execute("INSERT INTO app.t (v) VALUES ('three')");
    archive(&sandbox, server, &[]).exits(0);
    sandbox
}
