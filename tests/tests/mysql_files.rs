//! A snapshot of a server as plain files: the vendor's client alone brings everything back, as the guide in the
//! directory says.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use reprise_tests::servers::{Database, Mariadb, Mysql, differences};
use reprise_tests::zoo::Zoo;
use support::Sandbox;
use support::mysql::described;

/// A server beside which commands can be run in a directory with the files.
trait VendorClient: Database {
    fn shell(&self, directory: &Path, commands: &str) -> Command;
}

impl VendorClient for Mysql {
    fn shell(&self, directory: &Path, commands: &str) -> Command {
        let to = format!("{}:/restored", self.container());
        let copied = Command::new("docker")
            .arg("cp")
            .arg(directory)
            .arg(to)
            .output();
        let copied = copied.unwrap();
        assert!(copied.status.success(), "{copied:?}");
        let mut shell = Command::new("docker");
        shell
            .args(["exec", "--workdir=/restored", self.container()])
            .args(["sh", "-ec", commands]);
        shell
    }
}

impl VendorClient for Mariadb {
    fn shell(&self, directory: &Path, commands: &str) -> Command {
        let socket = self.socket().display().to_string();
        let options = format!("[client]\nuser=root\nsocket={socket}\n");
        let home = directory.parent().unwrap();
        fs::write(home.join(".my.cnf"), options).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-ec", commands]).current_dir(directory);
        shell.env("HOME", home);
        shell
    }
}

/// The commands in the guide.
fn commands(directory: &Path) -> String {
    let guide = fs::read_to_string(directory.join("README.txt")).unwrap();
    let lines = guide.lines().filter(|line| line.starts_with("mysql "));
    lines.collect::<Vec<_>>().join("\n")
}

/// Does what the guide says; what the clients say about views that cannot be is the only complaint.
fn load(target: &impl VendorClient, directory: &Path) {
    let output = target
        .shell(directory, &commands(directory))
        .output()
        .unwrap();
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{messages}");
    let wrong = messages.lines().find(|line| {
        let expected = line.contains("ERROR 1146") || line.contains("ERROR 1356");
        line.contains("ERROR") && !expected
    });
    assert_eq!(wrong, None, "{messages}");
}

fn loads_everything<D: VendorClient + Zoo>(source: &D, target: &D, more: &str) {
    source.load_zoo();
    source.execute(more);
    let sandbox = Sandbox::new();
    let url = source.root_url();
    let snapshot = ["snapshot", "mysql", &url, "--source", "zoo"];
    sandbox
        .run(snapshot.into_iter().chain(["--hold-nontransactional"]))
        .exits(0);
    load(target, &sandbox.restore("zoo", "files"));
    let (before, after) = (described(source), described(target));
    assert_eq!(differences(&before, &after), Default::default());
}

/// A database's collation that changed after its routines were made.
const CHANGED_COLLATION: &str = "
CREATE DATABASE changed COLLATE latin1_bin;
CREATE PROCEDURE changed.old(a VARCHAR(9)) SELECT a;
CREATE TABLE changed.t (id INT PRIMARY KEY);
CREATE TRIGGER changed.tr BEFORE INSERT ON changed.t FOR EACH ROW SET NEW.id = 1;
ALTER DATABASE changed COLLATE utf8mb4_bin;
";

/// A view that needs the privileges of another one's owner, and the other way round a privilege on a view.
const OWNED: &str = "
CREATE DATABASE owned; CREATE TABLE owned.t (id INT PRIMARY KEY);
CREATE USER owning@'%' IDENTIFIED BY 'a'; GRANT SELECT ON owned.* TO owning@'%';
CREATE DEFINER = owning@'%' VIEW owned.v AS SELECT id FROM owned.t;
CREATE VIEW owned.chain AS SELECT id FROM owned.v;
CREATE USER viewing@'%'; GRANT SELECT ON owned.chain TO viewing@'%';
";

#[test]
fn the_mysql_client_alone_brings_everything_back() {
    let protected = "CREATE DATABASE kept; CREATE TABLE kept.t (id INT PRIMARY KEY); \
                     INSERT INTO kept.t VALUES (1); ALTER DATABASE kept READ ONLY = 1;";
    let more = format!("{CHANGED_COLLATION}{OWNED}{protected}");
    loads_everything(&Mysql::start(), &Mysql::start(), &more);
}

#[test]
fn the_mariadb_client_alone_brings_everything_back() {
    let more = format!("{CHANGED_COLLATION}{OWNED}");
    loads_everything(&Mariadb::start(), &Mariadb::start(), &more);
}
