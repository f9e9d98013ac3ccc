//! The log archive: what is missing is never hidden, what is damaged is refused by name, and nobody waits for it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use reprise_repository::backend::LocalBackend;
use reprise_repository::{HostDirectory, LogChainLink, NewLogSegment, OpenOptions, Repository};
use reprise_tests::servers::{Database, Mariadb, Mysql};
use serde_json::Value;
use support::archived::{
    ArchiverProcess, TABLE, archive, archived_source, log_segments, log_transactions, restore,
    show_source,
};
use support::{RunOutput, Sandbox, begin, begin_captured, end, interrupt, kill, ran, wait_for};

#[test]
fn a_reset_is_a_gap_that_the_next_snapshot_closes() {
    let server = Mysql::start();
    let sandbox = archived_source(&server);
    server.execute("INSERT INTO app.t (v) VALUES ('never archived'); RESET BINARY LOGS AND GTIDS; INSERT INTO app.t (v) VALUES ('after')");
    archive(&sandbox, &server, &[])
        .exits(3)
        .says("gap:")
        .says("take a snapshot");
    let gaps = show_source(&sandbox)["gaps"].as_array().unwrap().len();
    assert_eq!(gaps, 1);
    let target = Mysql::start();
    let ran = restore(&sandbox, &target, &["--until", "latest"]);
    ran.exits(5)
        .says("take one")
        .says("any point in time can be restored within");
    // The next run knows of it already, and goes on.
    archive(&sandbox, &server, &[]).exits(0);
    sandbox.store(&server.root_url(), &[]).exits(0);
    server.execute("INSERT INTO app.t (v) VALUES ('again')");
    archive(&sandbox, &server, &[]).exits(0);
    assert_eq!(
        show_source(&sandbox)["restorable"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    restore(&sandbox, &target, &["--until", "latest"]).exits(0);
    let last = "SELECT v FROM app.t ORDER BY id DESC LIMIT 1";
    assert_eq!(target.value(last), "again");
}

fn purged(server: &impl Database) {
    let sandbox = archived_source(server);
    server.execute("INSERT INTO app.t (v) VALUES ('lost'); FLUSH BINARY LOGS");
    let files = server.query("SHOW BINARY LOGS");
    let newest = files.last().unwrap()[0].clone().unwrap();
    // A file that somebody still reads, or that a crash would need, is purged a little later.
    while server.query("SHOW BINARY LOGS")[0][0].as_deref() != Some(newest.as_str()) {
        server.execute(&format!("PURGE BINARY LOGS TO '{newest}'"));
    }
    archive(&sandbox, server, &[]).exits(3).says("purged");
    let text = show_source(&sandbox)["gaps"].to_string();
    assert!(text.contains("purged"), "{text}");
}

#[test]
fn a_purged_log_is_a_gap_on_mysql() {
    purged(&Mysql::start());
}

#[test]
fn a_purged_log_is_a_gap_on_mariadb() {
    purged(&Mariadb::start());
}

#[test]
fn without_numbers_files_are_followed_and_another_server_is_a_gap() {
    let options = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
    let server = Mysql::start_with(&options);
    let sandbox = archived_source(&server);
    server.execute("FLUSH BINARY LOGS; INSERT INTO app.t (v) VALUES ('four')");
    archive(&sandbox, &server, &[]).exits(0);
    let target = Mysql::start();
    restore(&sandbox, &target, &["--until", "latest", "--keep-gtids"])
        .exits(6)
        .says("no GTID");
    restore(&sandbox, &target, &["--until", "latest"]).exits(0);
    assert_eq!(
        target.value("SELECT GROUP_CONCAT(v ORDER BY id) FROM app.t"),
        "one,two,three,four"
    );
    let other = Mysql::start_with(&options);
    archive(&sandbox, &other, &[])
        .exits(3)
        .says("a different server");
}

#[test]
fn a_server_without_a_log_is_refused_with_the_way_out() {
    let server = Mariadb::start_with(&["--skip-log-bin"]);
    let sandbox = Sandbox::new();
    archive(&sandbox, &server, &[])
        .exits(6)
        .says("(log_bin is off)")
        .says("log_bin");
    assert!(log_segments(&sandbox).is_empty());
}

#[test]
fn statements_instead_of_rows_are_an_alarm() {
    let server = Mysql::start_with(&["--binlog-format=STATEMENT"]);
    let sandbox = Sandbox::new();
    server.execute(TABLE);
    sandbox.store(&server.root_url(), &[]).exits(0);
    server.execute("INSERT INTO app.t (v) VALUES ('three')");
    archive(&sandbox, &server, &[])
        .exits(3)
        .says("binlog_format is STATEMENT")
        .says("changed by statements");
}

#[test]
fn transactions_are_found_by_table_and_time() {
    let server = Mysql::start();
    let sandbox = archived_source(&server);
    server.execute(
        "CREATE TABLE app.orders (id INT PRIMARY KEY); INSERT INTO app.orders VALUES (1), (2), (3);
         UPDATE app.t SET v = 'x' WHERE id < 3; DELETE FROM app.orders WHERE id = 2; DROP TABLE app.orders;",
    );
    archive(&sandbox, &server, &[]).exits(0);
    let orders = log_transactions(&sandbox, &["--table", "app.orders"]);
    let kinds: Vec<&str> = orders
        .iter()
        .map(|line| line["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["CREATE TABLE", "rows", "rows", "DROP TABLE"]);
    assert_eq!(orders[1]["changes"]["app.orders"]["inserted"], 3);
    assert_eq!(orders[2]["changes"]["app.orders"]["deleted"], 1);
    let all = log_transactions(&sandbox, &[]);
    let time = all[2]["committed"].as_str().unwrap();
    let one = log_transactions(&sandbox, &["--from", time, "--to", time]);
    assert_eq!(one, [all[2].clone()]);
    assert_eq!(
        log_transactions(&sandbox, &["--from", "2099-01-01 00:00"]),
        Vec::<Value>::new()
    );
    sandbox
        .recover(["log", "db", "--from", "some day"])
        .exits(2)
        .says("write it as");
    sandbox
        .recover(["log", "db", "--table", "app.order"])
        .exits(5)
        .says("app.order is no table of db")
        .says("did you mean `app.orders`?");
    // The newest snapshot has it, though nothing changes it in that time.
    let unchanged = ["--table", "app.t", "--from", "2099-01-01 00:00"];
    assert_eq!(log_transactions(&sandbox, &unchanged), Vec::<Value>::new());
    sandbox.run(["log", "db"]).exits(6).says("identity");
    sandbox
        .recover(["log", "nothing"])
        .exits(5)
        .says("no log of nothing");
}

#[test]
fn a_lost_segment_is_named_and_moments_before_it_come_back() {
    let server = Mysql::start();
    let sandbox = archived_source(&server);
    for word in ["four", "five"] {
        server.execute(&format!("INSERT INTO app.t (v) VALUES ('{word}')"));
        archive(&sandbox, &server, &[]).exits(0);
    }
    let first = log_transactions(&sandbox, &[])[0]["committed"]
        .as_str()
        .unwrap()
        .to_owned();
    fs::remove_file(&log_segments(&sandbox)[1]).unwrap();
    sandbox
        .run(["verify"])
        .exits(4)
        .says("log segment 2")
        .says("missing");
    let target = Mysql::start();
    let ran = restore(&sandbox, &target, &["--until", "latest"]);
    ran.exits(5)
        .says("any point in time can be restored within");
    restore(&sandbox, &target, &["--point-in-time", &first]).exits(0);
    assert_eq!(
        target.value("SELECT GROUP_CONCAT(v ORDER BY id) FROM app.t"),
        "one,two,three"
    );
}

#[test]
fn a_changed_segment_is_refused_by_name() {
    let server = Mariadb::start();
    let sandbox = archived_source(&server);
    let segment = log_segments(&sandbox).remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    bytes[300] ^= 1;
    fs::write(&segment, bytes).unwrap();
    sandbox
        .recover(["verify", "--read-data"])
        .exits(4)
        .says("content does not match its hash");
    let target = Mariadb::start();
    restore(&sandbox, &target, &["--until", "latest"])
        .exits(4)
        .says("content does not match its hash");
}

#[test]
fn a_snapshot_proves_the_log_between_it_and_the_one_before() {
    let server = Mysql::start();
    let sandbox = archived_source(&server);
    server.execute("INSERT INTO app.t (v) SELECT v FROM app.t; UPDATE app.t SET v = 'z' WHERE id = 2; CREATE TABLE app.u AS SELECT * FROM app.t");
    sandbox.store(&server.root_url(), &[]).exits(0);
    server.execute("DELETE FROM app.t");
    archive(&sandbox, &server, &[]).exits(0);
    let target = Mysql::start();
    let ran = restore(&sandbox, &target, &["--until", "db@latest"]).exits(0);
    assert!(
        ran.stdout.contains("was compared with snapshot"),
        "{}",
        ran.stdout
    );
    assert_eq!(target.value("SELECT COUNT(*) FROM app.t"), "6");
}

#[test]
fn transactions_keep_their_numbers_when_that_is_asked_for() {
    let server = Mysql::start();
    let sandbox = archived_source(&server);
    for n in 0..20 {
        server.execute(&format!("INSERT INTO app.t (v) VALUES ('{n}')"));
    }
    archive(&sandbox, &server, &[]).exits(0);
    let target = Mysql::start();
    restore(&sandbox, &target, &["--until", "latest", "--keep-gtids"]).exits(0);
    let executed = "SELECT @@GLOBAL.gtid_executed";
    assert_eq!(target.value(executed), server.value(executed));
    let sum = "CHECKSUM TABLE app.t";
    assert_eq!(target.query(sum), server.query(sum));
    // What has a history of its own would mix the two.
    let used = Mysql::start();
    used.execute("CREATE DATABASE x; DROP DATABASE x");
    restore(&sandbox, &used, &["--until", "latest", "--keep-gtids"])
        .exits(6)
        .says("transactions of its own");
}

/// How many transactions are replayed while a restore is stopped.
const MANY: usize = 20_000;

/// A restore that was killed while it applied transactions under their numbers.
fn killed_in_a_replay(server: &Mysql, target: &Mysql) -> Sandbox {
    let sandbox = archived_source(server);
    server.execute("SET GLOBAL sync_binlog = 0; SET GLOBAL innodb_flush_log_at_trx_commit = 2");
    server.execute(&"INSERT INTO app.t (v) VALUES ('many');\n".repeat(MANY));
    archive(&sandbox, server, &[]).exits(0);
    let to = target.root_url();
    let mut restore = begin(
        sandbox.recovering(),
        [
            "restore",
            "db",
            "--to",
            &to,
            "--until",
            "latest",
            "--keep-gtids",
        ],
    );
    let replays = "SELECT @@GLOBAL.sync_binlog = 0 AND (SELECT COUNT(*) FROM app.t) > 10";
    let replays = || {
        target
            .try_query(replays)
            .is_ok_and(|rows| rows[0][0].as_deref() == Some("1"))
    };
    assert!(
        wait_for(&mut restore, replays),
        "it ended before it could be stopped"
    );
    kill(&mut restore);
    sandbox
}

fn same_and_durable(server: &Mysql, target: &Mysql) {
    for asked in ["SELECT @@GLOBAL.gtid_executed", "CHECKSUM TABLE app.t"] {
        assert_eq!(target.query(asked), server.query(asked));
    }
    let settings = "SELECT CONCAT(@@GLOBAL.sync_binlog, @@GLOBAL.innodb_flush_log_at_trx_commit)";
    assert_eq!(target.value(settings), "11");
}

#[test]
fn commits_that_are_not_waited_for_are_on_the_disk_in_the_end() {
    let (server, target) = (Mysql::start(), Mysql::start());
    let sandbox = killed_in_a_replay(&server, &target);
    restore(
        &sandbox,
        &target,
        &["--until", "latest", "--keep-gtids", "--resume"],
    )
    .exits(0);
    same_and_durable(&server, &target);
}

#[test]
fn a_target_that_died_while_commits_were_not_waited_for_is_begun_again() {
    let (server, mut target) = (Mysql::start(), Mysql::start());
    let sandbox = killed_in_a_replay(&server, &target);
    target.kill_server();
    target.restart();
    let arguments = ["--until", "latest", "--keep-gtids"];
    // It stays refused, also after the settings were put back.
    for _ in 0..2 {
        restore(&sandbox, &target, &[&arguments[..], &["--resume"]].concat())
            .exits(6)
            .says("was restarted")
            .says("--overwrite");
    }
    restore(
        &sandbox,
        &target,
        &[&arguments[..], &["--overwrite"]].concat(),
    )
    .exits(0);
    same_and_durable(&server, &target);
}

#[test]
fn while_the_repository_is_away_segments_wait_on_the_disk() {
    let server = Mysql::start();
    let sandbox = archived_source(&server);
    let (there, away) = (sandbox.path("repository"), sandbox.path("away"));
    let url = server.root_url();
    let args = [
        "archive",
        "db",
        "--url",
        url.as_str(),
        "--flush",
        "1s",
        "--spool",
        "spool",
    ];
    let mut archiver = begin(sandbox.command(), args);
    while server.idle_log_senders().is_empty() {}
    fs::rename(&there, &away).unwrap();
    fs::write(&there, "").unwrap();
    server.execute("INSERT INTO app.t (v) VALUES ('while it is away')");
    let spooled = || {
        let entries = fs::read_dir(sandbox.path("spool"))
            .into_iter()
            .flatten()
            .flatten();
        entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("0000"))
            .count()
    };
    while spooled() == 0 {}
    // Even when everything dies, it is there, and the next run stores it: the server need not have it any more.
    kill(&mut archiver);
    fs::remove_file(&there).unwrap();
    fs::rename(&away, &there).unwrap();
    let before = log_segments(&sandbox).len();
    archive(&sandbox, &server, &["--spool", "spool"]).exits(0);
    assert!(log_segments(&sandbox).len() > before && spooled() == 0);
    assert_eq!(log_transactions(&sandbox, &[]).len(), 2);
    sandbox.recover(["verify", "--read-data"]).exits(0);
}

#[test]
fn a_source_has_one_archiver() {
    let server = Mysql::start();
    let sandbox = archived_source(&server);
    let url = server.root_url();
    let args = ["archive", "db", "--url", url.as_str(), "--spool", "spool"];
    let mut archiver = begin(sandbox.command(), args);
    while server.idle_log_senders().is_empty() {}
    archive(&sandbox, &server, &["--spool", "spool"])
        .exits(6)
        .says("another archiver is running");
    kill(&mut archiver);
}

#[test]
fn a_decrypted_segment_is_a_file_for_the_vendors_program() {
    let server = Mysql::start();
    let sandbox = archived_source(&server);
    let segment = log_segments(&sandbox).remove(0);
    let script = format!(
        "set -euo pipefail; segment={}; size=$(stat -c %s \"$segment\"); length=$((16#$(tail -c 8 \"$segment\")))
         tail -c $((length + 16)) \"$segment\" | head -c \"$length\" | tail -n +2 | age -d -i {id} | zstd -dc | jq -r .source >&2
         head -c $((size - length - 16)) \"$segment\" | age -d -i {id} | zstd -dc",
        segment.display(),
        id = sandbox.path("id1").display(),
    );
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr).trim(), "db");
    let file = sandbox.path("segment.binlog");
    fs::write(&file, &output.stdout).unwrap();
    let read = Command::new("mariadb-binlog")
        .arg("--base64-output=decode-rows")
        .arg("-vv")
        .arg(&file)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&read.stdout).into_owned();
    assert!(
        output.stdout.starts_with(b"\xfebin") && text.contains("`app`.`t`"),
        "{text}"
    );
}

