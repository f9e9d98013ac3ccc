//! The recorder itself: what it has written is there, whatever died meanwhile, and its comparison finds what is not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use reprise_tests::recorder::{
    ExpectedState, FIXED_TABLES, Recorder, RecorderOptions, ServerFlavour, WriteHistory,
    now_micros, wipe,
};
use reprise_tests::servers::{Database, Mariadb, Mysql};

/// Changes that nobody recorded, each with what undoes it and what the comparison must say.
const FALSE: [(&str, &str, &str); 24] = [
    (
        "UPDATE bookkeeping.ledger SET balance = balance + 1 WHERE account = 7",
        "UPDATE bookkeeping.ledger SET balance = balance - 1 WHERE account = 7",
        "bookkeeping.ledger differs",
    ),
    (
        "UPDATE bookkeeping.ledger SET balance = balance + IF(account = 7, 1, -1) WHERE account IN (7, 8)",
        "UPDATE bookkeeping.ledger SET balance = balance - IF(account = 7, 1, -1) WHERE account IN (7, 8)",
        "bookkeeping.ledger differs",
    ),
    (
        "UPDATE bookkeeping.audit SET item = item + 1 ORDER BY number DESC LIMIT 1",
        "UPDATE bookkeeping.audit SET item = item - 1 ORDER BY number DESC LIMIT 1",
        "bookkeeping.audit differs",
    ),
    (
        "UPDATE bookkeeping.children SET v = v + 1 ORDER BY id LIMIT 1",
        "UPDATE bookkeeping.children SET v = v - 1 ORDER BY id LIMIT 1",
        "bookkeeping.children differs",
    ),
    (
        "UPDATE bookkeeping.documents SET d = JSON_SET(d, '$.new', 1) ORDER BY id LIMIT 1",
        "UPDATE bookkeeping.documents SET d = JSON_REMOVE(d, '$.new') ORDER BY id LIMIT 1",
        "bookkeeping.documents differs",
    ),
    (
        "UPDATE bookkeeping.large SET line = line + 10000 ORDER BY writer, number, line LIMIT 1",
        "UPDATE bookkeeping.large SET line = line - 10000 WHERE line > 10000",
        "bookkeeping.large differs",
    ),
    (
        "UPDATE bookkeeping.large SET noise = CONCAT(noise, 'a') WHERE line = 5",
        "UPDATE bookkeeping.large SET noise = LEFT(noise, LENGTH(noise) - 1) WHERE line = 5",
        "bookkeeping.large differs",
    ),
    (
        "UPDATE warehouse.parents SET name = CONCAT(name, ' ') ORDER BY id LIMIT 1",
        "UPDATE warehouse.parents SET name = RTRIM(name)",
        "warehouse.parents differs",
    ),
    (
        "INSERT INTO warehouse.friends VALUES (1, NULL)",
        "DELETE FROM warehouse.friends WHERE id = 1",
        "warehouse.friends differs",
    ),
    (
        "UPDATE warehouse.loaded SET line = line + 10000 ORDER BY number LIMIT 1",
        "UPDATE warehouse.loaded SET line = line - 10000 WHERE line > 10000",
        "warehouse.loaded differs",
    ),
    (
        "UPDATE warehouse.loaded SET text = '' WHERE text IS NULL",
        "",
        "warehouse.loaded differs",
    ),
    (
        "INSERT INTO warehouse.keyless SELECT * FROM warehouse.keyless LIMIT 1",
        "",
        "warehouse.keyless differs",
    ),
    (
        "CREATE TABLE warehouse.nobodys (id INT PRIMARY KEY)",
        "DROP TABLE warehouse.nobodys",
        "warehouse.nobodys should not be there",
    ),
    (
        "CREATE TABLE bookkeeping.side_3_999999 (id INT PRIMARY KEY)",
        "DROP TABLE bookkeeping.side_3_999999",
        "side_3_999999 should not be there",
    ),
    (
        "CREATE DATABASE annex77",
        "DROP DATABASE annex77",
        "database annex77 should not be there",
    ),
    (
        "CREATE USER clerk_0_0@'%'",
        "DROP USER clerk_0_0@'%'",
        "user clerk_0_0 should not be there",
    ),
    (
        "UPDATE bookkeeping.progress SET number = number - 1 WHERE writer = 2",
        "UPDATE bookkeeping.progress SET number = number + 1 WHERE writer = 2",
        "",
    ),
    (
        "UPDATE bookkeeping.progress SET number = number + 1000 WHERE writer = 2",
        "UPDATE bookkeeping.progress SET number = number - 1000 WHERE writer = 2",
        "writer 2 has done",
    ),
    (
        "UPDATE bookkeeping.progress SET writer = 99 WHERE writer = 4",
        "UPDATE bookkeeping.progress SET writer = 4 WHERE writer = 99",
        "no row of writer 4",
    ),
    (
        "UPDATE bookkeeping.progress SET at = at + INTERVAL 1 HOUR WHERE writer = 5",
        "UPDATE bookkeeping.progress SET at = at - INTERVAL 1 HOUR WHERE writer = 5",
        "of writer 5 says that it was written at",
    ),
    (
        "SET @number = 0, @entry = 0; UPDATE warehouse.items SET v = v + 1 ORDER BY id LIMIT 1",
        "SET @number = 0, @entry = 1; UPDATE warehouse.items SET v = v - 1 ORDER BY id LIMIT 1; \
         DELETE FROM bookkeeping.audit WHERE number = 0",
        "warehouse.items differs",
    ),
    (
        "SET @number = 0, @entry = 0; UPDATE warehouse.items SET at = at - INTERVAL 1 HOUR ORDER BY id LIMIT 1; \
         DELETE FROM bookkeeping.audit WHERE number = 0",
        "SET @number = 0, @entry = 0; UPDATE warehouse.items SET at = at + INTERVAL 1 HOUR ORDER BY id LIMIT 1; \
         DELETE FROM bookkeeping.audit WHERE number = 0",
        "says that it was written at",
    ),
    (
        "DROP TRIGGER warehouse.item_deleted",
        "CREATE TRIGGER warehouse.item_deleted AFTER DELETE ON warehouse.items FOR EACH ROW SET @nothing = 1",
        "triggers differs",
    ),
    (
        "ALTER TABLE warehouse.friends DROP FOREIGN KEY friend_of",
        "ALTER TABLE warehouse.friends ADD CONSTRAINT friend_of FOREIGN KEY (parent) \
         REFERENCES warehouse.parents (id) ON DELETE SET NULL ON UPDATE CASCADE",
        "foreign keys differs",
    ),
];

