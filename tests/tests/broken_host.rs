//! A host is broken into: what is done with its keys loses nothing, alters nothing, opens nothing, and is named.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use reprise_repository::backend::LocalBackend;
use reprise_repository::testing::CompromisedHost;
use reprise_repository::{HostDirectory, ObjectId, OpenOptions, Repository};
use support::{RunOutput, Sandbox, assert_same_trees, incompressible_bytes, make_tree, ran};

/// A host whose keeper's key is somewhere else, with a snapshot.
fn host() -> Sandbox {
    let sandbox = Sandbox::bare();
    let args = [
        "init",
        "--generate-identity",
        "id1",
        "--generate-identity",
        "id2",
    ];
    sandbox
        .run(args.iter().chain(&["--keeper", "keeper.txt"]))
        .exits(0);
    make_tree(&sandbox.path("tree"), 300_000);
    std::fs::write(sandbox.path("tree/large"), incompressible_bytes(6 << 20, 7)).unwrap();
    sandbox.snapshot(&sandbox.path("tree"), "data").exits(0);
    sandbox
}

/// The attacker has the host's keys, and no recovery identity.
fn opened(sandbox: &Sandbox) -> Repository {
    let options = OpenOptions {
        host: HostDirectory::new(sandbox.path("config")),
        identity_files: Vec::new(),
        cache: None,
        memory: None,
        pinned_signers: Vec::new(),
    };
    let backend = LocalBackend::new(sandbox.path("repository"));
    Repository::open(Arc::new(backend), &options).unwrap()
}

fn keeping(sandbox: &Sandbox, args: &[&str]) -> RunOutput {
    let mut command = sandbox.recovering();
    ran(command
        .args(args)
        .arg("--keeper")
        .arg(sandbox.path("keeper.txt")))
}

fn all_objects(sandbox: &Sandbox) -> BTreeSet<PathBuf> {
    sandbox.objects("").into_iter().collect()
}

/// What the attacker stores; the names of what must be found.
fn attack(sandbox: &Sandbox) -> Vec<String> {
    let repository = opened(sandbox);
    let snapshot = repository.find_snapshot("data").unwrap();
    let signer = repository.require_writer().unwrap().signer.id();
    let packs: Vec<ObjectId> = sandbox
        .objects("packs")
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().parse().unwrap())
        .collect();
    let attacker = CompromisedHost::new(repository);
    let told = r#""at":"2026-01-01T00:00:00Z","by":"thief","reason":"","program":"""#;
    let objects: Vec<String> = packs
        .iter()
        .map(|pack| {
            format!(
                r#"{{"object":"packs/{}/{pack}","reason":"bad"}}"#,
                &pack.to_string()[..2]
            )
        })
        .collect();
    let keeper = format!(
        r#"{{"add":{{"signers":[{{"key":"{signer}","roles":["keeper"],"name":"me"}}]}},{told}}}"#
    );
    let quarantine = format!(
        r#"{{"objects":[{}],"hurts":[],"replaces":[],{told}}}"#,
        objects.join(",")
    );
    let tombstone = format!(r#"{{"forget":["{}"],{told}}}"#, snapshot.id);
    let mut made = vec![
        attacker.put_record("keys", &keeper).unwrap(),
        attacker.put_other_secrets().unwrap(),
        attacker.put_record("quarantine", &quarantine).unwrap(),
        attacker.put_record("tombstones", &tombstone).unwrap(),
        attacker.put_poisoned_pack(&snapshot, 0).unwrap(),
        attacker.put_poisoned_pack(&snapshot, 3).unwrap(),
    ];
    made.extend(
        packs
            .iter()
            .map(|pack| attacker.put_false_fragment(pack).unwrap()),
    );
    made.iter().map(ToString::to_string).collect()
}

#[test]
fn with_the_keys_of_a_host_nothing_is_lost_and_everything_is_named() {
    let sandbox = host();
    let before = all_objects(&sandbox);
    let made = attack(&sandbox);
    assert!(all_objects(&sandbox).is_superset(&before));
    // Reading what is stored takes a recovery identity.
    let target = sandbox.path("stolen");
    sandbox
        .run(["restore", "data", "--to", target.to_str().unwrap()])
        .exits(6)
        .says("none of the given identities");
    // And changing keys takes the keeper's.
    sandbox
        .run(["key", "remove", "--keeper-key", "x", "--yes"])
        .exits(5);
    sandbox
        .run(["key", "add", "--keeper-key", &"0".repeat(64)])
        .exits(6)
        .says("only a keeper may change keys");
    let restored = sandbox.restore("data", "restored");
    assert_same_trees(&sandbox.path("tree"), &restored);
    let verified = sandbox
        .recover(["--json", "verify", "--read-data"])
        .exits(4)
        .json();
    let findings = verified["report"]["findings"].as_array().unwrap();
    let named: Vec<&str> = findings
        .iter()
        .map(|f| f["object"].as_str().unwrap())
        .collect();
    for object in &made {
        assert!(
            named.contains(&object.as_str()),
            "{object} is not named: {named:?}"
        );
    }
    // Nothing that was there before is blamed.
    for object in &named {
        let path = sandbox.path("repository").join(object);
        assert!(!before.contains(&path), "{object} is blamed");
    }
    assert!(
        findings
            .iter()
            .all(|f| f["affected_snapshots"].as_array().unwrap().is_empty()),
        "{findings:?}"
    );
    clean_up(&sandbox, &before);
}