#[test]
fn what_the_target_refuses_is_named_and_goes_on_once_it_may() {
    let server = Mariadb::start();
    let sandbox = archived_source(&server);
    server.execute(
        "CREATE USER clerk@localhost IDENTIFIED BY 'x'; INSERT INTO app.t (v) VALUES ('four')",
    );
    archive(&sandbox, &server, &[]).exits(0);
    let target = Mariadb::start();
    target.execute("CREATE USER clerk@localhost IDENTIFIED BY 'another one'");
    let latest = ["--until", "latest"];
    restore(&sandbox, &target, &latest)
        .exits(1)
        .says("clerk")
        .says("drop it there");
    // It is not taken for done, however often it is tried.
    let resumed = ["--until", "latest", "--resume"];
    restore(&sandbox, &target, &resumed).exits(1).says("clerk");
    restore(&sandbox, &target, &["--resume"]).exits(6);
    target.execute("DROP USER clerk@localhost");
    restore(&sandbox, &target, &resumed).exits(0);
    assert_eq!(
        target.value("SELECT GROUP_CONCAT(v ORDER BY id) FROM app.t"),
        "one,two,three,four"
    );
}

#[test]
fn a_replica_takes_over_without_a_gap() {
    let (first, second) = (Mysql::start(), Mysql::start());
    let sandbox = archived_source(&first);
    // What follows it has its transactions under their numbers.
    let arguments = ["--until", "latest", "--keep-gtids"];
    restore(&sandbox, &second, &arguments).exits(0);
    second.execute("INSERT INTO app.t (v) VALUES ('on the second')");
    archive(&sandbox, &second, &[]).exits(0);
    // The first one, which fell behind, comes back as a replica would, and takes over again.
    let target = Mysql::start();
    restore(&sandbox, &target, &arguments).exits(0);
    target.execute("INSERT INTO app.t (v) VALUES ('on the third')");
    archive(&sandbox, &target, &[]).exits(0);
    let shown = show_source(&sandbox);
    assert_eq!(shown["restorable"].as_array().unwrap().len(), 1, "{shown}");
    assert_eq!(shown["gaps"].as_array().unwrap().len(), 0, "{shown}");
    let last = Mysql::start();
    restore(&sandbox, &last, &["--until", "latest"]).exits(0);
    assert_eq!(
        last.value("SELECT GROUP_CONCAT(v ORDER BY id) FROM app.t"),
        "one,two,three,on the second,on the third"
    );
}

