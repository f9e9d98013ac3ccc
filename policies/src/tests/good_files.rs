//! Good files: how they are decoded, and which source or drill an argument names.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::{BASE, parse};
use crate::{
    Expectation, IdentityRef, LogArchive, PolicyLockMode, PolicyMysqlSource, PolicySet,
    PolicySourceKind, SecretRef, TlsMode,
};

#[test]
fn defaults_are_what_the_manual_says() {
    let set = parse(BASE).unwrap();
    let policy = set.policy("test").unwrap();
    assert_eq!(policy.base_dir, Path::new("/policies"));
    assert_eq!(policy.time_zone, crate::TimeZone::utc());
    assert_eq!(
        policy.repositories["main"].url.directory(),
        Some(Path::new("/policies/repo"))
    );
    let source = &policy.sources["etc"];
    assert_eq!(source.repositories, ["main"]);
    assert_eq!(source.shrink_alarm.map(crate::Percent::get), Some(50));
    assert_eq!(source.retention, None);
}

#[test]
fn every_value_arrives() {
    let text = "\
version: 1
time_zone: Europe/Paris
repositories:
  main: {url: s3://b/p, identity: \"${env:IDENTITY}\"}
sources:
  dump:
    command: {run: [pg_dump, '', 1.10], env: {PGPASSWORD: 'file:../pw', PGUSER: app, DEBUG: true, E: ''}, timeout: 2h}
    retention: standard
    shrink_alarm: off
retention: {standard: {last: 3, within: 14d}}
drills:
  d:
    source: dump
    checks:
      - {path: a, json_pointer: /serial, equals: 3}
      - {path: a, json_pointer: /name, equals: '3'}
      - {path: a, mode: 0640, size_at_least: 1KiB}
    budget: {data_loss: 26h}
";
    let set = parse(text).unwrap();
    let policy = &set.policies()[0];
    let source = &policy.sources["dump"];
    let PolicySourceKind::Command(command) = &source.kind else {
        panic!("not a command")
    };
    assert_eq!(command.run, ["pg_dump", "", "1.10"]);
    assert_eq!(command.env["PGPASSWORD"], SecretRef::File("/pw".into()));
    assert_eq!(command.env["DEBUG"], SecretRef::Literal("true".into()));
    assert_eq!(command.env["E"], SecretRef::Literal(String::new()));
    assert_eq!(command.timeout, Some(Duration::from_secs(7200)));
    assert_eq!(source.shrink_alarm, None);
    assert_eq!(source.retention.as_ref(), policy.retention.get("standard"));
    let drill = &policy.drills["d"];
    assert_eq!(
        drill.identity,
        Some(IdentityRef::Env("IDENTITY".into())),
        "the repository's serves"
    );
    assert_eq!(drill.repository, "main");
    let expectations: Vec<_> = drill
        .checks
        .iter()
        .flat_map(|check| &check.expectations)
        .collect();
    assert_eq!(
        expectations[0],
        &Expectation::Json {
            pointer: "/serial".into(),
            equals: json!(3)
        }
    );
    assert_eq!(
        expectations[1],
        &Expectation::Json {
            pointer: "/name".into(),
            equals: json!("3")
        }
    );
    assert_eq!(
        expectations[2..],
        [&Expectation::Mode(0o640), &Expectation::SizeAtLeast(1024)]
    );
}

/// The `mysql` source `a`, with these keys.
fn mysql(keys: &str) -> PolicyMysqlSource {
    let set = parse(&format!("{BASE}  a:\n    mysql:\n{keys}"))
        .unwrap_or_else(|errors| panic!("{errors}"));
    let source = &set.policies()[0].sources["a"];
    assert_eq!(source.kind.as_str(), "mysql");
    match &source.kind {
        PolicySourceKind::Mysql(mysql) => PolicyMysqlSource::clone(mysql),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_database_is_told_arrives() {
    let text = "      url: mysql://backup@db.example:3307/
      password: ${env:DB_PASSWORD}
      defaults_file: ../root/.my.cnf
      databases: [app, \"shop_*\"]
      exclude_databases: [tmp_*]
      tables: [\"app.*\", '*.a.b']
      exclude_tables: [\"app.cache_?\"]
      threads: 32
      tls: verify-ca
      tls_ca: ca.pem
      server_public_key: public_key.pem
      users: false
      hold_nontransactional: true
      log_archive: {flush: 2s, spool: spool, spool_max: 64MiB}
";
    let expected = PolicyMysqlSource {
        url: "mysql://backup@db.example:3307/".to_owned(),
        password: Some(SecretRef::Env("DB_PASSWORD".to_owned())),
        defaults_file: Some("/root/.my.cnf".into()),
        databases: vec!["app".to_owned(), "shop_*".to_owned()],
        exclude_databases: vec!["tmp_*".to_owned()],
        tables: vec!["app.*".to_owned(), "*.a.b".to_owned()],
        exclude_tables: vec!["app.cache_?".to_owned()],
        threads: 32,
        tls: Some(TlsMode::VerifyCa),
        tls_ca: Some("/policies/ca.pem".into()),
        server_public_key: Some("/policies/public_key.pem".into()),
        users: false,
        hold_nontransactional: true,
        log_archive: Some(LogArchive {
            flush: Some(Duration::from_secs(2)),
            spool: Some("/policies/spool".into()),
            spool_max: Some(64 << 20),
        }),
    };
    assert_eq!(mysql(text), expected);
}

#[test]
fn a_database_needs_only_its_url() {
    let expected = PolicyMysqlSource {
        url: "mysql:///?socket=/run/mysqld/mysqld.sock".to_owned(),
        password: None,
        defaults_file: None,
        databases: Vec::new(),
        exclude_databases: Vec::new(),
        tables: Vec::new(),
        exclude_tables: Vec::new(),
        threads: 4,
        tls: None,
        tls_ca: None,
        server_public_key: None,
        users: true,
        hold_nontransactional: false,
        log_archive: None,
    };
    assert_eq!(
        mysql("      url: mysql:///?socket=/run/mysqld/mysqld.sock\n"),
        expected
    );
    let password = mysql("      url: mysql://h\n      password: file:pw\n").password;
    assert_eq!(password, Some(SecretRef::File("/policies/pw".into())));
    for url in [
        "mysql://h/app",
        "mysql://[::1]:3306/",
        "mysql://u%40x@h/?container=db",
        "mysql://?container=db",
    ] {
        assert_eq!(mysql(&format!("      url: '{url}'\n")).url, url);
    }
}

#[test]
fn what_a_repository_is_told_arrives() {
    let text = "\
version: 1
repositories:
  main:
    url: s3://b/p
    immutable_days: 30
    lock_mode: governance
    storage_class: STANDARD_IA
    path_style: true
    allow_http: true
    limit_upload: 10MiB/s
    limit_download: 1KB
    retry_for: 15m
    failure_domain: paris, the left bank
  plain: {url: azure://a/c, immutable_days: 36500, path_style: false}
sources:
  etc: {volume: {path: /etc}, repositories: [main, plain]}
";
    let set = parse(text).unwrap();
    let main = &set.policies()[0].repositories["main"];
    assert_eq!(main.immutable_days, Some(30));
    assert_eq!(main.lock_mode, PolicyLockMode::Governance);
    assert_eq!(main.storage_class.as_deref(), Some("STANDARD_IA"));
    assert_eq!(main.path_style, Some(true));
    assert!(main.allow_http && !set.policies()[0].repositories["plain"].allow_http);
    assert_eq!(main.limit_upload, Some(10_485_760));
    assert_eq!(main.limit_download, Some(1000));
    assert_eq!(main.retry_for, Some(Duration::from_secs(900)));
    assert_eq!(main.failure_domain.as_deref(), Some("paris, the left bank"));
    let plain = &set.policies()[0].repositories["plain"];
    assert_eq!(plain.immutable_days, Some(36_500));
    assert_eq!(plain.lock_mode, PolicyLockMode::Compliance);
    assert_eq!(plain.path_style, Some(false));
    assert_eq!(plain.limit_upload.or(plain.limit_download), None);
    assert_eq!(plain.retry_for, None);
}

#[test]
fn copies_are_found_in_all_policies() {
    let text = "\
version: 1
repositories: {main: {url: ./a}, offsite: {url: s3://b}}
copies: {nightly: {from: main, to: offsite}}
sources: {etc: {volume: {path: /etc}, repositories: [main]}}
";
    let set = PolicySet::parse([
        (Path::new("/p/one.yaml"), text),
        (Path::new("/p/two.yaml"), text),
        (Path::new("/p/without.yaml"), BASE),
    ])
    .unwrap();
    let shown: Vec<_> = set
        .copies()
        .map(|(policy, copy)| format!("{}/{}: {} {}", policy.name, copy.name, copy.from, copy.to))
        .collect();
    assert_eq!(
        shown,
        ["one/nightly: main offsite", "two/nightly: main offsite"]
    );
    let chosen = |name: &str| set.select_copies(&[name.to_owned()]);
    assert_eq!(chosen("two/nightly").unwrap()[0].0.name, "two");
    assert!(chosen("without").unwrap().is_empty());
    assert_eq!(
        chosen("nigtly").unwrap_err().to_string(),
        "there is no policy or copy named `nigtly`; there is `one/nightly` and `two/nightly`"
    );
}

#[test]
fn an_alias_repeats_a_value() {
    let text = format!(
        "{BASE}  a: {{tfstate: {{path: x}}, tags: &t {{env: prod}}}}\n  b: {{tfstate: {{path: y}}, tags: *t}}\n"
    );
    let set = parse(&text).unwrap();
    assert_eq!(set.policies()[0].sources["b"].tags["env"], "prod");
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_change_nothing() {
    assert!(parse(&format!("\u{feff}{}", BASE.replace('\n', "\r\n"))).is_ok());
}

fn two() -> PolicySet {
    let other = format!("{BASE}  db: {{tfstate: {{path: x}}}}\n");
    PolicySet::parse([
        (Path::new("/p/one.yaml"), BASE),
        (Path::new("/p/two.yaml"), other.as_str()),
    ])
    .unwrap()
}

fn selected(set: &PolicySet, names: &[&str]) -> Result<Vec<String>, String> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let found = set
        .select_sources(&names)
        .map_err(|error| format!("{error} [{}]", error.hint().unwrap_or_default()))?;
    Ok(found
        .iter()
        .map(|(policy, source)| format!("{}/{}", policy.name, source.name))
        .collect())
}

#[test]
fn arguments_name_policies_and_sources_each_once() {
    let set = two();
    assert_eq!(
        selected(&set, &[]).unwrap(),
        ["one/etc", "two/db", "two/etc"]
    );
    assert_eq!(selected(&set, &["two"]).unwrap(), ["two/db", "two/etc"]);
    assert_eq!(
        selected(&set, &["two/etc", "two", "db"]).unwrap(),
        ["two/etc", "two/db"]
    );
}

#[test]
fn arguments_that_name_nothing_are_answered_with_what_exists() {
    let set = two();
    for (name, expected) in [
        (
            "etc",
            "`etc` is in several policies; write `one/etc` and `two/etc` []",
        ),
        (
            "dbb",
            "there is no policy or source named `dbb`; there is `one/etc`, `two/db` and `two/etc` [did you mean `db`?]",
        ),
        (
            "tow/db",
            "there is no policy named `tow`; there is `one` and `two` [did you mean `two`?]",
        ),
        (
            "two/et",
            "there is no source named `two/et`; there is `two/db` and `two/etc` [did you mean `two/etc`?]",
        ),
    ] {
        assert_eq!(selected(&set, &[name]).unwrap_err(), expected);
    }
    assert!(set.select_drills(&["x".to_owned()]).is_err());
    assert!(set.select_drills(&[]).unwrap().is_empty());
}

#[test]
fn a_folder_is_read_sorted_and_not_below() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    std::fs::create_dir(directory.path().join("below")).unwrap();
    write("b.yaml", BASE);
    write("a.yml", BASE);
    write("below/c.yaml", "not read");
    write("d.txt", "not read");
    let set = PolicySet::load(directory.path()).unwrap();
    let names: Vec<_> = set
        .policies()
        .iter()
        .map(|policy| policy.name.as_str())
        .collect();
    assert_eq!(names, ["a", "b"]);

    write("c.yaml", &format!("{BASE}name: a\n"));
    let found = PolicySet::load(directory.path()).unwrap_err().to_string();
    assert!(
        found.contains("c.yaml: the policy name `a` is already used by") && found.contains("a.yml"),
        "{found}"
    );
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let message = |name: &str| {
        PolicySet::load(&directory.path().join(name))
            .unwrap_err()
            .to_string()
    };
    assert!(message("").contains("this directory contains no policy"));
    std::fs::write(directory.path().join("prod.yaml"), b"version: 1\na: \xff\n").unwrap();
    assert!(
        message("prod.yml").ends_with("help: did you mean `prod.yaml`?"),
        "{}",
        message("prod.yml")
    );
    assert!(
        message("prod.yaml").ends_with("prod.yaml:2:4: the file is not UTF-8 text"),
        "{}",
        message("prod.yaml")
    );
}
