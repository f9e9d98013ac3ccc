//! What a server holds, and what a snapshot says it holds, in a form that can be compared.

use std::collections::BTreeMap;

use reprise_tests::servers::{Database, describe};

use super::Sandbox;

/// Everything but what cannot come back, and what belongs to accounts that the target had before.
pub(crate) fn described(server: &impl Database) -> BTreeMap<String, String> {
    describe(server)
        .into_iter()
        .filter(|(name, _)| {
            !name.starts_with("grants of `root`@") && !name.starts_with("view `zoo`.`invalid")
        })
        .map(|(name, text)| (name, with_columns_in_order(&text)))
        .collect()
}

/// MariaDB prints the columns of a privilege in no order.
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
pub(crate) fn tables(sandbox: &Sandbox, source: &str) -> BTreeMap<String, String> {
    let directory = sandbox.restore(source, &format!("files-{source}"));
    let json = std::fs::read(directory.join("manifest.json")).unwrap();
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
