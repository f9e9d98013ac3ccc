//! The log of a server, replayed into an empty one, makes the same server: every kind of transaction, exactly once,
//! up to where it is to stop.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "support/logs.rs"]
mod logs;

use std::sync::Arc;
use std::time::Duration;

use logs::{BinlogFiles, ReplaySettings, chain, events, snapshot_with};
use reprise_mysql::binlog::{Gtid, GtidSet};
use reprise_mysql::log::LogTime;
use reprise_mysql::{Address, Session};
use reprise_repository::Progress;
use reprise_restore::mysql::RecoveryTarget;
use reprise_restore::mysql::replay::{ExecutedSet, ReplayMode, seed_gtid_history};
use reprise_tests::servers::{Database, Mariadb, Mysql, describe, differences};

/// Tables of every relation, and writes of every form, in the log as rows.
const ROWS: &str = "
CREATE DATABASE app; USE app;
CREATE TABLE one (id INT PRIMARY KEY AUTO_INCREMENT, a INT, b VARCHAR(50), t TIMESTAMP(6) DEFAULT CURRENT_TIMESTAMP(6)) ENGINE = InnoDB;
CREATE TABLE two (id INT PRIMARY KEY AUTO_INCREMENT, parent INT, note TEXT, FOREIGN KEY (parent) REFERENCES one (id) ON DELETE CASCADE ON UPDATE CASCADE) ENGINE = InnoDB;
CREATE TABLE three (id INT PRIMARY KEY AUTO_INCREMENT, parent INT, FOREIGN KEY (parent) REFERENCES one (id) ON DELETE SET NULL ON UPDATE CASCADE) ENGINE = InnoDB;
CREATE TABLE nokey (a INT, b TEXT) ENGINE = InnoDB;
CREATE TABLE old (a INT, b VARCHAR(60)) ENGINE = MyISAM;
CREATE TABLE seen (id INT PRIMARY KEY AUTO_INCREMENT, what VARCHAR(50)) ENGINE = InnoDB;
CREATE TRIGGER t1 AFTER INSERT ON one FOR EACH ROW INSERT INTO seen (what) VALUES (CONCAT('one ', NEW.id, ' ', RAND()));
CREATE TRIGGER t2 AFTER DELETE ON one FOR EACH ROW INSERT INTO seen (what) VALUES (UUID());
INSERT INTO one (a, b) VALUES (1, 'one'), (2, 'two'), (3, NULL), (4, 'four');
INSERT INTO two (parent, note) VALUES (1, 'x'), (2, 'y'), (4, 'z'); INSERT INTO three (parent) VALUES (1), (2), (3), (4);
BEGIN; UPDATE one SET a = a + 1; DELETE FROM one WHERE id = 2; UPDATE one SET id = 40 WHERE id = 4; INSERT INTO nokey VALUES (1, 'x'), (1, 'x'); COMMIT;
UPDATE one JOIN two ON two.parent = one.id SET one.b = 'joined', two.note = NOW(6);
DELETE one, three FROM one JOIN three ON three.parent = one.id WHERE one.id = 1;
BEGIN; INSERT INTO nokey VALUES (2, 'y'); SAVEPOINT s; INSERT INTO nokey VALUES (3, 'z'); ROLLBACK TO s; INSERT INTO nokey VALUES (4, 'z'); COMMIT;
SET foreign_key_checks = 0; INSERT INTO two (parent, note) VALUES (999, 'orphan'); SET foreign_key_checks = 1;
INSERT INTO old VALUES (1, 'a'), (2, 'b'); UPDATE old SET b = UUID(); DELETE FROM old WHERE a = 1; INSERT INTO old VALUES (3, 'c');
ALTER TABLE old ENGINE = InnoDB; INSERT INTO old VALUES (5, 'e'); ALTER TABLE nokey ENGINE = MyISAM; INSERT INTO nokey VALUES (5, 'e');
CREATE TABLE made AS SELECT id, a, RAND() AS r FROM one; CREATE TABLE alike LIKE one; INSERT INTO alike SELECT * FROM one;
";

