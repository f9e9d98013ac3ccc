//! Each way to fail has its exit code, names its object, and tells scripts and people the same.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use serde_json::Value;
use support::{RunOutput, Sandbox, make_tree};

fn with_snapshot() -> Sandbox {
    let sandbox = Sandbox::new();
    make_tree(&sandbox.path("tree"), 300_000);
    sandbox.snapshot(&sandbox.path("tree"), "tree").exits(0);
    sandbox
}

/// Runs with `--json` and with an identity; standard output must be JSON and nothing else.
fn json(sandbox: &Sandbox, args: &[&str]) -> (RunOutput, Vec<Value>) {
    let ran = sandbox.recover([&["--json"], args].concat());
    let values = serde_json::Deserializer::from_str(&ran.stdout)
        .into_iter::<Value>()
        .collect::<Result<Vec<_>, _>>();
    let values = values.unwrap_or_else(|error| panic!("{args:?}: {error}: {}", ran.stdout));
    assert!(!values.is_empty(), "{args:?} said nothing: {}", ran.stderr);
    (ran, values)
}

const POLICY: &str = "version: 1
name: p
repositories:
  main: {url: ./repository}
sources:
  tree:
    volume: {path: tree}
drills:
  good:
    source: tree
    identity: file:id1
    checks: [{path: large1, kind: file}]
  bad:
    source: tree
    identity: file:id1
    checks: [{path: large1, size_at_least: 1TiB}]
";

