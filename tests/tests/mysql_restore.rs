//! Restores into servers: what is chosen comes back, what is not stays untouched, and nothing acts before its time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::{Duration, Instant};

use reprise_tests::servers::{Database, Mariadb, Mysql, ServerDescription, describe, differences};
use serde_json::Value;
use support::{RunOutput, Sandbox};

/// Two databases that use each other, with one of everything that acts by itself.
const SHOP: &str = "
CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
CREATE DATABASE stock CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
CREATE TABLE stock.parts (id INT PRIMARY KEY, name VARCHAR(50));
INSERT INTO stock.parts VALUES (1, 'wheel'), (2, 'tyre');
USE shop;
SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci;
CREATE TABLE items (id INT PRIMARY KEY, name VARCHAR(50), price DECIMAL(8, 2), KEY (name));
CREATE TABLE orders (
    id INT AUTO_INCREMENT PRIMARY KEY, item INT NOT NULL, amount INT, FOREIGN KEY (item) REFERENCES items (id)
);
CREATE TABLE journal (n INT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(50));
CREATE TRIGGER noted AFTER INSERT ON orders FOR EACH ROW INSERT INTO journal (what) VALUES ('sold');
CREATE PROCEDURE sell(i INT, n INT) INSERT INTO orders (item, amount) VALUES (i, n);
CREATE PROCEDURE look() SELECT * FROM shop.items;
CREATE VIEW totals AS SELECT item, SUM(amount) AS amount FROM orders GROUP BY item;
CREATE VIEW a_chain AS SELECT t.amount, i.name FROM totals AS t JOIN items AS i ON i.id = t.item;
CREATE VIEW mixed AS SELECT p.name FROM stock.parts AS p JOIN orders AS o ON o.item = p.id;
CREATE VIEW stock.across AS SELECT name FROM shop.a_chain;
CREATE EVENT tidy ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01 00:00:00' DO DELETE FROM journal;
INSERT INTO items VALUES (1, 'bicycle', 500), (2, 'lock', 20.5);
CALL sell(1, 3);
CALL sell(2, 1);
CALL sell(2, 1);
DELETE FROM orders WHERE id = 3;
";

/// A server with the shop, and its snapshot.
struct ShopServer<D> {
    server: D,
    sandbox: Sandbox,
}

impl<D: Database> ShopServer<D> {
    fn new(server: D) -> Self {
        Self::with(server, "")
    }

    /// With something more in it.
    fn with(server: D, more: &str) -> Self {
        server.execute(SHOP);
        server.execute(more);
        let sandbox = Sandbox::new();
        let url = server.root_url();
        let ran = sandbox.run(["snapshot", "mysql", &url, "--source", "shop"]);
        ran.exits(0);
        Self { server, sandbox }
    }

    fn restore(&self, more: &[&str]) -> RunOutput {
        self.restore_to(&self.server.root_url(), more)
    }

    fn restore_to(&self, url: &str, more: &[&str]) -> RunOutput {
        let args = ["restore", "shop", "--to", url];
        self.sandbox.recover(args.iter().chain(more))
    }

    fn lose_everything(&self) {
        self.server
            .execute("DROP DATABASE shop; DROP DATABASE stock;");
    }
}

fn same(before: &ServerDescription, after: &ServerDescription) {
    assert_eq!(differences(before, after), Default::default());
}

fn only_what_was_chosen_is_touched(server: impl Database) {
    let shop = ShopServer::new(server);
    let server = &shop.server;
    server.execute(
        "INSERT INTO stock.parts VALUES (3, 'newer'); CREATE DATABASE others; \
         CREATE TABLE others.t (id INT PRIMARY KEY); INSERT INTO others.t VALUES (7);",
    );
    let before = describe(server);
    server.execute("DROP DATABASE shop");
    shop.restore(&["--database", "shop"]).exits(0);
    same(&before, &describe(server));
    server.execute("DROP TABLE shop.orders");
    shop.restore(&["--table", "shop.orders"]).exits(0);
    same(&before, &describe(server));
}

#[test]
fn only_what_was_chosen_is_touched_in_mysql() {
    only_what_was_chosen_is_touched(Mysql::start());
}

#[test]
fn only_what_was_chosen_is_touched_in_mariadb() {
    only_what_was_chosen_is_touched(Mariadb::start());
}

/// What belongs to a database, as if it were called `shop`.
fn of_database(description: &ServerDescription, database: &str) -> ServerDescription {
    let own = format!("`{database}`");
    let own = description
        .iter()
        .filter(|(name, _)| name.contains(&own) && !name.starts_with("grants of"));
    own.map(|(name, text)| {
        let plain = |text: &str| text.replace(database, "shop");
        (plain(name), plain(text))
    })
    .collect()
}

