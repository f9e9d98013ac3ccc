//! Awkward sources: what does not answer, changes under the reader, or cannot be read.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reprise_tests::metadata::{self, assert_same};
use reprise_tests::servers::{Impostor, Trick};
use support::{Sandbox, incompressible_bytes, make_tree, ran};

/// Far longer than anything here takes, far shorter than what must not be waited for.
const WAIT_LIMIT: Duration = Duration::from_secs(20);

fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < WAIT_LIMIT, "{what}: waited in vain");
        std::thread::yield_now();
    }
}

/// The exit code of a child that must end by itself; whatever it started is ended too.
fn ends(child: &mut Child, what: &str) -> Option<i32> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if begun.elapsed() > WAIT_LIMIT {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{what}: waited in vain for its end");
        }
        std::thread::yield_now();
    }
}

/// Makes a FIFO that a program can wait on for ever; opening it here lets the program go.
fn fifo(sandbox: &Sandbox, name: &str) -> std::path::PathBuf {
    let path = sandbox.path(name);
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    path
}

/// Lets whoever waits on a FIFO go, also when a test fails.
struct ReleaseOnDrop(std::path::PathBuf);

impl Drop for ReleaseOnDrop {
    fn drop(&mut self) {
        // Opened both ways it never blocks; the reader gets a writer that goes away.
        drop(File::options().read(true).write(true).open(&self.0));
    }
}

#[test]
fn a_program_without_output_does_not_delay_a_stop_request() {
    let sandbox = Sandbox::new();
    let release = ReleaseOnDrop(fifo(&sandbox, "never"));
    let mut child = sandbox
        .command()
        .args(["snapshot", "command", "--source", "quiet", "--"])
        .args(["sh", "-c", "echo > started; exec cat never"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the program starts", || sandbox.path("started").exists());
    // As a service manager does it: this process alone, not the terminal's whole group.
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let code = ends(&mut child, "a snapshot that was asked to stop");
    drop(release);
    assert_eq!(code, Some(130));
    assert!(sandbox.objects("snapshots").is_empty());
}

#[test]
fn a_timeout_holds_for_the_children_of_the_program_too() {
    let sandbox = Sandbox::new();
    let release = ReleaseOnDrop(fifo(&sandbox, "never"));
    let policy = "version: 1\nname: p\nrepositories: {main: {url: ./repository}}\nsources:\n  \
        slow: {command: {run: [sh, -c, \"cat never; true\"], timeout: 1s}}\n";
    fs::write(sandbox.path("p.yaml"), policy).unwrap();
    let mut child = sandbox
        .command()
        .args(["run", "--policies", "p.yaml"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let code = ends(&mut child, "a program with a timeout of a second");
    drop(release);
    assert_eq!(code, Some(1));
    assert!(sandbox.objects("snapshots").is_empty());
}

#[test]
fn special_files_are_noted_and_never_opened() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    fs::create_dir(&tree).unwrap();
    fifo(&sandbox, "tree/fifo");
    let mut child = sandbox
        .command()
        .args(["snapshot", "volume", "tree/fifo"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(ends(&mut child, "a snapshot of a FIFO"), Some(0));
    sandbox.snapshot(&tree, "tree").exits(0);
}

#[test]
fn a_file_that_grows_is_kept_up_to_some_length() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    make_tree(&tree, 6 << 20);
    let grows = tree.join("grows");
    let line = incompressible_bytes(1000, 7);
    let mut file = File::create(&grows).unwrap();
    file.write_all(&line.repeat(3000)).unwrap();
    let stop = AtomicBool::new(false);
    let ran = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Bounded, as the reader reads for as long as there is more.
            for _ in 0..200_000 {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                file.write_all(&line).unwrap();
            }
        });
        let ran = sandbox.snapshot(&tree, "tree");
        stop.store(true, Ordering::Relaxed);
        ran
    });
    assert!(
        matches!(ran.code, Some(0 | 3)),
        "{:?} {}",
        ran.code,
        ran.stderr
    );
    if ran.code == Some(3) {
        assert!(ran.stderr.contains("grows: changed"), "{}", ran.stderr);
    }
    let listing = sandbox.recover(["ls", "tree"]).exits(0).stdout;
    assert!(listing.contains("grows"), "{listing}");
    let kept = fs::read(sandbox.restore("tree", "out").join("grows")).unwrap();
    assert!(kept.len() >= 3_000_000, "{} bytes are kept", kept.len());
    assert!(fs::read(&grows).unwrap().starts_with(&kept));
}

