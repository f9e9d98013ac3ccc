//! Every kind of object and value, with awkward names: a restored server says of itself what the first one says.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use reprise_tests::servers::{Database, Mariadb, Mysql, describe, differences};
use reprise_tests::zoo::Zoo;
use support::Sandbox;

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
        .says("is left out, as what it uses is not there");
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

/// Everything but what cannot come back, and what belongs to accounts that the target had before.
fn described(server: &impl Database) -> BTreeMap<String, String> {
    describe(server)
        .into_iter()
        .filter(|(name, _)| {
            !name.starts_with("grants of `root`@") && !name.starts_with("view `zoo`.`invalid")
        })
        .map(|(name, text)| (name, with_columns_in_order(&text)))
        .collect()
}

/// MariaDB prints the columns of a right in no order.
fn with_columns_in_order(text: &str) -> String {
    if !text.starts_with("GRANT ") {
        return text.to_owned();
    }
    let parts = text.split_inclusive(['(', ')']);
    parts
        .map(|part| match part.strip_suffix(')') {
            Some(columns) => {
                let mut columns: Vec<&str> = columns.split(", ").collect();
                columns.sort_unstable();
                columns.join(", ") + ")"
            }
            None => part.to_owned(),
        })
        .collect()
}

/// The rows and checksum of each table of a snapshot.
fn tables(sandbox: &Sandbox, source: &str) -> BTreeMap<String, String> {
    let folder = sandbox.restore(source, &format!("files-{source}"));
    let json = std::fs::read(folder.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let databases = manifest["databases"].as_array().unwrap().iter();
    let tables = databases.flat_map(|database| {
        let tables = database["tables"].as_array().unwrap().iter();
        tables.map(|table| {
            let name = format!("{}.{}", database["name"], table["name"]);
            (name, format!("{} {}", table["rows"], table["checksum"]))
        })
    });
    tables.collect()
}

#[test]
fn everything_in_a_mysql_server_comes_back_as_it_was() {
    there_and_back(&Mysql::start(), &Mysql::start());
}

#[test]
fn everything_in_a_mariadb_server_comes_back_as_it_was() {
    there_and_back(&Mariadb::start(), &Mariadb::start());
}
