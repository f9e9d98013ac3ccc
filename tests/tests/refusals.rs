//! Whatever goes wrong has its exit code, names its object, and says what to do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use support::{Sandbox, incompressible_bytes, make_tree, sh};

fn with_snapshot() -> Sandbox {
    let sandbox = Sandbox::new();
    make_tree(&sandbox.path("tree"), 10_000);
    sandbox.snapshot(&sandbox.path("tree"), "tree").exits(0);
    sandbox
}

fn command(sandbox: &Sandbox, source: &str, argv: &[&str]) -> support::RunOutput {
    sandbox.run(
        ["snapshot", "command", "--source", source, "--"]
            .iter()
            .chain(argv),
    )
}

#[test]
fn a_missing_repository_is_not_found() {
    let sandbox = Sandbox::bare();
    sandbox
        .run(["snapshots"])
        .exits(5)
        .says("no repository at")
        .says("reprise init");
}

#[test]
fn a_repository_needs_two_recovery_identities_or_an_explicit_single_one() {
    let sandbox = Sandbox::bare();
    sandbox.run(["init"]).exits(2).says("--generate-identity");
    sandbox
        .run(["init", "--generate-identity", "one"])
        .exits(2)
        .says("--single-recipient");
    assert!(!sandbox.path("one").exists() && !sandbox.path("repository").exists());
    sandbox
        .run(["init", "--generate-identity", "one", "--single-recipient"])
        .exits(0);
    assert_eq!(
        fs::metadata(sandbox.path("one"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    sandbox
        .run(["init", "--generate-identity", "two", "--single-recipient"])
        .exits(6)
        .says("already");
    sandbox
        .run(["init", "--recipient", "nonsense", "--single-recipient"])
        .exits(2)
        .says("nonsense");
}

#[test]
fn the_host_alone_cannot_read_contents_but_can_do_its_work() {
    let sandbox = with_snapshot();
    let refused: [&[&str]; 4] = [
        &["ls", "tree"],
        &["restore", "tree", "--to", "out"],
        &["verify", "--read-data"],
        &["diff", "tree", "tree"],
    ];
    for args in refused {
        sandbox.run(args).exits(6).says("--identity").says("age1");
    }
    assert!(!sandbox.path("out").exists());
    for args in [
        &["snapshots"][..],
        &["show", "tree"],
        &["verify"],
        &["snapshot", "volume", "tree"],
    ] {
        sandbox.run(args).exits(0);
    }
}

#[test]
fn a_wrong_identity_is_refused_with_the_right_recipients() {
    let (sandbox, other) = (with_snapshot(), Sandbox::new());
    let wrong = other.path("id1");
    let args = [
        OsStr::new("--identity"),
        wrong.as_ref(),
        "ls".as_ref(),
        "tree".as_ref(),
    ];
    let recipient = fs::read_to_string(sandbox.path("id1")).unwrap();
    let recipient = recipient
        .lines()
        .find_map(|line| line.strip_prefix("# public key: "))
        .unwrap()
        .to_owned();
    sandbox.run(args).exits(6).says(&recipient);
    sandbox
        .run(["--identity", "absent", "ls", "tree"])
        .exits(6)
        .says("absent");
}

#[test]
fn what_is_not_there_is_not_found() {
    let sandbox = with_snapshot();
    sandbox.run(["show", "nothing"]).exits(5).says("tree");
    sandbox
        .recover(["ls", "tree", "no/such"])
        .exits(5)
        .says("no/such");
    sandbox
        .recover(["restore", "tree", "--to", "out", "no/such"])
        .exits(5)
        .says("no/such");
    sandbox
        .run(["snapshot", "volume", "absent"])
        .exits(5)
        .says("absent");
    sandbox
        .run(["run", "--policies", "absent.yaml"])
        .exits(5)
        .says("absent.yaml");
}

#[test]
fn a_target_with_something_in_it_is_refused() {
    let sandbox = with_snapshot();
    let target = sandbox.path("target");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("mine"), b"x").unwrap();
    sandbox
        .recover(["restore", "tree", "--to", "target"])
        .exits(6)
        .says("not empty")
        .says("--overwrite");
    sandbox
        .recover(["restore", "tree", "--to", "target", "--resume"])
        .exits(6)
        .says("no interrupted restore");
    sandbox
        .recover([
            "restore",
            "tree",
            "--to",
            "target",
            "--overwrite",
            "--dry-run",
        ])
        .exits(0);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
}

#[test]
fn a_newer_format_is_unsupported_and_not_damaged() {
    let sandbox = with_snapshot();
    let config = sandbox.path("repository/reprise.json");
    let text = fs::read_to_string(&config)
        .unwrap()
        .replace("\"format\": 1", "\"format\": 2");
    fs::write(&config, text).unwrap();
    let ran = sandbox
        .run(["snapshots"])
        .exits(1)
        .says("format 2")
        .says("newer version");
    assert!(!ran.stderr.contains("is damaged"), "{}", ran.stderr);
}

#[test]
fn a_changed_or_replaced_repository_is_refused() {
    let sandbox = with_snapshot();
    let config = sandbox.path("repository/reprise.json");
    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, good.replace("age1", "age2")).unwrap();
    sandbox
        .run(["snapshots"])
        .exits(6)
        .says("changed")
        .says("pins");
    fs::write(&config, good).unwrap();
    sandbox.run(["snapshots"]).exits(0);
    let other = with_snapshot();
    fs::rename(sandbox.path("repository"), sandbox.path("away")).unwrap();
    fs::rename(other.path("repository"), sandbox.path("repository")).unwrap();
    sandbox
        .run(["snapshots"])
        .exits(6)
        .says("different repository");
}

#[test]
fn keys_that_others_can_read_are_refused() {
    let sandbox = with_snapshot();
    let key = sandbox.path("config/signing-key.txt");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    sandbox.run(["snapshots"]).exits(6).says("chmod 600");
}

#[test]
fn another_machine_restores_with_an_identity_but_cannot_add() {
    let sandbox = with_snapshot();
    let elsewhere = |args: &[&str]| {
        let output = sandbox
            .command()
            .env("REPRISE_CONFIG_DIR", sandbox.path("elsewhere"))
            .env("REPRISE_IDENTITY", sandbox.path("id2"))
            .args(args)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    assert_eq!(elsewhere(&["restore", "tree", "--to", "out"]).0, Some(0));
    let (code, stderr) = elsewhere(&["snapshot", "volume", "tree"]);
    assert_eq!(code, Some(6), "{stderr}");
    assert!(stderr.contains("not known to repository"), "{stderr}");
}

#[test]
fn a_program_that_fails_leaves_no_snapshot() {
    let sandbox = Sandbox::new();
    command(
        &sandbox,
        "bad",
        &["sh", "-c", "echo half; echo reason >&2; exit 7"],
    )
    .exits(1)
    .says("exit code 7")
    .says("reason");
    command(&sandbox, "bad", &["sh", "-c", "echo half; kill -9 $$"])
        .exits(1)
        .says("signal 9");
    command(&sandbox, "bad", &["no-such-program"])
        .exits(1)
        .says("no-such-program");
    assert!(sandbox.objects("snapshots").is_empty());
    command(&sandbox, "empty", &["true"])
        .exits(3)
        .says("wrote nothing");
    command(&sandbox, "good", &["echo", "hello"]).exits(0);
    let out = sandbox.restore("good", "out");
    assert_eq!(fs::read(out.join("output")).unwrap(), b"hello\n");
}

#[test]
fn a_long_output_streams_in_bounded_memory() {
    let sandbox = Sandbox::new();
    let script = "head -c 300M /dev/zero | tr '\\0' x; head -c 100M /dev/urandom";
    let mut child = sandbox
        .command()
        .args([
            "snapshot", "command", "--source", "long", "--", "bash", "-c", script,
        ])
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak_kib = peak_kib.max(kib.unwrap_or(0));
        std::thread::yield_now();
    }
    assert!(child.wait().unwrap().success());
    assert!(peak_kib > 0 && peak_kib < 250 << 10, "{peak_kib} KiB");
    sandbox.recover(["verify", "--read-data"]).exits(0);
}

fn state(serial: u64, lineage: &str, extra: &str) -> String {
    format!(
        r#"{{"version":4,"terraform_version":"1.11.0","serial":{serial},"lineage":"{lineage}","outputs":{{}},"resources":[]{extra}}}"#
    )
}

#[test]
fn a_terraform_state_keeps_its_rules() {
    let sandbox = Sandbox::new();
    let file = sandbox.path("terraform.tfstate");
    let take = |text: &str| {
        fs::write(&file, text).unwrap();
        sandbox.run([
            "snapshot",
            "tfstate",
            "terraform.tfstate",
            "--source",
            "net",
        ])
    };
    take(&state(5, "a", "")).exits(0);
    take(&state(5, "a", "")).exits(0);
    take(&state(6, "a", "")).exits(0);
    take(&state(6, "a", ",\"x\":1")).exits(3).says("forked");
    take(&state(4, "a", "")).exits(3).says("rolled back");
    take(&state(9, "b", "")).exits(3).says("replaced");
    take("not json").exits(1).says("is not a Terraform state");
    take("{}").exits(1).says("version");
    fs::write(
        sandbox.path(".terraform.tfstate.lock.info"),
        r#"{"Who":"ann","Operation":"apply"}"#,
    )
    .unwrap();
    take(&state(10, "b", "")).exits(3).says("locked by ann");
    let out = sandbox.restore("net", "out");
    assert_eq!(
        fs::read_to_string(out.join("terraform.tfstate")).unwrap(),
        state(10, "b", "")
    );
}

#[test]
fn what_passes_for_a_terraform_state_is_told_from_one() {
    let sandbox = Sandbox::new();
    let take =
        |path: &str, source: &str| sandbox.run(["snapshot", "tfstate", path, "--source", source]);
    // Terraform's own upgrade writes another version under the same serial, PowerShell a byte order mark.
    let file = sandbox.path("terraform.tfstate");
    fs::write(&file, state(7, "a", "")).unwrap();
    take("terraform.tfstate", "net").exits(0);
    fs::write(&file, state(7, "a", "").replace("1.11.0", "1.11.5")).unwrap();
    take("terraform.tfstate", "net").exits(0);
    let marked = [&b"\xef\xbb\xbf"[..], state(8, "a", "").as_bytes()].concat();
    fs::write(&file, &marked).unwrap();
    take("terraform.tfstate", "net").exits(0);
    let out = sandbox.restore("net", "out");
    assert_eq!(fs::read(out.join("terraform.tfstate")).unwrap(), marked);
    // What `terraform init` remembers of a backend is refused, and nothing is stored.
    let stored = sandbox.objects("snapshots").len();
    fs::create_dir(sandbox.path(".terraform")).unwrap();
    let pointer = r#"{"version":3,"serial":1,"lineage":"l","backend":{"type":"s3","config":{"bucket":"b"},"hash":1},"modules":[{"path":["root"],"outputs":{},"resources":{}}]}"#;
    fs::write(sandbox.path(".terraform/terraform.tfstate"), pointer).unwrap();
    for path in [".terraform", ".terraform/terraform.tfstate"] {
        take(path, "pointer").exits(1).says("terraform state pull");
    }
    assert_eq!(sandbox.objects("snapshots").len(), stored);
}

#[test]
fn a_state_that_terraform_could_not_save_is_stored_with_an_alarm() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("tf")).unwrap();
    fs::write(sandbox.path("tf/terraform.tfstate"), state(6, "a", "")).unwrap();
    fs::write(sandbox.path("tf/errored.tfstate"), state(7, "a", "")).unwrap();
    let args = |path| ["snapshot", "tfstate", path, "--source", "e"];
    for path in ["tf", "tf/terraform.tfstate"] {
        sandbox
            .run(args(path))
            .exits(3)
            .says("Terraform could not save serial 7");
    }
    let out = sandbox.restore("e", "out");
    assert_eq!(
        fs::read_to_string(out.join("errored.tfstate")).unwrap(),
        state(7, "a", "")
    );
    // Once it was pushed, what is left of it says nothing; nor does its removal.
    fs::write(sandbox.path("tf/terraform.tfstate"), state(8, "a", "")).unwrap();
    sandbox.run(args("tf")).exits(0);
    fs::remove_file(sandbox.path("tf/errored.tfstate")).unwrap();
    sandbox.run(args("tf")).exits(0);
}