/// The keeper revokes the host, puts what it stored into quarantine, and another host goes on.
fn clean_up(sandbox: &Sandbox, before: &BTreeSet<PathBuf>) {
    let listed = sandbox.run(["--json", "key", "list"]).json();
    let writer = listed["signers"].as_array().unwrap().iter();
    let mut writer = writer.filter(|s| s["roles"].as_array().unwrap().contains(&"writer".into()));
    let writer = writer.next().unwrap()["key"].as_str().unwrap().to_owned();
    let mut second = sandbox.command();
    second.env("REPRISE_CONFIG_DIR", sandbox.path("second"));
    let public = ran(second.args(["key", "show"])).exits(0).stdout;
    keeping(
        sandbox,
        &["key", "add", "--host", public.trim(), "--name", "second"],
    )
    .exits(0);
    keeping(sandbox, &["key", "remove", "--host", &writer, "--yes"]).exits(0);
    sandbox
        .snapshot(&sandbox.path("tree"), "data")
        .exits(6)
        .says("is not known to repository");
    // The new host cleans up with the keeper's key and a recovery identity.
    let mut repair = sandbox.recovering();
    repair
        .env("REPRISE_CONFIG_DIR", sandbox.path("second"))
        .args(["verify", "--read-data", "--repair", "--yes", "--keeper"])
        .arg(sandbox.path("keeper.txt"));
    // What was forged beside packs and index is named until somebody deletes it.
    let repaired = ran(&mut repair).exits(4).stdout;
    for (directory, left) in [
        ("keys", true),
        ("tombstones", true),
        ("quarantine", true),
        ("packs", false),
        ("index", false),
        ("snapshots", false),
    ] {
        let named = repaired.contains(&format!("not repaired: {directory}/"));
        assert_eq!(named, left, "{directory}: {repaired}");
    }
    assert!(
        all_objects(sandbox).is_superset(before),
        "something was deleted"
    );
    // Nothing that was forged is relied on by the next snapshot.
    let mut next = sandbox.command();
    next.env("REPRISE_CONFIG_DIR", sandbox.path("second"))
        .env("REPRISE_CACHE_DIR", sandbox.path("second-cache"))
        .args(["snapshot", "volume"])
        .arg(sandbox.path("tree"))
        .args(["--source", "next"]);
    ran(&mut next).exits(0);
    for (source, name) in [("data", "again"), ("next", "next")] {
        assert_same_trees(&sandbox.path("tree"), &sandbox.restore(source, name));
    }
}

#[test]
fn a_replaced_description_of_the_repository_is_refused() {
    let sandbox = host();
    let path = sandbox.path("repository/reprise.json");
    let config = std::fs::read_to_string(&path).unwrap();
    let attacker = Sandbox::new();
    let other = std::fs::read_to_string(attacker.path("repository/reprise.json")).unwrap();
    let mine: serde_json::Value = serde_json::from_str(&other).unwrap();
    let mut changed: serde_json::Value = serde_json::from_str(&config).unwrap();
    changed["signers"] = mine["signers"].clone();
    for bytes in [other.clone(), serde_json::to_string(&changed).unwrap()] {
        std::fs::write(&path, bytes).unwrap();
        for args in [
            vec!["snapshots"],
            vec!["verify"],
            vec!["restore", "data", "--to", "x"],
        ] {
            sandbox.recover(args).exits(6).says("pinned");
        }
    }
    std::fs::write(&path, config).unwrap();
    sandbox.restore("data", "restored");
}

#[test]
fn text_of_a_host_neither_rewrites_the_terminal_nor_adds_a_line() {
    let sandbox = host();
    let repository = opened(&sandbox);
    let mut root = repository.find_snapshot("data").unwrap().root;
    root.host = "web1\u{1b}[2J\nok: everything is fine".to_owned();
    root.program = "\u{202e}1.0".to_owned();
    root.tags = [("env".to_owned(), "prod\r\nsnapshot 0000".to_owned())].into();
    let forged = CompromisedHost::new(repository)
        .put_record("snapshots", &serde_json::to_string(&root).unwrap())
        .unwrap();
    let id = forged.as_str().rsplit('/').next().unwrap().to_owned();
    let hostile = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    for args in [&["snapshots"][..], &["show", &id]] {
        let told = sandbox.run(args).exits(0);
        let lines = || told.stdout.lines().chain(told.stderr.lines());
        assert!(!lines().any(|line| line.contains(hostile)), "{told:?}");
        let begins_line = |line: &str| line.starts_with("ok:") || line.starts_with("snapshot 0000");
        assert!(!lines().any(begins_line), "{told:?}");
        assert!(told.stdout.contains("prod\\r\\nsnapshot 0000"), "{told:?}");
    }
}

#[test]
fn a_label_that_would_rewrite_the_terminal_is_not_stored() {
    let sandbox = Sandbox::new();
    make_tree(&sandbox.path("tree"), 1000);
    let tree = sandbox.path("tree");
    let args = ["snapshot", "volume", "--tag", "env=\u{1b}[2Jprod"];
    sandbox
        .run(args.iter().map(AsRef::as_ref).chain([tree.as_os_str()]))
        .exits(2)
        .says("the tag `env` has a control character");
    assert!(sandbox.objects("snapshots").is_empty());
}
