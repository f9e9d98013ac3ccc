//! The tables that are written to, from before the first step to after the last.

use super::{RecorderOptions, ServerFlavour};
use crate::servers::Database;

/// Accounts of the ledger, and what each begins with.
pub(super) const ACCOUNTS: u64 = 24;
pub(super) const BALANCE: i64 = 1_000_000;

/// The tables that always exist, each with the columns that are compared, in an order that is their own.
pub const FIXED_TABLES: [(&str, &str); 11] = [
    ("bookkeeping.progress", "writer, number"),
    ("bookkeeping.ledger", "account, balance"),
    ("bookkeeping.audit", "writer, number, entry, what, item, v"),
    ("bookkeeping.children", "id, parent, v"),
    ("bookkeeping.documents", "writer, id, d"),
    (
        "bookkeeping.large",
        "writer, number, line, LENGTH(noise), SHA2(noise, 256)",
    ),
    (
        "warehouse.items",
        "writer, id, v, price, ratio, note, HEX(raw), touched",
    ),
    ("warehouse.parents", "id, name"),
    ("warehouse.friends", "id, parent"),
    ("warehouse.loaded", "writer, number, line, text"),
    ("warehouse.keyless", "writer, word, v"),
];

/// Children hang on parents of another database. Items are audited by triggers, which number their entries by
/// variables of the session.
const TABLES: &str = "
CREATE DATABASE bookkeeping CHARACTER SET utf8mb4;
CREATE DATABASE warehouse CHARACTER SET utf8mb4;
CREATE TABLE bookkeeping.progress (
    writer INT PRIMARY KEY, number BIGINT NOT NULL, at DATETIME(6) NOT NULL
) ENGINE = InnoDB;
CREATE TABLE bookkeeping.ledger (account INT PRIMARY KEY, balance BIGINT NOT NULL) ENGINE = InnoDB;
CREATE TABLE bookkeeping.audit (
    writer INT, number BIGINT, entry INT, what ENUM('insert', 'update', 'delete') NOT NULL, item BIGINT NOT NULL,
    v INT, PRIMARY KEY (writer, number, entry), KEY (item)
) ENGINE = InnoDB;
CREATE TABLE bookkeeping.documents (
    writer INT, id BIGINT, d JSON NOT NULL, PRIMARY KEY (writer, id)
) ENGINE = InnoDB;
CREATE TABLE bookkeeping.large (
    writer INT, number BIGINT, line INT, noise LONGTEXT NOT NULL, PRIMARY KEY (writer, number, line)
) ENGINE = InnoDB;
CREATE TABLE warehouse.items (
    writer INT, id BIGINT, v INT NOT NULL, price DECIMAL(12, 3) NOT NULL, ratio DOUBLE NOT NULL, note VARCHAR(100),
    raw VARBINARY(32) NOT NULL, touched BIGINT NOT NULL, at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    PRIMARY KEY (writer, id), KEY (v), KEY (note)
) ENGINE = InnoDB;
CREATE TABLE warehouse.parents (id BIGINT PRIMARY KEY, name VARCHAR(50) NOT NULL) ENGINE = InnoDB;
CREATE TABLE bookkeeping.children (
    id BIGINT PRIMARY KEY, parent BIGINT NOT NULL, v INT NOT NULL,
    CONSTRAINT child_of FOREIGN KEY (parent) REFERENCES warehouse.parents (id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE = InnoDB;
CREATE TABLE warehouse.friends (
    id BIGINT PRIMARY KEY, parent BIGINT,
    CONSTRAINT friend_of FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE SET NULL ON UPDATE CASCADE
) ENGINE = InnoDB;
CREATE TABLE warehouse.loaded (
    writer INT, number BIGINT, line INT, text VARCHAR(100), PRIMARY KEY (writer, number, line)
) ENGINE = InnoDB;
CREATE TABLE warehouse.keyless (writer INT NOT NULL, word VARCHAR(10) NOT NULL, v INT, KEY (writer, word)) ENGINE = InnoDB;
CREATE TRIGGER warehouse.item_inserted AFTER INSERT ON warehouse.items FOR EACH ROW
    INSERT INTO bookkeeping.audit VALUES (NEW.writer, @number, @entry := @entry + 1, 'insert', NEW.id, NEW.v);
CREATE TRIGGER warehouse.item_updated AFTER UPDATE ON warehouse.items FOR EACH ROW
    INSERT INTO bookkeeping.audit VALUES (NEW.writer, @number, @entry := @entry + 1, 'update', NEW.id, NEW.v);
CREATE TRIGGER warehouse.item_deleted AFTER DELETE ON warehouse.items FOR EACH ROW
    INSERT INTO bookkeeping.audit VALUES (OLD.writer, @number, @entry := @entry + 1, 'delete', OLD.id, NULL);
";

/// Everything that exists before the first step.
pub(super) fn create_statements(options: &RecorderOptions) -> String {
    let writers = (0..options.writers).map(|writer| format!("({writer}, 0, NOW(6))"));
    let accounts = (0..ACCOUNTS).map(|account| format!("({account}, {BALANCE})"));
    let list = |values: Vec<String>| values.join(", ");
    format!(
        "SET time_zone = '+00:00';\n{TABLES}\
         INSERT INTO bookkeeping.progress VALUES {};\n\
         INSERT INTO bookkeeping.ledger VALUES {};\n",
        list(writers.collect()),
        list(accounts.collect())
    )
}

/// Which databases are the writers', as a condition on a column of names.
pub(super) fn is_writers_database(column: &str) -> String {
    format!("({column} IN ('bookkeeping', 'warehouse') OR {column} LIKE 'annex%')")
}

/// Removes everything that writers, or a restore of what they wrote, have left at a server.
///
/// # Panics
/// When the server refuses.
pub fn wipe(server: &impl Database) {
    for row in server.query("XA RECOVER") {
        let name = row.last().cloned().flatten().unwrap_or_default();
        server.execute(&format!("XA ROLLBACK '{name}'"));
    }
    let databases = format!(
        "SELECT CONCAT('DROP DATABASE ', schema_name) FROM information_schema.schemata WHERE {}",
        is_writers_database("schema_name")
    );
    let users = "SELECT CONCAT('DROP USER ', user, '@''', host, '''') FROM mysql.user WHERE user LIKE 'clerk%'";
    let mut script = "SET foreign_key_checks = 0;\n".to_owned();
    for row in server.query(&format!("{databases};{users};")) {
        script += &format!("{};\n", row[0].clone().unwrap_or_default());
    }
    server.execute(&script);
}

/// What compresses the next transactions in the server's log, and what ends it.
pub(super) fn compression_settings(flavour: ServerFlavour) -> (&'static str, &'static str) {
    match flavour {
        ServerFlavour::Mysql => (
            "SET SESSION binlog_transaction_compression = ON;\n",
            "SET SESSION binlog_transaction_compression = OFF;\n",
        ),
        ServerFlavour::Mariadb => (
            "SET GLOBAL log_bin_compress_min_len = 10, GLOBAL log_bin_compress = ON;\n",
            "SET GLOBAL log_bin_compress = OFF;\n",
        ),
    }
}
