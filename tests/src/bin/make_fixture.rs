//! Makes a fixture: a small repository of everything that this version stores, and what must come back from it.
//!
//! `REPRISE_BIN=target/debug/reprise make_fixture DIRECTORY`. A fixture is made once for a format, by the version
//! that introduced it, and never again: `tests/tests/format_fixtures.rs` reads those of all formats.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test tool fails by panicking"
)]

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reprise_tests::servers::{Database, Mariadb, Mysql};
use serde_json::Value;

/// Tables of some types, with an account, a view, a trigger and a routine.
const SCHEMA: &str = "
CREATE DATABASE app CHARACTER SET utf8mb4;
CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(100), d DECIMAL(10,3), b BLOB, at DATETIME(6)) ENGINE = InnoDB;
CREATE TABLE app.parents (id INT PRIMARY KEY) ENGINE = InnoDB;
CREATE TABLE app.children (id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES parents (id)) ENGINE = InnoDB;
INSERT INTO app.t (v, d, b, at) VALUES ('one', 1.5, x'00ff27', '2026-11-30 12:00:00.000001'), (NULL, NULL, NULL, NULL), ('zwölf 😀', -0.001, '', NULL);
INSERT INTO app.parents VALUES (1), (2);
INSERT INTO app.children VALUES (1, 1), (2, 2);
CREATE VIEW app.words AS SELECT v FROM app.t;
CREATE TRIGGER app.guard BEFORE INSERT ON app.parents FOR EACH ROW SET NEW.id = NEW.id + 0;
CREATE FUNCTION app.twice (n INT) RETURNS INT DETERMINISTIC RETURN 2 * n;
CREATE USER reader@'%' IDENTIFIED BY 'secret';
GRANT SELECT ON app.* TO reader@'%';
";

/// What the log holds behind the snapshot, a transaction each.
const LOGGED: [&str; 4] = [
    "INSERT INTO app.t (v, d) VALUES ('logged', 2.25)",
    "UPDATE app.t SET v = 'changed' WHERE id = 1",
    "CREATE TABLE app.later (id INT PRIMARY KEY) ENGINE = InnoDB",
    "INSERT INTO app.later VALUES (7), (8)",
];

struct FixtureBuilder {
    directory: PathBuf,
    cache: PathBuf,
}

