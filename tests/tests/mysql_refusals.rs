//! What a database server or a target does not allow is named with the way out, before anything is written.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::Command;

use reprise_tests::servers::{Database, Mariadb, Mysql};
use support::databases::LockHolder;
use support::{Sandbox, begin_captured, end};

/// A database with one of each kind that a privilege can hide.
const APP: &str = "
CREATE DATABASE app; USE app;
CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20)) ENGINE = InnoDB;
INSERT INTO t VALUES (1, 'one'), (2, 'two');
CREATE TABLE log (n INT PRIMARY KEY AUTO_INCREMENT, what INT) ENGINE = InnoDB;
CREATE VIEW names AS SELECT v FROM t;
CREATE TRIGGER noted AFTER INSERT ON t FOR EACH ROW INSERT INTO log (what) VALUES (NEW.id);
CREATE PROCEDURE hello() SELECT 'hello';
CREATE EVENT later ON SCHEDULE AT '2036-01-01 00:00:00' DO INSERT INTO app.log (what) VALUES (0);
";

#[test]
fn a_target_with_data_is_refused_and_what_was_not_named_stays() {
    let source = Mysql::start();
    source.execute(APP);
    let target = Mysql::start();
    target.execute("CREATE DATABASE other; CREATE TABLE other.kept (id INT PRIMARY KEY); INSERT INTO other.kept VALUES (7);");
    let sandbox = Sandbox::new();
    let url = source.root_url();
    sandbox
        .run(["snapshot", "mysql", &url, "--source", "app"])
        .exits(0);
    let to = target.root_url();
    let restore = |more: &[&str]| {
        let args = ["restore", "app", "--to", to.as_str()];
        sandbox.recover(args.iter().chain(more))
    };
    restore(&[])
        .exits(6)
        .says("is not empty: it has `other`")
        .says("--database");
    assert_eq!(target.value("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME IN ('app', 'reprise_restore')"), "0");
    let restored = restore(&["--database", "app"]).exits(0);
    assert!(
        restored.stdout.contains("every row read back matches"),
        "{}",
        restored.stdout
    );
    restore(&["--database", "app"])
        .exits(6)
        .says("`app` already exists on")
        .says("--overwrite");
    target.execute("INSERT INTO app.t VALUES (9, 'nine');");
    restore(&["--database", "app", "--overwrite"])
        .exits(0)
        .says("DROP DATABASE `app`");
    assert_eq!(target.value("SELECT COUNT(*) FROM app.t"), "2");
    restore(&["--database", "app=app_too"])
        .exits(3)
        .says("event `app_too`.`later` still refers to database `app`");
    assert_eq!(
        target.value("SELECT GROUP_CONCAT(v) FROM app_too.names"),
        "one,two"
    );
    assert_eq!(target.value("SELECT GROUP_CONCAT(id) FROM other.kept"), "7");
    restore(&["--database", "nothing"])
        .exits(5)
        .says("`nothing` is not in snapshot");
    restore(&["--resume"]).exits(6).says("leave out --resume");
}

#[test]
fn what_will_not_fit_is_listed_before_anything_is_written() {
    let source = Mysql::start();
    source.execute(APP);
    let target = Mariadb::start();
    let sandbox = Sandbox::new();
    let url = source.root_url();
    sandbox
        .run(["snapshot", "mysql", &url, "--source", "app"])
        .exits(0);
    let to = target.root_url();
    for more in [&[][..], &["--dry-run"]] {
        let args = ["restore", "app", "--to", to.as_str()];
        sandbox
            .recover(args.iter().chain(more))
            .exits(6)
            .says("`app`.`t` needs `utf8mb4_0900_ai_ci`");
    }
    assert_eq!(target.value("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME IN ('app', 'reprise_restore')"), "0");
}

#[test]
fn a_table_that_somebody_holds_ends_a_snapshot_in_bounded_time_and_leaves_no_lock() {
    let server = Mysql::start();
    server.execute(APP);
    let sandbox = Sandbox::new();
    // Another client holds the table for writing as long as its input is open.
    let mut holder = server.client();
    let mut holder = holder
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = holder.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"LOCK TABLES app.t WRITE;\n").unwrap();
    let held = "SELECT COUNT(*) FROM performance_schema.metadata_locks WHERE OBJECT_NAME = 't' AND LOCK_TYPE LIKE '%WRITE'";
    while server.value(held) == "0" {
        std::thread::yield_now();
    }
    let url = server.root_url();
    sandbox
        .run(["snapshot", "mysql", &url, "--source", "app"])
        .exits(1)
        .says("Lock wait timeout")
        .says("SHOW PROCESSLIST");
    drop(input);
    holder.wait().unwrap();
    server.execute("SET SESSION lock_wait_timeout = 2; ALTER TABLE app.t ADD c INT; CREATE TABLE app.n (id INT);");
    sandbox
        .run(["snapshot", "mysql", &url, "--source", "app"])
        .exits(0);
}

#[test]
fn a_server_that_freezes_in_the_middle_of_a_statement_is_not_waited_for() {
    let server = Mysql::start();
    server.execute(APP);
    let sandbox = Sandbox::new();
    let holder = LockHolder::hold(&server, "LOCK TABLES app.t WRITE");
    let url = server.root_url();
    let args = ["--request-timeout", "1s", "snapshot", "mysql", &url];
    let child = begin_captured(sandbox.command(), args);
    // As long as it answers others, a statement that waits for a lock is a slow one.
    let waits = "SELECT COUNT(*) FROM performance_schema.metadata_locks WHERE OBJECT_NAME = 't' AND LOCK_STATUS = 'PENDING'";
    while server.value(waits) == "0" {
        std::thread::yield_now();
    }
    let docker = |verb| {
        let mut docker = Command::new("docker");
        let done = docker.args([verb, server.container()]).output().unwrap();
        assert!(done.status.success());
    };
    docker("pause");
    let ran = end(child);
    docker("unpause");
    holder.release();
    ran.exits(1)
        .says("the server is silent, and does not answer other connections either");
}
