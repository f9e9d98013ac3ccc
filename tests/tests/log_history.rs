//! Which snapshots a log goes on from, and until when it is complete: what numbers or a clock say alone is not believed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use chrono::{DateTime, Utc};
use reprise_tests::servers::{Database, Mariadb, Mysql};
use serde_json::Value;
use support::Sandbox;
use support::archived::{
    ArchiverProcess, TABLE, archive, archived_source, log_segments, restore, show_source,
};

const ROWS: &str = "SELECT GROUP_CONCAT(v ORDER BY id) FROM app.t";

fn insert(v: &str) -> String {
    format!("INSERT INTO app.t (v) VALUES ('{v}');")
}

fn spans(sandbox: &Sandbox) -> Vec<Value> {
    show_source(sandbox)["restorable"]
        .as_array()
        .unwrap()
        .clone()
}

/// Files say to the second when they were begun.
fn wait_a_second(server: &impl Database) {
    server.query("SELECT SLEEP(1.1)");
}

/// Numbers, files and positions have grown past those of a snapshot and of the archive when the archiver comes back.
fn what_is_older_than_a_reset_is_not_joined(
    server: &impl Database,
    target: &impl Database,
    reset: &str,
) {
    let sandbox = archived_source(server);
    let file = |server: &dyn Fn(&str) -> Vec<Vec<Option<String>>>| {
        server("SHOW BINARY LOGS").last().unwrap()[0].clone()
    };
    let query = |sql: &str| server.query(sql);
    let before = file(&query);
    wait_a_second(server);
    server.execute(reset);
    while file(&query) != before {
        server.execute("FLUSH BINARY LOGS");
    }
    server.execute(&insert("of the other history").repeat(100));
    archive(&sandbox, server, &[])
        .exits(3)
        .says("its files were created again");
    restore(&sandbox, target, &["--until", "latest"])
        .exits(5)
        .says("take one");
    assert_eq!(spans(&sandbox).len(), 1);
    // Nor is it when the log has gone on.
    server.execute(&insert("later"));
    archive(&sandbox, server, &[]).exits(0);
    let ran = restore(&sandbox, target, &["--until", "latest"]);
    ran.exits(5);
    sandbox.store(&server.root_url(), &[]).exits(0);
    server.execute(&insert("last"));
    archive(&sandbox, server, &[]).exits(0);
    assert_eq!(spans(&sandbox).len(), 2);
    restore(&sandbox, target, &["--until", "latest"]).exits(0);
    assert_eq!(
        target.query("CHECKSUM TABLE app.t"),
        server.query("CHECKSUM TABLE app.t")
    );
}

#[test]
fn a_snapshot_older_than_a_reset_of_mysql_is_not_joined_to_the_log_behind_it() {
    let reset = "RESET BINARY LOGS AND GTIDS";
    what_is_older_than_a_reset_is_not_joined(&Mysql::start(), &Mysql::start(), reset);
}

#[test]
fn a_snapshot_older_than_a_reset_of_mariadb_is_not_joined_to_the_log_behind_it() {
    what_is_older_than_a_reset_is_not_joined(&Mariadb::start(), &Mariadb::start(), "RESET MASTER");
}

/// An archive that begins after a reset does not begin at a snapshot from before it.
fn an_archive_does_not_begin_at_what_is_older_than_a_reset(server: &impl Database, reset: &str) {
    let sandbox = Sandbox::new();
    server.execute(TABLE);
    sandbox.store(&server.root_url(), &[]).exits(0);
    wait_a_second(server);
    server.execute(reset);
    while server.query("SHOW BINARY LOGS").len() < 12 {
        server.execute(&insert("of the other history").repeat(30));
        server.execute("FLUSH BINARY LOGS");
    }
    archive(&sandbox, server, &[])
        .exits(3)
        .says("cannot continue from snapshot")
        .says("take a snapshot now");
    server.execute(&insert("later"));
    archive(&sandbox, server, &[]).exits(0);
    let spans = spans(&sandbox);
    assert_eq!(spans[0]["from"], spans[0]["until"], "{spans:?}");
}