fn assert_found(server: &impl Database, history: &WriteHistory, change: &str, words: &str) {
    let error = history.compare(server, &ExpectedState::Latest).err();
    let seen = error.as_ref().is_some_and(|error| error.contains(words));
    assert!(seen, "{change}: {error:?}");
}

fn every_false_change_is_found(server: &impl Database) {
    let mut recorder = Recorder::start(server, RecorderOptions::default());
    recorder.wait_for(800);
    let history = recorder.stop();
    history.compare(server, &ExpectedState::Latest).unwrap();
    let copies = "CREATE DATABASE kept; CREATE TABLE kept.loaded SELECT * FROM warehouse.loaded; \
                  CREATE TABLE kept.keyless SELECT * FROM warehouse.keyless";
    let back = "TRUNCATE TABLE warehouse.loaded; INSERT INTO warehouse.loaded SELECT * FROM kept.loaded; \
                TRUNCATE TABLE warehouse.keyless; INSERT INTO warehouse.keyless SELECT * FROM kept.keyless";
    server.execute(copies);
    for (change, undo, words) in FALSE {
        server.execute(change);
        assert_found(server, &history, change, words);
        server.execute(if undo.is_empty() { back } else { undo });
    }
    history.compare(server, &ExpectedState::Latest).unwrap();
    let state = history.final_state();
    let user = state
        .keys()
        .find_map(|name| name.strip_prefix("user "))
        .unwrap();
    let side = state.keys().find(|name| name.contains(".side_")).unwrap();
    // What a writer's last steps made may as well be a step that is missing.
    let away = format!("kept.{}", side.rsplit('.').next().unwrap());
    for (change, undo, words) in [
        (
            format!("RENAME TABLE {side} TO {away}"),
            format!("RENAME TABLE {away} TO {side}"),
            "is missing",
        ),
        (
            format!("ALTER TABLE {side} ADD COLUMN more INT"),
            format!("ALTER TABLE {side} DROP COLUMN more"),
            side.as_str(),
        ),
    ] {
        server.execute(&change);
        assert_found(server, &history, &change, words);
        server.execute(&undo);
    }
    for (change, words) in [
        (format!("GRANT CREATE ON bookkeeping.* TO {user}@'%'"), user),
        (format!("DROP USER {user}@'%'"), "is missing"),
    ] {
        server.execute(&change);
        assert_found(server, &history, &change, words);
    }
    for (table, _) in FIXED_TABLES.iter().rev() {
        let change = format!("SET foreign_key_checks = 0; DELETE FROM {table} LIMIT 1");
        server.execute(&change);
        assert_found(server, &history, &change, table);
    }
}

