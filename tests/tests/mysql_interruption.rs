//! Connections break, servers and programs are killed: nothing wrong is ever reported as done, no lock stays, and
//! a restore goes on where it was.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::Child;

use reprise_tests::servers::{Database, Mariadb, Mysql};
use support::databases::{
    ACCOUNT, LARGE, assert_free, has_loaded, make_account, restore_args, store_args, sums_of_large,
};
use support::{Sandbox, begin, begin_captured, end, interrupt, kill, wait_for};

fn source() -> (Mysql, Sandbox) {
    let source = Mysql::start();
    source.execute(LARGE);
    (source, Sandbox::new())
}

fn take(sandbox: &Sandbox, source: &impl Database) {
    sandbox
        .run(["snapshot", "mysql", &source.root_url(), "--source", "app"])
        .exits(0);
}

/// Begins a restore and returns when the first file is at the target, and not the last.
fn begun(sandbox: &Sandbox, target: &impl Database) -> Child {
    let to = target.root_url();
    let args = ["restore", "app", "--to", &to, "--threads", "1"];
    let mut child = begin(sandbox.recovering(), args);
    let loaded = "SELECT COUNT(*) FROM reprise_restore.steps WHERE step LIKE 'loaded %'";
    let some = || {
        target
            .try_query(loaded)
            .is_ok_and(|rows| rows[0][0] != Some("0".to_owned()))
    };
    assert!(
        wait_for(&mut child, some),
        "it ended before it could be stopped"
    );
    child
}

fn same(source: &impl Database, target: &impl Database) {
    let sums = "CHECKSUM TABLE app.large, app.parents EXTENDED; SELECT COUNT(*) FROM app.large;";
    assert_eq!(source.query(sums), target.query(sums));
    let left =
        "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'reprise_restore'";
    assert_eq!(target.value(left), "0");
}

#[test]
fn a_restore_that_was_killed_goes_on_where_it_was() {
    let (source, sandbox) = source();
    take(&sandbox, &source);
    let target = Mysql::start();
    kill(&mut begun(&sandbox, &target));
    let to = target.root_url();
    sandbox
        .recover(["restore", "app", "--to", &to])
        .exits(6)
        .says("was interrupted")
        .says("--resume");
    sandbox
        .recover(["restore", "app", "--to", &to, "--resume"])
        .exits(0);
    same(&source, &target);
}

#[test]
fn a_restore_into_a_server_that_dies_fails_and_goes_on_later() {
    let (source, sandbox) = source();
    take(&sandbox, &source);
    let mut target = Mysql::start();
    let mut child = begun(&sandbox, &target);
    target.kill_server();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    target.restart();
    let to = target.root_url();
    sandbox
        .recover(["restore", "app", "--to", &to, "--resume"])
        .exits(0);
    same(&source, &target);
}

#[test]
fn a_snapshot_whose_connections_are_killed_fails_and_leaves_no_lock() {
    let (source, sandbox) = source();
    source.execute("CREATE USER backup@'%'; GRANT ALL ON *.* TO backup@'%';");
    let url = source.url("backup", "");
    let args = ["snapshot", "mysql", &url, "--source", "app"];
    let mut child = begin(sandbox.command(), args);
    let reading = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'backup' AND INFO LIKE 'SELECT%FORCE INDEX%'";
    assert!(wait_for(&mut child, || source.value(reading) != "0"));
    for row in source.query("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'backup'") {
        // It may have ended meanwhile.
        drop(source.try_execute(&format!("KILL {};", row[0].as_ref().unwrap())));
    }
    assert_eq!(child.wait().unwrap().code(), Some(1));
    sandbox.run(["show", "app"]).exits(5);
    source.execute("SET SESSION lock_wait_timeout = 2; ALTER TABLE app.large ADD c INT; CREATE TABLE app.n (id INT);");
    take(&sandbox, &source);
}

/// So often a statement is tried to be ended before its end.
const ATTEMPTS_MAX: usize = 20;

