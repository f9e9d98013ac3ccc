//! Large tables are read in ranges of their key by several connections: no row is missed or read twice, whatever the
//! key, and a second snapshot stores what changed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use reprise_tests::servers::{Database, Mariadb, Mysql, describe, differences};
use serde_json::Value;
use support::Sandbox;

/// What a table's key is, and the values of it for the numbers from 0 to 19999.
const KEYS: [(&str, &str, &str); 15] = [
    ("dense", "k INT PRIMARY KEY", "n"),
    ("crowded", "k BIGINT PRIMARY KEY", CROWDED),
    ("negative", "k BIGINT PRIMARY KEY", "-n * 3 - 1"),
    ("whole_bigint", "k BIGINT PRIMARY KEY", WHOLE),
    (
        "unsigned_end",
        "k BIGINT UNSIGNED PRIMARY KEY",
        "18446744073709551615 - n",
    ),
    ("unsigned_ends", "k BIGINT UNSIGNED PRIMARY KEY", UNSIGNED),
    ("descending", "k INT, PRIMARY KEY (k DESC)", "n - 10000"),
    (
        "pairs",
        "k INT, l VARCHAR(20), PRIMARY KEY (k, l)",
        "n DIV 5000, CONCAT('é', n)",
    ),
    (
        "folded",
        "k VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci PRIMARY KEY",
        FOLDED,
    ),
    (
        "latin",
        "k VARCHAR(40) CHARACTER SET latin1 COLLATE latin1_german2_ci PRIMARY KEY",
        FOLDED,
    ),
    (
        "bytes",
        "k VARBINARY(40) PRIMARY KEY",
        "UNHEX(SHA2(n, 256))",
    ),
    (
        "decimals",
        "k DECIMAL(40, 10) PRIMARY KEY",
        "(n - 10000) / 7",
    ),
    (
        "moments",
        "k DATETIME(6) PRIMARY KEY",
        "TIMESTAMPADD(MICROSECOND, n * 86400123456, '1999-12-31')",
    ),
    ("unique_only", "k INT NOT NULL, UNIQUE KEY (k)", "n * 2"),
    ("no_key", "k INT", "n DIV 2"),
];

/// Two crowds far from each other.
const CROWDED: &str = "IF(n < 19990, n, 9000000000000000000 + n)";

/// Both ends, and a crowd between them.
const WHOLE: &str =
    "CASE n WHEN 0 THEN -9223372036854775808 WHEN 1 THEN 9223372036854775807 ELSE n * 1000003 END";

const UNSIGNED: &str =
    "CASE WHEN n < 10000 THEN n ELSE CAST(18446744073709531616 AS UNSIGNED) + n END";

/// Texts that differ in more than case, some with letters that compare as others.
const FOLDED: &str = "CONCAT(ELT(n % 4 + 1, 'a', 'B', 'ä', 'ß'), CONV(n, 10, 36), ELT(n % 3 + 1, '', ' x', '''\\\\'))";

const NUMBERS: &str = "WITH d AS (SELECT 0 AS d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION \
    SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9) \
    SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d AS n FROM d a, d b, d c, d e, d f WHERE f.d < 2";

/// Makes the tables, and lets the server believe that they have half a gigabyte each, from which follows where they
/// are cut.
fn fill(server: &mut impl Database) {
    server.execute(&format!(
        "CREATE DATABASE large; CREATE TABLE large.numbers {NUMBERS}"
    ));
    for (name, columns, values) in KEYS {
        server.execute(&format!(
            "SET NAMES utf8mb4; SET SESSION time_zone = '+00:00'; \
             CREATE TABLE large.{name} (v INT, {columns}) ENGINE = InnoDB STATS_PERSISTENT = 1 STATS_AUTO_RECALC = 0;
             INSERT INTO large.{name} SELECT n, {values} FROM large.numbers;
             ANALYZE TABLE large.{name};
             UPDATE mysql.innodb_table_stats SET n_rows = 20000, clustered_index_size = 32768
                 WHERE database_name = 'large' AND table_name = '{name}';"
        ));
    }
    // What it believes of tables that it has opened it reads no more.
    server.kill_server();
    server.restart();
}

