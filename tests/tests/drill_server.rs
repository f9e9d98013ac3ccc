//! Drills in a server: what comes back is asked, the log between two snapshots is proved, and nothing stays.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;

use reprise_tests::servers::{Database, Mariadb, Mysql};
use serde_json::Value;
use support::{RunOutput, Sandbox, begin, kill, wait_for};

const SHOP: &str = "
CREATE DATABASE shop;
CREATE TABLE shop.orders (id INT PRIMARY KEY AUTO_INCREMENT, created DATETIME(6) NOT NULL, v VARCHAR(50)) ENGINE = InnoDB;
INSERT INTO shop.orders (created, v) VALUES (UTC_TIMESTAMP(6), 'one'), (UTC_TIMESTAMP(6), 'two');
CREATE EVENT shop.eat ON SCHEDULE EVERY 1 SECOND DO DELETE FROM shop.orders;
CREATE USER clerk@localhost IDENTIFIED BY 'it''s secret'; GRANT SELECT ON shop.* TO clerk@localhost;
";

/// A server with two snapshots and the log between and behind them.
fn archived(server: &impl Database) -> Sandbox {
    // The events of the source would eat what is compared.
    server.execute("SET GLOBAL event_scheduler = OFF");
    server.execute(SHOP);
    let sandbox = Sandbox::new();
    let url = server.root_url();
    let store = ["snapshot", "mysql", &url, "--source", "shop"];
    sandbox.run(store).exits(0);
    let archive = ["archive", "shop", "--url", &url, "--once"];
    sandbox.run(archive).exits(0);
    server.execute("INSERT INTO shop.orders (created, v) VALUES (UTC_TIMESTAMP(6), 'three'); CREATE TABLE shop.more (id INT PRIMARY KEY); ALTER USER root@localhost IDENTIFIED BY ''");
    sandbox.run(store).exits(0);
    server.execute("INSERT INTO shop.more VALUES (1), (2), (3)");
    sandbox.run(archive).exits(0);
    sandbox
}

/// Runs a drill with these lines of its description.
fn drill(sandbox: &Sandbox, target: &impl Database, lines: &str) -> RunOutput {
    sandbox.run(args(sandbox, target, lines))
}

fn args(sandbox: &Sandbox, target: &impl Database, lines: &str) -> Vec<String> {
    let policy = format!(
        "version: 1\nname: drills\n\
         repositories:\n  main: {{url: repository, identity: \"file:id1\"}}\n\
         sources:\n  shop:\n    mysql: {{url: \"mysql://root@127.0.0.1:1/\"}}\n\
         drills:\n  shop:\n    source: shop\n    budget: {{recovery_time: 1h, data_loss: 1h}}\n    \
         server: {{url: \"{}\"{lines}",
        target.root_url()
    );
    fs::write(sandbox.path("policy.yaml"), policy).unwrap();
    ["--json", "drill", "--policies", "policy.yaml"]
        .map(str::to_owned)
        .to_vec()
}

fn report(ran: &RunOutput) -> Value {
    ran.json()["reports"][0].clone()
}

fn objects(target: &impl Database) -> Vec<Vec<Option<String>>> {
    let mut all = target.query("SHOW DATABASES");
    all.extend(target.query("SELECT User, Host FROM mysql.user ORDER BY 1, 2"));
    all.extend(target.query("SELECT @@GLOBAL.event_scheduler"));
    all
}