/// Definitions of every kind.
const DEFINITIONS: &str = "
USE app; SET time_zone = '+05:30', sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES';
CREATE TABLE \"quoted\" (\"a\\b\" INT DEFAULT 7, d TIMESTAMP DEFAULT '2020-02-02 02:02:02', c VARCHAR(10) DEFAULT '\\'); INSERT INTO \"quoted\" () VALUES ();
SET sql_mode = DEFAULT, time_zone = DEFAULT;
ALTER TABLE quoted ADD COLUMN e INT DEFAULT 5 FIRST, ADD KEY (e); ALTER TABLE quoted DROP COLUMN c; CREATE INDEX i ON quoted (d); DROP INDEX i ON quoted;
RENAME TABLE quoted TO moved; TRUNCATE TABLE moved; INSERT INTO moved (e) VALUES (1); CREATE TABLE gone (id INT); DROP TABLE gone;
CREATE TABLE parts (id INT PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (100));
INSERT INTO parts VALUES (1), (11), (12); ALTER TABLE parts DROP PARTITION p0; ALTER TABLE parts TRUNCATE PARTITION p1; INSERT INTO parts VALUES (13);
CREATE VIEW v AS SELECT id, a FROM one; ALTER VIEW v AS SELECT id, b FROM one;
SET NAMES latin1; CREATE TABLE l (c VARCHAR(10) CHARACTER SET latin1 DEFAULT '\u{e9}'); INSERT INTO l () VALUES (); SET NAMES utf8mb4;
CREATE TABLE `t\u{e4}ble` (`c\u{f6}l` INT, s VARCHAR(10) CHARACTER SET utf8mb4 DEFAULT '\u{1f600}'); INSERT INTO `t\u{e4}ble` (`c\u{f6}l`) VALUES (1);
DELIMITER //
CREATE PROCEDURE fill(n INT) BEGIN DECLARE i INT DEFAULT 0; WHILE i < n DO INSERT INTO nokey VALUES (i, 'filled'); SET i = i + 1; END WHILE; END//
CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC RETURN 2 * n//
CREATE EVENT tick ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' DO BEGIN DELETE FROM nokey; END//
DELIMITER ;
CALL fill(20); ALTER EVENT tick COMMENT 'new'; DROP FUNCTION twice;
CREATE DATABASE `other db` CHARACTER SET latin1; USE `other db`; CREATE TABLE x (c VARCHAR(9)); INSERT INTO x VALUES ('a'); CREATE DATABASE dropped; USE dropped; CREATE TABLE y (i INT); DROP DATABASE dropped; CREATE TABLE app.z (i INT); USE app; DROP TABLE z;
CREATE USER 'joe'@'%' IDENTIFIED BY 'secret'; GRANT SELECT, INSERT ON app.* TO 'joe'@'%'; CREATE ROLE reader; GRANT SELECT ON app.one TO reader; GRANT reader TO 'joe'@'%';
CREATE USER 'ann'@'localhost'; DROP USER 'ann'@'localhost'; REVOKE INSERT ON app.* FROM 'joe'@'%'; SET PASSWORD FOR 'joe'@'%' = 'changed';
CREATE TABLE hits (n INT) ENGINE = MEMORY; INSERT INTO hits VALUES (1), (2);
";

/// Transactions in two phases.
const TWO_PHASES: &str = "
USE app; XA START 'a', 'b', 7; INSERT INTO moved (e) VALUES (70); XA END 'a', 'b', 7; XA PREPARE 'a', 'b', 7; XA COMMIT 'a', 'b', 7;
XA START 'r'; INSERT INTO moved (e) VALUES (71); XA END 'r'; XA PREPARE 'r'; XA ROLLBACK 'r';
XA START 'o'; INSERT INTO moved (e) VALUES (72); XA END 'o'; XA COMMIT 'o' ONE PHASE;
";