#[test]
fn an_archive_of_mysql_does_not_begin_at_what_is_older_than_a_reset() {
    let reset = "RESET BINARY LOGS AND GTIDS";
    an_archive_does_not_begin_at_what_is_older_than_a_reset(&Mysql::start(), reset);
}

#[test]
fn an_archive_of_mariadb_does_not_begin_at_what_is_older_than_a_reset() {
    an_archive_does_not_begin_at_what_is_older_than_a_reset(&Mariadb::start(), "RESET MASTER");
}

/// The numbers of MariaDB say nothing of who made them.
#[test]
fn another_history_of_mariadb_with_higher_numbers_is_a_gap() {
    let server = Mariadb::start();
    let sandbox = archived_source(&server);
    let other = Mariadb::start_with(&["--server-id=77"]);
    other.execute(TABLE);
    other.execute(&insert("of the other").repeat(20));
    archive(&sandbox, &other, &[])
        .exits(3)
        .says("gap:")
        .says("requested to start from GTID");
    restore(&sandbox, &Mariadb::start(), &["--until", "latest"]).exits(5);
}

#[test]
fn an_archive_does_not_begin_where_the_server_says_that_its_history_is_another() {
    let server = Mariadb::start();
    server.execute(TABLE);
    let other = Mariadb::start_with(&["--server-id=77"]);
    wait_a_second(&other);
    let sandbox = Sandbox::new();
    sandbox.store(&server.root_url(), &[]).exits(0);
    other.execute(TABLE);
    other.execute(&insert("of the other").repeat(20));
    archive(&sandbox, &other, &[])
        .exits(3)
        .says("cannot continue from snapshot")
        .says("requested to start from GTID");
    let spans = spans(&sandbox);
    assert_eq!(spans[0]["from"], spans[0]["until"], "{spans:?}");
}

/// After a reset a snapshot is to be taken; it may be the first that the server hears of.
#[test]
fn a_snapshot_before_the_first_transaction_begins_a_span() {
    let server = Mysql::start();
    let sandbox = archived_source(&server);
    server.execute("RESET BINARY LOGS AND GTIDS");
    archive(&sandbox, &server, &[]).exits(3).says("gap:");
    sandbox.store(&server.root_url(), &[]).exits(0);
    server.execute(&insert("the first"));
    archive(&sandbox, &server, &[]).exits(0);
    let target = Mysql::start();
    restore(&sandbox, &target, &["--until", "latest"]).exits(0);
    assert_eq!(target.value(ROWS), "one,two,three,the first");
}

/// Two servers that write in one domain of MariaDB: a snapshot tells by one number what it has.
#[test]
fn numbers_that_do_not_grow_end_what_is_promised() {
    let server = Mariadb::start();
    let sandbox = archived_source(&server);
    server.execute(&insert("before").repeat(20));
    archive(&sandbox, &server, &[]).exits(0);
    let last = server.value("SELECT @@GLOBAL.gtid_binlog_pos");
    server.execute(&format!(
        "SET SESSION server_id = 9, gtid_seq_no = 3; {}",
        insert("in no order")
    ));
    archive(&sandbox, &server, &[])
        .exits(3)
        .says("0-9-3 is out of order")
        .says("take a snapshot");
    let target = Mariadb::start();
    restore(&sandbox, &target, &["--until", "latest"]).exits(5);
    restore(&sandbox, &target, &["--before-gtid", &last]).exits(0);
    assert!(target.value(ROWS).ends_with(",before"));
    sandbox.store(&server.root_url(), &[]).exits(0);
    server.execute(&insert("afterwards"));
    archive(&sandbox, &server, &[]).exits(0);
    let snapshots: Vec<Value> = spans(&sandbox)
        .iter()
        .map(|span| span["snapshots"].clone())
        .collect();
    assert_eq!(snapshots, [1, 1]);
    let target = Mariadb::start();
    restore(&sandbox, &target, &["--until", "latest"]).exits(0);
    assert_eq!(target.value(ROWS), server.value(ROWS));
}