fn a_drill_proves_the_log_and_leaves_nothing(server: &impl Database, target: &impl Database) {
    let sandbox = archived(server);
    target.execute("SET GLOBAL event_scheduler = ON");
    let before = objects(target);
    let queries = "
      - {query: SELECT COUNT(*) FROM shop.orders, equals: 3}
      - {query: SELECT COUNT(*) FROM shop.orders, at_least: 2}
      - {query: \"SELECT v FROM shop.orders WHERE id = 2\", equals: two}
      - {newest: SELECT MAX(created) FROM shop.orders, within: 1h}";
    let lines = format!(", replay: proof}}\n    queries:{queries}\n");
    let proved = report(&drill(&sandbox, target, &lines).exits(0));
    assert_eq!(proved["verdict"], "ok");
    assert!(proved["server"]["compared_with"].is_string(), "{proved}");
    assert!(
        proved["server"]["transactions"].as_u64() >= Some(2),
        "{proved}"
    );
    assert!(proved["server"]["newest_row_age_seconds"].as_f64() > Some(0.0));
    assert_eq!(objects(target), before);

    let lines =
        ", replay: latest}\n    queries: [{query: SELECT COUNT(*) FROM shop.more, equals: 3}]\n";
    let latest = report(&drill(&sandbox, target, lines).exits(0));
    assert!(latest["data_time"].as_str() > proved["data_time"].as_str());
    let lines = "}\n    queries: [{query: SELECT COUNT(*) FROM shop.more, equals: 0}]\n";
    drill(&sandbox, target, lines).exits(0);
    assert_eq!(objects(target), before);
    an_idle_server_loses_nothing_since_its_last_snapshot(&sandbox, server, target, &latest);
}

/// Nothing was written and nothing archived since: the last snapshot is the latest moment, not the end of the log.
fn an_idle_server_loses_nothing_since_its_last_snapshot(
    sandbox: &Sandbox,
    server: &impl Database,
    target: &impl Database,
    before: &Value,
) {
    let url = server.root_url();
    let store = ["snapshot", "mysql", &url, "--source", "shop"];
    sandbox.run(store).exits(0);
    let shown = sandbox.run(["--json", "show", "shop"]).exits(0).json();
    let taken = shown["data_time"].as_str().unwrap().to_owned();
    assert!(taken.as_str() > before["data_time"].as_str().unwrap());
    let windows = shown["restorable"].as_array().unwrap();
    assert_eq!(windows.last().unwrap()["until"], taken.as_str(), "{shown}");
    let lines =
        ", replay: latest}\n    queries: [{query: SELECT COUNT(*) FROM shop.more, equals: 3}]\n";
    let found = report(&drill(sandbox, target, lines).exits(0));
    assert_eq!(found["data_time"], taken.as_str(), "{found}");
}

#[test]
fn a_drill_proves_the_log_of_mysql_and_leaves_nothing() {
    a_drill_proves_the_log_and_leaves_nothing(&Mysql::start(), &Mysql::start());
}

#[test]
fn a_drill_proves_the_log_of_mariadb_and_leaves_nothing() {
    a_drill_proves_the_log_and_leaves_nothing(&Mariadb::start(), &Mariadb::start());
}

#[test]
fn wrong_data_is_a_verdict_and_not_an_error() {
    let (server, target) = (Mysql::start(), Mysql::start());
    let sandbox = archived(&server);
    let queries = "
      - {query: SELECT COUNT(*) FROM shop.orders, equals: 4}
      - {query: SELECT COUNT(*) FROM shop.orders, at_least: 4}
      - {query: SELECT COUNT(*) FROM shop.gone, equals: 1}
      - {query: SELECT * FROM shop.orders, equals: 1}
      - {newest: \"SELECT MAX(created) - INTERVAL 1 DAY FROM shop.orders\", within: 1h}
      - {newest: SELECT MAX(id) FROM shop.orders}";
    let lines = format!("}}\n    queries:{queries}\n");
    let found = report(&drill(&sandbox, &target, &lines).exits(4));
    assert_eq!(found["verdict"], "failed");
    let checks = found["checks"].as_array().unwrap().clone();
    let failed = |check: &&Value| check["passed"] == false;
    assert_eq!(checks.iter().filter(failed).count(), 6, "{checks:?}");
    let detail = |n: usize| checks[n]["detail"].as_str().unwrap();
    assert_eq!(detail(2), "the value is 3");
    assert_eq!(detail(3), "the value is only 3");
    assert!(detail(4).contains("shop.gone"), "{}", detail(4));
    assert!(detail(5).contains("rows: 3"), "{}", detail(5));
    assert!(detail(7).contains("not a time"), "{}", detail(7));
}

#[test]
fn a_server_with_data_of_its_own_is_never_a_drills() {
    let (server, target) = (Mysql::start(), Mysql::start());
    let sandbox = archived(&server);
    target.execute("CREATE DATABASE live; CREATE TABLE live.t (id INT)");
    let ran = drill(&sandbox, &target, "}\n").exits(6);
    assert!(ran.stdout.contains("`live`"), "{}", ran.stdout);
    target.execute("DROP DATABASE live");
    target.execute("CREATE DATABASE empty_but_somebodys");
    drill(&sandbox, &target, "}\n").exits(6);
    target.execute("DROP DATABASE empty_but_somebodys");
    drill(&sandbox, &target, "}\n").exits(0);
}

#[test]
fn what_a_drill_that_died_has_left_is_removed_by_the_next() {
    let (server, target) = (Mysql::start(), Mysql::start());
    let sandbox = archived(&server);
    let before = objects(&target);
    let lines = "}\n    queries: [{query: SELECT SLEEP(600), equals: 0}]\n";
    let mut child = begin(sandbox.command(), args(&sandbox, &target, lines));
    let asks =
        "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO = 'SELECT SLEEP(600)'";
    assert!(wait_for(&mut child, || target.value(asks) == "1"));
    // Two drills in one server would take each other's for their own.
    drill(&sandbox, &target, "}\n").exits(6);
    kill(&mut child);
    target.execute(&format!(
        "KILL {}",
        target.value(
            "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO = 'SELECT SLEEP(600)'"
        )
    ));
    assert_ne!(objects(&target), before);
    drill(&sandbox, &target, "}\n").exits(0);
    assert_eq!(objects(&target), before);
}

#[test]
fn what_the_log_does_not_have_fails_the_proof() {
    let (server, target) = (Mysql::start(), Mysql::start());
    let sandbox = archived(&server);
    server.execute("SET SESSION sql_log_bin = 0; UPDATE shop.orders SET v = 'silently' WHERE id = 1; DROP TABLE shop.more");
    let url = server.root_url();
    sandbox
        .run(["snapshot", "mysql", &url, "--source", "shop"])
        .exits(0);
    let ran = drill(&sandbox, &target, ", replay: proof}\n").exits(4);
    let found = report(&ran)["checks"][1]["detail"].to_string();
    assert!(
        found.contains("`orders`") && found.contains("`more` is not in the snapshot"),
        "{found}"
    );
}
