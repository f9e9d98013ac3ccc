//! Repositories that earlier versions made are read for ever: everything in the fixtures comes back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use reprise_tests::servers::{Database, Mariadb, Mysql};
use support::{RunOutput, Sandbox, assert_same_trees, ran, sh};

/// A fixture of `make_fixture`, unpacked.
struct UnpackedFixture {
    sandbox: Sandbox,
}

impl UnpackedFixture {
    fn unpack(name: &str) -> Self {
        let sandbox = Sandbox::bare();
        let archive =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/{name}.tar.zst"));
        let directory = sandbox.path(name);
        let args = ["--extract", "--zstd", "--file"].map(std::ffi::OsStr::new);
        let to = [
            "--directory".as_ref(),
            directory.parent().unwrap().as_os_str(),
        ];
        sh("tar", &[&args[..], &[archive.as_os_str()], &to].concat());
        // The rest of the tests find the files where a sandbox has them.
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            fs::rename(
                &path,
                sandbox.path(path.file_name().unwrap().to_str().unwrap()),
            )
            .unwrap();
        }
        fs::rename(sandbox.path("recovery-1.txt"), sandbox.path("id1")).unwrap();
        Self { sandbox }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The snapshots of a source, oldest first.
    fn snapshots_of(&self, source: &str) -> Vec<String> {
        let listed = self
            .sandbox
            .run(["--json", "snapshots", "--source", source]);
        let listed = listed.exits(0).json();
        let snapshots = listed["snapshots"].as_array().unwrap().iter();
        snapshots
            .map(|one| one["snapshot"].as_str().unwrap().to_owned())
            .collect()
    }

    fn restore(&self, arguments: &[&str], server: &impl Database) -> RunOutput {
        let mut command = self.sandbox.recovering();
        command.args(["restore", arguments[0], "--to", &server.root_url()]);
        ran(command.args(&arguments[1..]))
    }

    /// A server comes back to the middle of its log.
    fn middle_comes_back(&self, source: &str, target: &impl Database) {
        let gtid = self.text(&format!("{source}-gtid"));
        self.restore(&[source, "--before-gtid", &gtid], target)
            .exits(0);
        let expected = self.text(&format!("expected-{source}-middle"));
        assert_eq!(rows(target), expected);
    }
}

/// The rows of the fixture's table, as `make_fixture` has written them down.
fn rows(server: &impl Database) -> String {
    let rows = server.query("SELECT id, v, d, HEX(b), at FROM app.t ORDER BY id");
    rows.iter().map(|row| format!("{row:?}\n")).collect()
}

#[test]
fn a_repository_of_format_1_is_read_whole() {
    let fixture = UnpackedFixture::unpack("format-1");
    let sandbox = &fixture.sandbox;
    sandbox.recover(["verify", "--read-data"]).exits(0);
    let trees = fixture.snapshots_of("tree");
    assert_eq!(trees.len(), 2, "the third one is forgotten");
    for (n, snapshot) in trees.iter().enumerate() {
        let restored = sandbox.restore(snapshot, &format!("restored-{n}"));
        assert_same_trees(
            &fixture.path(&format!("expected-tree-{}", n + 1)),
            &restored,
        );
    }
    let note = sandbox.restore("note", "restored-note");
    assert_eq!(
        fs::read_to_string(note.join("output")).unwrap(),
        fixture.text("note")
    );
    let state = sandbox.restore("network", "restored-state");
    let state = fs::read_to_string(state.join("terraform.tfstate")).unwrap();
    assert_eq!(state, fixture.text("expected-state.json"));
}

