//! The steps of a writer: they follow from the seed, each with what it leaves in the tables.

use std::fmt::Write as _;
use std::mem;

use serde_json::{Value, json};

use super::own_tables::DdlStatement;
use super::schema::{ACCOUNTS, compression_settings};
use super::table_model::{ItemRow, LargeRows, TableModel};
use super::{Random, RecorderOptions, ServerFlavour};

/// Rows that a writer has at most in each table.
const ITEMS: usize = 60;
const PARENTS: usize = 15;
const DOCUMENTS: usize = 20;
const KEYLESS: usize = 40;
const LARGE_ROWS: usize = 2;

/// Audits and loaded lines of older steps are removed at times.
const KEPT: u64 = 300;

/// The step at which the first writer writes the large transaction.
const LARGE_AT: u64 = 25;

const WORDS: [&str; 6] = ["ash", "birch", "cedar", "elm", "fir", "oak"];

/// Stands for what is different at each attempt.
pub(super) const ATTEMPT: &str = "{attempt}";
/// Stands for a directory that server and client share.
pub(super) const DIRECTORY: &str = "{directory}";

/// One numbered step, ready to be sent.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) number: u64,
    pub(super) kind: &'static str,
    /// Statements that leave no trace by themselves.
    pub(super) body: String,
    /// The statement that makes them last.
    pub(super) commit: String,
    /// Statements that do nothing to any table.
    pub(super) after: &'static str,
    pub(super) outcome: StepOutcome,
    /// Whether a server that dies meanwhile may have it in its log only, or in its tables only, or lose the table.
    pub(super) fragile: bool,
}

/// How to find out whether a step was done.
#[derive(Debug)]
pub(super) enum StepOutcome {
    /// The row of the writer's progress says so.
    Progress,
    /// The same, unless the server still has the prepared transaction, which anybody can commit then.
    Prepared {
        name: String,
        /// Whether another connection is to commit it.
        elsewhere: bool,
    },
    /// The query's result is not 0.
    Ddl(String),
}

/// Generates one step after the other.
#[derive(Debug)]
pub(super) struct StepGenerator {
    flavour: ServerFlavour,
    random: Random,
    model: TableModel,
    number: u64,
    /// How many rows the triggers have written in this step.
    entry: u64,
    large: Option<u64>,
    sql: String,
}

impl StepGenerator {
    pub(super) fn new(flavour: ServerFlavour, writer: u64, options: &RecorderOptions) -> Self {
        let model = TableModel {
            writer,
            ..TableModel::default()
        };
        Self {
            flavour,
            random: Random::new(options.seed, writer),
            model,
            number: 0,
            entry: 0,
            large: options.large.filter(|_| writer == 0),
            sql: String::new(),
        }
    }

    /// What the tables hold after the steps that were made.
    pub(super) fn model(&self) -> &TableModel {
        &self.model
    }

    /// The next step.
    pub(super) fn next(&mut self) -> Step {
        self.number += 1;
        let mut step = match self.random.below(100) {
            _ if self.large.is_some() && self.number == LARGE_AT => {
                self.transaction("huge", Self::largest_transaction)
            }
            0..8 => self.ddl_step(),
            8..12 => self.xa_transaction(),
            _ => self.any_transaction(),
        };
        step.fragile &= self.flavour == ServerFlavour::Mariadb;
        step
    }

    fn ddl_step(&mut self) -> Step {
        let DdlStatement {
            kind,
            sql,
            done,
            fragile,
        } = self.model.next_ddl(&mut self.random);
        Step {
            number: self.number,
            kind,
            body: String::new(),
            commit: sql,
            after: "",
            outcome: StepOutcome::Ddl(done),
            fragile,
        }
    }

    fn any_transaction(&mut self) -> Step {
        match self.random.below(88) {
            0..12 => self.transaction("insert", Self::insert),
            12..24 => self.transaction("update", Self::update),
            24..30 => self.transaction("delete", Self::delete),
            30..34 => self.transaction("upsert", Self::upsert),
            34..46 => self.transaction("transfer", Self::transfer),
            46..50 => self.transaction("load data", Self::load_file),
            50..58 => self.transaction("foreign keys", Self::change_family),
            58..66 => self.transaction("json", Self::any_document),
            66..70 => self.transaction("no key", Self::change_keyless),
            70..74 => self.transaction("own tables", Self::write_own_table),
            74..76 => self.transaction("many rows", Self::large_rows),
            76..80 => self.transaction("savepoint", Self::savepoint),
            80..84 => self.rolled_back_transaction(),
            84..86 => self.transaction("temporary table", Self::temporary),
            _ => self.transaction("many deletes", Self::delete_old_rows),
        }
    }