#[test]
fn an_error_is_one_json_document_with_its_exit_code() {
    let sandbox = with_snapshot();
    fs::write(sandbox.path("p.yaml"), POLICY).unwrap();
    let failures: [(&[&str], i32); 12] = [
        (&["init"], 2),
        (&["snapshot", "volume", "absent"], 5),
        (&["snapshot", "tfstate", "tree/large1"], 1),
        (&["snapshot", "command", "--", "false"], 1),
        (&["run", "--policies", "absent"], 5),
        (&["run", "--policies", "p.yaml", "p/absent"], 5),
        (&["snapshots", "--source", "absent"], 5),
        (&["show", "absent"], 5),
        (&["ls", "tree", "absent"], 5),
        (&["diff", "tree", "absent"], 5),
        (&["verify", "absent"], 5),
        (&["drill", "--policies", "p.yaml", "absent"], 5),
    ];
    for (args, code) in failures {
        let (ran, values) = json(&sandbox, args);
        let error = values.last().unwrap();
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.stderr);
        assert_eq!(error["event"], "error", "{args:?}: {error}");
        assert_eq!(error["exit_code"], code, "{args:?}: {error}");
        let message = error["message"].as_str().unwrap();
        assert!(ran.stderr.contains(message), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn a_result_is_json_for_every_command() {
    let sandbox = Sandbox::bare();
    fs::write(sandbox.path("p.yaml"), POLICY).unwrap();
    make_tree(&sandbox.path("tree"), 10_000);
    let results: [(&[&str], i32); 10] = [
        (
            &["init", "--generate-identity", "id1", "--single-recipient"],
            0,
        ),
        (&["snapshot", "volume", "tree"], 0),
        (&["run", "--policies", "p.yaml"], 0),
        (&["restore", "tree", "--to", "out", "--dry-run"], 0),
        (&["restore", "tree", "--to", "out"], 0),
        (
            &["restore", "tree", "--to", "out", "--overwrite", "--verify"],
            0,
        ),
        (&["drill", "--policies", "p.yaml", "good"], 0),
        (&["drill", "--policies", "p.yaml"], 4),
        (&["policy", "check", "p.yaml"], 0),
        (&["policy", "schema"], 0),
    ];
    for (args, code) in results {
        let (ran, _) = json(&sandbox, args);
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.stderr);
    }
    fs::write(
        sandbox.path("wrong.yaml"),
        POLICY.replace("tree:", "Tree!:"),
    )
    .unwrap();
    let (ran, values) = json(&sandbox, &["policy", "check", "wrong.yaml"]);
    assert_eq!(ran.code, Some(2));
    let error = &values[0]["errors"][0];
    assert!(
        error["line"].is_u64() && error["column"].is_u64(),
        "{error}"
    );
}

#[test]
fn a_name_that_is_no_text_is_no_reason_to_crash() {
    let sandbox = with_snapshot();
    let raw = OsStr::from_bytes(b"raw \xff");
    for dry_run in [true, false] {
        let mut args: Vec<&OsStr> = ["--json", "restore", "tree", "--to"].map(OsStr::new).into();
        args.push(raw);
        args.extend(dry_run.then_some(OsStr::new("--dry-run")));
        let ran = sandbox.recover(args).exits(0);
        assert!(ran.json().is_object(), "{}", ran.stdout);
    }
    assert!(sandbox.path("").join(raw).join("large1").exists());
}

#[test]
fn an_identity_file_may_have_any_name() {
    let sandbox = with_snapshot();
    let identity = OsStr::from_bytes(b"identity \xff");
    fs::rename(sandbox.path("id1"), sandbox.path("").join(identity)).unwrap();
    let args = [
        OsStr::new("--identity"),
        identity,
        "ls".as_ref(),
        "tree".as_ref(),
    ];
    sandbox.run(args).exits(0);
}

#[test]
fn nonsense_on_the_command_line_is_a_usage_error_that_names_it() {
    let sandbox = with_snapshot();
    let cases: [(&[&str], &str); 9] = [
        (&["snapshot", "volume", "tree", "--source", "a b"], "a b"),
        (
            &["snapshot", "volume", "tree", "--source", "a@latest"],
            "a@latest",
        ),
        (
            &["snapshot", "volume", "tree", "--tag", "nonsense"],
            "nonsense",
        ),
        (&["snapshot", "volume", "tree", "--exclude", "\\"], "\\"),
        (&["snapshot", "command", "--source", "c", "--"], "CMD"),
        (&["verify", "--read-data", "many"], "many"),
        (&["restore", "tree", "--to", "tree/large1"], "large1"),
        (
            &["restore", "tree", "--to", "o", "--resume", "--overwrite"],
            "--overwrite",
        ),
        (&["-r", "ftp://somewhere", "snapshots"], "ftp://somewhere"),
    ];
    for (args, word) in cases {
        sandbox.recover(args).exits(2).says(word);
    }
    assert_eq!(sandbox.objects("snapshots").len(), 1);
}

#[test]
fn init_never_writes_over_anything_and_leaves_nothing_behind_when_it_refuses() {
    let sandbox = Sandbox::bare();
    fs::write(sandbox.path("mine"), b"precious").unwrap();
    sandbox
        .run([
            "init",
            "--generate-identity",
            "new",
            "--generate-identity",
            "mine",
        ])
        .exits(6)
        .says("mine");
    assert_eq!(fs::read(sandbox.path("mine")).unwrap(), b"precious");
    sandbox
        .run([
            "init",
            "--recipient",
            "nonsense",
            "--generate-identity",
            "new",
        ])
        .exits(2)
        .says("nonsense");
    assert!(!sandbox.path("new").exists() && !sandbox.path("repository").exists());
    sandbox
        .run([
            "init",
            "--generate-identity",
            "one",
            "--generate-identity",
            "two",
        ])
        .exits(0);
    let recipient = |name: &str| {
        let text = fs::read_to_string(sandbox.path(name)).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("# public key: "));
        line.unwrap().to_owned()
    };
    let one = recipient("one");
    sandbox
        .run([
            "-r",
            "other",
            "init",
            "--recipient",
            &one,
            "--recipient",
            &one,
        ])
        .exits(2)
        .says("twice");
}

#[test]
fn a_newer_format_that_looks_entirely_different_is_unsupported_and_not_damaged() {
    let sandbox = with_snapshot();
    let config = sandbox.path("repository/reprise.json");
    let text = fs::read_to_string(&config).unwrap();
    // A newer format may look entirely different.
    fs::write(
        &config,
        r#"{"format": 2, "repository": {"nothing": "as before"}}"#,
    )
    .unwrap();
    let output = sandbox
        .command()
        .env("REPRISE_CONFIG_DIR", sandbox.path("fresh"))
        .args(["snapshots"])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("format 2") && stderr.contains("newer version"),
        "{stderr}"
    );
    assert!(!stderr.contains("is damaged"), "{stderr}");
    fs::write(&config, text).unwrap();
    sandbox.run(["verify"]).exits(0);
}

