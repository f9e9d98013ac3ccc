//! Policies as a newcomer meets them: the quickstart, checking, running, drills.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;

use support::{Sandbox, sh};

/// The examples, copied to where a test may write.
fn examples() -> Sandbox {
    let sandbox = Sandbox::bare();
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join("policies/examples");
    fs::create_dir_all(sandbox.path("clone/policies")).unwrap();
    sh(
        "cp",
        &[
            "-a".as_ref(),
            from.as_ref(),
            sandbox.path("clone/policies").as_ref(),
        ],
    );
    sandbox
}

const QUICKSTART: &str = "clone/policies/examples/quickstart.yaml";

#[test]
fn the_quickstart_proves_itself_twice() {
    let sandbox = examples();
    for _ in 0..2 {
        let ran = sandbox
            .run(["drill", "--policies", QUICKSTART, "--junit", "drill.xml"])
            .exits(0);
        assert!(ran.stdout.contains("3 of 3 drills ok"), "{}", ran.stdout);
        let xml = fs::read_to_string(sandbox.path("drill.xml")).unwrap();
        assert!(
            xml.contains("testsuite name=\"jenkins-home\"") && xml.contains("failures=\"0\""),
            "{xml}"
        );
    }
    assert!(
        sandbox
            .path("clone/scratch/quickstart/repository/reprise.json")
            .exists()
    );
    assert_eq!(
        fs::read_dir(std::env::temp_dir())
            .unwrap()
            .flatten()
            .filter(|entry| {
                entry
                    .file_name()
                    .to_string_lossy()
                    .starts_with("reprise-drill-")
                    && entry.metadata().is_ok_and(|meta| {
                        meta.modified()
                            .is_ok_and(|time| time.elapsed().is_ok_and(|age| age.as_secs() > 600))
                    })
            })
            .count(),
        0
    );
}

#[test]
fn a_drill_whose_check_does_not_hold_fails() {
    let sandbox = examples();
    let file = sandbox.path(QUICKSTART);
    let text = fs::read_to_string(&file).unwrap().replace(
        "<useSecurity>true</useSecurity>",
        "<useSecurity>perhaps</useSecurity>",
    );
    fs::write(&file, text).unwrap();
    let ran = sandbox
        .run(["drill", "--policies", QUICKSTART, "--junit", "drill.xml"])
        .exits(4);
    assert!(
        ran.stdout.contains("FAIL  config.xml") && ran.stdout.contains("2 of 3 drills ok"),
        "{}",
        ran.stdout
    );
    assert!(
        fs::read_to_string(sandbox.path("drill.xml"))
            .unwrap()
            .contains("<failure")
    );
}

#[test]
fn run_takes_what_the_policy_describes() {
    let sandbox = examples();
    sandbox.run(["run", "--policies", QUICKSTART]).exits(0);
    sandbox
        .run(["run", "--policies", QUICKSTART, "quickstart/terraform"])
        .exits(0);
    let repository = sandbox.path("clone/scratch/quickstart/repository");
    let listed = sandbox
        .run([
            std::ffi::OsStr::new("-r"),
            repository.as_ref(),
            "--json".as_ref(),
            "snapshots".as_ref(),
        ])
        .exits(0)
        .json();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 4);
    sandbox
        .run(["run", "--policies", QUICKSTART, "quickstart/terrafrom"])
        .exits(5)
        .says("terraform");
}

#[test]
fn one_source_that_fails_does_not_keep_the_others_from_being_saved() {
    let sandbox = examples();
    let file = sandbox.path(QUICKSTART);
    let text = fs::read_to_string(&file)
        .unwrap()
        .replace("[uname, -a]", "[\"false\"]");
    fs::write(&file, text).unwrap();
    sandbox
        .run(["run", "--policies", QUICKSTART])
        .exits(1)
        .says("inventory");
    let snapshots =
        fs::read_dir(sandbox.path("clone/scratch/quickstart/repository/snapshots")).unwrap();
    assert_eq!(snapshots.count(), 2);
}

#[test]
fn a_mistake_in_a_policy_is_shown_where_it_is() {
    let sandbox = examples();
    let file = sandbox.path(QUICKSTART);
    let text = fs::read_to_string(&file)
        .unwrap()
        .replace("    exclude:", "    exlude:")
        .replace("      exclude:", "      exlude:");
    let line = text
        .lines()
        .position(|line| line.contains("exlude"))
        .unwrap()
        + 1;
    fs::write(&file, text).unwrap();
    let at = format!("quickstart.yaml:{line}:");
    sandbox
        .run(["policy", "check", QUICKSTART])
        .exits(2)
        .says(&at)
        .says("did you mean `exclude`");
    sandbox
        .run(["run", "--policies", QUICKSTART])
        .exits(2)
        .says(&at);
}

#[test]
fn the_schema_is_json_and_every_command_explains_itself() {
    let sandbox = Sandbox::bare();
    let schema = sandbox.run(["policy", "schema"]).exits(0).stdout;
    assert!(
        serde_json::from_str::<serde_json::Value>(&schema)
            .unwrap()
            .is_object()
    );
    let commands = [
        "init",
        "snapshot",
        "run",
        "snapshots",
        "show",
        "ls",
        "diff",
        "restore",
        "verify",
        "drill",
        "policy",
        "completions",
    ];
    for command in commands {
        assert!(
            sandbox
                .run([command, "--help"])
                .exits(0)
                .stdout
                .contains("Usage:"),
            "{command}"
        );
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            sandbox
                .run(["completions", shell])
                .exits(0)
                .stdout
                .contains("reprise"),
            "{shell}"
        );
    }
    sandbox.run(["no-such-command"]).exits(2);
}