fn a_database_takes_another_name(server: impl Database) {
    let shop = ShopServer::new(server);
    let server = &shop.server;
    let before = describe(server);
    shop.restore(&["--database", "shop=shop_before"])
        .exits(3)
        .says("procedure `shop_before`.`look` still refers to database `shop`, which is restored as `shop_before`");
    let mut after = describe(server);
    same(
        &of_database(&before, "shop"),
        &of_database(&after, "shop_before"),
    );
    after.retain(|name, _| !name.contains("`shop_before`"));
    same(&before, &after);
    // What acts in the new database leaves the old one alone.
    server.execute("CALL shop_before.sell(1, 1)");
    assert_eq!(
        server.value("SELECT COUNT(*) FROM shop_before.journal"),
        "4"
    );
    assert_eq!(server.value("SELECT COUNT(*) FROM shop.journal"), "3");
}

#[test]
fn a_mysql_database_takes_another_name() {
    a_database_takes_another_name(Mysql::start());
}

#[test]
fn a_mariadb_database_takes_another_name() {
    a_database_takes_another_name(Mariadb::start());
}

#[test]
fn a_view_without_its_table_is_named() {
    let shop = ShopServer::new(Mariadb::start());
    shop.lose_everything();
    let tables = ["orders", "totals", "a_chain"].map(|name| format!("shop.{name}"));
    let chosen: Vec<&str> = tables.iter().flat_map(|name| ["--table", name]).collect();
    let ran = shop.restore(&chosen).exits(3);
    let ran = ran.says(
        "view `shop`.`a_chain` was not created because an object that it uses is missing: Table 'shop.items'",
    );
    assert!(!ran.stderr.contains("totals"), "{}", ran.stderr);
    let total = "SELECT amount FROM shop.totals WHERE item = 1";
    assert_eq!(shop.server.value(total), "3");
}

