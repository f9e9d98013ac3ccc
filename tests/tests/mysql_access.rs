//! Who asks a database server, how, and with which privileges: what the account may not see is named, what it need
//! not have is not asked for, and a password is shown nowhere.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;

use reprise_mysql::wire::WireConnection;
use reprise_mysql::{Address, DatabaseError, Session};
use reprise_repository::Progress;
use reprise_tests::servers::{Database, Impostor, Mariadb, Mysql, Trick};
use support::databases::{ACCOUNT, assert_free, make_account, privileges};
use support::{RunOutput, Sandbox};

/// One of each kind whose definition a privilege can hide.
const OBJECTS: &str = "
CREATE DATABASE app;
CREATE TABLE app.t (id INT PRIMARY KEY, v INT) ENGINE = InnoDB;
INSERT INTO app.t VALUES (1, 2), (3, 4);
CREATE VIEW app.view_of_t AS SELECT id FROM app.t;
CREATE PROCEDURE app.routine() SELECT 1;
CREATE TRIGGER app.guard BEFORE UPDATE ON app.t FOR EACH ROW SET NEW.v = NEW.v;
CREATE EVENT app.daily ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1;
CREATE DATABASE other;
CREATE TABLE other.t (id INT PRIMARY KEY) ENGINE = InnoDB;
";

/// What a snapshot by an account with these privileges must give.
struct AccountCase {
    grants: &'static [&'static str],
    args: &'static [&'static str],
    exit: i32,
    /// Words of its messages.
    says: &'static [&'static str],
    consistency: &'static str,
}

impl AccountCase {
    fn check(&self, server: &impl Database) {
        let sandbox = Sandbox::new();
        let grants: Vec<String> = self
            .grants
            .iter()
            .map(|grant| format!("{grant} {ACCOUNT}@'%';\n"))
            .collect();
        server.execute(&format!("CREATE USER {ACCOUNT}@'%'; {}", grants.concat()));
        let ran = sandbox.store(&server.url(ACCOUNT, ""), self.args);
        let ran = self.says.iter().fold(
            named(ran, &format!("{:?} {:?}", self.grants, self.args)).exits(self.exit),
            |ran, words| ran.says(words),
        );
        if matches!(ran.code, Some(0 | 3)) {
            let shown = sandbox.shown();
            assert_eq!(shown["facts"]["consistency"], self.consistency, "{shown}");
        }
        assert_free(server, ACCOUNT);
        server.execute(&format!("DROP USER {ACCOUNT}@'%'"));
    }
}

/// Says what was run when something is not as demanded.
fn named(mut ran: RunOutput, name: &str) -> RunOutput {
    ran.stderr = format!("{name}\n{}", ran.stderr);
    ran
}

const MYSQL: &str =
    "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, PROCESS, REPLICATION CLIENT ON *.* TO";
const ADMIN: &str = "GRANT SHOW_ROUTINE, BACKUP_ADMIN ON *.* TO";
const APP: &str = "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON app.* TO";
const STATUS: &str = "GRANT SELECT ON performance_schema.log_status TO";