#[test]
fn a_repository_of_format_1_is_written_to_forgotten_from_and_pruned() {
    let fixture = UnpackedFixture::unpack("format-1");
    let sandbox = &fixture.sandbox;
    let stored = sandbox
        .snapshot(&fixture.path("expected-tree-2"), "tree")
        .exits(0)
        .json();
    let added = stored["added"]["stored_bytes"].as_u64().unwrap();
    assert!(added < 10_000, "known contents were stored again: {stored}");
    let oldest = &fixture.snapshots_of("tree")[0];
    let keeper = fixture.path("keeper.txt");
    let keeping = |arguments: &[&str]| {
        let mut command = sandbox.command();
        ran(command.args(arguments).arg("--keeper").arg(&keeper))
    };
    keeping(&["forget", oldest]).exits(0);
    // A prune of an earlier program left a sweep that a mere writer signed.
    keeping(&["prune"]).exits(3).says("it is not a keeper");
    sandbox.recover(["verify", "--read-data"]).exits(0);
    let copy = format!("{}", fixture.path("copy").display());
    sandbox.run(["copy", "--to", &copy]).exits(0);
    let verify = ["--repository", &copy, "verify", "--read-data"];
    sandbox.recover(verify).exits(0);
}

#[test]
fn a_server_and_its_log_in_format_1_come_back_to_any_transaction() {
    let fixture = UnpackedFixture::unpack("format-1");
    fixture.middle_comes_back("mysql", &Mysql::start());
    fixture.middle_comes_back("mariadb", &Mariadb::start());
    // The end of the window, which MariaDB tells only to the second.
    let shown = fixture
        .sandbox
        .run(["--json", "show", "mysql"])
        .exits(0)
        .json();
    let windows = shown["restorable"].as_array().unwrap();
    assert_eq!(windows.len(), 1, "{shown}");
    let until = windows[0]["until"].as_str().unwrap();
    let end = Mysql::start();
    fixture
        .restore(&["mysql", "--point-in-time", until], &end)
        .exits(0);
    assert_eq!(rows(&end), fixture.text("expected-mysql-end"));
}

/// Written before the order of entries was checked on writing, of a file system that lists each name twice.
#[test]
fn a_list_that_repeats_entries_is_listed_restored_compared_and_verified() {
    let fixture = UnpackedFixture::unpack("repeated-entries");
    let sandbox = &fixture.sandbox;
    let verified = sandbox.recover(["verify", "--read-data"]).exits(0);
    verified.says("more than once");
    let listed = sandbox.recover(["--json", "ls", "twice"]).exits(0).stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let paths = listed["entries"].as_array().unwrap().iter();
    let paths: Vec<_> = paths.map(|entry| entry["path"].as_str().unwrap()).collect();
    let expected = [
        "",
        "dir",
        "dir/g",
        "dir/sub",
        "dir/sub/h",
        "f",
        "link",
        "m",
        "z",
    ];
    assert_eq!(paths, expected);
    let restored = sandbox.restore("twice", "restored");
    for (path, content) in [
        ("f", "x\n"),
        ("dir/g", "y\n"),
        ("dir/sub/h", "h\n"),
        ("z", "x\n"),
    ] {
        assert_eq!(
            fs::read_to_string(restored.join(path)).unwrap(),
            content,
            "{path}"
        );
    }
    let part = sandbox.path("part");
    let part = part.to_str().unwrap();
    sandbox
        .recover(["restore", "twice", "--to", part, "dir/g"])
        .exits(0);
    assert_eq!(
        fs::read_to_string(sandbox.path("part/dir/g")).unwrap(),
        "y\n"
    );
    sandbox.snapshot(&restored, "again").exits(0);
    let changes = sandbox
        .recover(["--json", "diff", "twice", "again"])
        .exits(0)
        .json();
    let changes = changes["changes"].as_array().unwrap();
    assert!(
        changes
            .iter()
            .all(|one| one["change"] == "a" || one["path"] == "z" || one["path"] == "m"),
        "{changes:?}"
    );
}

#[test]
fn the_fixture_holds_what_the_expectations_are_about() {
    let fixture = UnpackedFixture::unpack("format-1");
    let mut list = Command::new("find");
    list.arg(fixture.path("repository")).args(["-type", "f"]);
    let files = ran(&mut list).exits(0).stdout;
    for directory in [
        "index",
        "keys",
        "leases",
        "logs",
        "packs",
        "snapshots",
        "sweeps",
        "tombstones",
    ] {
        assert!(
            files.contains(&format!("repository/{directory}/")),
            "no {directory}"
        );
    }
}
