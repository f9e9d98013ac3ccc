//! The workload itself: it writes, what it writes is whole at any time, and an audit sees what is not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use reprise_tests::servers::{Database, Mariadb, Mysql};
use reprise_tests::workload::{Workload, audit};

fn works(server: &impl Database) {
    let mut workload = Workload::start_with_churn(server, 2);
    workload.wait_for(100);
    let during = audit(server).unwrap();
    assert!(during >= 100);
    workload.wait_for(100);
    assert!(workload.changes() > 0);
    drop(workload);
    let first = audit(server).unwrap();

    let mut workload = Workload::start(server, 3);
    workload.wait_for(50);
    let more = workload.finish();
    assert_eq!(audit(server).unwrap(), first + more);

    server.execute("DELETE FROM ledger_b.journal LIMIT 1");
    assert!(audit(server).unwrap_err().contains("balance"));
}

#[test]
fn mysql_is_worked() {
    works(&Mysql::start());
}

#[test]
fn mariadb_is_worked() {
    works(&Mariadb::start());
}

#[test]
fn a_dead_server_is_noticed() {
    let mut mariadb = Mariadb::start();
    let mut workload = Workload::start(&mariadb, 1);
    workload.wait_for(10);
    mariadb.kill_server();
    let waiting = std::panic::AssertUnwindSafe(|| workload.wait_for(1000));
    assert!(std::panic::catch_unwind(waiting).is_err());
}