#[test]
fn a_log_comes_over_an_encrypted_connection_with_a_checked_certificate() {
    let server = Mysql::start_with(&["--require-secure-transport=ON"]);
    let sandbox = archived_source(&server);
    let authority = sandbox.path("ca.pem");
    let directory = server.value("SELECT @@datadir");
    let mut copy = Command::new("docker");
    copy.arg("cp")
        .arg(format!("{}:{directory}ca.pem", server.container()));
    assert!(copy.arg(&authority).output().unwrap().status.success());
    let archive = |more: &str| {
        let url = format!("{}?{more}", server.root_url());
        sandbox.run(["archive", "db", "--url", &url, "--once"])
    };
    let checked = format!("tls=verify-ca&tls-ca={}", authority.display());
    server.execute("INSERT INTO app.t (v) VALUES ('four')");
    archive(&checked).exits(0);
    assert_eq!(log_transactions(&sandbox, &[]).len(), 2);
    archive("tls=verify-ca").exits(1).says("certificate");
    archive("tls=off").exits(1);
}

#[test]
fn a_server_that_stops_responding_is_left_and_found_again() {
    let server = Mysql::start();
    let sandbox = archived_source(&server);
    let mut archiver = ArchiverProcess::start(&sandbox, &server);
    let docker = |verb| {
        Command::new("docker")
            .args([verb, server.container()])
            .output()
            .unwrap()
    };
    assert!(docker("pause").status.success());
    assert!(archiver.waits_for_event("warning", "no heartbeat from the server"));
    assert!(docker("unpause").status.success());
    server.execute("INSERT INTO app.t (v) VALUES ('after the silence')");
    assert!(archiver.waits_for_event("archived", "\"transactions\":1"));
    archiver.stop();
    assert_eq!(log_transactions(&sandbox, &[]).len(), 2);
}