const CASES_OF_MYSQL: [AccountCase; 11] = [
    AccountCase {
        grants: &[MYSQL, ADMIN],
        args: &[],
        exit: 0,
        says: &[],
        consistency: "log-status",
    },
    AccountCase {
        grants: &[MYSQL],
        args: &[],
        exit: 0,
        says: &[],
        consistency: "gtid",
    },
    AccountCase {
        grants: &["GRANT SELECT ON *.* TO"],
        args: &[],
        exit: 6,
        says: &["SHOW VIEW", "view_of_t", "docs/mysql.md"],
        consistency: "",
    },
    AccountCase {
        grants: &["GRANT SELECT, SHOW VIEW ON *.* TO"],
        args: &[],
        exit: 3,
        says: &[
            "triggers of database `app` may be missing: the account has no TRIGGER privilege",
            "events of database `other` may be missing: the account has no EVENT privilege",
        ],
        consistency: "gtid",
    },
    AccountCase {
        grants: &[APP, "GRANT BACKUP_ADMIN ON *.* TO", STATUS],
        args: &["--no-users", "--database", "app"],
        exit: 3,
        says: &[
            "routines of database `app` may be missing: the account has no SHOW_ROUTINE privilege",
        ],
        consistency: "log-status",
    },
    AccountCase {
        grants: &[APP, ADMIN, STATUS],
        args: &["--no-users", "--database", "app"],
        exit: 0,
        says: &[],
        consistency: "log-status",
    },
    AccountCase {
        grants: &[APP, ADMIN],
        args: &["--database", "app"],
        exit: 3,
        says: &["users and roles are not included", "--no-users"],
        consistency: "gtid",
    },
    AccountCase {
        grants: &[APP, ADMIN],
        args: &["--no-users"],
        exit: 3,
        says: &["databases may be missing", "--database"],
        consistency: "gtid",
    },
    AccountCase {
        grants: &[APP, ADMIN, "GRANT SHOW DATABASES ON *.* TO"],
        args: &["--no-users"],
        exit: 6,
        says: &["to database 'other'"],
        consistency: "",
    },
    AccountCase {
        grants: &[APP, ADMIN],
        args: &["--no-users", "--database", "app", "--database", "other"],
        exit: 3,
        says: &["no database matches `other`"],
        consistency: "gtid",
    },
    AccountCase {
        grants: &[MYSQL, ADMIN, "REVOKE SELECT ON other.* FROM"],
        args: &["--no-users"],
        exit: 6,
        says: &["SELECT command denied", "table 't'"],
        consistency: "",
    },
];

#[test]
fn what_a_mysql_account_may_not_see_is_named() {
    let server = Mysql::start_with(&["--partial-revokes=ON"]);
    server.execute(OBJECTS);
    CASES_OF_MYSQL.iter().for_each(|case| case.check(&server));
    server.execute("CREATE USER two@'%' IDENTIFIED BY 'old'; ALTER USER two@'%' IDENTIFIED BY 'new' RETAIN CURRENT PASSWORD;");
    AccountCase {
        grants: &[MYSQL, ADMIN],
        args: &[],
        exit: 3,
        says: &["the secondary password of 'two'@'%' is not included"],
        consistency: "log-status",
    }
    .check(&server);
}