/// Statements whose text does not say everything.
const STATEMENTS: &str = "
USE app; SET binlog_format = MIXED; SET @text = _latin1 X'e9' COLLATE latin1_bin, @none = NULL, @exact = 12345678901.50, @real = 1.5e0, @whole = -5;
CREATE TABLE said (id INT PRIMARY KEY AUTO_INCREMENT, r DOUBLE, s VARCHAR(50), n DECIMAL(20, 3), w TIMESTAMP(6) NULL);
SET binlog_format = STATEMENT; INSERT INTO said (r, s, n, w) VALUES (RAND(), @text, @exact, NOW(6)), (@real, @none, @whole, NULL); INSERT INTO said (r) SELECT RAND() FROM said;
SET auto_increment_increment = 10, auto_increment_offset = 3; INSERT INTO said (s) VALUES ('tens'), ('tens'); SET auto_increment_increment = 1, auto_increment_offset = 1;
BEGIN; INSERT INTO said (s) VALUES ('in'); INSERT INTO said (n) VALUES (LAST_INSERT_ID()); UPDATE said SET s = CONCAT(s, '!') WHERE s = 'in'; COMMIT;
SET time_zone = '-03:00'; INSERT INTO said (w) VALUES ('2021-06-01 00:00:00'); SET time_zone = DEFAULT;
CREATE TEMPORARY TABLE temp (i INT); INSERT INTO temp VALUES (1), (2); INSERT INTO said (n) SELECT i FROM temp; DROP TEMPORARY TABLE temp;
SET binlog_format = ROW; INSERT INTO said (s) VALUES ('rows again');
";

fn same(source: &impl Database, target: &impl Database) {
    target.execute("DROP DATABASE IF EXISTS reprise_restore;");
    let different = differences(&describe(source), &describe(target));
    assert!(different.is_empty(), "{different:#?}");
}

/// A database full of rows, one transaction each.
fn singles(server: &impl Database, count: usize) {
    let rows: String = (1..=count)
        .map(|n| format!("INSERT INTO app.s VALUES ({n}, {n});\n"))
        .collect();
    server.execute(&format!(
        "CREATE DATABASE IF NOT EXISTS app; CREATE TABLE IF NOT EXISTS app.s (id INT PRIMARY KEY, n INT) ENGINE = InnoDB;\n{rows}"
    ));
}

fn number_of_rows(server: &impl Database) -> String {
    server.value("SELECT CONCAT(COUNT(*), ' ', COALESCE(MAX(id), 0)) FROM app.s;")
}