    fn transaction(&mut self, kind: &'static str, make: impl FnOnce(&mut Self)) -> Step {
        let before = mem::take(&mut self.sql);
        self.begin_step();
        self.sql += "START TRANSACTION;\n";
        self.write_progress();
        make(self);
        let (mut body, mut after) = (before + &mem::take(&mut self.sql), "");
        let mut kind = kind;
        if self.random.below(8) == 0 {
            let (begin, end) = compression_settings(self.flavour);
            body.insert_str(0, begin);
            after = end;
            kind = if kind == "transfer" {
                "compressed"
            } else {
                kind
            };
        }
        Step {
            number: self.number,
            kind,
            body,
            commit: "COMMIT".to_owned(),
            after,
            outcome: StepOutcome::Progress,
            fragile: false,
        }
    }

    /// An XA transaction. It may not load files nor define anything.
    fn xa_transaction(&mut self) -> Step {
        let name = format!("writer {} step {}", self.model.writer, self.number);
        self.begin_step();
        writeln!(self.sql, "XA START '{name}';").unwrap();
        self.write_progress();
        self.transfer();
        self.insert();
        writeln!(self.sql, "XA END '{name}';\nXA PREPARE '{name}';").unwrap();
        let elsewhere = self.random.below(3) == 0;
        Step {
            number: self.number,
            kind: if elsewhere { "xa elsewhere" } else { "xa" },
            body: mem::take(&mut self.sql),
            commit: format!("XA COMMIT '{name}'"),
            after: "",
            outcome: StepOutcome::Prepared { name, elsewhere },
            fragile: true,
        }
    }

    /// A transaction that leaves no trace, before one that does.
    fn rolled_back_transaction(&mut self) -> Step {
        let kept = self.model.clone();
        self.begin_step();
        self.sql += "START TRANSACTION;\n";
        self.write_progress();
        self.transfer();
        self.change_family();
        self.any_document();
        self.load_file();
        self.sql += "ROLLBACK;\n";
        self.model = kept;
        self.transaction("rolled back", Self::update)
    }

    fn begin_step(&mut self) {
        self.entry = 0;
        writeln!(self.sql, "SET @number = {}, @entry = 0;", self.number).unwrap();
    }

    fn write_progress(&mut self) {
        self.model.progress = self.number;
        let (number, writer) = (self.number, self.model.writer);
        writeln!(
            self.sql,
            "UPDATE bookkeeping.progress SET number = {number}, at = NOW(6) WHERE writer = {writer};"
        )
        .unwrap();
    }

    /// The row that a trigger writes.
    fn add_audit_row(&mut self, what: &'static str, id: u64, v: Option<i64>) {
        self.entry += 1;
        let key = (self.number, self.entry);
        self.model.audit.insert(key, (what, id, v));
    }

    fn pick_item(&mut self) -> Option<u64> {
        self.random.pick(self.model.items.keys()).copied()
    }

    fn new_item(&mut self) -> ItemRow {
        let note = match self.random.below(6) {
            0 => None,
            1 => Some("it's \"quoted\" \\ and\ttabbed\nonce".to_owned()),
            2 => Some(String::new()),
            3 => Some("Ünïcödé 😀 日本".to_owned()),
            _ => Some(format!("note {}", self.random.below(100))),
        };
        let raw = (0..self.random.below(16)).map(|_| self.random.any().to_le_bytes()[0]);
        ItemRow {
            raw: raw.collect(),
            v: i64::try_from(self.random.below(2000)).unwrap() - 1000,
            price: self.random.below(100_000_000),
            ratio: self.random.below(1000),
            note,
            touched: self.number,
        }
    }

    fn insert(&mut self) {
        if self.model.items.len() >= ITEMS {
            return self.delete();
        }
        let (id, item) = (self.model.new_key(), self.new_item());
        let values = item_values(self.model.writer, id, &item);
        writeln!(self.sql, "INSERT INTO warehouse.items VALUES {values};").unwrap();
        self.add_audit_row("insert", id, Some(item.v));
        self.model.items.insert(id, item);
    }

    fn upsert(&mut self) {
        let Some(id) = self.pick_item() else {
            return self.insert();
        };
        let item = self.new_item();
        let values = item_values(self.model.writer, id, &item);
        writeln!(
            self.sql,
            "INSERT INTO warehouse.items VALUES {values} ON DUPLICATE KEY UPDATE v = {}, touched = {}, at = NOW(6);",
            item.v, item.touched
        )
        .unwrap();
        self.change_item(id, item.v);
    }