/// How many files the rows of each table are in.
fn files(sandbox: &Sandbox) -> BTreeMap<String, usize> {
    let listed = sandbox.recover(["ls", "large", "data/large"]).exits(0);
    let mut files = BTreeMap::new();
    for line in listed.stdout.lines().filter(|line| line.ends_with(".tsv")) {
        let table = line.rsplit('/').nth(1).unwrap().to_owned();
        *files.entry(table).or_insert(0) += 1;
    }
    files
}

fn no_row_is_missed_or_read_twice(mut server: impl Database) {
    fill(&mut server);
    let sandbox = Sandbox::new();
    let url = server.root_url();
    let snapshot = [
        "snapshot",
        "mysql",
        &url,
        "--source",
        "large",
        "--threads",
        "4",
    ];
    sandbox.run(snapshot).exits(0);
    let files = files(&sandbox);
    for (name, ..) in KEYS {
        let cut = name != "no_key";
        assert_eq!(files[name] > 1, cut, "{name}: {files:?}");
    }
    let before = describe(&server);
    server.execute("DROP DATABASE large");
    let args = ["restore", "large", "--to", &url, "--verify", "checksums"];
    sandbox.recover(args).exits(0);
    for (name, ..) in KEYS {
        let count = format!("SELECT COUNT(*) FROM large.{name}");
        assert_eq!(server.value(&count), "20000", "{name}");
    }
    assert_eq!(differences(&before, &describe(&server)), Default::default());
}

#[test]
fn no_row_of_mysql_is_missed_or_read_twice() {
    no_row_is_missed_or_read_twice(Mysql::start());
}

#[test]
fn no_row_of_mariadb_is_missed_or_read_twice() {
    no_row_is_missed_or_read_twice(Mariadb::start());
}

/// Bytes that a snapshot added, before compression.
fn added(sandbox: &Sandbox, url: &str) -> u64 {
    let args = ["--json", "snapshot", "mysql", url, "--source", "large"];
    let json: Value = sandbox.run(args).exits(0).json();
    json["added"]["plain_bytes"].as_u64().unwrap()
}

#[test]
fn a_second_snapshot_stores_what_changed() {
    let server = Mariadb::start();
    let noise: Vec<String> = (0..60)
        .map(|part| format!("SHA2(CONCAT(n, '/{part}'), 512)"))
        .collect();
    let noise = noise.join(", ");
    server.execute(&format!(
        "CREATE DATABASE large; CREATE TABLE large.numbers {NUMBERS};
         CREATE TABLE large.dense (k INT PRIMARY KEY, v VARCHAR(8000) CHARACTER SET ascii);
         INSERT INTO large.dense SELECT n * 2, CONCAT({noise}) FROM large.numbers WHERE n < 14000;
         CREATE TABLE large.texts (k VARCHAR(20) PRIMARY KEY, v VARCHAR(8000) CHARACTER SET ascii);
         INSERT INTO large.texts SELECT CONCAT('key ', LPAD(k, 6, '0')), v FROM large.dense;
         ANALYZE TABLE large.dense, large.texts;"
    ));
    let (sandbox, url) = (Sandbox::new(), server.root_url());
    let all = added(&sandbox, &url);
    let files = files(&sandbox);
    assert!(files["dense"] > 1 && files["texts"] > 1, "{files:?}");
    let nothing = added(&sandbox, &url);
    assert!(nothing < 100_000, "{nothing} of {all}");
    server.execute(
        "INSERT INTO large.dense VALUES (-5, 'start'), (9001, 'middle'), (20001, 'another'), (99999, 'end');
         INSERT INTO large.texts VALUES ('', 'start'), ('key 009001', 'middle'), ('key 020001', 'x'), ('z', 'end');",
    );
    // Eight rows, each in a chunk of its own or two, of 4 MiB at most; where chunks end is random.
    let few = added(&sandbox, &url);
    assert!(few < all / 3, "{few} of {all}");
}
