//! What the tables of one writer hold after a number of steps.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::observed::State;
use super::own_tables::Side;
use crate::servers::Row;

/// A row of `warehouse.items`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
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
pub(super) struct Bulk {
    pub(super) lines: u64,
    pub(super) repeats: u64,
}

/// Everything that one writer has written and not removed.
#[derive(Debug, Clone, Default)]
pub(super) struct Books {
    pub(super) writer: u64,
    /// The last step that was a transaction.
    pub(super) progress: u64,
    pub(super) items: BTreeMap<u64, Item>,
    pub(super) audit: BTreeMap<(u64, u64), (&'static str, u64, Option<i64>)>,
    pub(super) parents: BTreeMap<u64, String>,
    pub(super) children: BTreeMap<u64, (u64, u64)>,
    pub(super) friends: BTreeMap<u64, Option<u64>>,
    pub(super) documents: BTreeMap<u64, Value>,
    pub(super) loaded: BTreeMap<(u64, u64), Option<String>>,
    pub(super) keyless: Vec<(&'static str, u64)>,
    pub(super) bulks: BTreeMap<u64, Bulk>,
    /// What was added to accounts, and taken from them.
    pub(super) ledger: BTreeMap<u64, i64>,
    pub(super) annex: bool,
    pub(super) sides: BTreeMap<String, Side>,
    pub(super) users: BTreeMap<String, BTreeSet<&'static str>>,
    /// Makes names and keys that were never used before.
    pub(super) serial: u64,
}

/// A value that is not NULL.
pub(super) fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn row(values: &[&dyn ToString]) -> Row {
    values.iter().map(|value| Some(value.to_string())).collect()
}

impl Books {
    /// A key that no other writer has.
    pub(super) fn new_key(&mut self) -> u64 {
        self.serial += 1;
        self.writer * 1_000_000_000 + self.serial
    }

    /// Adds the rows to those of other writers; the ledger's are added up elsewhere.
    pub(super) fn show(&self, state: &mut State) {
        let mut add = |table: &str, rows: Vec<Row>| {
            state.entry(table.to_owned()).or_default().extend(rows);
        };
        let writer = self.writer;
        add(
            "bookkeeping.progress",
            vec![row(&[&writer, &self.progress])],
        );
        add("warehouse.items", self.shown_items());
        let audit = self.audit.iter().map(|((number, entry), (what, item, v))| {
            let mut shown = row(&[&writer, number, entry, what, item]);
            shown.push(v.map(|v| v.to_string()));
            shown
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
            .map(|(id, parent)| vec![text(&id.to_string()), parent.map(|id| id.to_string())]);
        add("warehouse.friends", friends.collect());
        let documents = self.documents.iter().map(|(id, d)| row(&[&writer, id, d]));
        add("bookkeeping.documents", documents.collect());
        let loaded = self.loaded.iter().map(|((number, line), words)| {
            let mut shown = row(&[&writer, number, line]);
            shown.push(words.clone());
            shown
        });
        add("warehouse.loaded", loaded.collect());
        let keyless = self
            .keyless
            .iter()
            .map(|(word, v)| row(&[&writer, word, v]));
        add("warehouse.keyless", keyless.collect());
        add("bookkeeping.large", self.shown_bulks());
        self.show_definitions(state);
    }

    /// Adds what was defined.
    pub(super) fn show_definitions(&self, state: &mut State) {
        for (name, side) in &self.sides {
            state.insert(format!("{}.{name}", side.database), side.shown());
        }
        if self.annex {
            state.insert(format!("database annex{}", self.writer), Vec::new());
        }
        for (name, rights) in &self.users {
            let rights = rights.iter().map(|right| row(&[right])).collect();
            state.insert(format!("user {name}"), rights);
        }
    }

    fn shown_items(&self) -> Vec<Row> {
        let rows = self.items.iter().map(|(id, item)| {
            let price = format!("{}.{:03}", item.price / 1000, item.price % 1000);
            #[expect(clippy::cast_precision_loss, reason = "small numbers only")]
            let ratio = item.ratio as f64 / 8.0;
            let mut shown = row(&[&self.writer, id, &item.v, &price, &ratio]);
            shown.push(item.note.clone());
            shown.push(Some(hex(&item.raw)));
            shown.push(text(&item.touched.to_string()));
            shown
        });
        rows.collect()
    }

    fn shown_bulks(&self) -> Vec<Row> {
        let lines = self.bulks.iter().flat_map(|(number, bulk)| {
            (1..=bulk.lines).map(move |line| {
                let seed = format!("{}-{number}-{line}", self.writer);
                let once = hex(&Sha256::digest(seed)).to_lowercase();
                let mut all = Sha256::new();
                (0..bulk.repeats).for_each(|_| all.update(&once));
                let sum = hex(&all.finalize()).to_lowercase();
                let length = bulk.repeats * 64;
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