    fn change_item(&mut self, id: u64, v: i64) {
        self.add_audit_row("update", id, Some(v));
        if let Some(item) = self.model.items.get_mut(&id) {
            (item.v, item.touched) = (v, self.number);
        }
    }

    fn update(&mut self) {
        let Some(id) = self.pick_item() else {
            return self.insert();
        };
        let more = i64::try_from(self.random.below(100)).unwrap();
        let v = self.model.items[&id].v + more;
        writeln!(
            self.sql,
            "UPDATE warehouse.items SET v = v + {more}, touched = {}, at = NOW(6) WHERE writer = {} AND id = {id};",
            self.number, self.model.writer
        )
        .unwrap();
        self.change_item(id, v);
    }

    fn delete(&mut self) {
        let Some(id) = self.pick_item() else {
            return self.insert();
        };
        let writer = self.model.writer;
        writeln!(
            self.sql,
            "DELETE FROM warehouse.items WHERE writer = {writer} AND id = {id};"
        )
        .unwrap();
        self.model.items.remove(&id);
        self.add_audit_row("delete", id, None);
    }

    /// Accounts are taken in one order everywhere, so that no two writers wait for each other in a circle.
    fn transfer(&mut self) {
        self.update();
        let (one, other) = (self.random.below(ACCOUNTS), self.random.below(ACCOUNTS));
        let amount = i64::try_from(self.random.below(1000)).unwrap();
        for (account, amount) in [(one.min(other), -amount), (one.max(other), amount)] {
            writeln!(
                self.sql,
                "UPDATE bookkeeping.ledger SET balance = balance + {amount} WHERE account = {account};"
            )
            .unwrap();
            *self.model.ledger.entry(account).or_default() += amount;
        }
    }

    /// Through a file that the server writes and the client reads.
    fn load_file(&mut self) {
        let (writer, number) = (self.model.writer, self.number);
        let words = [
            Some("plain"),
            Some("tab\tand\nline"),
            None,
            Some("\\N"),
            Some("'ü' \\"),
            Some(""),
        ];
        let lines = (1..=2 + self.random.below(30)).map(|line| {
            let words = words[usize::try_from(self.random.below(6)).unwrap()];
            self.model
                .loaded
                .insert((number, line), words.map(str::to_owned));
            format!(
                "SELECT {writer} AS w, {number} AS n, {line} AS l, {} AS t",
                sql_literal(words)
            )
        });
        let lines = lines.collect::<Vec<_>>().join(" UNION ALL\n");
        let file = format!("{DIRECTORY}/loaded-{writer}-{number}-{ATTEMPT}");
        writeln!(
            self.sql,
            "SELECT * FROM (\n{lines}) AS lines_of_file INTO OUTFILE '{file}' CHARACTER SET utf8mb4;\n\
             LOAD DATA LOCAL INFILE '{file}' INTO TABLE warehouse.loaded CHARACTER SET utf8mb4;"
        )
        .unwrap();
    }

    fn change_family(&mut self) {
        let parent = self.random.pick(self.model.parents.keys()).copied();
        match (self.random.below(8), parent) {
            (0 | 1, Some(parent)) => self.delete_parent(parent),
            (2 | 3, Some(parent)) => self.renumber_parent(parent),
            (4 | 5, Some(parent)) => self.children(parent),
            (_, Some(parent)) if self.model.parents.len() >= PARENTS => self.delete_parent(parent),
            _ => {
                let parent = self.model.new_key();
                let name = format!("parent {}", self.random.below(1000));
                writeln!(
                    self.sql,
                    "INSERT INTO warehouse.parents VALUES ({parent}, '{name}');"
                )
                .unwrap();
                self.model.parents.insert(parent, name);
                self.children(parent);
            }
        }
    }

    fn children(&mut self, parent: u64) {
        for _ in 0..=self.random.below(3) {
            let (child, friend, v) = (
                self.model.new_key(),
                self.model.new_key(),
                self.random.below(100),
            );
            writeln!(
                self.sql,
                "INSERT INTO bookkeeping.children VALUES ({child}, {parent}, {v});\n\
                 INSERT INTO warehouse.friends VALUES ({friend}, {parent});"
            )
            .unwrap();
            self.model.children.insert(child, (parent, v));
            self.model.friends.insert(friend, Some(parent));
        }
        if self.model.friends.len() > 60 {
            self.delete_lonely_friends();
        }
    }