/// A server that is told to end a stream ends it as one of which everything was sent.
fn a_stream_that_is_ended_is_begun_again(server: &impl Database) {
    let sandbox = archived_source(server);
    let mut archiver = ArchiverProcess::start(&sandbox, server);
    for id in server.idle_log_senders() {
        server.execute(&format!("KILL QUERY {id}"));
    }
    assert!(archiver.waits_for_event("warning", "retrying"));
    server.execute("INSERT INTO app.t (v) VALUES ('afterwards')");
    assert!(archiver.waits_for_event("archived", "\"transactions\":1"));
    archiver.stop();
    assert_eq!(log_transactions(&sandbox, &[]).len(), 2);
}

#[test]
fn a_stream_that_mysql_ends_is_begun_again() {
    a_stream_that_is_ended_is_begun_again(&Mysql::start());
}

#[test]
fn a_stream_that_mariadb_ends_is_begun_again() {
    a_stream_that_is_ended_is_begun_again(&Mariadb::start());
}

/// Where transactions have sequence numbers, these begin again with each file; of files that were begun in
/// the same second the formats are equal.
#[test]
fn transactions_wait_for_those_of_the_file_before() {
    let server = Mysql::start();
    let sandbox = archived_source(&server);
    let file = format!(
        "{}FLUSH BINARY LOGS;",
        "UPDATE app.t SET id = id + 1 ORDER BY id DESC;".repeat(50)
    );
    server.execute(&file.repeat(20));
    archive(&sandbox, &server, &[]).exits(0);
    let target = Mysql::start();
    restore(&sandbox, &target, &["--until", "latest", "--keep-gtids"]).exits(0);
    let sum = "CHECKSUM TABLE app.t";
    assert_eq!(target.query(sum), server.query(sum));
}