#[test]
fn an_output_that_holds_nothing_is_an_alarm() {
    let sandbox = Sandbox::new();
    for (script, what) in [
        ("false | gzip", "an empty gzip stream"),
        ("false | zstd -q", "an empty zstd stream"),
        ("true", "nothing"),
    ] {
        command(&sandbox, "dump", &["sh", "-c", script])
            .exits(3)
            .says(&format!("succeeded but wrote {what}"));
    }
    command(&sandbox, "dump", &["sh", "-c", "echo x | gzip"]).exits(0);
}

#[test]
fn a_terraform_directory_and_its_workspaces_come_back() {
    let sandbox = Sandbox::new();
    let directory = sandbox.path("tf");
    fs::create_dir_all(directory.join("terraform.tfstate.d/stage")).unwrap();
    fs::write(directory.join("terraform.tfstate"), state(1, "main", "")).unwrap();
    fs::write(
        directory.join("terraform.tfstate.d/stage/terraform.tfstate"),
        state(2, "stage", ""),
    )
    .unwrap();
    // In entry order `stage` comes before `stage-2`, in the order of bytes after it.
    fs::create_dir_all(directory.join("terraform.tfstate.d/stage-2")).unwrap();
    fs::write(
        directory.join("terraform.tfstate.d/stage-2/terraform.tfstate"),
        state(2, "s2", ""),
    )
    .unwrap();
    sandbox
        .run(["snapshot", "tfstate", "tf", "--source", "tf"])
        .exits(0);
    let out = sandbox.restore("tf", "out");
    assert_eq!(
        fs::read_to_string(out.join("terraform.tfstate.d/stage/terraform.tfstate")).unwrap(),
        state(2, "stage", "")
    );
    fs::remove_dir_all(directory.join("terraform.tfstate.d")).unwrap();
    sandbox
        .run(["snapshot", "tfstate", "tf", "--source", "tf"])
        .exits(3)
        .says("no longer exists");
}