    fn delete_lonely_friends(&mut self) {
        let lonely = self
            .model
            .friends
            .iter()
            .filter(|(_, parent)| parent.is_none());
        let lonely: Vec<u64> = lonely.map(|(id, _)| *id).collect();
        for id in lonely {
            writeln!(self.sql, "DELETE FROM warehouse.friends WHERE id = {id};").unwrap();
            self.model.friends.remove(&id);
        }
    }

    /// Its children go, its friends stay without it.
    fn delete_parent(&mut self, parent: u64) {
        writeln!(
            self.sql,
            "DELETE FROM warehouse.parents WHERE id = {parent};"
        )
        .unwrap();
        self.model.parents.remove(&parent);
        self.model.children.retain(|_, (of, _)| *of != parent);
        for of in self.model.friends.values_mut() {
            *of = of.filter(|id| *id != parent);
        }
    }

    /// Its children and friends follow.
    fn renumber_parent(&mut self, parent: u64) {
        let new = self.model.new_key();
        writeln!(
            self.sql,
            "UPDATE warehouse.parents SET id = {new} WHERE id = {parent};"
        )
        .unwrap();
        if let Some(name) = self.model.parents.remove(&parent) {
            self.model.parents.insert(new, name);
        }
        let follow = |id: &mut u64| *id = if *id == parent { new } else { *id };
        self.model
            .children
            .values_mut()
            .for_each(|(of, _)| follow(of));
        self.model.friends.values_mut().flatten().for_each(follow);
    }

    fn any_document(&mut self) {
        let some = self.random.pick(self.model.documents.keys()).copied();
        let writer = self.model.writer;
        match (self.random.below(5), some) {
            (0, some) if some.is_none() || self.model.documents.len() < DOCUMENTS => {
                self.new_document()
            }
            (1, Some(id)) => {
                writeln!(
                    self.sql,
                    "DELETE FROM bookkeeping.documents WHERE writer = {writer} AND id = {id};"
                )
                .unwrap();
                self.model.documents.remove(&id);
            }
            (_, Some(id)) => self.change_document(id),
            _ => self.new_document(),
        }
    }

    fn new_document(&mut self) {
        let id = self.model.new_key();
        let list: Vec<u64> = (0..10).map(|_| self.random.below(1000)).collect();
        let d = json!({"n": self.random.below(1000), "list": list, "text": "ü", "pad": "x".repeat(400)});
        let (writer, literal) = (self.model.writer, sql_literal(Some(&d.to_string())));
        writeln!(
            self.sql,
            "INSERT INTO bookkeeping.documents VALUES ({writer}, {id}, {literal});"
        )
        .unwrap();
        self.model.documents.insert(id, d);
    }

    /// In ways that a log can write as differences.
    fn change_document(&mut self, id: u64) {
        let (n, index) = (self.random.below(1000), self.random.below(10));
        let Some(d) = self.model.documents.get_mut(&id) else {
            return;
        };
        let change = match self.random.below(4) {
            0 => {
                d["n"] = n.into();
                d["list"][usize::try_from(index).unwrap()] = n.into();
                format!("JSON_SET(d, '$.n', {n}, '$.list[{index}]', {n})")
            }
            1 => {
                d["more"] = n.into();
                format!("JSON_SET(d, '$.more', {n})")
            }
            2 => {
                d.as_object_mut().and_then(|d| d.remove("more"));
                "JSON_REMOVE(JSON_SET(d, '$.more', 1), '$.more')".to_owned()
            }
            _ => {
                d["text"] = Value::String(format!("t{n}"));
                format!("JSON_REPLACE(d, '$.text', 't{n}')")
            }
        };
        let writer = self.model.writer;
        writeln!(
            self.sql,
            "UPDATE bookkeeping.documents SET d = {change} WHERE writer = {writer} AND id = {id};"
        )
        .unwrap();
    }

    /// Equal rows in a table without a key.
    fn change_keyless(&mut self) {
        let word = WORDS[usize::try_from(self.random.below(6)).unwrap()];
        let (writer, v) = (self.model.writer, self.random.below(5));
        let choice = self.random.below(4);
        if choice == 0 || self.model.keyless.len() > KEYLESS {
            writeln!(
                self.sql,
                "DELETE FROM warehouse.keyless WHERE writer = {writer} AND word = '{word}';"
            )
            .unwrap();
            self.model.keyless.retain(|(of, _)| *of != word);
        } else if choice == 1 {
            let sql = format!(
                "UPDATE warehouse.keyless SET v = v + 1 WHERE writer = {writer} AND word = '{word}';\n"
            );
            self.sql += &sql;
            let rows = self.model.keyless.iter_mut();
            rows.filter(|(of, _)| *of == word)
                .for_each(|(_, v)| *v += 1);
        } else {
            for _ in 0..choice {
                writeln!(
                    self.sql,
                    "INSERT INTO warehouse.keyless VALUES ({writer}, '{word}', {v});"
                )
                .unwrap();
                self.model.keyless.push((word, v));
            }
        }
    }