#[test]
fn every_kind_of_transaction_of_mysql_comes_back() {
    let options = ["--binlog-row-value-options=PARTIAL_JSON"];
    let source = Mysql::start_with(&options);
    source.execute("SET PERSIST binlog_transaction_dependency_history_size = 1000;");
    let json = "USE app; CREATE TABLE j (id INT PRIMARY KEY, d JSON); INSERT INTO j VALUES (1, '{\"a\": 1, \"b\": [1, 2, 3], \"c\": \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}'); UPDATE j SET d = JSON_SET(d, '$.a', 2); UPDATE j SET d = JSON_REMOVE(d, '$.b[1]');
        SET SESSION binlog_transaction_compression = ON; INSERT INTO one (a, b) VALUES (90, REPEAT('z', 40)); BEGIN; INSERT INTO nokey VALUES (91, REPEAT('q', 5000)); UPDATE one SET a = a * 2; INSERT INTO one (a) VALUES (92); COMMIT;
        SET SESSION binlog_row_image = MINIMAL; UPDATE one SET b = 'minimal' WHERE a > 3;";
    let load = "USE app; SET GLOBAL local_infile = 1; CREATE TABLE loaded (a INT, b VARCHAR(99)); LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE loaded FIELDS TERMINATED BY ':' (@a, b) SET a = LENGTH(@a);";
    let tail = "USE app; XA START 'left'; INSERT INTO one (a) VALUES (999); XA END 'left'; XA PREPARE 'left';";
    for part in [ROWS, DEFINITIONS, TWO_PHASES, STATEMENTS, json, load] {
        source.execute(part);
        source.execute("FLUSH BINARY LOGS;");
    }
    let files = source.files();
    for (mode, connections) in [(ReplayMode::Merged, 1), (ReplayMode::KeepGtids, 3)] {
        let target = Mysql::start();
        let how = ReplaySettings {
            mode,
            connections,
            ..ReplaySettings::default()
        };
        let report = how
            .run(&target, &mut *events(&files))
            .unwrap_or_else(|error| panic!("{mode:?}: {}", chain(&error)));
        assert_eq!(report.warnings, [""; 0]);
        let executed = source.value("SELECT @@global.gtid_executed;");
        assert_eq!(
            report.executed,
            ExecutedSet::Mysql(executed.parse().unwrap())
        );
        if mode == ReplayMode::KeepGtids {
            let there: GtidSet = target
                .value("SELECT @@global.gtid_executed;")
                .parse()
                .unwrap();
            assert_eq!(there, executed.parse().unwrap());
        }
        same(&source, &target);
        // Once more: everything is there.
        let again = ReplaySettings {
            mode: ReplayMode::KeepGtids,
            ..ReplaySettings::default()
        };
        if mode == ReplayMode::KeepGtids {
            assert_eq!(again.run(&target, &mut *events(&files)).unwrap().applied, 0);
            same(&source, &target);
        }
    }
    source.execute(tail);
    let target = Mysql::start();
    let report = ReplaySettings::default()
        .run(&target, &mut *events(&source.files()))
        .unwrap();
    assert_eq!(report.warnings.len(), 1);
    assert!(
        report.warnings[0].contains("X'6c656674',X'',1"),
        "{report:?}"
    );
    target.execute("XA COMMIT 'left';");
    source.execute("XA COMMIT 'left';");
    same(&source, &target);
}

#[test]
fn every_kind_of_transaction_of_mariadb_comes_back() {
    let options = ["--log-bin-compress=1", "--log-bin-compress-min-len=10"];
    for options in [&options[..], &[]] {
        let source = Mariadb::start_with(options);
        let own = "USE app; CREATE TABLE versioned (a INT) WITH SYSTEM VERSIONING; INSERT INTO versioned VALUES (1); UPDATE versioned SET a = 2; DELETE FROM versioned;
            CREATE SEQUENCE s START 5; SELECT NEXTVAL(s); SELECT NEXTVAL(s); CREATE TABLE counted (id INT DEFAULT NEXTVAL(s), b TEXT); INSERT INTO counted (b) VALUES (REPEAT('x', 300)), ('y');
            SET binlog_alter_two_phase = 1; ALTER TABLE counted ADD COLUMN c INT DEFAULT 3; SET binlog_alter_two_phase = 0; CREATE OR REPLACE TABLE counted2 AS SELECT * FROM counted;
            CREATE TABLE ar (a INT) ENGINE = Aria; INSERT INTO ar VALUES (1), (2); UPDATE ar SET a = a + 1; SET sql_if_exists = 1; DROP TABLE nothing; SET sql_if_exists = 0; SET gtid_domain_id = 7; INSERT INTO one (a) VALUES (77);";
        let two_phases = TWO_PHASES.replace("'a', 'b', 7", "'a', 'b'");
        for part in [
            ROWS,
            &DEFINITIONS
                .replace("= 'changed'", "= PASSWORD('changed')")
                // Only its administrator, whoever made it, may grant a role.
                .replace("ROLE reader", "ROLE reader WITH ADMIN root@'127.0.0.1'")
                .replace("GRANT reader TO 'joe'@'%';", ""),
            &two_phases,
            STATEMENTS,
            own,
        ] {
            source.execute(part);
            source.execute("FLUSH BINARY LOGS;");
        }
        let files = source.files();
        for mode in [ReplayMode::Merged, ReplayMode::KeepGtids] {
            let target = Mariadb::start();
            let how = ReplaySettings {
                mode,
                ..ReplaySettings::default()
            };
            let report = how
                .run(&target, &mut *events(&files))
                .unwrap_or_else(|error| panic!("{mode:?} {options:?}: {}", chain(&error)));
            assert_eq!(report.warnings, [""; 0]);
            let position = source.value("SELECT @@gtid_binlog_pos;");
            assert_eq!(
                report.executed,
                ExecutedSet::Mariadb(position.parse().unwrap())
            );
            same(&source, &target);
        }
    }
}

