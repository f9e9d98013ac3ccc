//! Policies as a newcomer meets them: the quickstart, checking, running, drills.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;

use support::{RunOutput, Sandbox, ran, sh};

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
        "cat",
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

/// Two repositories, of which the second is a copy of the first; a source in the first; a policy.
fn two_repositories() -> Sandbox {
    let sandbox = Sandbox::bare();
    let policy = "version: 1
repositories:
  main: {url: repo-1, identity: \"file:id1\", create: {generate_identities: [id1, id2]}}
  vault: {url: repo-2}
copies: {offsite: {from: main, to: vault}}
sources:
  hosts: {volume: {path: tree}, repositories: [main], retention: {last: 1}}
";
    fs::write(sandbox.path("p.yaml"), policy).unwrap();
    fs::create_dir(sandbox.path("tree")).unwrap();
    fs::write(sandbox.path("tree/hosts"), "127.0.0.1").unwrap();
    sandbox
}

/// A command with the policies, and without any repository or identity in its environment.
fn with_policies(sandbox: &Sandbox, args: &[&str]) -> RunOutput {
    let mut command = sandbox.command();
    command
        .env_remove("REPRISE_REPOSITORY")
        .env_remove("REPRISE_IDENTITY");
    ran(command.args(["--policies", "p.yaml"]).args(args))
}

#[test]
fn every_command_takes_repositories_and_sources_from_the_policies() {
    let sandbox = two_repositories();
    with_policies(&sandbox, &["run"]).exits(0);
    // A source leads to its repository, and the policy's identity opens it.
    for args in [
        &["ls", "hosts"][..],
        &["show", "hosts@latest"],
        &["restore", "hosts", "--to", "out"],
    ] {
        with_policies(&sandbox, args).exits(0);
    }
    assert!(sandbox.path("out/hosts").exists());
    for command in ["snapshots", "verify"] {
        with_policies(&sandbox, &[command])
            .exits(2)
            .says("several repositories")
            .says("main, vault");
        for name in ["main", "p/main"] {
            with_policies(&sandbox, &["-r", name, command]).exits(0);
        }
    }
    let copied = with_policies(&sandbox, &["-r", "vault", "--json", "snapshots"]).exits(0);
    assert_eq!(copied.json()["snapshots"].as_array().unwrap().len(), 1);
    with_policies(&sandbox, &["-r", "main", "snapshot", "volume", "tree"]).exits(0);
    // What the policies do not know is no reason to ignore them silently.
    with_policies(&sandbox, &["-r", "/elsewhere", "snapshots"])
        .exits(2)
        .says("not a repository of the given policies");
    with_policies(&sandbox, &["completions", "bash"])
        .exits(2)
        .says("does not use policies");
}

#[test]
fn broken_policies_in_the_environment_stop_nobody_who_names_the_repository() {
    let sandbox = two_repositories();
    with_policies(&sandbox, &["run"]).exits(0);
    fs::write(sandbox.path("p.yaml"), "version: 99").unwrap();
    let mut command = sandbox.command();
    command.env("REPRISE_POLICIES", sandbox.path("p.yaml"));
    let url = format!("file://{}", sandbox.path("repo-1").display());
    ran(command.args(["-r", &url, "snapshots"]))
        .exits(0)
        .says("the policies are ignored")
        .says("means the host that has used it first");
    let mut command = sandbox.recovering();
    command.env("REPRISE_POLICIES", sandbox.path("p.yaml"));
    let at_a_time = ["-r", &url, "ls", "hosts@today"];
    ran(command.args(at_a_time)).exits(0);
}

#[test]
fn prune_covers_the_destinations_of_copies_and_forget_says_that_it_does_not() {
    let sandbox = two_repositories();
    with_policies(&sandbox, &["run"]).exits(0);
    let vault = fs::read_dir(sandbox.path("repo-2")).unwrap().count();
    assert!(vault > 0, "run has copied");
    fs::remove_dir_all(sandbox.path("repo-2")).unwrap();
    with_policies(&sandbox, &["prune", "--dry-run"])
        .exits(0)
        .says("nothing was copied there yet");
    with_policies(&sandbox, &["copy"]).exits(0);
    let pruned = with_policies(&sandbox, &["--json", "prune", "--dry-run"]).exits(0);
    assert_eq!(pruned.stdout.matches("\"plan\"").count(), 2, "{pruned:?}");
    with_policies(&sandbox, &["forget"])
        .exits(0)
        .says("the next `reprise copy` forgets the same snapshots at");
}

#[test]
fn warnings_about_a_policy_are_one_line_where_they_are_not_asked_for() {
    let sandbox = two_repositories();
    let checked = with_policies(&sandbox, &["policy", "check"]).exits(0);
    assert!(checked.stderr.contains("warning:"), "{checked:?}");
    let ran = with_policies(&sandbox, &["run"]).exits(0);
    assert!(ran.stderr.contains("see `reprise policy check`"), "{ran:?}");
    assert!(!ran.stderr.contains("warning:"), "{ran:?}");
    // Once, also where a command asks the policies for more than one thing.
    for args in [
        &["ls", "hosts@today"][..],
        &["diff", "hosts", "hosts@today"],
        &["log", "hosts", "--from", "yesterday"],
    ] {
        let said = with_policies(&sandbox, args).stderr;
        assert_eq!(
            said.matches("see `reprise policy check`").count(),
            1,
            "{said}"
        );
    }
    let quiet = with_policies(&sandbox, &["-q", "run"]).exits(0);
    assert_eq!(quiet.stderr, "");
}

#[test]
fn words_of_other_tools_lead_to_the_right_ones() {
    let sandbox = two_repositories();
    for (typed, meant) in [
        ("list", "snapshots"),
        ("backup", "snapshot"),
        ("check", "verify"),
    ] {
        sandbox
            .run([typed])
            .exits(2)
            .says(&format!("a similar subcommand exists: '{meant}'"));
    }
    let policy = fs::read_to_string(sandbox.path("p.yaml")).unwrap();
    for (from, to, hint) in [
        ("last: 1", "days: 7", "write `daily: 7`"),
        (
            "retention:",
            "cron: \"0 2 * * *\", retention:",
            "write `schedule:",
        ),
    ] {
        fs::write(sandbox.path("p.yaml"), policy.replace(from, to)).unwrap();
        with_policies(&sandbox, &["policy", "check"])
            .exits(2)
            .says(hint);
    }
}
