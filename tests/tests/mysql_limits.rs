//! Limits of a server: none of them makes a snapshot or a restore wrong, and one that stands in the way is named.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::{Command, Stdio};

use reprise_tests::servers::{Database, Mariadb, Mysql};
use support::databases::{ACCOUNT, assert_free, fill, restore_args, store_args, sums};
use support::{RunOutput, Sandbox};

/// Rows of 20 to 40 MiB, with letters that need a backslash in a file among them.
const HUGE: &str = "
CREATE DATABASE app; USE app;
CREATE TABLE huge (id INT PRIMARY KEY, bytes LONGBLOB, letters LONGTEXT) ENGINE = InnoDB;
INSERT INTO huge VALUES
    (1, REPEAT(RANDOM_BYTES(1021), 40 << 10), NULL),
    (2, '', REPEAT('ab\\\\c\\td\\n', 3 << 20)),
    (3, REPEAT('\\\\', 10 << 20), REPEAT('ä', 5 << 20));
";

const SUMS: &str = "
SELECT id, LENGTH(bytes), SHA2(bytes, 256), LENGTH(letters), SHA2(letters, 256) FROM app.huge ORDER BY id;
";

/// What a run may need at most, by far less than all rows together in all the forms that they take.
const PEAK_KIB_MAX: u64 = 700 << 10;

/// Runs a command to its end, and demands that it needs little memory.
fn modest(mut command: Command, args: &[&str]) -> RunOutput {
    command.args(args);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak_kib = peak_kib.max(kib.unwrap_or(0));
        std::thread::yield_now();
    }
    assert!(
        peak_kib > 0 && peak_kib < PEAK_KIB_MAX,
        "{args:?}: {peak_kib} KiB"
    );
    RunOutput::from(&child.wait_with_output().unwrap())
}

/// Both servers take packets of a MiB. Only for the time of filling it the source takes larger ones.
fn rows_larger_than_a_packet_come_back(source: &impl Database, target: &impl Database) {
    source.execute("SET GLOBAL max_allowed_packet = 1073741824");
    source.execute(HUGE);
    source.execute("SET GLOBAL max_allowed_packet = 1048576");
    let packet = "SELECT @@GLOBAL.max_allowed_packet";
    assert_eq!([source.value(packet), target.value(packet)], ["1048576"; 2]);
    let sandbox = Sandbox::new();
    modest(sandbox.command(), &store_args(&source.root_url())).exits(0);
    modest(sandbox.recovering(), &restore_args(&target.root_url())).exits(0);
    assert_eq!(source.query(SUMS), target.query(SUMS));
}

#[test]
fn rows_larger_than_a_packet_come_back_in_mysql() {
    let options = [
        "--max-allowed-packet=1M",
        // A row may have a tenth of it.
        "--innodb-redo-log-capacity=1G",
    ];
    rows_larger_than_a_packet_come_back(&Mysql::start_with(&options), &Mysql::start_with(&options));
}

#[test]
fn rows_larger_than_a_packet_come_back_in_mariadb() {
    let options = [
        "--max-allowed-packet=1M",
        // The server stands still when a row is larger.
        "--innodb-log-file-size=256M",
    ];
    rows_larger_than_a_packet_come_back(
        &Mariadb::start_with(&options),
        &Mariadb::start_with(&options),
    );
}

/// MySQL makes no document that is larger than a packet.
#[test]
fn a_document_larger_than_a_packet_is_named_and_comes_back_once_the_target_takes_it() {
    let options = ["--innodb-redo-log-capacity=1G"];
    let (source, target) = (Mysql::start_with(&options), Mysql::start_with(&options));
    source.execute(
        "CREATE DATABASE app; CREATE TABLE app.documents (id INT PRIMARY KEY, document JSON);
         INSERT INTO app.documents VALUES (1, CONCAT('[\"', REPEAT('x', 2 << 20), '\"]'));",
    );
    target.execute("SET GLOBAL max_allowed_packet = 1048576");
    let sandbox = Sandbox::new();
    sandbox.store(&source.root_url(), &[]).exits(0);
    let ran = sandbox.restore_server(&target.root_url(), &[]).exits(1);
    ran.says("`app`.`documents`")
        .says("larger than max_allowed_packet")
        .says("raise max_allowed_packet on the server")
        .says("--resume");
    target.execute("SET GLOBAL max_allowed_packet = 8388608");
    sandbox
        .restore_server(&target.root_url(), &["--resume"])
        .exits(0);
    let sum = "SELECT SHA2(document, 256) FROM app.documents";
    assert_eq!(source.value(sum), target.value(sum));
}

/// Every statement that reads the rows takes longer than the server allows by itself.
fn a_limit_of_time_for_all_is_lifted(server: &impl Database, variable: &str, limit: &str) {
    fill(server);
    let before = sums(server, "app");
    let limited = |run: &dyn Fn() -> RunOutput| {
        server.execute(&format!("SET GLOBAL {variable} = {limit}"));
        let ran = run();
        server.execute(&format!(
            "SET SESSION {variable} = 0; SET GLOBAL {variable} = 0"
        ));
        ran.exits(0)
    };
    let sandbox = Sandbox::new();
    limited(&|| sandbox.store(&server.url(ACCOUNT, ""), &[]));
    assert_free(server, ACCOUNT);
    for verify in ["counts", "checksums"] {
        let more = ["--database", "app", "--overwrite", "--verify", verify];
        limited(&|| sandbox.restore_server(&server.root_url(), &more));
        assert_eq!(sums(server, "app"), before);
    }
}

#[test]
fn a_limit_of_time_for_all_of_mysql_is_lifted() {
    a_limit_of_time_for_all_is_lifted(&Mysql::start(), "max_execution_time", "5");
}

#[test]
fn a_limit_of_time_for_all_of_mariadb_is_lifted() {
    a_limit_of_time_for_all_is_lifted(&Mariadb::start(), "max_statement_time", "0.01");
}

#[test]
fn a_limit_of_time_of_an_account_is_lifted() {
    let server = Mariadb::start();
    fill(&server);
    server.execute("ALTER USER backup@'%' WITH MAX_STATEMENT_TIME 0.01");
    let sandbox = Sandbox::new();
    sandbox.store(&server.url(ACCOUNT, ""), &[]).exits(0);
    assert_free(&server, ACCOUNT);
}