impl FixtureBuilder {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The binary on a host: `config` and the hosts that are added are directories of keys.
    fn command(&self, host: &str) -> Command {
        let mut command = Command::new(env::var_os("REPRISE_BIN").unwrap());
        command
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap())
            .env("HOME", &self.cache)
            .env("REPRISE_CONFIG_DIR", self.path(host))
            .env("REPRISE_CACHE_DIR", self.cache.join(host))
            .env("REPRISE_REPOSITORY", self.path("repository"))
            .env("REPRISE_IDENTITY", self.path("recovery-1.txt"))
            .current_dir(&self.directory)
            .stdin(Stdio::null());
        command
    }

    /// Runs the binary, which must end with one of the exit codes.
    fn run_as<S: AsRef<OsStr>>(&self, host: &str, codes: &[i32], args: &[S]) -> String {
        let mut command = self.command(host);
        let output = command.args(args).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code().unwrap();
        assert!(codes.contains(&code), "{command:?}: {code}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        self.run_as("config", &[0], args)
    }

    /// Keeps what a snapshot of the tree must bring back.
    fn keep_tree(&self, name: &str) {
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(self.path("tree")).arg(self.path(name));
        assert!(copy.status().unwrap().success());
    }

    fn make_repository(&self) {
        self.run(&[
            "init",
            "--generate-identity",
            "recovery-1.txt",
            "--generate-identity",
            "recovery-2.txt",
            "--keeper",
            "keeper.txt",
        ]);
        let other = self.run_as("config-web2", &[0], &["key", "show"]);
        fs::write(self.path("web2.keys"), other).unwrap();
        let add = ["key", "add", "--host", "web2.keys", "--name", "web2"];
        self.run(&[&add[..], &["--keeper", "keeper.txt"]].concat());
    }

    fn store_volumes(&self) {
        let tree = self.path("tree");
        fs::create_dir_all(tree.join("inner")).unwrap();
        fs::write(tree.join("small"), "small\n").unwrap();
        fs::write(tree.join("large"), pattern(700_000)).unwrap();
        fs::write(tree.join("inner/größe"), "").unwrap();
        fs::hard_link(tree.join("small"), tree.join("inner/hard")).unwrap();
        symlink("../small", tree.join("inner/soft")).unwrap();
        let volume = ["snapshot", "volume", "tree", "--source", "tree"];
        self.run(&volume);
        self.keep_tree("expected-tree-1");
        fs::write(tree.join("small"), "changed\n").unwrap();
        fs::write(tree.join("added"), "added\n").unwrap();
        self.run(&volume);
        self.keep_tree("expected-tree-2");
        // A third one, which is forgotten, and whose contents nothing else needs.
        fs::write(tree.join("forgotten"), pattern(300_000)).unwrap();
        self.run(&volume);
        let newest = self.run(&["--json", "show", "tree@latest"]);
        let newest: Value = serde_json::from_str(&newest).unwrap();
        let forget = ["forget", newest["snapshot"].as_str().unwrap(), "--keeper"];
        self.run(&[&forget[..], &["keeper.txt"]].concat());
        self.run(&["prune", "--keeper", "keeper.txt"]);
        fs::remove_dir_all(&tree).unwrap();
        fs::write(self.path("note"), "of the other host\n").unwrap();
        self.run_as(
            "config-web2",
            &[0],
            &[
                "snapshot", "command", "--source", "note", "--", "cat", "note",
            ],
        );
        let state = r#"{"version":4,"serial":3,"lineage":"0b1c","outputs":{},"resources":[]}"#;
        fs::write(self.path("expected-state.json"), state).unwrap();
        let args = [
            "snapshot",
            "tfstate",
            "expected-state.json",
            "--source",
            "network",
        ];
        self.run(&args);
    }

    /// A server with its log; what it held behind the second logged transaction, and at the end.
    fn store_server(&self, source: &str, server: &impl Database) {
        server.execute(SCHEMA);
        let url = server.root_url();
        self.run_as(
            "config",
            &[0, 3],
            &["snapshot", "mysql", &url, "--source", source],
        );
        for (n, statement) in LOGGED.iter().enumerate() {
            server.execute(statement);
            if n == 1 {
                self.keep_rows(&format!("expected-{source}-middle"), server);
                fs::write(self.path(&format!("{source}-gtid")), gtid_of_next(server)).unwrap();
            }
        }
        self.keep_rows(&format!("expected-{source}-end"), server);
        self.run(&["archive", source, "--url", &url, "--once"]);
    }

    fn keep_rows(&self, name: &str, server: &impl Database) {
        let rows = server.query("SELECT id, v, d, HEX(b), at FROM app.t ORDER BY id");
        let lines: Vec<String> = rows.iter().map(|row| format!("{row:?}\n")).collect();
        fs::write(self.path(name), lines.concat()).unwrap();
    }
}

/// The GTID that the next transaction gets: numbers of one server follow each other.
fn gtid_of_next(server: &impl Database) -> String {
    let (base, last) = match server.try_query("SELECT @@gtid_current_pos") {
        Ok(rows) => {
            let position = rows[0][0].clone().unwrap();
            let (base, last) = position.rsplit_once('-').unwrap();
            (format!("{base}-"), last.to_owned())
        }
        Err(_) => {
            let set = server.value("SELECT @@gtid_executed");
            let (uuid, numbers) = set.split_once(':').unwrap();
            let last = numbers.rsplit(['-', ':']).next().unwrap();
            (format!("{uuid}:"), last.to_owned())
        }
    };
    format!("{base}{}", last.parse::<u64>().unwrap() + 1)
}

/// Bytes that compress a little.
fn pattern(length: usize) -> Vec<u8> {
    let numbers = (0_u64..).map(|n| n.wrapping_mul(6_364_136_223_846_793_005) >> 56);
    numbers
        .map(|n| n.to_le_bytes()[0] & 0x0f)
        .take(length)
        .collect()
}

fn main() {
    let Some(directory) = env::args_os().nth(1) else {
        panic!("usage: make_fixture DIRECTORY");
    };
    let directory = Path::new(&directory).to_owned();
    fs::create_dir(&directory).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let fixture = FixtureBuilder {
        directory: directory.canonicalize().unwrap(),
        cache: cache.path().to_owned(),
    };
    fixture.make_repository();
    fixture.store_volumes();
    fixture.store_server("mysql", &Mysql::start());
    fixture.store_server("mariadb", &Mariadb::start());
}