#[test]
fn a_transaction_of_more_than_a_hundred_megabytes_is_split() {
    let source = Mysql::start();
    let large = "CREATE DATABASE app; USE app; CREATE TABLE s (id INT PRIMARY KEY AUTO_INCREMENT, n INT, pad LONGTEXT);
        INSERT INTO s (n, pad) VALUES (1, REPEAT('0123456789', 1000)); ";
    let double = "INSERT INTO s (n, pad) SELECT n + 1, pad FROM s; ".repeat(13);
    source.execute(&format!(
        "{large} BEGIN; {double} UPDATE s SET n = n + 1; COMMIT; INSERT INTO s (n) VALUES (1);"
    ));
    let files = source.files();
    let bytes: usize = files.iter().map(Vec::len).sum();
    assert!(bytes > 100 << 20, "{bytes}");
    for packet in ["64M", "2M"] {
        let target = Mysql::start_with(&[&format!("--max-allowed-packet={packet}")]);
        ReplaySettings::default()
            .run(&target, &mut *events(&files))
            .unwrap_or_else(|error| panic!("{packet}: {}", chain(&error)));
        same(&source, &target);
    }
    source.execute("INSERT INTO app.s (n, pad) VALUES (9, REPEAT('x', 3000000));");
    let target = Mysql::start_with(&["--max-allowed-packet=2M"]);
    let error = ReplaySettings::default()
        .run(&target, &mut *events(&source.files()))
        .unwrap_err();
    assert!(
        chain(&error).contains("raise max_allowed_packet"),
        "{}",
        chain(&error)
    );
}

#[test]
fn it_stops_where_it_is_told_to_and_leaves_out_what_it_is_told_to() {
    let source = Mysql::start();
    singles(&source, 10);
    source.execute("UPDATE app.s SET n = 0 WHERE id = 5;");
    let files = source.files();
    let uuid = source.value("SELECT @@server_uuid;");
    let gtid = |n: usize| -> Gtid { format!("{uuid}:{n}").parse().unwrap() };
    let set = |text: &str| -> GtidSet { format!("{uuid}:{text}").parse().unwrap() };
    // The first two make database and table.
    let stops = [
        (RecoveryTarget::BeforeGtid(gtid(6)), "3 3"),
        (snapshot_with(&set("1-8")), "6 6"),
        (snapshot_with(&set("1-4:7")), "3 5"),
        (RecoveryTarget::Latest, "10 10"),
    ];
    let target = Mysql::start();
    for (stop, expected) in stops {
        target.execute("DROP DATABASE IF EXISTS reprise_restore; DROP DATABASE IF EXISTS app;");
        let report = ReplaySettings::until(stop.clone())
            .run(&target, &mut *events(&files))
            .unwrap();
        assert_eq!(number_of_rows(&target), expected, "{stop:?} {report:?}");
        let before = matches!(stop, RecoveryTarget::BeforeGtid(_)).then(|| gtid(6));
        assert_eq!(report.stopped_before.map(|ended| ended.gtid), before);
    }
    target.execute("DROP DATABASE IF EXISTS reprise_restore; DROP DATABASE IF EXISTS app;");
    let how = ReplaySettings {
        skip: vec![gtid(4), gtid(13)],
        ..ReplaySettings::default()
    };
    let report = how.run(&target, &mut *events(&files)).unwrap();
    assert_eq!((report.skipped, report.applied), (how.skip, 11));
    assert_eq!(number_of_rows(&target), "9 10");
    for missing in [
        RecoveryTarget::BeforeGtid(gtid(99)),
        snapshot_with(&set("1-99")),
    ] {
        target.execute("DROP DATABASE IF EXISTS reprise_restore; DROP DATABASE IF EXISTS app;");
        let error = ReplaySettings::until(missing)
            .run(&target, &mut *events(&files))
            .unwrap_err();
        assert!(
            error.to_string().contains(":") && error.to_string().contains("99"),
            "{error}"
        );
    }
    target.execute("DROP DATABASE IF EXISTS reprise_restore; DROP TABLE app.s; CREATE TABLE app.s (id INT PRIMARY KEY, n INT);");
    let how = ReplaySettings {
        after: ExecutedSet::Mysql(set("1-7")),
        ..ReplaySettings::default()
    };
    let report = how.run(&target, &mut *events(&files)).unwrap_err();
    assert!(
        chain(&report).contains(&format!("{uuid}:13")) && chain(&report).contains("app.s"),
        "{}",
        chain(&report)
    );
}