#[test]
fn a_tree_that_changes_all_the_time_never_fails_the_run() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    make_tree(&tree, 2 << 20);
    let stop = AtomicBool::new(false);
    let ran: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0_usize;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                let directory = tree.join(format!("d3/new{}", n % 5));
                fs::create_dir_all(&directory).unwrap();
                fs::write(directory.join("f"), incompressible_bytes(n % 90_000, 1)).unwrap();
                let large = tree.join(format!("large{}", n % 3));
                File::options()
                    .write(true)
                    .open(&large)
                    .unwrap()
                    .set_len(((n % 40) << 16) as u64)
                    .unwrap();
                fs::remove_dir_all(tree.join(format!("d3/new{}", (n + 3) % 5))).unwrap_or_default();
                let flips = tree.join("d4/flips");
                if n.is_multiple_of(2) {
                    fs::write(&flips, b"file").unwrap();
                } else {
                    fs::remove_file(&flips).unwrap_or_default();
                    symlink("/etc/passwd", &flips).unwrap();
                }
                fs::remove_file(&flips).unwrap_or_default();
            }
        });
        let ran = (0..4).map(|_| sandbox.snapshot(&tree, "tree")).collect();
        stop.store(true, Ordering::Relaxed);
        ran
    });
    for run in ran {
        assert!(
            matches!(run.code, Some(0 | 3)),
            "{:?} {}",
            run.code,
            run.stderr
        );
    }
    // Whatever was kept is whole, and the untouched files are there.
    let out = sandbox.restore("tree", "out");
    for n in (0..300_usize).filter(|n| n % 7 != 3) {
        assert_eq!(
            fs::read(out.join(format!("d{}/f{n}", n % 7))).unwrap(),
            incompressible_bytes(n * 37, n as u64)
        );
    }
    sandbox.recover(["verify", "--read-data"]).exits(0);
}

#[test]
fn a_single_file_is_a_volume_too() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("tree")).unwrap();
    fs::write(sandbox.path("tree/one"), incompressible_bytes(3 << 20, 1)).unwrap();
    fs::set_permissions(sandbox.path("tree/one"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(sandbox.path("tree/other"), b"x").unwrap();
    for run in 0..2 {
        let args = ["--json", "snapshot", "volume", "tree/one"];
        let json = sandbox.run(args).exits(0).json();
        assert_eq!(json["counts"]["entries"], 1, "run {run}");
    }
    fs::remove_file(sandbox.path("tree/other")).unwrap();
    let (before, after) = (
        metadata::read_tree(&sandbox.path("tree")),
        metadata::read_tree(&sandbox.restore("one", "out")),
    );
    assert_eq!(before[b"one".as_slice()], after[b"one".as_slice()]);
    assert_eq!(after.len(), 2);
}

#[test]
fn a_link_to_a_directory_stands_for_the_directory() {
    let sandbox = Sandbox::new();
    make_tree(&sandbox.path("tree"), 1000);
    symlink("tree", sandbox.path("link")).unwrap();
    sandbox.snapshot(&sandbox.path("link"), "link").exits(0);
    let out = sandbox.restore("link", "out");
    assert_same(&sandbox.path("tree"), &out);
}

#[test]
fn rules_of_a_file_and_exceptions_are_heeded() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    for name in [
        "a/cache/x",
        "a/keep.tmp",
        "a/b.tmp",
        "cache/x",
        "logs/1/2/old",
        "top",
        "a/top",
    ] {
        fs::create_dir_all(tree.join(name).parent().unwrap()).unwrap();
        fs::write(tree.join(name), b"x").unwrap();
    }
    let rules = "# what can be made again\n*.tmp\n!keep.tmp\n/cache/\n\nlogs/**/old\n/top\n";
    fs::write(sandbox.path("rules"), rules).unwrap();
    sandbox
        .run(["snapshot", "volume", "tree", "--exclude-file", "rules"])
        .exits(0);
    let out = sandbox.restore("tree", "out");
    let paths: Vec<_> = metadata::read_tree(&out)
        .into_keys()
        .map(|p| String::from_utf8(p).unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            "",
            "a",
            "a/cache",
            "a/cache/x",
            "a/keep.tmp",
            "a/top",
            "logs",
            "logs/1",
            "logs/1/2"
        ]
    );
}