#[test]
fn without_transaction_numbers_mysql_takes_the_best_way_that_is_left() {
    let server = Mysql::start_with(&["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]);
    server.execute(OBJECTS);
    let case = |grants, consistency| AccountCase {
        grants,
        args: &[],
        exit: 0,
        says: &[],
        consistency,
    };
    case(&[MYSQL, ADMIN], "log-status").check(&server);
    case(&[MYSQL, "GRANT RELOAD ON *.* TO"], "global-read-lock").check(&server);
    case(&[MYSQL, "GRANT FLUSH_TABLES ON *.* TO"], "global-read-lock").check(&server);
    case(
        &["GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON *.* TO"],
        "one-connection",
    )
    .check(&server);
}

const MARIADB: &str = "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON *.* TO";

#[test]
fn what_a_mariadb_account_may_not_see_is_named() {
    let server = Mariadb::start();
    server.execute(OBJECTS);
    let cases = [
        AccountCase {
            grants: &[MARIADB],
            args: &[],
            exit: 0,
            says: &[],
            consistency: "binlog-snapshot",
        },
        AccountCase {
            grants: &["GRANT SELECT ON *.* TO"],
            args: &[],
            exit: 6,
            says: &["SHOW VIEW", "view_of_t"],
            consistency: "",
        },
        AccountCase {
            grants: &["GRANT SELECT, SHOW VIEW ON *.* TO"],
            args: &[],
            exit: 3,
            says: &[
                "triggers of database `app` may be missing",
                "events of database `app` may be missing",
            ],
            consistency: "binlog-snapshot",
        },
        AccountCase {
            grants: &[APP],
            args: &["--no-users"],
            exit: 3,
            says: &[
                "routines of database `app` may be missing",
                "databases may be missing",
            ],
            consistency: "binlog-snapshot",
        },
        AccountCase {
            grants: &[APP, "GRANT SELECT ON mysql.* TO"],
            args: &["--no-users", "--database", "app"],
            exit: 0,
            says: &[],
            consistency: "binlog-snapshot",
        },
    ];
    cases.iter().for_each(|case| case.check(&server));
}

#[test]
fn without_a_binary_log_mariadb_takes_the_best_way_that_is_left() {
    let server = Mariadb::start_with(&["--skip-log-bin"]);
    server.execute(OBJECTS);
    let case = |grants, consistency| AccountCase {
        grants,
        args: &[],
        exit: 0,
        says: &[],
        consistency,
    };
    case(
        &[MARIADB, "GRANT RELOAD, BINLOG MONITOR ON *.* TO"],
        "global-read-lock",
    )
    .check(&server);
    case(&[MARIADB], "one-connection").check(&server);
}

#[test]
fn a_server_that_lets_nobody_in_is_named_with_a_way_out() {
    let server = Mysql::start();
    make_account(&server);
    server.execute(
        "CREATE USER expired@'%' IDENTIFIED BY 'old' PASSWORD EXPIRE; GRANT SELECT ON *.* TO expired@'%';",
    );
    let sandbox = Sandbox::new();
    sandbox
        .store(&server.url(ACCOUNT, "wrong"), &[])
        .exits(6)
        .says("Access denied")
        .says("check user and password");
    sandbox
        .store(&server.url("expired", "old"), &[])
        .exits(6)
        .says("set a new password");
    sandbox
        .store("mysql://backup@no-such-host.invalid/", &[])
        .exits(1)
        .says("mysql://backup@no-such-host.invalid:3306/")
        .says("check host");
    // Nobody listens at a port that was just given back.
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let address = format!("mysql://backup@127.0.0.1:{port}/");
    sandbox
        .store(&address, &[])
        .exits(1)
        .says(&address)
        .says("check host, port");
    sandbox
        .store("mysql://backup@/?container=no-such-container", &[])
        .exits(1)
        .says("container no-such-container cannot be reached: there is no such container");
    assert!(sandbox.objects("snapshots").is_empty());
}

#[test]
fn a_certificate_is_checked_when_that_is_asked_for() {
    let server = Mysql::start();
    make_account(&server);
    server.execute("CREATE DATABASE app");
    let sandbox = Sandbox::new();
    let url = |parameters: &str| format!("{}?{parameters}", server.url(ACCOUNT, ""));
    sandbox.store(&url("tls=required"), &[]).exits(0);
    sandbox
        .store(&url("tls=verify-ca"), &[])
        .exits(1)
        .says("certificate")
        .says("tls-ca");
    let authority = sandbox.path("ca.pem");
    let directory = server.value("SELECT @@datadir");
    let mut copy = Command::new("docker");
    copy.arg("cp")
        .arg(format!("{}:{directory}ca.pem", server.container()));
    assert!(copy.arg(&authority).output().unwrap().status.success());
    let authority = authority.display();
    sandbox
        .store(&url(&format!("tls=verify-ca&tls-ca={authority}")), &[])
        .exits(0);
    // It is of no host in particular, least of all of this one.
    sandbox
        .store(
            &url(&format!("tls=verify-identity&tls-ca={authority}")),
            &[],
        )
        .exits(1)
        .says("certificate");
    let plain = Mariadb::start_with(&["--skip-ssl"]);
    plain.execute("CREATE DATABASE app");
    make_account(&plain);
    let plain = plain.url(ACCOUNT, "");
    sandbox
        .store(&format!("{plain}?tls=required"), &[])
        .exits(6)
        .says("does not support TLS")
        .says("tls=off");
    sandbox.store(&plain, &[]).exits(0);
}

/// A password that nothing else contains.
const SECRET: &str = "hunter2secret";

#[test]
fn a_password_is_found_in_many_places_and_shown_in_none() {
    let server = Mysql::start();
    server.execute(&format!(
        "CREATE DATABASE app; CREATE USER {ACCOUNT}@'%' IDENTIFIED BY '{SECRET}'; {} {ACCOUNT}@'%'",
        privileges(&server)
    ));
    let mut sandbox = Sandbox::new();
    let (open, bare) = (server.url(ACCOUNT, SECRET), server.url(ACCOUNT, ""));
    let ran = sandbox
        .store(&open, &["-vvv"])
        .exits(0)
        .says("warning: a password in a URL");
    assert_secret(&ran);
    for args in [vec!["show", "db"], vec!["--json", "show", "db"]] {
        let shown = sandbox.recover(args).exits(0);
        assert!(shown.stdout.contains(ACCOUNT));
        assert_secret(&shown);
    }
    assert_secret(
        &sandbox
            .store(&server.url("nobody", SECRET), &["-vvv"])
            .exits(6),
    );
    assert_secret(
        &sandbox
            .store(&format!("{open}?tls=maybe"), &["-vvv"])
            .exits(2),
    );

    let file = sandbox.path("my.cnf");
    fs::write(
        &file,
        format!("[client]\nuser = {ACCOUNT}\npassword = \"{SECRET}\" \n"),
    )
    .unwrap();
    let file = file.display().to_string();
    let nobody = format!("mysql://127.0.0.1:{}/", server.port());
    let ran = sandbox
        .store(&nobody, &["-vvv", "--defaults-file", &file])
        .exits(0);
    assert_secret(&ran);
    sandbox
        .store(&format!("{nobody}?defaults-file={file}"), &[])
        .exits(0);
    let ran = sandbox.store(&nobody, &["--defaults-file", "/no/such"]);
    ran.exits(2).says("/no/such");

    sandbox.store(&bare, &[]).exits(6);
    sandbox.set_envs(vec![("MYSQL_PWD".to_owned(), SECRET.to_owned())]);
    assert_secret(&sandbox.store(&bare, &["-vvv"]).exits(0));
    // The container is asked for its address.
    let inside = format!("mysql://{ACCOUNT}@/?container={}", server.container());
    sandbox.store(&inside, &[]).exits(0);
    let shown = sandbox.shown();
    assert!(shown.to_string().contains(server.container()), "{shown}");
}

fn assert_secret(ran: &RunOutput) {
    assert!(
        !ran.stdout.contains(SECRET) && !ran.stderr.contains(SECRET),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_is_named_but_not_there_is_told() {
    let server = Mariadb::start();
    make_account(&server);
    let sandbox = Sandbox::new();
    let url = format!(
        "mysql://root@localhost/?socket={}",
        server.socket().display()
    );
    server.execute("DROP DATABASE IF EXISTS test");
    sandbox
        .store(&url, &[])
        .exits(5)
        .says("has no database that the account can see");
    server.execute(OBJECTS);
    sandbox.store(&url, &["--database", "a*"]).exits(0);
    sandbox
        .store(&url, &["--database", "shop_*", "--database", "crm"])
        .exits(5)
        .says("has no database that matches shop_*, crm");
    sandbox
        .store(&url, &["--database", "app", "--database", "shop_*"])
        .exits(3)
        .says("no database matches `shop_*`");
    sandbox
        .store(&url, &["--table", "app.t", "--table", "app.order*"])
        .exits(3)
        .says("no table or view matches `app.order*`");
    sandbox
        .store(&format!("{}crm", server.url(ACCOUNT, "")), &[])
        .exits(5)
        .says("crm");
    sandbox
        .store(&url, &["--table", "orders"])
        .exits(2)
        .says("orders");
}

/// A key of nobody who matters here.
const FOREIGN_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAthP6G8IoJyCl3in8GHm2\n\
    1OhgD19I10mcVtV2goUuk1EDsUci00Fp/V1bGtlWybE6K55FnkHfb6JriErPJRsN\n\
    Pnyub7+5pLTF2wwyRJGgsKw59H08m4/62tbLp0UXuTt4PKFsHdtCUobp+0n4kPd5\n\
    rBm4a+qWvMhF+WwRlygSqBylf7Pyl0opArrZha3KjzXW4s3kmmxKb3GuBhTsaNp0\n\
    f4izKs4Eu59qLspJHL5C3Tx1hVzNWVvc1HCzivZku269fKDsIde2E4cQMTfmWi1A\n\
    ywyLCdcXzq9IwxHCb0S3LGeOqihFaDwRWHFqLlYXWPt3BpnBlzibmnRBKH+Ww51/\n\
    hQIDAQAB\n\
    -----END PUBLIC KEY-----\n";

/// What comes of connecting as a session and as the receiver of a log, each at its turn, to somebody on another host. To
/// connect, `0.0.0.0` is this machine; by its address it is none that never leaves it.
fn connect_both(impostor: &Impostor, host: &str, parameters: &str) -> [DatabaseError; 2] {
    let url = format!(
        "mysql://backup:{SECRET}@{host}:{}/?{parameters}",
        impostor.port()
    );
    let address = Address::parse(&url).unwrap();
    let progress = Arc::new(Progress::default());
    [
        Session::open(&address, &progress).unwrap_err(),
        WireConnection::open(&address, &progress).unwrap_err(),
    ]
}

#[test]
fn nobody_gets_a_password_over_a_connection_that_is_not_encrypted() {
    let full = || Impostor::start(Trick::FullAuthentication(FOREIGN_KEY));
    let another = full();
    for error in connect_both(&another, "0.0.0.0", "") {
        assert!(
            matches!(error, DatabaseError::TlsNotOffered { .. }),
            "{error}"
        );
    }
    assert_eq!(another.received(), b"", "not even the account's name");
    for (trick, refused) in [
        (
            Trick::FullAuthentication(FOREIGN_KEY),
            "the password is not sent",
        ),
        (Trick::ClearPassword, "mysql_clear_password"),
    ] {
        let impostor = Impostor::start(trick);
        for error in connect_both(&impostor, "0.0.0.0", "tls=off") {
            assert!(error.to_string().contains(refused), "{error}");
        }
        let received = impostor.received();
        let text = String::from_utf8_lossy(&received);
        assert!(text.contains("backup") && !text.contains(SECRET), "{text}");
        assert!(
            received.len() < 400,
            "it is more than two logins: {}",
            received.len()
        );
    }
}

#[test]
fn a_password_is_encrypted_to_the_key_that_is_given() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key.pem");
    fs::write(&key, FOREIGN_KEY).unwrap();
    let impostor = Impostor::start(Trick::FullAuthentication("not asked for"));
    let given = format!("tls=off&server-public-key={}", key.display());
    connect_both(&impostor, "0.0.0.0", &given);
    let received = impostor.received();
    assert!(received.len() > 2 * 256, "{}", received.len());
    assert!(!String::from_utf8_lossy(&received).contains(SECRET));
}

#[test]
fn a_malformed_key_of_a_server_is_an_error() {
    for key in [
        "",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    ] {
        let impostor = Impostor::start(Trick::FullAuthentication(key));
        for error in connect_both(&impostor, "127.0.0.1", "") {
            assert!(
                error.to_string().contains("public key is not valid"),
                "{error}"
            );
        }
    }
}

#[test]
fn a_server_on_another_host_is_the_one_that_was_seen_first() {
    let server = Mysql::start();
    server.execute(&format!(
        "CREATE DATABASE app; CREATE USER {ACCOUNT}@'%' IDENTIFIED BY '{SECRET}'; {} {ACCOUNT}@'%'",
        privileges(&server)
    ));
    let mut sandbox = Sandbox::new();
    sandbox.set_envs(vec![("MYSQL_PWD".to_owned(), SECRET.to_owned())]);
    let url = format!("mysql://{ACCOUNT}@0.0.0.0:{}/", server.port());
    let first = sandbox
        .store(&url, &[])
        .exits(0)
        .says("first connection to 0.0.0.0:");
    assert_eq!(
        first.stderr.matches("first connection").count(),
        1,
        "{}",
        first.stderr
    );
    let again = sandbox.store(&url, &[]).exits(0);
    assert!(
        !again.stderr.contains("first connection"),
        "{}",
        again.stderr
    );
    let pins: Vec<_> = fs::read_dir(sandbox.path("config/servers"))
        .unwrap()
        .collect();
    let pin = pins.into_iter().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&pin).unwrap();
    let known: serde_json::Value = serde_json::from_str(&text).unwrap();
    let known = known["public_key_sha256"].as_str().unwrap();
    fs::write(&pin, text.replace(known, &"0".repeat(64))).unwrap();
    let refused = sandbox.store(&url, &[]).exits(6).says("another public key");
    refused
        .says(known)
        .says(&format!("delete {}", pin.display()));
    sandbox.store(&format!("{url}?tls=required"), &[]).exits(6);
    fs::remove_file(pin).unwrap();
    sandbox.store(&url, &[]).exits(0);
    sandbox
        .store(&format!("{url}?tls=verify-identity"), &[])
        .exits(1)
        .says("certificate");
}