#[test]
fn a_source_that_shrank_raises_an_alarm() {
    let sandbox = with_snapshot();
    for n in 0..6 {
        fs::remove_dir_all(sandbox.path("tree").join(format!("d{n}"))).unwrap();
    }
    sandbox
        .snapshot(&sandbox.path("tree"), "tree")
        .exits(3)
        .says("alarm: entries fell");
}

#[test]
fn a_full_disk_is_named_and_what_was_there_stays() {
    let sandbox = with_snapshot();
    let small = sandbox.path("small");
    fs::create_dir(&small).unwrap();
    sh(
        "mount",
        &[
            "-t".as_ref(),
            "tmpfs".as_ref(),
            "-o".as_ref(),
            "size=6m".as_ref(),
            "none".as_ref(),
            small.as_ref(),
        ],
    );
    let unmount = UnmountOnDrop(&small);
    let repository = small.join("repository");
    let run = |args: &[&str]| {
        let output = sandbox
            .command()
            .env("REPRISE_REPOSITORY", &repository)
            .env("REPRISE_IDENTITY", sandbox.path("a"))
            .args(args)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let made = sandbox
        .command()
        .env("REPRISE_REPOSITORY", &repository)
        .args([
            "init",
            "--generate-identity",
            "a",
            "--generate-identity",
            "b",
        ])
        .output()
        .unwrap();
    assert!(made.status.success());
    assert_eq!(run(&["snapshot", "volume", "tree"]).0, Some(0));
    fs::write(sandbox.path("tree/big"), incompressible_bytes(12 << 20, 1)).unwrap();
    let (code, stderr) = run(&["snapshot", "volume", "tree"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stderr.contains("no space left") && stderr.contains("free space"),
        "{stderr}"
    );
    assert_eq!(run(&["verify", "--read-data"]).0, Some(0));
    fs::write(sandbox.path("tree/big"), incompressible_bytes(1 << 20, 1)).unwrap();
    assert_eq!(run(&["snapshot", "volume", "tree"]).0, Some(0));
    drop(unmount);
}

struct UnmountOnDrop<'a>(&'a Path);

impl Drop for UnmountOnDrop<'_> {
    fn drop(&mut self) {
        sh("umount", &[self.0.as_os_str()]);
    }
}