#[test]
fn whatever_object_is_lost_or_cut_short_is_found_and_named() {
    let sandbox = with_snapshot();
    for directory in ["packs", "snapshots", "keys"] {
        let object = sandbox.objects(directory).remove(0);
        let name = object.file_name().unwrap().to_str().unwrap()[..8].to_owned();
        let good = fs::read(&object).unwrap();
        let short = good[..good.len() - 1].to_vec();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 1;
        for bad in [short, flipped, Vec::new()] {
            fs::write(&object, bad).unwrap();
            let ran = sandbox.recover(["verify", "--read-data"]).exits(4);
            assert!(ran.stderr.contains(&name), "{directory}: {}", ran.stderr);
        }
        fs::write(&object, good).unwrap();
        sandbox.recover(["verify", "--read-data"]).exits(0);
    }
    let pack = sandbox.objects("packs").remove(0);
    fs::remove_file(&pack).unwrap();
    let name = pack.file_name().unwrap().to_str().unwrap();
    sandbox
        .run(["verify"])
        .exits(4)
        .says(name)
        .says("affects snapshot");
    sandbox
        .recover(["restore", "tree", "--to", "out"])
        .exits(4)
        .says(name);
}

#[test]
fn damage_of_the_index_is_found_though_a_copy_is_cached() {
    let sandbox = with_snapshot();
    // Reads the index, and so keeps a copy of it in the cache.
    sandbox.snapshot(&sandbox.path("tree"), "tree").exits(0);
    let object = sandbox.objects("index").remove(0);
    let name = object.file_name().unwrap().to_str().unwrap();
    let good = fs::read(&object).unwrap();
    for length in [good.len() - 1, 0] {
        fs::write(&object, &good[..length]).unwrap();
        sandbox
            .recover(["verify", "--read-data"])
            .exits(4)
            .says(name);
        sandbox.run(["verify"]).exits(4).says(name);
    }
    // The packs' own directories serve instead.
    sandbox.restore("tree", "out");
}

#[test]
fn one_damaged_root_does_not_hide_the_others() {
    let sandbox = with_snapshot();
    let first = sandbox.objects("snapshots").remove(0);
    sandbox.snapshot(&sandbox.path("tree"), "other").exits(0);
    fs::write(&first, b"nothing of value").unwrap();
    let name = first.file_name().unwrap().to_str().unwrap();
    let ran = sandbox.run(["snapshots"]).exits(4).says(name);
    assert!(ran.stdout.contains("other"), "{}", ran.stdout);
    sandbox.restore("other", "out");
    sandbox.snapshot(&sandbox.path("tree"), "other").exits(0);
}

#[test]
fn what_another_host_forged_is_refused() {
    let (sandbox, forger) = (with_snapshot(), Sandbox::bare());
    // A host with its own keys and the very same recipients.
    let recipients = [1, 2].map(|n| {
        let text = fs::read_to_string(sandbox.path(&format!("id{n}"))).unwrap();
        text.lines()
            .find_map(|l| l.strip_prefix("# public key: "))
            .unwrap()
            .to_owned()
    });
    forger
        .run([
            "init",
            "--recipient",
            &recipients[0],
            "--recipient",
            &recipients[1],
        ])
        .exits(0);
    fs::create_dir(forger.path("tree")).unwrap();
    forger.snapshot(&forger.path("tree"), "forged").exits(0);
    for directory in ["snapshots", "index"] {
        for object in forger.objects(directory) {
            let to = sandbox
                .path("repository")
                .join(directory)
                .join(object.file_name().unwrap());
            fs::copy(&object, &to).unwrap();
        }
    }
    let ran = sandbox.run(["snapshots"]).exits(4).says("signer");
    assert!(!ran.stdout.contains("forged"), "{}", ran.stdout);
    sandbox
        .recover(["restore", "forged", "--to", "out"])
        .exits(5);
    sandbox.run(["verify"]).exits(4).says("signer");
}

#[test]
fn what_is_not_written_to_a_terminal_has_no_colours() {
    let sandbox = with_snapshot();
    fs::write(sandbox.objects("index").remove(0), b"damaged").unwrap();
    fs::remove_dir_all(sandbox.path("cache")).unwrap();
    let ran = sandbox.recover(["ls", "tree"]).exits(0).says("index/");
    assert!(!ran.stderr.contains('\u{1b}'), "{:?}", ran.stderr);
}

#[test]
fn quiet_says_nothing_when_all_is_well_and_still_names_what_is_not() {
    let sandbox = with_snapshot();
    let good: [&[&str]; 3] = [
        &["-q", "snapshot", "volume", "tree"],
        &["-q", "verify", "--read-data"],
        &["-q", "restore", "tree", "--to", "out", "--verify"],
    ];
    for args in good {
        let ran = sandbox.recover(args).exits(0);
        assert_eq!(
            (ran.stdout.as_str(), ran.stderr.as_str()),
            ("", ""),
            "{args:?}"
        );
    }
    sandbox
        .run(["-q", "show", "absent"])
        .exits(5)
        .says("absent");
}
