//! Snapshots of servers that are written to and altered all the while: each restored copy is one state of the
//! source, and exactly the one that its coordinates name.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use reprise_tests::servers::{Database, Mariadb, Mysql};
use reprise_tests::workload::{Workload, audit};
use support::Sandbox;

/// Snapshots of each server, unless `REPRISE_TEST_SNAPSHOTS` says how many.
const SNAPSHOTS: usize = 6;

/// Writers beside the snapshots.
const WRITERS: u64 = 8;

/// What the copies and the source must agree on.
const SUMS: &str = "SELECT COUNT(*) FROM ledger_b.journal;
    CHECKSUM TABLE ledger_a.accounts, ledger_b.accounts, ledger_b.journal, ledger_b.churned EXTENDED;";

fn snapshots() -> usize {
    let wanted = std::env::var("REPRISE_TEST_SNAPSHOTS").ok();
    wanted.map_or(SNAPSHOTS, |wanted| wanted.parse().unwrap())
}

fn take(sandbox: &Sandbox, server: &impl Database, source: &str) -> support::RunOutput {
    let url = server.root_url();
    sandbox.run([
        "snapshot",
        "mysql",
        &url,
        "--source",
        source,
        "--database",
        "ledger_*",
        "--no-users",
        "--json",
        "--no-progress",
    ])
}

fn restore(sandbox: &Sandbox, snapshot: &str, target: &impl Database) {
    let to = target.root_url();
    sandbox
        .recover(["restore", snapshot, "--to", &to, "--overwrite"])
        .exits(0);
}

/// A copy of the source that follows its binary log, transaction by transaction.
struct ReplicaServer(Mysql);

impl ReplicaServer {
    fn of(source: &Mysql) -> Self {
        source.execute(
            "CREATE USER follower@'%' IDENTIFIED BY 'follows'; GRANT REPLICATION SLAVE ON *.* TO follower@'%';",
        );
        let replica = Mysql::start_with(&["--server-id=7", "--replica-parallel-workers=1"]);
        replica.execute(&format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST='{}', SOURCE_PORT=3306, SOURCE_USER='follower', \
             SOURCE_PASSWORD='follows', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1;",
            source.address()
        ));
        Self(replica)
    }

    /// Applies exactly the transactions of the set.
    fn follow_to(&self, gtids: &str) {
        self.0.execute(&format!(
            "START REPLICA IO_THREAD; START REPLICA SQL_THREAD UNTIL SQL_AFTER_GTIDS = '{gtids}';"
        ));
        let applied = self.0.value(&format!(
            "SELECT WAIT_FOR_EXECUTED_GTID_SET('{gtids}', 600)"
        ));
        assert_eq!(applied, "0", "{}", self.0.log());
        self.0.execute("STOP REPLICA;");
    }
}

#[test]
fn every_snapshot_of_a_busy_mysql_server_is_exactly_the_transactions_that_it_names() {
    let source = Mysql::start();
    let replica = ReplicaServer::of(&source);
    let target = Mysql::start();
    let sandbox = Sandbox::new();
    let mut workload = Workload::start_with_churn(&source, WRITERS);
    let mut taken = Vec::new();
    for _ in 0..snapshots() {
        workload.wait_for(20);
        let snapshot = take(&sandbox, &source, "busy").exits(0).json();
        taken.push(snapshot["snapshot"].as_str().unwrap().to_owned());
    }
    assert!(workload.changes() > 0);
    let written = workload.finish();
    let mut before = 0;
    for id in &taken {
        let shown = sandbox.run(["show", id, "--json"]).exits(0).json();
        let gtids = shown["facts"]["gtid"].as_str().unwrap();
        let proof = shown["facts"]["consistency"].as_str().unwrap();
        assert!(["log-status", "gtid"].contains(&proof), "{shown}");
        restore(&sandbox, id, &target);
        let transactions = audit(&target).unwrap();
        assert!(
            before < transactions && transactions <= written,
            "{before} {transactions} {written}"
        );
        before = transactions;
        replica.follow_to(gtids);
        assert_eq!(target.query(SUMS), replica.0.query(SUMS), "{gtids}");
    }
}

/// Definitions that change under a snapshot make it begin again, with a lock on them.
#[test]
fn every_snapshot_of_a_busy_mariadb_server_is_consistent() {
    let source = Mariadb::start();
    let target = Mariadb::start();
    let sandbox = Sandbox::new();
    let mut workload = Workload::start_with_churn(&source, WRITERS);
    let mut taken = Vec::new();
    for _ in 0..snapshots() {
        workload.wait_for(20);
        let snapshot = take(&sandbox, &source, "busy").exits(0).json();
        taken.push(snapshot["snapshot"].as_str().unwrap().to_owned());
    }
    assert!(workload.changes() > 0);
    let _ = workload.finish();
    let mut before = 0;
    for id in &taken {
        restore(&sandbox, id, &target);
        let transactions = audit(&target).unwrap();
        assert!(before < transactions, "{before} {transactions}");
        before = transactions;
    }
}