#[test]
fn braces_in_a_rule_are_letters_as_they_are_in_gitignore() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("tree")).unwrap();
    for name in ["a.x", "b.x", "{a,b}.x"] {
        fs::write(sandbox.path("tree").join(name), b"x").unwrap();
    }
    let args = ["snapshot", "volume", "tree", "--exclude", "{a,b}.x"];
    sandbox.run(args).exits(0);
    let out = metadata::read_tree(&sandbox.restore("tree", "out"));
    let paths: Vec<&[u8]> = out.keys().map(Vec::as_slice).collect();
    assert_eq!(paths, [b"".as_slice(), b"a.x", b"b.x"]);
}

#[test]
fn a_directory_that_cannot_be_entered_is_named_and_the_rest_is_saved() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    make_tree(&tree, 1000);
    fs::create_dir(tree.join("closed")).unwrap();
    fs::write(tree.join("closed/inside"), b"x").unwrap();
    fs::set_permissions(tree.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    let all = sandbox.path("");
    support::sh(
        "chown",
        &["-R".as_ref(), "65534:65534".as_ref(), all.as_ref()],
    );
    std::os::unix::fs::chown(tree.join("closed"), Some(0), Some(0)).unwrap();
    let envs = sandbox.command();
    let output = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(support::binary())
        .args(["--json", "snapshot", "volume", "tree"])
        .envs(
            envs.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(&all)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("closed: cannot be read"), "{stderr}");
    let listing = sandbox.recover(["ls", "tree"]).exits(0).stdout;
    assert!(
        listing.contains("d1/f1") && !listing.contains("inside"),
        "{listing}"
    );
    // What is missing is known of the snapshot later too.
    sandbox.recover(["show", "tree"]).exits(0);
    let shown = sandbox.recover(["--json", "show", "tree"]).exits(0).json();
    assert_eq!(shown["outcome"], "degraded");
    assert_eq!(shown["details"]["warnings"][0]["path"], "closed");
}

#[test]
fn neither_a_secret_nor_a_name_nor_a_content_is_readable_in_the_repository() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("tree")).unwrap();
    fs::write(
        sandbox.path("tree/UNMISTAKABLE-NAME"),
        b"UNMISTAKABLE-CONTENT",
    )
    .unwrap();
    sandbox.snapshot(&sandbox.path("tree"), "tree").exits(0);
    let policy = "version: 1\nname: p\nrepositories: {main: {url: ./repository}}\nsources:\n  c: \
        {command: {run: [sh, -c, 'test ${#TOKEN} = 19 && echo yes'], env: {TOKEN: \
        '${env:GIVEN}'}}}\n";
    fs::write(sandbox.path("p.yaml"), policy).unwrap();
    let output = sandbox
        .command()
        .env("GIVEN", "UNMISTAKABLE-SECRET")
        .args(["-vvv", "run", "--policies", "p.yaml"])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(!stderr.contains("UNMISTAKABLE"), "{stderr}");
    for directory in ["", "../cache", "../config"] {
        for object in sandbox.objects(directory) {
            let bytes = fs::read(&object).unwrap();
            let holds = |text: &str| {
                bytes
                    .windows(text.len())
                    .any(|part| part == text.as_bytes())
            };
            assert!(!holds("UNMISTAKABLE-SECRET"), "{}", object.display());
            let stored = !object.starts_with(sandbox.path("repository/../cache"));
            assert!(!(stored && holds("UNMISTAKABLE")), "{}", object.display());
        }
    }
}

#[test]
fn a_program_gets_its_arguments_as_they_are() {
    let sandbox = Sandbox::new();
    let args = [
        "snapshot", "command", "--source", "c", "--", "printf", "%s|",
    ];
    let raw = ["", "a b", "$HOME", "--json", "*", "-"].map(OsStr::new);
    sandbox
        .run(args.map(OsStr::new).into_iter().chain(raw))
        .exits(0);
    let kept = fs::read(sandbox.restore("c", "out").join("output")).unwrap();
    assert_eq!(kept, b"|a b|$HOME|--json|*|-|");
}

/// The output of a shell command as a source, with credentials of this program in its environment.
fn output_with_credentials(sandbox: &Sandbox, args: &[&str], script: &str) -> String {
    let mut command = sandbox.recovering();
    command
        .env("AWS_SECRET_ACCESS_KEY", "of the storage")
        .env("MYSQL_PWD", "of the database")
        .env("REPRISE_KEEPER", "keeper.txt")
        .env("UNRELATED", "kept");
    let stored = ran(command
        .args(["snapshot", "command", "--source", "out"])
        .args(args)
        .args(["--", "sh", "-c", script]));
    stored.exits(0);
    sandbox.restore("out", "restored");
    let output = fs::read_to_string(sandbox.path("restored/output")).unwrap();
    fs::remove_dir_all(sandbox.path("restored")).unwrap();
    output
}