/// A replica that keeps what it replicates out of its log cannot be brought back by it.
#[test]
fn a_log_without_what_is_replicated_is_refused_with_the_way_out() {
    let primary = Mysql::start();
    let replica = Mysql::start_with(&["--server-id=2", "--log-replica-updates=OFF"]);
    replica.execute("CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_USER = 'root'");
    let sandbox = archived_source(&primary);
    archive(&sandbox, &replica, &[])
        .exits(6)
        .says("log_replica_updates is off");
    let primary = Mariadb::start();
    let replica = Mariadb::start_with(&["--server-id=2"]);
    replica.execute("CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_USER = 'root'");
    let sandbox = archived_source(&primary);
    archive(&sandbox, &replica, &[])
        .exits(6)
        .says("log_slave_updates is off");
}

/// A clock that was wrong for a while. Of MariaDB the time of a statement can be set.
#[test]
fn a_commit_from_the_future_promises_nothing() {
    let server = Mariadb::start();
    let sandbox = archived_source(&server);
    server.execute(&format!(
        "SET timestamp = UNIX_TIMESTAMP() + 86400; {}",
        insert("tomorrow")
    ));
    archive(&sandbox, &server, &[]).exits(0);
    let until = spans(&sandbox)[0]["until"].as_str().unwrap().to_owned();
    let until: DateTime<Utc> = until.parse().unwrap();
    assert!(
        until < Utc::now() + chrono::TimeDelta::seconds(2),
        "{until}"
    );
}

/// Commits behind the stop have earlier times; `apart`: in a segment of their own.
fn a_clock_is_set_back(apart: bool) {
    let server = Mariadb::start();
    let sandbox = archived_source(&server);
    let at = |ahead: i32, v: &str| {
        let time = format!("SET timestamp = UNIX_TIMESTAMP() + {ahead};");
        server.execute(&format!("{time}{}", insert(v)));
    };
    at(7200, "two hours ahead");
    if apart {
        archive(&sandbox, &server, &[]).exits(0);
    }
    at(-300, "set back");
    archive(&sandbox, &server, &[])
        .exits(3)
        .says("the clock was set back by");
    let target = Mariadb::start();
    let until = spans(&sandbox)[0]["until"].as_str().unwrap().to_owned();
    let arguments = ["--point-in-time", until.as_str()];
    restore(
        &sandbox,
        &target,
        &[&arguments[..], &["--dry-run"]].concat(),
    )
    .exits(0)
    .says("the clock was set back");
    restore(&sandbox, &target, &arguments)
        .exits(3)
        .says("the clock was set back");
    assert_eq!(target.value(ROWS), "one,two,three");
}

#[test]
fn what_follows_when_a_clock_was_set_back_is_not_left_out_in_silence() {
    a_clock_is_set_back(true);
}

#[test]
fn what_follows_in_the_same_segment_is_not_left_out_in_silence() {
    a_clock_is_set_back(false);
}