    fn write_own_table(&mut self) {
        match self.model.write_own_table(&mut self.random) {
            Some(sql) => self.sql += &sql,
            None => self.insert(),
        }
    }

    fn large_rows(&mut self) {
        let oldest = self.model.large_rows.keys().next().copied();
        if let Some(number) = oldest.filter(|_| self.model.large_rows.len() >= LARGE_ROWS) {
            let writer = self.model.writer;
            writeln!(
                self.sql,
                "DELETE FROM bookkeeping.large WHERE writer = {writer} AND number = {number};"
            )
            .unwrap();
            self.model.large_rows.remove(&number);
            return;
        }
        let (lines, repeats) = (200 + self.random.below(300), self.random.below(4));
        self.insert_large_rows(LargeRows { lines, repeats });
    }

    /// In lines of a mebibyte.
    fn largest_transaction(&mut self) {
        let lines = self.large.unwrap_or(0).div_ceil(1 << 20);
        let repeats = (1 << 20) / 64;
        self.insert_large_rows(LargeRows { lines, repeats });
    }

    fn insert_large_rows(&mut self, rows: LargeRows) {
        let (writer, number) = (self.model.writer, self.number);
        let LargeRows { lines, repeats } = rows;
        writeln!(
            self.sql,
            "INSERT INTO bookkeeping.large WITH RECURSIVE numbers AS (\n\
             SELECT 1 AS line UNION ALL SELECT line + 1 FROM numbers WHERE line < {lines})\n\
             SELECT {writer}, {number}, line, REPEAT(SHA2(CONCAT('{writer}-{number}-', line), 256), {repeats}) \
             FROM numbers;"
        )
        .unwrap();
        self.model.large_rows.insert(number, rows);
    }

    /// What is between savepoint and return leaves no trace, but that triggers go on counting.
    fn savepoint(&mut self) {
        self.insert();
        self.sql += "SAVEPOINT here;\n";
        let kept = self.model.clone();
        self.transfer();
        self.change_family();
        self.load_file();
        self.change_keyless();
        self.sql += "ROLLBACK TO SAVEPOINT here;\n";
        self.model = kept;
        self.update();
    }

    fn temporary(&mut self) {
        let (writer, number) = (self.model.writer, self.number);
        writeln!(
            self.sql,
            "CREATE TEMPORARY TABLE warehouse.passing (line INT PRIMARY KEY, text VARCHAR(100));\n\
             INSERT INTO warehouse.passing VALUES (1, 'one'), (2, 'two');\n\
             INSERT INTO warehouse.loaded SELECT {writer}, {number}, line, text FROM warehouse.passing;\n\
             DROP TEMPORARY TABLE warehouse.passing;"
        )
        .unwrap();
        for (line, words) in [(1, "one"), (2, "two")] {
            self.model
                .loaded
                .insert((number, line), Some(words.to_owned()));
        }
    }

    fn delete_old_rows(&mut self) {
        let (writer, end) = (self.model.writer, self.number.saturating_sub(KEPT));
        for table in ["bookkeeping.audit", "warehouse.loaded"] {
            writeln!(
                self.sql,
                "DELETE FROM {table} WHERE writer = {writer} AND number < {end};"
            )
            .unwrap();
        }
        self.model.audit.retain(|(number, _), _| *number >= end);
        self.model.loaded.retain(|(number, _), _| *number >= end);
        self.update();
    }
}

fn item_values(writer: u64, id: u64, item: &ItemRow) -> String {
    format!(
        "({writer}, {id}, {}, {}.{:03}, {} / 8e0, {}, x'{}', {}, NOW(6))",
        item.v,
        item.price / 1000,
        item.price % 1000,
        item.ratio,
        sql_literal(item.note.as_deref()),
        super::table_model::hex(&item.raw),
        item.touched
    )
}

/// As a literal of SQL.
fn sql_literal(text: Option<&str>) -> String {
    match text {
        Some(text) => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
        None => "NULL".to_owned(),
    }
}
