//! What a database server, its account or the target does not allow is named with the way out, before anything
//! is written; and what an account may not see is never silently missing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use reprise_tests::servers::{Database, Mariadb, Mysql};
use serde_json::Value;
use support::{Ran, Sandbox};

/// A database with one of each kind that a right can hide.
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

fn account(server: &impl Database, name: &str, grants: &str) {
    server.execute(&format!(
        "CREATE USER {name}@'%' IDENTIFIED BY 'secret'; {grants}"
    ));
}

fn take(sandbox: &Sandbox, server: &impl Database, user: &str, more: &[&str]) -> Ran {
    let url = server.url(user, "");
    let mut command = sandbox.command();
    command.env("MYSQL_PWD", "secret");
    command.args([
        "snapshot",
        "mysql",
        &url,
        "--source",
        user,
        "--database",
        "app",
    ]);
    support::ran(command.args(more))
}

fn fact(sandbox: &Sandbox, source: &str, name: &str) -> Value {
    sandbox.run(["show", source, "--json"]).exits(0).json()["facts"][name].clone()
}

#[test]
fn what_an_account_may_not_see_is_named() {
    let server = Mysql::start();
    server.execute(APP);
    let sandbox = Sandbox::new();
    account(&server, "full", "GRANT ALL ON *.* TO full@'%';");
    take(&sandbox, &server, "full", &[]).exits(0);
    assert_eq!(fact(&sandbox, "full", "consistency"), "log-status");
    server.execute("ALTER USER full@'%' IDENTIFIED BY 'secret' RETAIN CURRENT PASSWORD;");
    take(&sandbox, &server, "full", &[])
        .exits(3)
        .says("the second password of 'full'@'%' is not included");
    account(
        &server,
        "least",
        "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON app.* TO least@'%'; GRANT SHOW_ROUTINE ON *.* TO least@'%';",
    );
    take(&sandbox, &server, "least", &["--no-users"]).exits(0);
    assert_eq!(fact(&sandbox, "least", "consistency"), "gtid");
    assert_eq!(
        fact(&sandbox, "least", "objects"),
        fact(&sandbox, "least", "objects")
    );
    // Without `--no-users` it is named that there are none.
    take(&sandbox, &server, "least", &[])
        .exits(3)
        .says("users and roles are not included");
    account(
        &server,
        "blind",
        "GRANT SELECT, SHOW VIEW ON app.* TO blind@'%'; GRANT SHOW_ROUTINE ON *.* TO blind@'%';",
    );
    take(&sandbox, &server, "blind", &["--no-users"])
        .exits(3)
        .says("triggers of database `app` may be missing")
        .says("events of database `app` may be missing");
    account(
        &server,
        "viewless",
        "GRANT SELECT, TRIGGER, EVENT ON app.* TO viewless@'%'; GRANT SHOW_ROUTINE ON *.* TO viewless@'%';",
    );
    take(&sandbox, &server, "viewless", &["--no-users"])
        .exits(6)
        .says("SHOW VIEW")
        .says("docs/mysql.md");
}

#[test]
fn what_was_asked_for_and_is_not_there_is_named() {
    let server = Mysql::start();
    let sandbox = Sandbox::new();
    let url = server.root_url();
    let take = |more: &[&str]| {
        let args = ["snapshot", "mysql", url.as_str(), "--source", "x"];
        sandbox.run(args.iter().chain(more))
    };
    take(&[])
        .exits(5)
        .says("has no database that the account sees");
    server.execute(APP);
    take(&["--database", "ap"])
        .exits(5)
        .says("has no database that matches");
    take(&["--database", "ap", "--database", "app"])
        .exits(3)
        .says("no database matches `ap`");
    take(&["--table", "app.t", "--table", "app.missing"])
        .exits(3)
        .says("no table or view matches `app.missing`");
}

#[test]
fn who_cannot_come_in_is_told_why() {
    let server = Mysql::start();
    server.execute(APP);
    let sandbox = Sandbox::new();
    account(&server, "other", "GRANT ALL ON *.* TO other@'%';");
    server.execute("ALTER USER other@'%' IDENTIFIED BY 'changed';");
    take(&sandbox, &server, "other", &[])
        .exits(6)
        .says("Access denied")
        .says("check user and password");
    account(
        &server,
        "old",
        "GRANT ALL ON *.* TO old@'%'; ALTER USER old@'%' PASSWORD EXPIRE;",
    );
    take(&sandbox, &server, "old", &[])
        .exits(6)
        .says("set a new password");
    let nobody = sandbox.run([
        "snapshot",
        "mysql",
        "mysql://root@127.0.0.1:1/",
        "--source",
        "x",
    ]);
    nobody.exits(1).says("127.0.0.1:1").says("check host, port");
    // The server's certificate is signed by an authority that nobody knows.
    let url = format!("{}?tls=verify-ca", server.root_url());
    sandbox
        .run(["snapshot", "mysql", &url, "--source", "x"])
        .exits(1)
        .says("tls-ca");
    let plain = Mariadb::start();
    let url = format!("{}?tls=required", plain.root_url());
    sandbox
        .run(["snapshot", "mysql", &url, "--source", "x"])
        .exits(1)
        .says("tls=off");
}

#[test]
fn each_server_gives_the_best_proof_that_it_can() {
    let sandbox = Sandbox::new();
    let maria = Mariadb::start();
    maria.execute(APP);
    account(
        &maria,
        "reader",
        "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON app.* TO reader@'%'; GRANT SELECT ON mysql.* TO reader@'%';",
    );
    take(&sandbox, &maria, "reader", &["--no-users"]).exits(0);
    assert_eq!(fact(&sandbox, "reader", "consistency"), "binlog-snapshot");
    let untold = Mysql::start_with(&[
        "--skip-log-bin",
        "--gtid-mode=OFF",
        "--enforce-gtid-consistency=OFF",
    ]);
    untold.execute(APP);
    account(
        &untold,
        "locker",
        "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON app.* TO locker@'%'; GRANT SHOW_ROUTINE, RELOAD ON *.* TO locker@'%';",
    );
    take(&sandbox, &untold, "locker", &["--no-users"]).exits(0);
    assert_eq!(fact(&sandbox, "locker", "consistency"), "global-read-lock");
    account(
        &untold,
        "alone",
        "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON app.* TO alone@'%'; GRANT SHOW_ROUTINE ON *.* TO alone@'%';",
    );
    take(&sandbox, &untold, "alone", &["--no-users"]).exits(0);
    assert_eq!(fact(&sandbox, "alone", "consistency"), "one-connection");
    // Nobody is kept waiting by what is over.
    untold.execute("SET SESSION lock_wait_timeout = 5; INSERT INTO app.t VALUES (3, 'three'); ALTER TABLE app.t ADD c INT;");
}

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
        .says("has data already: `other`")
        .says("--database");
    assert_eq!(target.value("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME IN ('app', 'reprise_restore')"), "0");
    let restored = restore(&["--database", "app"]).exits(0);
    assert!(
        restored.stdout.contains("every row read back is equal"),
        "{}",
        restored.stdout
    );
    restore(&["--database", "app"])
        .exits(6)
        .says("`app` is already at")
        .says("--overwrite");
    target.execute("INSERT INTO app.t VALUES (9, 'nine');");
    restore(&["--database", "app", "--overwrite"])
        .exits(0)
        .says("DROP DATABASE `app`");
    assert_eq!(target.value("SELECT COUNT(*) FROM app.t"), "2");
    restore(&["--database", "app=app_too"])
        .exits(3)
        .says("event `app_too`.`later` still names database `app`");
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