/// The times at which the transactions of files were committed.
fn commits(files: &[Vec<u8>]) -> Vec<LogTime> {
    let mut boundary = reprise_mysql::binlog::TransactionBoundaryParser::default();
    let mut commits = Vec::new();
    for event in events(files) {
        boundary.feed_event(&event.unwrap()).unwrap();
        commits.extend(boundary.take_completed().map(|ended| ended.committed));
    }
    commits
}

#[test]
fn it_stops_between_two_commits_of_mysql_and_at_a_second_of_mariadb() {
    let source = Mysql::start();
    singles(&source, 20);
    let files = source.files();
    let commits = commits(&files);
    let target = Mysql::start();
    for n in [5, 11] {
        target.execute("DROP DATABASE IF EXISTS reprise_restore; DROP DATABASE IF EXISTS app;");
        let report = ReplaySettings::until(RecoveryTarget::Time(commits[n]))
            .run(&target, &mut *events(&files))
            .unwrap();
        assert_eq!(report.applied, n as u64 + 1);
        assert_eq!(report.stopped_before.unwrap().committed, commits[n + 1]);
        assert_eq!(report.last_applied.unwrap().committed, commits[n]);
        assert_eq!(number_of_rows(&target), format!("{} {}", n - 1, n - 1));
    }
    let source = Mariadb::start();
    singles(&source, 3);
    // Longer than a segment, and committed when the rest is over.
    let long = "SET max_recursive_iterations = 10000; BEGIN; INSERT INTO app.large WITH RECURSIVE n AS (SELECT 1 AS id UNION ALL SELECT id + 1 FROM n WHERE id < 2000) SELECT id, REPEAT('x', 10000) FROM n; DO SLEEP(2.1); COMMIT;";
    source.execute("CREATE TABLE app.large (id INT PRIMARY KEY, pad TEXT);");
    source.execute(long);
    source.execute("INSERT INTO app.s VALUES (4, 4);");
    let files = source.files();
    let commits = self::commits(&files);
    let target = Mariadb::start();
    let stop = RecoveryTarget::Time(commits[commits.len() - 3] + Duration::from_millis(1500));
    let report = ReplaySettings::until(stop)
        .run(&target, &mut *events(&files))
        .unwrap();
    assert_eq!(report.applied, commits.len() as u64 - 2);
    assert_eq!(number_of_rows(&target), "3 3");
    assert_eq!(target.value("SELECT COUNT(*) FROM app.large;"), "0");
    ReplaySettings::default()
        .run(&target, &mut *events(&files))
        .unwrap();
    same(&source, &target);
}