#[test]
fn a_program_inherits_no_credential_that_is_not_named() {
    let sandbox = Sandbox::new();
    let script =
        r#"echo "$AWS_SECRET_ACCESS_KEY|$MYSQL_PWD|$REPRISE_KEEPER|$UNRELATED|$REPRISE_IDENTITY""#;
    assert_eq!(output_with_credentials(&sandbox, &[], script), "|||kept|\n");
    assert_eq!(
        output_with_credentials(&sandbox, &["--env", "MYSQL_PWD"], script),
        "|of the database||kept|\n"
    );
    sandbox
        .run(["snapshot", "command", "--env", "NOT_SET", "--", "true"])
        .exits(2)
        .says("the environment variable `NOT_SET` is not set");
}

#[test]
fn a_program_of_a_policy_does_not_inherit_the_passwords_of_other_sources() {
    let sandbox = Sandbox::new();
    let policy = format!(
        r#"version: 1
repositories: {{main: {{url: "{}"}}}}
sources:
  shop: {{mysql: {{url: "mysql://backup@127.0.0.1:1/", password: "${{env:SHOP_PASS}}"}}}}
  out:
    command:
      run: [sh, -c, 'echo "$SHOP_PASS|$OWN"']
      env: {{OWN: "${{env:OWN_PASS}}"}}
"#,
        sandbox.path("repository").display()
    );
    fs::write(sandbox.path("p.yaml"), policy).unwrap();
    let mut command = sandbox.recovering();
    command.env("SHOP_PASS", "secret").env("OWN_PASS", "own");
    ran(command
        .args(["run", "--policies"])
        .arg(sandbox.path("p.yaml"))
        .arg("p/out"))
    .exits(0);
    sandbox.restore("out", "restored");
    let output = fs::read_to_string(sandbox.path("restored/output")).unwrap();
    assert_eq!(output, "|own\n");
}

#[test]
fn what_a_program_says_cannot_rewrite_the_terminal() {
    let sandbox = Sandbox::new();
    let script = r"printf 'bad \033[2J\nerror: second line\n' >&2; exit 3";
    let told = sandbox.run(["snapshot", "command", "--", "sh", "-c", script]);
    let told = told.exits(1);
    assert!(!told.stderr.contains('\u{1b}'), "{told:?}");
    assert!(told.stderr.contains(r"bad \u{1b}[2J"), "{told:?}");
}

#[test]
fn keys_in_memory_end_up_in_no_core_dump() {
    let sandbox = Sandbox::new();
    let everything = [
        OsStr::new("-R"),
        OsStr::new("65534"),
        sandbox.path("").as_os_str(),
    ]
    .map(OsStr::to_owned);
    support::sh("chown", &everything.each_ref().map(|arg| arg.as_os_str()));
    let ours = sandbox.recovering();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--clear-groups"])
        .arg(ours.get_program())
        .envs(
            ours.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(sandbox.path(""));
    // What belongs to root under /proc although its process does not is memory that other processes cannot read.
    let script = "ulimit -Sc; stat -c %u /proc/$PPID/status";
    let args = ["snapshot", "command", "--source", "out", "--", "sh", "-c"];
    ran(command.args(args).arg(script)).exits(0);
    sandbox.restore("out", "restored");
    let output = fs::read_to_string(sandbox.path("restored/output")).unwrap();
    assert_eq!(output, "0\n0\n");
}

/// Two sources in a policy, of which the second is a good one; runs them with `--json`, and gives the events.
fn run_two(sandbox: &Sandbox, first: &str, args: &[&str]) -> (Option<i32>, Vec<serde_json::Value>) {
    make_tree(&sandbox.path("tree"), 10_000);
    let policy = format!(
        "version: 1\nname: p\nrepositories: {{main: {{url: ./repository}}}}\nsources:\n  \
         a: {first}\n  b: {{volume: {{path: tree}}}}\n"
    );
    fs::write(sandbox.path("p.yaml"), policy).unwrap();
    let mut child = sandbox
        .command()
        .args(["--json", "--no-progress", "run", "--policies", "p.yaml"])
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let code = ends(&mut child, "a run with a bad source");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut text).unwrap();
    let events = text.lines().map(|line| serde_json::from_str(line).unwrap());
    (code, events.collect())
}