/// Whether an account comes in, and with which role.
fn role_of(server: &impl Database, user: &str, password: &str) -> Result<String, String> {
    let mut client = server.client();
    client
        .args([format!("--user={user}"), format!("--password={password}")])
        .args(["--skip-column-names", "--execute"])
        .arg("SELECT CURRENT_ROLE(), COUNT(*) FROM shop.items");
    let output = client.output().unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn accounts_that_are_missing_are_made(source: impl Database, target: &impl Database, r#for: &str) {
    let shop = ShopServer::with(
        source,
        &format!(
            "CREATE USER app@'%' IDENTIFIED BY 'of the source'; GRANT ALL ON shop.* TO app@'%';
             CREATE ROLE clerk; GRANT SELECT ON shop.* TO clerk;
             CREATE USER fresh@'%' IDENTIFIED BY 'it''s ä \\\\'; GRANT clerk TO fresh@'%';
             SET DEFAULT ROLE clerk {for} fresh@'%';"
        ),
    );
    target.execute(
        "CREATE USER app@'%' IDENTIFIED BY 'of the target'; GRANT SELECT ON *.* TO app@'%';",
    );
    let app = "SHOW CREATE USER app@'%'; SHOW GRANTS FOR app@'%'";
    let (before, url) = (target.query(app), target.root_url());
    let fresh = "SELECT COUNT(*) FROM mysql.user WHERE user IN ('fresh', 'clerk')";
    shop.restore_to(&url, &["--users", "none"]).exits(0);
    assert_eq!(target.value(fresh), "0");
    shop.restore_to(&url, &["--database", "shop", "--overwrite"])
        .exits(0);
    assert_eq!(target.value(fresh), "0");
    shop.restore_to(&url, &["--users", "missing", "--overwrite"])
        .exits(0);
    assert_eq!(target.value(fresh), "2");
    assert_eq!(target.query(app), before);
    role_of(target, "app", "of the target").unwrap();
    let role = role_of(target, "fresh", "it's ä \\").unwrap();
    assert!(role.contains("clerk") && role.ends_with("\t2"), "{role}");
    role_of(target, "fresh", "wrong").unwrap_err();
}

#[test]
fn accounts_that_are_missing_are_made_in_mysql() {
    accounts_that_are_missing_are_made(Mysql::start(), &Mysql::start(), "TO");
}

#[test]
fn accounts_that_are_missing_are_made_in_mariadb() {
    accounts_that_are_missing_are_made(Mariadb::start(), &Mariadb::start(), "FOR");
}

/// Privileges are given last, and a view of another one needs those of that one's owner.
fn views_of_a_restored_account_come_back(source: impl Database, target: &impl Database) {
    let more = "CREATE USER app@'%' IDENTIFIED BY 'a'; GRANT SELECT ON shop.* TO app@'%';
         CREATE DEFINER = app@'%' VIEW shop.owned AS SELECT id FROM shop.items;
         CREATE VIEW shop.chain_of_owned AS SELECT id FROM shop.owned;
         CREATE USER other@'%'; GRANT SELECT ON shop.chain_of_owned TO other@'%';";
    let shop = ShopServer::with(source, more);
    shop.restore_to(&target.root_url(), &[]).exits(0);
    assert_eq!(
        target.value("SELECT COUNT(*) FROM shop.chain_of_owned"),
        "2"
    );
    let grants = "SHOW GRANTS FOR other@'%'";
    assert_eq!(target.query(grants), shop.server.query(grants));
}

#[test]
fn views_of_a_restored_mysql_account_come_back() {
    views_of_a_restored_account_come_back(Mysql::start(), &Mysql::start());
}

#[test]
fn views_of_a_restored_mariadb_account_come_back() {
    views_of_a_restored_account_come_back(Mariadb::start(), &Mariadb::start());
}

/// The privileges that docs/mysql.md lists.
const PRIVILEGES: &str = "CREATE, ALTER, DROP, INDEX, REFERENCES, INSERT, SELECT, CREATE VIEW, SHOW VIEW, TRIGGER, EVENT, \
                      CREATE ROUTINE, ALTER ROUTINE";

const DEFINERS: &str = "
SELECT DISTINCT definer FROM (
    SELECT definer FROM information_schema.views WHERE table_schema = 'shop'
    UNION ALL SELECT definer FROM information_schema.triggers WHERE trigger_schema = 'shop'
    UNION ALL SELECT definer FROM information_schema.routines WHERE routine_schema = 'shop'
    UNION ALL SELECT definer FROM information_schema.events WHERE event_schema = 'shop') AS d";

fn what_cannot_be_given_to_its_owner_belongs_to_who_restores(server: impl Database, log: &str) {
    let shop = ShopServer::new(server);
    let server = &shop.server;
    server.execute(&format!(
        "DROP DATABASE shop; CREATE USER restorer@'%' IDENTIFIED BY 'r';
         CREATE USER app@'%'; GRANT ALL ON shop.* TO app@'%'; GRANT SELECT ON stock.* TO app@'%';
         GRANT {PRIVILEGES} ON *.* TO restorer@'%'; GRANT {log} ON *.* TO restorer@'%';"
    ));
    let ran = shop.restore_to(&server.url("restorer", "r"), &["--database", "shop"]);
    let ran = ran
        .exits(3)
        .says("trigger `shop`.`noted` has the restoring account as its definer");
    let messages = ran
        .stderr
        .matches("has the restoring account as its definer");
    assert_eq!(messages.count(), 7, "{}", ran.stderr);
    assert_eq!(server.value(DEFINERS), "restorer@%");
    shop.restore(&["--database", "shop", "--overwrite", "--definer", "app@%"])
        .exits(0);
    assert_eq!(server.value(DEFINERS), "app@%");
    shop.restore(&["--database", "shop", "--overwrite", "--definer", "keep"])
        .exits(0);
    assert!(server.value(DEFINERS).starts_with("root@"));
}

#[test]
fn what_cannot_be_given_to_its_owner_belongs_to_who_restores_in_mysql() {
    what_cannot_be_given_to_its_owner_belongs_to_who_restores(
        Mysql::start(),
        "SESSION_VARIABLES_ADMIN, SYSTEM_VARIABLES_ADMIN",
    );
}

#[test]
fn what_cannot_be_given_to_its_owner_belongs_to_who_restores_in_mariadb() {
    what_cannot_be_given_to_its_owner_belongs_to_who_restores(Mariadb::start(), "BINLOG ADMIN");
}

fn the_binary_log_has_a_restore_only_when_wanted(server: impl Database, coordinates: &str) {
    let shop = ShopServer::new(server);
    shop.lose_everything();
    let position = || shop.server.query(coordinates);
    let before = position();
    shop.restore(&[]).exits(0);
    assert_eq!(position(), before);
    shop.restore(&["--overwrite", "--write-binlog"]).exits(0);
    assert_ne!(position(), before);
}

#[test]
fn the_binary_log_of_mysql_has_a_restore_only_when_wanted() {
    the_binary_log_has_a_restore_only_when_wanted(
        Mysql::start(),
        "SHOW BINARY LOG STATUS; SELECT @@gtid_executed",
    );
}

#[test]
fn the_binary_log_of_mariadb_has_a_restore_only_when_wanted() {
    the_binary_log_has_a_restore_only_when_wanted(
        Mariadb::start(),
        "SHOW MASTER STATUS; SELECT @@gtid_binlog_pos",
    );
}

/// Asks until the answer is another one.
fn wait_for_another(server: &impl Database, sql: &str, before: &str) {
    let begun = Instant::now();
    while server.value(sql) == before {
        assert!(begun.elapsed() < Duration::from_secs(60), "{before}: {sql}");
    }
}

fn nothing_acts_before_everything_is_back(server: impl Database) {
    let spoils = "SET GLOBAL event_scheduler = OFF; CREATE EVENT shop.spoils ON SCHEDULE EVERY 1 SECOND \
                  DO UPDATE shop.items SET price = price + 1;";
    let shop = ShopServer::with(server, spoils);
    shop.lose_everything();
    shop.server.execute("SET GLOBAL event_scheduler = ON");
    shop.restore(&["--verify", "checksums"]).exits(0);
    let value = |sql: &str| shop.server.value(sql);
    // A trigger would have noted each row again.
    assert_eq!(value("SELECT COUNT(*) FROM shop.journal"), "3");
    // The third one was deleted, and its number stays used.
    shop.server.execute("CALL shop.sell(1, 9)");
    assert_eq!(value("SELECT id FROM shop.orders WHERE amount = 9"), "4");
    wait_for_another(
        &shop.server,
        "SELECT price FROM shop.items WHERE id = 1",
        "500.00",
    );
}

#[test]
fn nothing_acts_before_everything_is_back_in_mysql() {
    nothing_acts_before_everything_is_back(Mysql::start());
}

#[test]
fn nothing_acts_before_everything_is_back_in_mariadb() {
    nothing_acts_before_everything_is_back(Mariadb::start());
}

/// A server with a binary log takes triggers, and functions that say nothing of themselves, only when it is told to.
fn functions_come_back_where_they_are_distrusted(server: impl Database) {
    let setting = "log_bin_trust_function_creators";
    let shop = ShopServer::with(
        server,
        &format!(
            "SET GLOBAL {setting} = ON; CREATE FUNCTION shop.vague(n INT) RETURNS INT RETURN n + 1;
             SET GLOBAL {setting} = OFF; CREATE USER restorer@'%' IDENTIFIED BY 'r';
             GRANT {PRIVILEGES} ON *.* TO restorer@'%';"
        ),
    );
    shop.lose_everything();
    shop.restore_to(
        &shop.server.url("restorer", "r"),
        &["--write-binlog", "--users", "none"],
    )
    .exits(6)
    .says("the account may not create triggers and functions");
    shop.restore(&[]).exits(0);
    assert_eq!(shop.server.value("SELECT shop.vague(1)"), "2");
    assert_eq!(
        shop.server.value(&format!("SELECT @@GLOBAL.{setting}")),
        "0"
    );
}

#[test]
fn functions_come_back_where_mysql_distrusts_them() {
    functions_come_back_where_they_are_distrusted(Mysql::start());
}

#[test]
fn functions_come_back_where_mariadb_distrusts_them() {
    functions_come_back_where_they_are_distrusted(Mariadb::start());
}

#[test]
fn settings_of_the_server_are_put_back_also_after_a_failure() {
    let shop = ShopServer::new(Mysql::start());
    let server = &shop.server;
    server.execute(&format!(
        "DROP DATABASE shop; SET GLOBAL local_infile = OFF; CREATE USER restorer@'%' IDENTIFIED BY 'r';
         GRANT {PRIVILEGES}, SYSTEM_VARIABLES_ADMIN, INNODB_REDO_LOG_ENABLE ON *.* TO restorer@'%';
         REVOKE CREATE VIEW ON *.* FROM restorer@'%';"
    ));
    let settings = "SELECT CONCAT(@@GLOBAL.local_infile, variable_value) \
                    FROM performance_schema.global_status WHERE variable_name = 'Innodb_redo_log_enabled'";
    assert_eq!(server.value(settings), "0ON");
    let chosen = ["--database", "shop", "--disable-redo-log"];
    shop.restore_to(&server.url("restorer", "r"), &chosen)
        .exits(6)
        .says("cannot create view `shop`.");
    assert_eq!(server.value(settings), "0ON");
    let again: Vec<&str> = chosen.iter().chain(&["--overwrite"]).copied().collect();
    shop.restore(&again).exits(0);
    assert_eq!(server.value(settings), "0ON");
}

/// The one line of standard output that is a document about `event`.
fn document(ran: &RunOutput, event: &str) -> Value {
    let lines = ran.stdout.lines();
    let documents = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut documents = documents.filter(|line| line["event"] == event);
    let found = documents.next().unwrap();
    assert!(documents.next().is_none(), "{}", ran.stdout);
    found
}

fn has(document: &Value, fields: &[&str]) {
    for field in fields {
        assert!(document.get(field).is_some(), "{field}: {document}");
    }
}

#[test]
fn every_answer_is_one_json_document() {
    let shop = ShopServer::new(Mariadb::start());
    let url = shop.server.root_url();
    let args = ["--json", "snapshot", "mysql", &url, "--source", "shop"];
    let taken = document(&shop.sandbox.run(args).exits(0), "snapshot");
    has(
        &taken,
        &[
            "snapshot",
            "repository",
            "data_time",
            "counts",
            "added",
            "seconds",
        ],
    );
    assert_eq!(
        (&taken["kind"], &taken["outcome"]),
        (&"mysql".into(), &"ok".into())
    );
    shop.lose_everything();
    let plan = document(&shop.restore(&["--json", "--dry-run"]).exits(0), "plan");
    let plan = &plan["plan"];
    has(plan, &["target", "target_version", "dropped", "warnings"]);
    assert_eq!(plan["tables"][1]["table"], "journal");
    assert_eq!(
        (&plan["objects"], &plan["problems"]),
        (&8.into(), &Value::Array(Vec::new()))
    );
    let databases = "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'shop'";
    assert_eq!(shop.server.value(databases), "0");
    for (level, more) in [
        ("none", ""),
        ("counts", "--overwrite"),
        ("checksums", "--overwrite"),
    ] {
        let more: Vec<&str> = ["--json", "--verify", level, more]
            .into_iter()
            .filter(|arg| !arg.is_empty())
            .collect();
        let restored = document(&shop.restore(&more).exits(0), "restore");
        has(
            &restored,
            &["snapshot", "source", "data_time", "target", "seconds"],
        );
        let report = &restored["report"];
        assert_eq!(report["verified"], level);
        assert_eq!((&report["tables"], &report["rows"]), (&4.into(), &9.into()));
        assert_eq!(report["differences"], Value::Array(Vec::new()));
    }
}

#[test]
fn a_copy_brings_a_server_back() {
    let shop = ShopServer::new(Mariadb::start());
    let before = describe(&shop.server);
    let copy = shop.sandbox.path("copy").display().to_string();
    shop.sandbox.recover(["copy", "--to", &copy]).exits(0);
    std::fs::remove_dir_all(shop.sandbox.path("repository")).unwrap();
    shop.lose_everything();
    shop.restore(&["--repository", &copy]).exits(0);
    same(&before, &describe(&shop.server));
}

/// What every vendor has, by the restored server's own account.
fn of_another_vendor(source: impl Database, target: &impl Database) -> RunOutput {
    let more =
        "CREATE USER app@'%' IDENTIFIED BY 'x'; CREATE PROCEDURE shop.compare() SELECT 'a' = 'A';";
    let shop = ShopServer::with(source, more);
    let ran = shop.restore_to(&target.root_url(), &[]).exits(3);
    let ran = ran.says("accounts are not restored");
    let counted = "SELECT COUNT(*) FROM mysql.user WHERE user = 'app'";
    assert_eq!(target.value(counted), "0");
    target.execute("CALL shop.sell(1, 4)");
    assert_eq!(target.value("SELECT COUNT(*) FROM shop.journal"), "4");
    let chain = "SELECT SUM(amount) FROM shop.a_chain";
    assert_eq!(target.value(chain), "8");
    assert_eq!(target.value("SELECT COUNT(*) FROM stock.across"), "2");
    let events = "SELECT COUNT(*) FROM information_schema.events WHERE event_schema = 'shop'";
    assert_eq!(target.value(events), "1");
    ran
}

#[test]
fn plain_tables_go_from_mysql_to_mariadb() {
    of_another_vendor(Mysql::start(), &Mariadb::start())
        .says("procedure `shop`.`compare` was created with utf8mb4_0900_ai_ci");
}

#[test]
fn plain_tables_go_from_mariadb_to_mysql() {
    of_another_vendor(Mariadb::start(), &Mysql::start());
}