/// The live server holds everything, and so nothing that is before the end or that it does not hold any more.
fn states_are_distinguished(
    server: &impl Database,
    history: &WriteHistory,
    flavour: ServerFlavour,
) {
    let (begun, ended) = history.span();
    let all = history.compare(server, &ExpectedState::Latest).unwrap();
    assert_eq!(all.iter().sum::<u64>(), history.count());
    assert_eq!(
        history
            .compare(server, &ExpectedState::At(now_micros()))
            .unwrap(),
        all
    );
    assert_eq!(
        history.compare(server, &ExpectedState::At(ended)).unwrap(),
        all
    );
    let middle = ExpectedState::At(begun.midpoint(ended));
    let error = history.compare(server, &middle).unwrap_err();
    assert!(error.contains("after the expected state"), "{error}");
    let before = ExpectedState::Before {
        writer: 3,
        number: 9,
    };
    history.compare(server, &before).unwrap_err();
    if flavour == ServerFlavour::Mysql {
        // Of two writers' last steps one was sent before the other was acknowledged, or after; never both.
        history
            .compare(server, &ExpectedState::At(ended - 5_000_000))
            .unwrap_err();
    }
}

fn records(mut server: impl Database, steps: u64) {
    let flavour = ServerFlavour::of(&server);
    let options = RecorderOptions {
        seed: 7,
        large: Some(110 << 20),
        ..RecorderOptions::default()
    };
    let mut recorder = Recorder::start(&server, options);
    recorder.wait_for(steps / 2);
    recorder.kill_connections(&server);
    recorder.wait_for(100);
    recorder.kill_server(&mut server);
    recorder.wait_for(steps / 2);
    assert!(recorder.retried() > 8, "{}", recorder.retried());
    let history = recorder.stop();
    assert!(history.count() >= steps);
    let kinds = history.kinds();
    assert_eq!(kinds.len(), 32, "{kinds:?}");
    states_are_distinguished(&server, &history, flavour);
}

fn a_wiped_server_is_recorded_again(server: &impl Database) {
    wipe(server);
    let progress = "SELECT * FROM bookkeeping.progress";
    assert!(server.try_query(progress).is_err());
    let options = RecorderOptions {
        seed: 2,
        writers: 3,
        pause: Duration::from_millis(1),
        ..RecorderOptions::default()
    };
    let mut recorder = Recorder::start(server, options);
    recorder.wait_for(100);
    recorder
        .stop()
        .compare(server, &ExpectedState::Latest)
        .unwrap();
}

#[test]
fn mysql_is_recorded() {
    records(Mysql::start(), 4000);
}

#[test]
fn mariadb_is_recorded() {
    records(Mariadb::start(), 4000);
}

#[test]
fn false_changes_in_mysql_are_found() {
    let server = Mysql::start();
    every_false_change_is_found(&server);
    a_wiped_server_is_recorded_again(&server);
}

#[test]
fn false_changes_in_mariadb_are_found() {
    let server = Mariadb::start();
    every_false_change_is_found(&server);
    a_wiped_server_is_recorded_again(&server);
}

/// Where a replica stops, it holds whole steps of each writer: those of the source up to that commit.
#[test]
fn a_replica_that_stopped_anywhere_is_compared() {
    let source = Mysql::start();
    let replica = Mysql::start_with(&[
        "--server-id=7",
        "--replica-parallel-workers=1",
        "--sync-binlog=0",
        "--innodb-flush-log-at-trx-commit=0",
    ]);
    source.execute(
        "CREATE USER follower@'%' IDENTIFIED BY 'follows'; GRANT REPLICATION SLAVE ON *.* TO follower@'%';",
    );
    replica.execute(&format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST='{}', SOURCE_PORT=3306, SOURCE_USER='follower', \
         SOURCE_PASSWORD='follows', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1;",
        source.address()
    ));
    let uuid = source.value("SELECT @@server_uuid");
    let done = "SELECT REGEXP_SUBSTR(@@gtid_executed, '[0-9]+$')";
    let first: u64 = source.value(done).parse().unwrap();
    let mut recorder = Recorder::start(&source, RecorderOptions::default());
    recorder.wait_for(1500);
    let history = recorder.stop();
    let last: u64 = source.value(done).parse().unwrap();
    // The tables and their first rows come before all steps.
    let mut number = first + 60;
    let mut steps = 0;
    while number < last {
        replica.execute(&format!(
            "START REPLICA IO_THREAD; START REPLICA SQL_THREAD UNTIL SQL_AFTER_GTIDS = '{uuid}:1-{number}';"
        ));
        let reached = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{uuid}:1-{number}', 120)");
        assert_eq!(replica.value(&reached), "0", "{}", replica.log());
        let committed = replica.value(
            "SELECT ROUND(UNIX_TIMESTAMP(LAST_APPLIED_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP) * 1000000) \
             FROM performance_schema.replication_applier_status_by_worker",
        );
        replica.execute("STOP REPLICA");
        let expected = ExpectedState::At(committed.parse().unwrap());
        let prefix = history.compare(&replica, &expected).unwrap();
        let there = prefix.iter().sum();
        assert!(steps < there && there < history.count(), "{steps} {there}");
        steps = there;
        history
            .compare(&replica, &ExpectedState::Latest)
            .unwrap_err();
        number += (last - first) / 8;
    }
}
