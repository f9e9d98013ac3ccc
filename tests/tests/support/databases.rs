//! What tests of database servers share: rows to store, an account to store them with, and a look at what is
//! left at the server.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use reprise_tests::servers::Database;

use super::{RunOutput, Sandbox};

/// Even a loaded machine has noticed a closed connection long before.
const WAIT_LIMIT: Duration = Duration::from_secs(20);

/// The account with which snapshots are taken. It is nobody else's, so that what it holds is known to be ours.
pub(crate) const ACCOUNT: &str = "backup";

/// Ten thousand rows of two thousand bytes that do not compress, in a table with keys of every kind.
const ROWS: &str = "
CREATE DATABASE app;
CREATE TABLE app.parents (id INT PRIMARY KEY) ENGINE = InnoDB;
INSERT INTO app.parents VALUES (1), (2), (3);
CREATE TABLE app.digits (d INT PRIMARY KEY) ENGINE = InnoDB;
INSERT INTO app.digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
CREATE TABLE app.rows_of_noise (
    id INT PRIMARY KEY, parent INT NOT NULL, word VARCHAR(64) NOT NULL, noise TEXT NOT NULL,
    KEY (word), FULLTEXT KEY (word), FOREIGN KEY (parent) REFERENCES parents (id)
) ENGINE = InnoDB;
SET SESSION group_concat_max_len = 2000;
INSERT INTO app.rows_of_noise
SELECT n, 1 + n % 3, SHA2(n, 256), (SELECT GROUP_CONCAT(SHA2(CONCAT(n, '-', d), 512) SEPARATOR '') FROM app.digits)
FROM (SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d AS n FROM app.digits a, app.digits b, app.digits c,
      app.digits e) AS numbers;
CREATE VIEW app.words AS SELECT word FROM app.rows_of_noise;
CREATE TRIGGER app.guard BEFORE INSERT ON app.parents FOR EACH ROW SET NEW.id = NEW.id + 0;
ANALYZE TABLE app.rows_of_noise;
";

/// Several files of rows, so that some are loaded when others are not.
pub(crate) const LARGE: &str = "
CREATE DATABASE app;
CREATE TABLE app.large (id INT PRIMARY KEY, pad VARCHAR(8000), KEY (pad(20))) ENGINE = InnoDB;
INSERT INTO app.large
WITH digits AS (SELECT 0 AS d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION
                SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9),
     n AS (SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d AS id FROM digits a, digits b, digits c, digits e)
SELECT id, REPEAT(SHA2(id, 512), 60) FROM n UNION ALL SELECT id + 10000, REPEAT(SHA2(id, 512), 59) FROM n;
CREATE TABLE app.parents (id INT PRIMARY KEY, v INT) ENGINE = InnoDB;
INSERT INTO app.parents VALUES (1, 1), (2, 2), (3, 3);
CREATE TABLE app.gate (id INT PRIMARY KEY) ENGINE = InnoDB;
INSERT INTO app.gate VALUES (1);
ANALYZE TABLE app.large;
";

/// What these tables hold.
pub(crate) fn sums_of_large(server: &impl Database) -> Vec<String> {
    ["app.large", "app.parents", "app.gate"]
        .map(|table| sum(server, table))
        .to_vec()
}

/// Whether a restore has loaded a table's file, or any.
pub(crate) fn has_loaded(server: &impl Database, table: &str) -> bool {
    let steps = "SELECT COUNT(*) FROM reprise_restore.steps WHERE step LIKE";
    server
        .try_query(&format!("{steps} 'loaded data/app/{table}%'"))
        .is_ok_and(|rows| rows[0][0].as_deref() != Some("0"))
}

/// A client that holds something at a server until it is released.
pub(crate) struct LockHolder {
    child: Child,
    input: ChildStdin,
    _output: BufReader<ChildStdout>,
}

impl LockHolder {
    /// Returns once the statements are done.
    pub(crate) fn hold(server: &impl Database, statements: &str) -> Self {
        let mut child = server
            .client()
            .args(["--unbuffered", "--skip-column-names"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        writeln!(input, "{statements}; SELECT 'it is done';").unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("it is done") {
            line.clear();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "{statements}");
        }
        Self {
            child,
            input,
            _output: output,
        }
    }

    pub(crate) fn release(mut self) {
        drop(self.input);
        assert!(self.child.wait().unwrap().success());
    }
}

/// How many bytes pass before a snapshot or a restore of these rows is in the middle of them.
pub(crate) const MIDDLE: u64 = 5 << 20;

/// Privileges for everything, as the documentation lists them.
pub(crate) fn privileges(server: &impl Database) -> &'static str {
    match is_mariadb(server) {
        true => "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, RELOAD, BINLOG MONITOR ON *.* TO",
        false => {
            "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, PROCESS, REPLICATION CLIENT, SHOW_ROUTINE, BACKUP_ADMIN ON *.* TO"
        }
    }
}