/// An archiver that has just connected to what never answers is told to stop.
fn stopped_while_it_waits_for_an_answer(more: &[&str]) -> RunOutput {
    let unresponsive = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mysql://root@{}", unresponsive.local_addr().unwrap());
    let args = ["archive", "db", "--url", url.as_str()];
    let sandbox = Sandbox::new();
    let archiver = begin_captured(sandbox.command(), args.iter().chain(more));
    let connection = unresponsive.accept().unwrap();
    interrupt(&archiver);
    let ran = end(archiver);
    drop(connection);
    ran
}

#[test]
fn told_to_stop_while_a_server_does_not_respond_it_ends_well() {
    stopped_while_it_waits_for_an_answer(&[]).exits(0);
}

#[test]
fn what_was_to_store_everything_and_is_told_to_stop_says_so() {
    stopped_while_it_waits_for_an_answer(&["--once"]).exits(130);
}

/// After a reset the server goes on saying that it has nothing new, of a file that is not there any more.
fn a_reset_is_heard_of(server: &impl Database, reset: &str) {
    let sandbox = archived_source(server);
    let mut archiver = ArchiverProcess::start(&sandbox, server);
    server.execute("INSERT INTO app.t (v) VALUES ('before the reset')");
    assert!(archiver.waits_for_event("archived", "\"transactions\":1"));
    server.execute(reset);
    server.execute("INSERT INTO app.t (v) VALUES ('after the reset')");
    assert!(archiver.waits_for_event("warning", "binary log is no longer the one that it sends"));
    assert!(archiver.waits_for_event("alarm", "gap: the server"));
    archiver.stop_with_code(3);
}

