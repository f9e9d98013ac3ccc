//! What other clients do at a target during a restore: what they change is found, and what they hold is named.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::Child;

use reprise_tests::servers::{Database, Mariadb, Mysql};
use support::databases::{LARGE, LockHolder, has_loaded, restore_args, sums_of_large};
use support::{RunOutput, Sandbox, begin_captured, end, wait_for};

fn stored(source: &impl Database) -> Sandbox {
    source.execute(LARGE);
    let sandbox = Sandbox::new();
    sandbox.store(&source.root_url(), &[]).exits(0);
    sandbox
}

/// Begins a restore that waits for the last table, and with it for everything that comes after rows.
fn begun(sandbox: &Sandbox, target: &impl Database, more: &[&str]) -> (Child, LockHolder) {
    let url = target.root_url();
    let args = restore_args(&url).into_iter().chain(["--threads", "1"]);
    let mut child = begin_captured(sandbox.recovering(), args.chain(more.iter().copied()));
    let some = wait_for(&mut child, || has_loaded(target, "large"));
    assert!(some, "{}", end(child).stderr);
    let holder = LockHolder::hold(target, "LOCK TABLES app.gate READ");
    assert_eq!(target.value("SELECT COUNT(*) FROM app.gate"), "0");
    (child, holder)
}

fn changed_meanwhile(
    sandbox: &Sandbox,
    target: &impl Database,
    more: &[&str],
    change: &str,
) -> RunOutput {
    let (mut child, holder) = begun(sandbox, target, more);
    let loaded = wait_for(&mut child, || has_loaded(target, "parents"));
    assert!(loaded, "{}", end(child).stderr);
    target.execute(change);
    holder.release();
    end(child)
}

fn what_others_change_meanwhile_is_found(source: &impl Database, target: &impl Database) {
    let sandbox = stored(source);
    let update = "UPDATE app.parents SET v = 4 WHERE id = 3";
    changed_meanwhile(&sandbox, target, &["--verify", "checksums"], update)
        .exits(4)
        .says("the rows in `app`.`parents` differ from the snapshot");
    let more = ["--overwrite", "--verify", "counts"];
    changed_meanwhile(
        &sandbox,
        target,
        &more,
        "DELETE FROM app.parents WHERE id = 3",
    )
    .exits(4)
    .says("the number of rows in `app`.`parents` is 2 instead of 3");
    let ran = changed_meanwhile(&sandbox, target, &["--overwrite", "--json"], update).exits(4);
    let differences = &ran.json()["report"]["differences"];
    assert!(
        differences[0].as_str().unwrap().contains("`app`.`parents`"),
        "{differences}"
    );
    assert_eq!(differences.as_array().unwrap().len(), 1, "{differences}");
}

#[test]
fn what_others_change_meanwhile_is_found_in_mysql() {
    what_others_change_meanwhile_is_found(&Mysql::start(), &Mysql::start());
}

#[test]
fn what_others_change_meanwhile_is_found_in_mariadb() {
    what_others_change_meanwhile_is_found(&Mariadb::start(), &Mariadb::start());
}

fn a_table_that_somebody_holds_is_named_and_the_restore_goes_on_later(
    source: &impl Database,
    target: &impl Database,
) {
    let sandbox = stored(source);
    let (child, holder) = begun(&sandbox, target, &[]);
    end(child)
        .exits(1)
        .says("cannot load rows into `app`.`gate`")
        .says("Lock wait timeout")
        .says("SHOW PROCESSLIST")
        .says("--resume");
    holder.release();
    let url = target.root_url();
    sandbox.restore_server(&url, &["--resume"]).exits(0);
    assert_eq!(sums_of_large(source), sums_of_large(target));
}

#[test]
fn a_mysql_table_that_somebody_holds_is_named_and_the_restore_goes_on_later() {
    a_table_that_somebody_holds_is_named_and_the_restore_goes_on_later(
        &Mysql::start(),
        &Mysql::start(),
    );
}

#[test]
fn a_mariadb_table_that_somebody_holds_is_named_and_the_restore_goes_on_later() {
    a_table_that_somebody_holds_is_named_and_the_restore_goes_on_later(
        &Mariadb::start(),
        &Mariadb::start(),
    );
}

/// Two databases, of which somebody uses the second one.
fn what_cannot_be_dropped_is_named_and_never_mixed_with_what_comes_back(server: &impl Database) {
    server.execute(
        "CREATE DATABASE app; CREATE TABLE app.t (id INT PRIMARY KEY); INSERT INTO app.t VALUES (1);
         CREATE DATABASE zoo; CREATE TABLE zoo.t (id INT PRIMARY KEY); INSERT INTO zoo.t VALUES (1);",
    );
    let sandbox = Sandbox::new();
    let url = server.root_url();
    sandbox.store(&url, &[]).exits(0);
    server.execute("CREATE TABLE zoo.later (id INT PRIMARY KEY)");
    let holder = LockHolder::hold(server, "BEGIN; SELECT * FROM zoo.t");
    let ran = sandbox.restore_server(&url, &["--overwrite"]).exits(1);
    let ran = ran
        .says("cannot run DROP DATABASE `zoo`")
        .says("Lock wait timeout")
        .says("SHOW PROCESSLIST");
    assert!(!ran.stderr.contains("--resume"), "{}", ran.stderr);
    holder.release();
    sandbox
        .restore_server(&url, &["--resume"])
        .exits(6)
        .says("leave out --resume");
    sandbox.restore_server(&url, &["--overwrite"]).exits(0);
    let tables = "SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME) FROM information_schema.TABLES \
                  WHERE TABLE_SCHEMA IN ('app', 'zoo', 'reprise_restore') ORDER BY 1";
    let named = |name: &str| vec![Some(name.to_owned())];
    assert_eq!(server.query(tables), [named("app.t"), named("zoo.t")]);
}

#[test]
fn what_cannot_be_dropped_in_mysql_is_named_and_never_mixed_with_what_comes_back() {
    what_cannot_be_dropped_is_named_and_never_mixed_with_what_comes_back(&Mysql::start());
}

#[test]
fn what_cannot_be_dropped_in_mariadb_is_named_and_never_mixed_with_what_comes_back() {
    what_cannot_be_dropped_is_named_and_never_mixed_with_what_comes_back(&Mariadb::start());
}

/// Nothing was begun then, so there is nothing to go on with.
#[test]
fn a_target_that_somebody_backs_up_is_named() {
    let server = Mysql::start();
    server.execute("CREATE DATABASE app; CREATE TABLE app.t (id INT PRIMARY KEY);");
    let sandbox = Sandbox::new();
    sandbox.store(&server.root_url(), &[]).exits(0);
    server.execute("DROP DATABASE app");
    let holder = LockHolder::hold(&server, "LOCK INSTANCE FOR BACKUP");
    sandbox
        .restore_server(&server.root_url(), &[])
        .exits(1)
        .says("Lock wait timeout");
    holder.release();
    sandbox.restore_server(&server.root_url(), &[]).exits(0);
}

#[test]
fn a_second_restore_leaves_the_record_of_the_first_alone() {
    let (source, target) = (Mariadb::start(), Mariadb::start());
    let sandbox = stored(&source);
    let (child, holder) = begun(&sandbox, &target, &[]);
    let ran = sandbox.restore_server(&target.root_url(), &["--overwrite"]);
    holder.release();
    ran.exits(6)
        .says("another restore into this server is in progress");
    end(child).exits(0);
    assert_eq!(sums_of_large(&source), sums_of_large(&target));
}
