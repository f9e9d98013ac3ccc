//! What the tables of one writer hold after a number of steps.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::observed::ServerContent;
use super::own_tables::OwnTable;
use crate::servers::Row;

/// A row of `warehouse.items`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ItemRow {
    pub(super) v: i64,
    /// Thousandths.
    pub(super) price: u64,
    /// Eighths, so that it is exact.
    pub(super) ratio: u64,
    pub(super) note: Option<String>,
    pub(super) raw: Vec<u8>,
    /// The step that wrote it last.
    pub(super) touched: u64,
}

/// Lines of `bookkeeping.large`: how many, and how often each repeats its hash.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LargeRows {
    pub(super) lines: u64,
    pub(super) repeats: u64,
}

/// Everything that one writer has written and not removed.
#[derive(Debug, Clone, Default)]
pub(super) struct TableModel {
    pub(super) writer: u64,
    /// The last step that was a transaction.
    pub(super) progress: u64,
    pub(super) items: BTreeMap<u64, ItemRow>,
    pub(super) audit: BTreeMap<(u64, u64), (&'static str, u64, Option<i64>)>,
    pub(super) parents: BTreeMap<u64, String>,
    pub(super) children: BTreeMap<u64, (u64, u64)>,
    pub(super) friends: BTreeMap<u64, Option<u64>>,
    pub(super) documents: BTreeMap<u64, Value>,
    pub(super) loaded: BTreeMap<(u64, u64), Option<String>>,
    pub(super) keyless: Vec<(&'static str, u64)>,
    pub(super) large_rows: BTreeMap<u64, LargeRows>,
    /// What was added to accounts, and taken from them.
    pub(super) ledger: BTreeMap<u64, i64>,
    pub(super) annex: bool,
    pub(super) own_tables: BTreeMap<String, OwnTable>,
    pub(super) users: BTreeMap<String, BTreeSet<&'static str>>,
    /// Makes names and keys that were never used before.
    pub(super) serial: u64,
}

/// A value that is not NULL.
pub(super) fn text_value(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn row(values: &[&dyn ToString]) -> Row {
    values.iter().map(|value| Some(value.to_string())).collect()
}

impl TableModel {
    /// A key that no other writer has.
    pub(super) fn new_key(&mut self) -> u64 {
        self.serial += 1;
        self.writer * 1_000_000_000 + self.serial
    }

    /// Adds the rows to those of other writers; the ledger's are added up elsewhere.
    pub(super) fn add_rows(&self, state: &mut ServerContent) {
        let mut add = |table: &str, rows: Vec<Row>| {
            state.entry(table.to_owned()).or_default().extend(rows);
        };
        let writer = self.writer;
        add(
            "bookkeeping.progress",
            vec![row(&[&writer, &self.progress])],
        );
        add("warehouse.items", self.item_rows());
        let audit = self.audit.iter().map(|((number, entry), (what, item, v))| {
            let mut cells = row(&[&writer, number, entry, what, item]);
            cells.push(v.map(|v| v.to_string()));
            cells
        });
        add("bookkeeping.audit", audit.collect());
        let parents = self.parents.iter().map(|(id, name)| row(&[id, name]));
        add("warehouse.parents", parents.collect());
        let children = self
            .children
            .iter()
            .map(|(id, (parent, v))| row(&[id, parent, v]));
        add("bookkeeping.children", children.collect());
        let friends = self.friends.iter();
        let friends = friends
            .map(|(id, parent)| vec![text_value(&id.to_string()), parent.map(|id| id.to_string())]);
        add("warehouse.friends", friends.collect());
        let documents = self.documents.iter().map(|(id, d)| row(&[&writer, id, d]));
        add("bookkeeping.documents", documents.collect());
        let loaded = self.loaded.iter().map(|((number, line), words)| {
            let mut cells = row(&[&writer, number, line]);
            cells.push(words.clone());
            cells
        });
        add("warehouse.loaded", loaded.collect());
        let keyless = self
            .keyless
            .iter()
            .map(|(word, v)| row(&[&writer, word, v]));
        add("warehouse.keyless", keyless.collect());
        add("bookkeeping.large", self.large_rows());
        self.add_ddl_objects(state);
    }

    /// Adds what DDL has made.
    pub(super) fn add_ddl_objects(&self, state: &mut ServerContent) {
        for (name, table) in &self.own_tables {
            state.insert(format!("{}.{name}", table.database), table.content_rows());
        }
        if self.annex {
            state.insert(format!("database annex{}", self.writer), Vec::new());
        }
        for (name, privileges) in &self.users {
            let privileges = privileges
                .iter()
                .map(|privilege| row(&[privilege]))
                .collect();
            state.insert(format!("user {name}"), privileges);
        }
    }

    fn item_rows(&self) -> Vec<Row> {
        let rows = self.items.iter().map(|(id, item)| {
            let price = format!("{}.{:03}", item.price / 1000, item.price % 1000);
            #[expect(clippy::cast_precision_loss, reason = "small numbers only")]
            let ratio = item.ratio as f64 / 8.0;
            let mut cells = row(&[&self.writer, id, &item.v, &price, &ratio]);
            cells.push(item.note.clone());
            cells.push(Some(hex(&item.raw)));
            cells.push(text_value(&item.touched.to_string()));
            cells
        });
        rows.collect()
    }

    fn large_rows(&self) -> Vec<Row> {
        let lines = self.large_rows.iter().flat_map(|(number, rows)| {
            (1..=rows.lines).map(move |line| {
                let seed = format!("{}-{number}-{line}", self.writer);
                let once = hex(&Sha256::digest(seed)).to_lowercase();
                let mut all = Sha256::new();
                (0..rows.repeats).for_each(|_| all.update(&once));
                let sum = hex(&all.finalize()).to_lowercase();
                let length = rows.repeats * 64;
                row(&[&self.writer, number, &line, &length, &sum])
            })
        });
        lines.collect()
    }
}

/// As the server writes it.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