/// The first source failed for this reason, the second one is stored, and the last event says so.
fn assert_only_first_failed((code, events): &(Option<i32>, Vec<serde_json::Value>), reason: &str) {
    assert_eq!(*code, Some(1), "{events:?}");
    let [error, snapshot, end] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(error["event"], "error");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(reason), "{message}");
    let about = ["policy", "source", "repository"].map(|name| error[name].as_str().unwrap());
    assert_eq!(about, ["p", "a", "main"]);
    assert_eq!(snapshot["source"], "b");
    assert_eq!(end["event"], "run");
    assert_eq!(end["outcome"], "failed");
    assert_eq!(end["exit_code"], 1);
    assert_eq!(
        (&end["sources"]["ok"], &end["sources"]["failed"]),
        (&1.into(), &1.into())
    );
}

#[test]
fn a_source_that_hangs_in_the_system_is_abandoned_and_the_next_one_is_stored() {
    let sandbox = Sandbox::new();
    let release = ReleaseOnDrop(fifo(&sandbox, "never"));
    let hangs = "{volume: {path: tree, exclude_files: [never]}}";
    let ran = run_two(&sandbox, hangs, &["--timeout", "3s"]);
    drop(release);
    assert_only_first_failed(&ran, "it was not done after 3 s and did not stop");
    assert_eq!(ran.1[0]["kind"], "volume");
}

#[test]
fn a_command_that_hangs_is_ended_and_the_next_source_is_stored() {
    let sandbox = Sandbox::new();
    let release = ReleaseOnDrop(fifo(&sandbox, "never"));
    let hangs = "{command: {run: [sh, -c, \"cat never; true\"]}}";
    let ran = run_two(&sandbox, hangs, &["--timeout", "3s"]);
    drop(release);
    assert_only_first_failed(&ran, "it was not done after 3 s");
    assert_eq!(ran.1[0]["kind"], "command");
}

#[test]
fn a_repository_that_cannot_be_reached_is_tried_once_in_a_run() {
    let sandbox = Sandbox::new();
    make_tree(&sandbox.path("tree"), 10_000);
    // Nothing listens there any more.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let policy = "version: 1\nname: p\nrepositories:\n  main: {url: ./repository}\n  away: {url: \"s3://bucket/p\"}\n\
        sources:\n  a: {volume: {path: tree}, repositories: [away, main]}\n  b: {volume: {path: tree}, repositories: [away, main]}\n\
        copies:\n  off: {from: main, to: away}\n";
    fs::write(sandbox.path("p.yaml"), policy).unwrap();
    let mut command = sandbox.command();
    command
        .envs([
            ("AWS_ACCESS_KEY_ID", "k"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("AWS_REGION", "r"),
        ])
        .env("AWS_ENDPOINT_URL", endpoint)
        .args([
            "--json",
            "--no-progress",
            "--retry-for",
            "1s",
            "run",
            "--policies",
            "p.yaml",
        ]);
    let ran = support::ran(&mut command).exits(1);
    let events = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let events: Vec<serde_json::Value> = events.collect();
    let errors: Vec<_> = events
        .iter()
        .filter(|event| event["event"] == "error")
        .collect();
    let untried =
        |event: &serde_json::Value| event["message"].as_str().unwrap().contains("not tried");
    let untried: Vec<bool> = errors.iter().map(|event| untried(event)).collect();
    assert_eq!(untried, [false, true, true], "{errors:?}");
    assert_eq!(errors[2]["kind"], "copy");
    let end = events.last().unwrap();
    assert_eq!(end["sources"]["ok"], 2, "{end}");
    assert_eq!(
        (&end["sources"]["failed"], &end["copies"]["failed"]),
        (&2.into(), &1.into())
    );
}

#[test]
fn a_database_server_that_hangs_fails_alone() {
    let sandbox = Sandbox::new();
    let frozen = Impostor::start(Trick::Silence);
    let url = format!(
        "{{mysql: {{url: \"mysql://u@127.0.0.1:{}/\"}}}}",
        frozen.port()
    );
    let ran = run_two(&sandbox, &url, &["--request-timeout", "1s"]);
    assert_only_first_failed(&ran, "no answer within 1 s");
    assert_eq!(ran.1[0]["kind"], "mysql");
}