/// Positions in a file that is begun when the server starts are smaller than those of the file before.
#[test]
fn without_numbers_a_restart_between_snapshot_and_log_is_told_apart() {
    let mut server = Mysql::start_with(&["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]);
    let sandbox = archived_source(&server);
    server.execute(&insert("before the restart").repeat(50));
    server.kill_server();
    server.restart();
    server.execute(&insert("after the restart"));
    sandbox.store(&server.root_url(), &[]).exits(0);
    server.execute(&insert("after the snapshot"));
    archive(&sandbox, &server, &[]).exits(0);
    let target = Mysql::start();
    restore(&sandbox, &target, &["--until", "latest"]).exits(0);
    let sum = "CHECKSUM TABLE app.t";
    assert_eq!(target.query(sum), server.query(sum));
}

#[test]
fn without_numbers_a_snapshot_that_nothing_follows_is_the_end_of_the_log() {
    let server = Mysql::start_with(&["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]);
    let sandbox = archived_source(&server);
    sandbox.store(&server.root_url(), &[]).exits(0);
    archive(&sandbox, &server, &[]).exits(0);
    let target = Mysql::start();
    restore(&sandbox, &target, &["--until", "latest"]).exits(0);
    assert_eq!(target.value(ROWS), "one,two,three");
}

/// Of a transaction that fills several segments, the first one is lost.
#[test]
fn a_transaction_whose_beginning_is_lost_is_in_no_span() {
    let server = Mysql::start();
    let sandbox = archived_source(&server);
    let before = log_segments(&sandbox).len();
    server.execute("CREATE TABLE app.large (id INT PRIMARY KEY, v LONGBLOB)");
    archive(&sandbox, &server, &[]).exits(0);
    sandbox.store(&server.root_url(), &[]).exits(0);
    server.execute("SET SESSION cte_max_recursion_depth = 100000; \
        INSERT INTO app.large WITH RECURSIVE n (i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) SELECT i, RANDOM_BYTES(1000) FROM n");
    archive(&sandbox, &server, &[]).exits(0);
    let stored = log_segments(&sandbox);
    assert!(stored.len() > before + 3, "{stored:?}");
    sandbox.store(&server.root_url(), &[]).exits(0);
    server.execute(&insert("last"));
    archive(&sandbox, &server, &[]).exits(0);
    std::fs::remove_file(&stored[before + 1]).unwrap();
    let spans = spans(&sandbox);
    let snapshots: Vec<&Value> = spans.iter().map(|span| &span["snapshots"]).collect();
    // The second snapshot is a moment of its own behind the first range, too.
    assert_eq!(snapshots, [2, 1, 1], "{spans:?}");
    let target = Mysql::start();
    restore(&sandbox, &target, &["--until", "latest"]).exits(0);
    for table in ["t", "large"] {
        let sum = format!("CHECKSUM TABLE app.{table}");
        assert_eq!(target.query(&sum), server.query(&sum));
    }
}

/// An account that may not have the server prove at which place of its log a snapshot is.
#[test]
fn a_snapshot_whose_position_in_the_log_is_not_proven_is_not_joined() {
    let server = Mysql::start_with(&["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]);
    server.execute(TABLE);
    server.execute("CREATE USER poor; GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, REPLICATION CLIENT, PROCESS ON *.* TO poor");
    let sandbox = Sandbox::new();
    let url = server.root_url().replace("root@", "poor@");
    sandbox.store(&url, &[]);
    archive(&sandbox, &server, &[])
        .exits(3)
        .says("its exact binary log position is unknown");
    server.execute(&insert("three"));
    archive(&sandbox, &server, &[]).exits(0);
    restore(&sandbox, &Mysql::start(), &["--until", "latest"])
        .exits(5)
        .says("the exact binary log position of snapshot")
        .says("BACKUP_ADMIN");
}

/// Where nothing is written, the span grows all the same: to shortly before the server was asked.
fn an_idle_server_is_complete(server: &impl Database) {
    let sandbox = archived_source(server);
    let until = || {
        let until = spans(&sandbox)[0]["until"].as_str().unwrap().to_owned();
        until.parse::<DateTime<Utc>>().unwrap()
    };
    let before = until();
    let archiver = ArchiverProcess::start(&sandbox, server);
    // Only the archiver asks for the files; when it does so once more, it has heard the answer to the question before.
    let asked = || {
        let row = &server.query("SHOW GLOBAL STATUS LIKE 'Com_show_binlogs'")[0];
        row[1].as_ref().unwrap().parse::<u64>().unwrap()
    };
    let first = asked();
    while asked() < first + 2 {}
    archiver.stop();
    let grown = until() - before;
    assert!(grown > chrono::TimeDelta::seconds(8), "{grown}");
    assert!(until() < Utc::now() - chrono::TimeDelta::seconds(4));
}

#[test]
fn an_idle_mysql_is_complete_until_shortly_before_it_was_asked() {
    an_idle_server_is_complete(&Mysql::start());
}

#[test]
fn an_idle_mariadb_is_complete_until_shortly_before_it_was_asked() {
    an_idle_server_is_complete(&Mariadb::start());
}