pub(crate) fn is_mariadb(server: &impl Database) -> bool {
    server.value("SELECT VERSION()").contains("MariaDB")
}

/// Fills a server, and makes the account.
pub(crate) fn fill(server: &impl Database) {
    server.execute(ROWS);
    make_account(server);
}

/// Makes the account with all the privileges that it needs.
pub(crate) fn make_account(server: &impl Database) {
    let privileges = privileges(server);
    server.execute(&format!(
        "CREATE USER {ACCOUNT}@'%'; {privileges} {ACCOUNT}@'%';"
    ));
}

/// The server's address for the account, at another port.
pub(crate) fn url_at(user: &str, port: u16) -> String {
    format!("mysql://{user}@127.0.0.1:{port}/")
}

/// What a table holds, in one number.
pub(crate) fn sum(server: &impl Database, table: &str) -> String {
    let columns = server.query(&format!("SHOW COLUMNS FROM {table}"));
    let columns: Vec<String> = columns
        .iter()
        .map(|row| format!("COALESCE(SHA2(`{}`, 256), '-')", row[0].as_ref().unwrap()))
        .collect();
    server.value(&format!(
        "SELECT CONCAT(COUNT(*), ' ', COALESCE(SUM(CRC32(CONCAT({}))), 0)) FROM {table}",
        columns.join(", ")
    ))
}

/// The sums of all tables of the test's database.
pub(crate) fn sums(server: &impl Database, database: &str) -> Vec<String> {
    ["parents", "digits", "rows_of_noise", "words"]
        .map(|table| sum(server, &format!("{database}.{table}")))
        .to_vec()
}

/// The account's sessions.
pub(crate) fn sessions(server: &impl Database, user: &str) -> Vec<String> {
    let all = server.query("SHOW PROCESSLIST");
    let ours = all
        .into_iter()
        .filter(|row| row[1].as_deref() == Some(user));
    ours.map(|row| row[0].clone().unwrap()).collect()
}

/// Fails unless whatever a run has held at the server is released: sessions, and with them transactions and locks.
/// Everybody can write and change definitions at once.
pub(crate) fn assert_free(server: &impl Database, user: &str) {
    let begin = Instant::now();
    // A server notices a closed connection when it next looks.
    while !sessions(server, user).is_empty() {
        let left = server.query("SHOW FULL PROCESSLIST");
        assert!(begin.elapsed() < WAIT_LIMIT, "sessions are left: {left:?}");
    }
    assert_unlocked(server);
}

/// Fails unless everybody can write and change definitions at once.
pub(crate) fn assert_unlocked(server: &impl Database) {
    server.execute(
        "SET SESSION lock_wait_timeout = 1, SESSION innodb_lock_wait_timeout = 1;
         CREATE DATABASE watchdog; CREATE TABLE watchdog.t (id INT PRIMARY KEY);
         ALTER TABLE watchdog.t ADD COLUMN v INT; DROP DATABASE watchdog;
         FLUSH TABLES WITH READ LOCK; UNLOCK TABLES;",
    );
    let there = "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'app' AND TABLE_NAME = 'parents'";
    if server.query(there).is_empty() {
        return;
    }
    server.execute(
        "SET SESSION lock_wait_timeout = 1, SESSION innodb_lock_wait_timeout = 1;
         UPDATE app.parents SET id = id; INSERT INTO app.parents (id) VALUES (9); DELETE FROM app.parents WHERE id = 9;
         ALTER TABLE app.parents COMMENT = 'watched'; ALTER TABLE app.parents COMMENT = '';",
    );
}

impl Sandbox {
    /// Takes a snapshot of a server.
    pub(crate) fn store(&self, url: &str, more: &[&str]) -> RunOutput {
        self.run(store_args(url).iter().copied().chain(more.iter().copied()))
    }

    /// Restores it.
    pub(crate) fn restore_server(&self, url: &str, more: &[&str]) -> RunOutput {
        self.recover(
            restore_args(url)
                .iter()
                .copied()
                .chain(more.iter().copied()),
        )
    }

    /// What is known of the newest snapshot.
    pub(crate) fn shown(&self) -> serde_json::Value {
        self.recover(["--json", "show", "db"]).exits(0).json()
    }
}

/// The arguments of a snapshot; `db` is what the source is called.
pub(crate) fn store_args(url: &str) -> [&str; 5] {
    ["snapshot", "mysql", url, "--source", "db"]
}

/// The arguments of a restore.
pub(crate) fn restore_args(url: &str) -> [&str; 4] {
    ["restore", "db", "--to", url]
}