#[test]
fn an_interrupted_replay_goes_on_and_applies_everything_once() {
    let mysql = Mysql::start();
    mysql.execute(&ROWS.replace("MyISAM", "InnoDB"));
    singles(&mysql, 100);
    mysql.execute(&DEFINITIONS.replace("MEMORY", "InnoDB"));
    mysql.execute(TWO_PHASES);
    interrupted(&mysql, &Mysql::start());
    let mariadb = Mariadb::start();
    mariadb.execute(&ROWS.replace("MyISAM", "InnoDB"));
    singles(&mariadb, 100);
    interrupted(&mariadb, &Mariadb::start());
}

/// Stops a replay again and again, in the middle of transactions too.
fn interrupted(source: &impl BinlogFiles, target: &impl Database) {
    let files = source.files();
    let count = events(&files).count();
    let mut attempts = 0;
    for stop in (1..count).step_by(7) {
        let progress = Arc::new(Progress::default());
        let how = ReplaySettings {
            progress: Arc::clone(&progress),
            ..ReplaySettings::default()
        };
        let mut seen = 0;
        let mut some = events(&files).inspect(|_| {
            seen += 1;
            if seen == stop {
                progress.cancel();
            }
        });
        let error = how.run(target, &mut some).unwrap_err();
        assert!(chain(&error).contains("interrupted"), "{}", chain(&error));
        attempts += 1;
    }
    let report = ReplaySettings::default()
        .run(target, &mut *events(&files))
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert!(attempts > 10);
    assert_eq!(report.applied, commits(&files).len() as u64);
    same(source, target);
}

#[test]
fn rows_without_transactions_are_never_applied_twice() {
    let source = Mysql::start();
    source.execute("CREATE DATABASE app; CREATE TABLE app.s (id INT) ENGINE = MyISAM; INSERT INTO app.s VALUES (1);");
    let files = source.files();
    let target = Mysql::start();
    // The server refuses the rows, so that the note of them stays.
    target.execute("CREATE DATABASE app; CREATE TABLE app.s (id TINYTEXT) ENGINE = MyISAM;");
    let uuid = source.value("SELECT @@server_uuid;");
    let after = ExecutedSet::Mysql(format!("{uuid}:1-2").parse().unwrap());
    let how = ReplaySettings {
        after,
        ..ReplaySettings::default()
    };
    let error = how.run(&target, &mut *events(&files)).unwrap_err();
    assert!(chain(&error).contains("app.s"), "{}", chain(&error));
    let error = how.run(&target, &mut *events(&files)).unwrap_err();
    assert!(error.to_string().contains(&format!("{uuid}:3")), "{error}");
    assert!(error.hint().contains("--overwrite"), "{}", error.hint());
}

#[test]
fn a_fresh_server_goes_on_with_the_history_of_the_source() {
    let source = Mysql::start();
    singles(&source, 5);
    let target = Mysql::start();
    target.execute("SET sql_log_bin = 0; CREATE DATABASE app; CREATE TABLE app.s (id INT PRIMARY KEY, n INT) ENGINE = InnoDB;");
    let uuid = source.value("SELECT @@server_uuid;");
    let history = ExecutedSet::Mysql(format!("{uuid}:1-2").parse().unwrap());
    let address = Address::parse(&target.root_url()).unwrap();
    let mut session = Session::open(&address, &Arc::default()).unwrap();
    seed_gtid_history(&mut session, &history, false).unwrap();
    let how = ReplaySettings {
        mode: ReplayMode::KeepGtids,
        ..ReplaySettings::default()
    };
    let report = how.run(&target, &mut *events(&source.files())).unwrap();
    assert_eq!(report.applied, 5);
    let executed = "SELECT @@global.gtid_executed;";
    assert_eq!(target.value(executed), source.value(executed));
    same(&source, &target);
    let error = seed_gtid_history(&mut session, &history, false).unwrap_err();
    assert!(error.to_string().contains(&uuid), "{error}");
    seed_gtid_history(&mut session, &history, true).unwrap();
    assert_eq!(target.value(executed), format!("{uuid}:1-2"));
}
