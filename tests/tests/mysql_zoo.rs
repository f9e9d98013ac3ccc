//! Every kind of object and value, with awkward names: a restored server says of itself what the first one says.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use reprise_tests::servers::{Database, Mariadb, Mysql, differences};
use reprise_tests::zoo::Zoo;
use support::Sandbox;
use support::mysql::{described, tables};

/// Takes a snapshot of a server and brings it back to another.
fn there_and_back<D: Database + Zoo>(source: &D, target: &D) {
    source.load_zoo();
    let sandbox = Sandbox::new();
    let url = source.root_url();
    sandbox
        .run([
            "snapshot",
            "mysql",
            &url,
            "--source",
            "zoo",
            "--hold-nontransactional",
        ])
        .exits(0);
    let to = target.root_url();
    sandbox
        .recover(["restore", "zoo", "--to", &to])
        .exits(3)
        .says("was not created because an object that it uses is missing");
    let (before, after) = (described(source), described(target));
    assert_eq!(differences(&before, &after), Default::default());
    // The restored server's own snapshot has the same rows.
    sandbox
        .run([
            "snapshot",
            "mysql",
            &to,
            "--source",
            "again",
            "--hold-nontransactional",
        ])
        .exits(0);
    assert_eq!(tables(&sandbox, "zoo"), tables(&sandbox, "again"));
}

#[test]
fn everything_in_a_mysql_server_comes_back_as_it_was() {
    there_and_back(&Mysql::start(), &Mysql::start());
}

#[test]
fn everything_in_a_mariadb_server_comes_back_as_it_was() {
    there_and_back(&Mariadb::start(), &Mariadb::start());
}