#[test]
fn a_reset_while_mysql_is_followed_is_a_gap() {
    a_reset_is_heard_of(&Mysql::start(), "RESET BINARY LOGS AND GTIDS");
}

#[test]
fn a_reset_while_mariadb_is_followed_is_a_gap() {
    a_reset_is_heard_of(&Mariadb::start(), "RESET MASTER");
}

/// To how many X25519 recipients the content of the newest log segment is encrypted.
fn recipients_of_newest(sandbox: &Sandbox) -> usize {
    let bytes = fs::read(log_segments(sandbox).last().unwrap()).unwrap();
    let header = bytes.split(|byte| *byte == b'\n');
    let header = header.take_while(|line| !line.starts_with(b"---"));
    header
        .filter(|line| line.starts_with(b"-> X25519 "))
        .count()
}

#[test]
fn a_running_archiver_encrypts_nothing_more_to_a_removed_recipient() {
    let server = Mysql::start();
    let sandbox = archived_source(&server);
    let mut archiver = ArchiverProcess::start(&sandbox, &server);
    let mut store = |word: &str| {
        let before = log_segments(&sandbox).len();
        server.execute(&format!("INSERT INTO app.t (v) VALUES ('{word}')"));
        assert!(archiver.waits_for_event("archived", "transactions"));
        while log_segments(&sandbox).len() == before {}
    };
    store("for two");
    assert_eq!(recipients_of_newest(&sandbox), 2);
    let identity = fs::read_to_string(sandbox.path("id2")).unwrap();
    let public = identity.lines().find_map(|line| line.split_once("age1"));
    let public = format!("age1{}", public.unwrap().1);
    let remove = ["--json", "key", "remove", "--recipient", &public, "--yes"];
    let removed = sandbox.run(remove).exits(0).json();
    let writer = &removed["writers"]["logs"][0];
    assert_eq!(writer["source"], "db");
    assert_eq!(writer["has_current_recipients"], false, "{removed}");
    store("for one");
    assert_eq!(recipients_of_newest(&sandbox), 1);
    archiver.stop();
}