/// A statement that somebody ends has given some rows by then.
fn a_snapshot_whose_statements_are_ended_fails_and_leaves_no_lock(server: &impl Database) {
    server.execute(LARGE);
    make_account(server);
    let sandbox = Sandbox::new();
    let url = server.url(ACCOUNT, "");
    let reading = "SELECT ID FROM information_schema.PROCESSLIST \
                   WHERE USER = 'backup' AND INFO LIKE 'SELECT%FORCE INDEX%'";
    // A statement may have sent its last row just before it is ended: then nothing was interrupted.
    let ran = (0..ATTEMPTS_MAX).find_map(|_| {
        let mut child = begin_captured(sandbox.command(), store_args(&url));
        assert!(wait_for(&mut child, || !server.query(reading).is_empty()));
        for row in server.query(reading) {
            // It may have ended meanwhile.
            drop(server.try_execute(&format!("KILL QUERY {}", row[0].as_ref().unwrap())));
        }
        let ran = end(child);
        let whole = ran.code == Some(0);
        if whole {
            std::fs::remove_dir_all(sandbox.path("repository/snapshots")).unwrap();
        }
        (!whole).then_some(ran)
    });
    ran.unwrap()
        .exits(1)
        .says("cannot read `app`.`large`")
        .says("execution was interrupted")
        .says("kills long statements");
    assert_free(server, ACCOUNT);
    sandbox.run(["show", "db"]).exits(5);
}

#[test]
fn a_snapshot_whose_statements_are_ended_in_mysql_fails_and_leaves_no_lock() {
    a_snapshot_whose_statements_are_ended_fails_and_leaves_no_lock(&Mysql::start());
}

#[test]
fn a_snapshot_whose_statements_are_ended_in_mariadb_fails_and_leaves_no_lock() {
    a_snapshot_whose_statements_are_ended_fails_and_leaves_no_lock(&Mariadb::start());
}

fn an_interrupted_snapshot_leaves_neither_session_nor_lock(server: &impl Database) {
    server.execute(LARGE);
    make_account(server);
    let sandbox = Sandbox::new();
    let url = server.url(ACCOUNT, "");
    let mut child = begin_captured(sandbox.command(), store_args(&url));
    let reading = "SELECT COUNT(*) FROM information_schema.PROCESSLIST \
                   WHERE USER = 'backup' AND INFO LIKE 'SELECT%FORCE INDEX%'";
    assert!(wait_for(&mut child, || server.value(reading) != "0"));
    interrupt(&child);
    end(child).exits(130).says("interrupted");
    assert_free(server, ACCOUNT);
    sandbox.run(["show", "db"]).exits(5);
    sandbox.store(&url, &[]).exits(0);
}

#[test]
fn an_interrupted_snapshot_of_mysql_leaves_neither_session_nor_lock() {
    an_interrupted_snapshot_leaves_neither_session_nor_lock(&Mysql::start());
}

#[test]
fn an_interrupted_snapshot_of_mariadb_leaves_neither_session_nor_lock() {
    an_interrupted_snapshot_leaves_neither_session_nor_lock(&Mariadb::start());
}

fn an_interrupted_restore_says_how_to_go_on(source: &impl Database, target: &impl Database) {
    source.execute(LARGE);
    let sandbox = Sandbox::new();
    sandbox.store(&source.root_url(), &[]).exits(0);
    target.execute(
        "CREATE DATABASE other; CREATE TABLE other.kept (id INT PRIMARY KEY); INSERT INTO other.kept VALUES (7);
         CREATE USER restorer@'%'; GRANT ALL ON *.* TO restorer@'%';",
    );
    let url = target.url("restorer", "");
    let args = restore_args(&url).into_iter();
    let args = args.chain(["--database", "app", "--threads", "1"]);
    let mut child = begin_captured(sandbox.recovering(), args);
    assert!(wait_for(&mut child, || has_loaded(target, "large")));
    interrupt(&child);
    end(child).exits(130).says("interrupted").says("--resume");
    assert_free(target, "restorer");
    let kept = "SELECT GROUP_CONCAT(id) FROM other.kept";
    assert_eq!(target.value(kept), "7");
    sandbox
        .restore_server(&url, &["--database", "app", "--resume"])
        .exits(0);
    assert_eq!(sums_of_large(source), sums_of_large(target));
    assert_eq!(target.value(kept), "7");
}

#[test]
fn an_interrupted_restore_into_mysql_says_how_to_go_on() {
    an_interrupted_restore_says_how_to_go_on(&Mysql::start(), &Mysql::start());
}

#[test]
fn an_interrupted_restore_into_mariadb_says_how_to_go_on() {
    an_interrupted_restore_says_how_to_go_on(&Mariadb::start(), &Mariadb::start());
}