#[test]
fn one_file_system_stays_on_it() {
    let sandbox = with_snapshot();
    let inside = sandbox.path("tree/mounted");
    fs::create_dir(&inside).unwrap();
    sh(
        "mount",
        &[
            "-t".as_ref(),
            "tmpfs".as_ref(),
            "none".as_ref(),
            inside.as_ref(),
        ],
    );
    let unmount = UnmountOnDrop(&inside);
    fs::write(inside.join("elsewhere"), b"x").unwrap();
    sandbox
        .run([
            "snapshot",
            "volume",
            "tree",
            "--one-file-system",
            "--source",
            "one",
        ])
        .exits(0);
    sandbox
        .run(["snapshot", "volume", "tree", "--source", "all"])
        .exits(0);
    drop(unmount);
    let one = sandbox.recover(["ls", "one"]).exits(0).stdout;
    assert!(
        one.contains("mounted") && !one.contains("elsewhere"),
        "{one}"
    );
    assert!(
        sandbox
            .recover(["ls", "all"])
            .exits(0)
            .stdout
            .contains("mounted/elsewhere")
    );
}

#[test]
fn json_is_all_that_is_on_standard_output() {
    let sandbox = with_snapshot();
    let all: [&[&str]; 9] = [
        &["snapshots"],
        &["show", "tree"],
        &["ls", "tree"],
        &["verify"],
        &["verify", "--read-data"],
        &["diff", "tree", "tree"],
        &["restore", "tree", "--to", "out", "--verify"],
        &["snapshot", "command", "--source", "c", "--", "echo", "x"],
        &["show", "nothing"],
    ];
    for args in all {
        let ran = sandbox.recover([&["--json"], args].concat());
        let values =
            serde_json::Deserializer::from_str(&ran.stdout).into_iter::<serde_json::Value>();
        let values: Vec<_> = values.collect::<Result<_, _>>().unwrap();
        assert!(
            !values.is_empty() && values.iter().all(serde_json::Value::is_object),
            "{args:?}: {}",
            ran.stdout
        );
    }
}