/// The repository as a host with these keys opens it.
fn opened_by(sandbox: &Sandbox, host: &Path) -> Repository {
    let options = OpenOptions {
        host: HostDirectory::new(host),
        identity_files: Vec::new(),
        cache: None,
        memory: None,
        pinned_signers: Vec::new(),
    };
    let backend = LocalBackend::new(sandbox.path("repository"));
    Repository::open(Arc::new(backend), &options).unwrap()
}

/// Stores a log segment without a predecessor, with the facts of the true end of the log, which its first host reads.
fn forge_segment(sandbox: &Sandbox, host: &Path, sequence: u64) {
    let own = opened_by(sandbox, &sandbox.path("config"));
    let log = own.load_log("db").unwrap();
    let Some(LogChainLink::Segment(end)) = log.chain().pop() else {
        unreachable!("the log has an end");
    };
    let end = log.segments[end].1.as_ref().unwrap();
    let forged = NewLogSegment {
        source: end.source.clone(),
        sequence,
        previous: None,
        written: end.written,
        program: end.program.clone(),
        facts: end.facts.clone(),
    };
    let repository = opened_by(sandbox, host);
    let sealed = repository.seal_log_segment(&forged, b"").unwrap();
    repository.store_log_segment(&sealed).unwrap();
}

#[test]
fn a_number_that_is_far_ahead_neither_stops_nor_misleads_an_archiver() {
    let greatest = 9_999_999_999_999_999;
    let server = Mysql::start();
    let sandbox = archived_source(&server);
    sandbox.add_second_host();
    forge_segment(&sandbox, &sandbox.path("second"), greatest);
    let before = log_transactions(&sandbox, &[]).len();
    server.execute("INSERT INTO app.t (v) VALUES ('true')");
    archive(&sandbox, &server, &[]).exits(0).says("is ignored");
    assert_eq!(log_transactions(&sandbox, &[]).len(), before + 1);
    // With the host's own key it is believed, and said.
    forge_segment(&sandbox, &sandbox.path("config"), greatest);
    server.execute("INSERT INTO app.t (v) VALUES ('more')");
    archive(&sandbox, &server, &[])
        .exits(1)
        .says("10000000000000000 is not the number of a log segment");
}

#[test]
fn a_log_that_was_archived_for_others_is_not_called_missing_or_damaged() {
    let server = Mysql::start();
    let sandbox = archived_source(&server);
    let listed = sandbox.run(["--json", "key", "list"]).exits(0).json();
    let add = ["key", "add", "--generate-identity", "id3"];
    sandbox.run(add).exits(0);
    let old = listed["recipients"].as_array().unwrap().iter();
    for recipient in old.filter(|recipient| recipient["class"] == "data") {
        let key = recipient["key"].as_str().unwrap();
        let remove = ["key", "remove", "--recipient", key, "--yes"];
        sandbox.run(remove).exits(0);
    }
    let mut both = sandbox.command();
    for id in ["id1", "id3"] {
        both.arg("--identity").arg(sandbox.path(id));
    }
    ran(both.args(["key", "rotate", "--reencrypt", "--yes"])).exits(0);
    let new = |config: &str, args: &[&str]| {
        let mut command = sandbox.command();
        command.env("REPRISE_CONFIG_DIR", sandbox.path(config));
        command.env("REPRISE_CACHE_DIR", sandbox.path(config).join("cache"));
        command.env("REPRISE_IDENTITY", sandbox.path("id3"));
        let said = ran(command.args(args));
        let all = format!("{}{}", said.stdout, said.stderr);
        for wrong in ["is archived", "damaged", "is missing"] {
            assert!(!all.contains(wrong), "{args:?}: {all}");
        }
        said
    };
    let target = Mysql::start();
    let url = target.root_url();
    let restore = ["restore", "db", "--to", &url, "--until", "latest"];
    for config in ["config", "elsewhere"] {
        new(config, &["log", "db"])
            .exits(6)
            .says("give the identity of");
        new(config, &["verify", "--read-data"])
            .exits(3)
            .says("log segment");
        new(config, &["show", "db"]).exits(0);
        new(config, &restore).exits(6).says("give the identity of");
    }
    let shown = new("elsewhere", &["--json", "show", "db"]).exits(0).json();
    assert_eq!(shown["gaps"], serde_json::json!([]), "{shown}");
    assert!(shown["unreadable"].as_str().is_some(), "{shown}");
}
