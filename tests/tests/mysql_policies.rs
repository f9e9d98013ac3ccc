//! A policy with a database server, from the example: checking, running, drills.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;

use reprise_tests::servers::{Database, Mariadb, Mysql};
use support::Sandbox;

/// Databases of which the example takes some, and the account of docs/mysql.md for snapshots.
const SERVER: &str = "
CREATE DATABASE app; CREATE DATABASE shop_1; CREATE DATABASE others;
CREATE TABLE app.customers (id INT PRIMARY KEY, name VARCHAR(50));
INSERT INTO app.customers VALUES (1, 'Ada'), (2, 'Grace');
CREATE TABLE app.cache_pages (id INT PRIMARY KEY);
CREATE TABLE shop_1.sold (id INT PRIMARY KEY);
CREATE TABLE others.secrets (id INT PRIMARY KEY);
CREATE USER backup@'%' IDENTIFIED BY 'it''s secret';
GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, PROCESS ON *.* TO backup@'%';
";

const POLICY: &str = "clone/policies/examples/mysql.yaml";

/// The example, for this server.
fn example(server: &impl Database) -> Sandbox {
    server.execute(SERVER);
    let mut sandbox = Sandbox::bare();
    sandbox.set_envs(vec![("DB_PASSWORD".to_owned(), "it's secret".to_owned())]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("policies/examples/mysql.yaml")).unwrap();
    let text = text.replace("127.0.0.1:3306", &server.endpoint());
    fs::create_dir_all(sandbox.path("clone/policies/examples")).unwrap();
    fs::write(sandbox.path(POLICY), text).unwrap();
    sandbox
}

/// Changes the policy.
fn change(sandbox: &Sandbox, from: &str, to: &str) {
    let text = fs::read_to_string(sandbox.path(POLICY)).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(sandbox.path(POLICY), text.replace(from, to)).unwrap();
}

#[test]
fn the_example_takes_what_it_names() {
    let server = Mysql::start();
    server.execute(
        "CREATE ROLE more; GRANT SHOW_ROUTINE, BACKUP_ADMIN, REPLICATION CLIENT ON *.* TO more;",
    );
    let sandbox = example(&server);
    server.execute("GRANT more TO backup@'%'; SET DEFAULT ROLE more TO backup@'%'");
    sandbox
        .run(["policy", "check", "--policies", POLICY])
        .exits(0);
    sandbox.run(["run", "--policies", POLICY]).exits(0);
    let repository = sandbox.path("clone/scratch/mysql/repository");
    let identity = sandbox.path("clone/scratch/mysql/keys/recovery-1.txt");
    let at = [
        "-r".as_ref(),
        repository.as_os_str(),
        "--identity".as_ref(),
        identity.as_os_str(),
    ];
    let asked = |args: &[&str]| {
        let args = args.iter().map(AsRef::as_ref);
        sandbox.run(at.into_iter().chain(args)).exits(0)
    };
    let listed = asked(&["ls", "app-db", "data"]).stdout;
    for table in [
        "data/app/customers",
        "data/shop_1/sold",
        "cache_pages",
        "others",
    ] {
        let rows = table == "data/app/customers";
        assert_eq!(listed.contains(table), rows, "{table}: {listed}");
    }
    let json = asked(&["--json", "snapshots"]).json();
    let facts = &json["snapshots"][0]["facts"];
    assert_eq!(
        (&facts["connections"], &facts["consistency"]),
        (&4.into(), &"log-status".into())
    );
    assert_eq!(facts["objects"]["tables"], 2);
}

#[test]
fn a_drill_compares_the_files_of_a_server() {
    let server = Mariadb::start();
    let sandbox = example(&server);
    let drill = ["--json", "drill", "--policies", POLICY];
    let ran = sandbox.run(drill).exits(0);
    let report = &ran.json()["reports"][0];
    let checks = report["checks"].as_array().unwrap();
    let equal = checks
        .iter()
        .find(|check| check["name"] == "equal to the snapshot");
    let detail = equal.unwrap()["detail"].as_str().unwrap();
    assert!(
        detail.contains("have the attributes and hashes of the snapshot"),
        "{detail}"
    );
    assert!(checks.len() >= 7 && checks.iter().all(|check| check["passed"] == true));
    change(&sandbox, "data/app/customers/*", "data/app/clients/*");
    let ran = sandbox.run(["drill", "--policies", POLICY]).exits(4);
    assert!(
        ran.stdout.contains("FAIL  data/app/clients/*"),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_password_comes_from_a_file_too() {
    let server = Mariadb::start();
    let sandbox = example(&server);
    let file = sandbox.path("clone/policies/examples/password");
    fs::write(&file, "it's secret\n").unwrap();
    change(&sandbox, "${env:DB_PASSWORD}", "file:password");
    sandbox.run(["run", "--policies", POLICY]).exits(0);
    fs::write(&file, "guessed").unwrap();
    let ran = sandbox.run(["run", "--policies", POLICY]);
    assert_ne!(ran.code, Some(0));
    assert!(!ran.stderr.contains("guessed"), "{}", ran.stderr);
    ran.says("Access denied for user");
}