#[test]
fn an_ordinary_user_is_told_which_directories_to_look_at() {
    let sandbox = Sandbox::new();
    fs::set_permissions(sandbox.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(
        sandbox.path("repository"),
        fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    fs::create_dir(sandbox.path("theirs")).unwrap();
    fs::set_permissions(sandbox.path("theirs"), fs::Permissions::from_mode(0o777)).unwrap();
    let as_nobody = |args: &[&str], config: &str| {
        let mut command = std::process::Command::new("setpriv");
        command
            .args(["--reuid=65534", "--clear-groups"])
            .arg(support::binary())
            .env("REPRISE_REPOSITORY", sandbox.path("repository"))
            .env("REPRISE_CONFIG_DIR", sandbox.path(config))
            .env("REPRISE_CACHE_DIR", sandbox.path("theirs/cache"))
            .current_dir(sandbox.path("theirs"));
        support::ran(command.args(args))
    };
    as_nobody(&["snapshots"], "theirs/config")
        .exits(6)
        .says("owner and mode of this directory");
    // Keys that cannot be kept are found out before recovery identities lie about.
    let init = [
        "-r",
        "new",
        "init",
        "--generate-identity",
        "a",
        "--generate-identity",
        "b",
    ];
    as_nobody(&init, "config/keys")
        .exits(6)
        .says("REPRISE_CONFIG_DIR");
    assert!(!sandbox.path("theirs/a").exists());
    as_nobody(&init, "theirs/config").exits(0);
}
