//! A restore writes what was asked for, where it was asked for, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use reprise_tests::metadata::{self, assert_same};
use support::{Sandbox, begin, begin_captured, end, kill, make_tree, ran, sh, signal, wait_for};

#[test]
fn chosen_paths_come_back_with_their_directories_and_linked_files() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    make_tree(&tree, 1000);
    fs::hard_link(tree.join("d1/f1"), tree.join("d2/a-link")).unwrap();
    fs::hard_link(tree.join("d1/f1"), tree.join("d2/b-link")).unwrap();
    sandbox.snapshot(&tree, "tree").exits(0);
    sandbox
        .recover(["restore", "tree", "--to", "out", "d2", "large1", "--verify"])
        .exits(0);
    let out = sandbox.path("out");
    assert!(
        !out.join("d1").exists() && !out.join("large0").exists() && out.join("large1").exists()
    );
    assert_eq!(
        fs::read(out.join("d2/a-link")).unwrap(),
        fs::read(tree.join("d1/f1")).unwrap()
    );
    let inode = |name: &str| fs::metadata(out.join(name)).unwrap().ino();
    assert_eq!(inode("d2/a-link"), inode("d2/b-link"));
}

#[test]
fn overwriting_replaces_what_differs_and_touches_nothing_else() {
    let sandbox = Sandbox::new();
    let (tree, target, outside) = (
        sandbox.path("tree"),
        sandbox.path("target"),
        sandbox.path("outside"),
    );
    make_tree(&tree, 1000);
    symlink("d1/f1", tree.join("link")).unwrap();
    sandbox.snapshot(&tree, "tree").exits(0);
    for directory in [&target, &outside] {
        fs::create_dir(directory).unwrap();
    }
    fs::write(outside.join("f0"), b"precious").unwrap();
    fs::write(outside.join("linked"), b"precious").unwrap();
    fs::write(target.join("foreign"), b"stays").unwrap();
    fs::write(target.join("link"), b"was a file").unwrap();
    // A link in place of a directory, and another name of a file outside in place of a file.
    symlink(&outside, target.join("d0")).unwrap();
    fs::hard_link(outside.join("linked"), target.join("large0")).unwrap();
    let ran = sandbox
        .recover([
            "restore",
            "tree",
            "--to",
            "target",
            "--overwrite",
            "--verify",
        ])
        .exits(0);
    assert!(
        ran.stderr.contains("replaced if it differs"),
        "{}",
        ran.stderr
    );
    assert_eq!(fs::read(outside.join("f0")).unwrap(), b"precious");
    assert_eq!(fs::read(outside.join("linked")).unwrap(), b"precious");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 2);
    assert_eq!(fs::read(target.join("foreign")).unwrap(), b"stays");
    assert_eq!(
        fs::read(target.join("large0")).unwrap(),
        fs::read(tree.join("large0")).unwrap()
    );
    assert!(fs::symlink_metadata(target.join("d0")).unwrap().is_dir());
    // A second time there is nothing to do.
    let again = sandbox
        .recover(["restore", "tree", "--to", "target", "--overwrite"])
        .exits(0);
    assert!(again.stdout.contains("already correct"), "{}", again.stdout);
}

/// A path that nobody can change, until this is dropped.
struct Immutable(PathBuf);

impl Immutable {
    fn new(path: PathBuf) -> Self {
        sh("chattr", &["+i".as_ref(), path.as_os_str()]);
        Self(path)
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        sh("chattr", &["-i".as_ref(), self.0.as_os_str()]);
    }
}

/// A file system in memory, mounted until this is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: PathBuf, options: &str) -> Self {
        fs::create_dir_all(&path).unwrap();
        let args = ["-t", "tmpfs", "-o", options, "none"].map(OsStr::new);
        sh("mount", &[&args[..], &[path.as_ref()]].concat());
        Self(path)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        sh("umount", &[self.0.as_os_str()]);
    }
}

/// The binary with a sandbox's environment, as a user without rights to whom everything in the sandbox belongs.
fn ordinary_user(sandbox: &Sandbox) -> Command {
    let everything = sandbox.path("");
    sh(
        "chown",
        &["-hR".as_ref(), "65534:65534".as_ref(), everything.as_ref()],
    );
    let ours = sandbox.recovering();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(ours.get_program())
        .envs(
            ours.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(everything);
    command
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn what_cannot_be_made_is_named_and_nothing_else_is_lost() {
    let sandbox = Sandbox::new();
    let (tree, out) = (sandbox.path("tree"), sandbox.path("out"));
    for name in ["a", "b", "z"] {
        fs::create_dir_all(tree.join(name)).unwrap();
        fs::write(tree.join(name).join("f"), name).unwrap();
    }
    sandbox.snapshot(&tree, "tree").exits(0);
    sandbox.restore("tree", "out");
    fs::remove_file(out.join("b/f")).unwrap();
    for name in ["a", "z"] {
        fs::write(out.join(name).join("f"), "local").unwrap();
    }
    let locked = Immutable::new(out.join("b"));
    let args = ["restore", "tree", "--to", "out", "--overwrite"];
    let ran = sandbox.recover(args).exits(3);
    let verified = sandbox
        .recover([&args[..], &["--verify"]].concat())
        .exits(3);
    let json = sandbox.recover([&["--json"], &args[..]].concat()).exits(3);
    drop(locked);
    let ran = ran.says("warning: b/f is not restored: ");
    assert!(
        !ran.stderr.contains("z/f is not restored"),
        "{}",
        ran.stderr
    );
    assert!(
        verified.stdout.contains("verified: "),
        "{}",
        verified.stdout
    );
    let problem = &json.json()["report"]["problems"][0];
    assert_eq!(problem["consequence"], "missing");
    assert_eq!(problem["paths"], serde_json::json!(["b/f"]));
    for name in ["a", "z"] {
        assert_eq!(fs::read_to_string(out.join(name).join("f")).unwrap(), name);
    }
    assert_eq!(fs::read_dir(&out).unwrap().count(), 3);
}

#[test]
fn an_existing_file_stays_where_its_successor_cannot_be_made() {
    let sandbox = Sandbox::new();
    let (tree, out) = (sandbox.path("tree"), sandbox.path("out"));
    make_tree(&tree, 3 << 20);
    sandbox.snapshot(&tree, "tree").exits(0);
    fs::create_dir_all(out.join("d1")).unwrap();
    let precious = ["large1", "d1/f1"].map(|name| out.join(name));
    for path in &precious {
        fs::write(path, "precious").unwrap();
    }
    let locked = precious.clone().map(Immutable::new);
    let args = ["restore", "tree", "--to", "out", "--overwrite"];
    let ran = sandbox.recover(args);
    drop(locked);
    ran.exits(3).says("warning: 2 entries are not restored: ");
    for path in &precious {
        assert_eq!(fs::read_to_string(path).unwrap(), "precious");
    }
    // What was prepared beside them is gone, and the next restore replaces them.
    assert_eq!(fs::read_dir(&out).unwrap().count(), 10);
    sandbox
        .recover([&args[..], &["--verify"]].concat())
        .exits(0);
    assert_same(&tree, &out);
}

#[test]
fn equal_causes_are_one_line_with_the_full_list_in_a_file() {
    let sandbox = Sandbox::new();
    let (tree, out) = (sandbox.path("tree"), sandbox.path("out"));
    make_tree(&tree, 1000);
    sandbox.snapshot(&tree, "tree").exits(0);
    sandbox.restore("tree", "out");
    let lost = fs::read_dir(out.join("d3")).unwrap().count();
    fs::remove_dir_all(out.join("d3")).unwrap();
    fs::create_dir(out.join("d3")).unwrap();
    let locked = Immutable::new(out.join("d3"));
    let args = ["restore", "tree", "--to", "out", "--overwrite"];
    let ran = sandbox.recover(args).exits(3);
    drop(locked);
    let ran = ran.says(&format!("warning: {lost} entries are not restored: "));
    assert!(ran.stderr.lines().count() < 25, "{}", ran.stderr);
    let file = ran
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("the full list is in "));
    let list = fs::read_to_string(file.unwrap()).unwrap();
    let named = list.lines().filter(|line| line.starts_with("d3/f"));
    assert_eq!(named.count(), lost);
}

#[test]
fn a_link_that_cannot_be_made_becomes_a_file_of_its_own() {
    let sandbox = Sandbox::new();
    let (tree, out) = (sandbox.path("tree"), sandbox.path("out"));
    fs::create_dir_all(tree.join("other")).unwrap();
    fs::write(tree.join("first"), "content").unwrap();
    fs::hard_link(tree.join("first"), tree.join("other/link")).unwrap();
    sandbox.snapshot(&tree, "tree").exits(0);
    // Links do not lead from one file system to another.
    let mounted = Mounted::new(out.join("other"), "size=1m");
    let args = ["restore", "tree", "--to", "out", "--overwrite", "--verify"];
    let ran = sandbox.recover(args);
    let content = fs::read_to_string(out.join("other/link"));
    drop(mounted);
    ran.exits(3)
        .says("other/link is not as it was: it is a copy of its own instead of a hard link");
    assert_eq!(content.unwrap(), "content");
}

#[test]
fn two_restores_into_one_directory_do_not_disturb_each_other() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    make_tree(&tree, 20 << 20);
    sandbox.snapshot(&tree, "tree").exits(0);
    let args = ["restore", "tree", "--to", "out", "--overwrite"];
    let mut first = begin(sandbox.recovering(), args);
    wait_for(&mut first, || sandbox.path("out/d1").exists());
    signal(&first, rustix::process::Signal::STOP);
    let second = sandbox.recover(args);
    signal(&first, rustix::process::Signal::CONT);
    let first = first.wait().unwrap();
    // The first may have ended before it was stopped; then nobody is in the way of the second.
    if second.code != Some(0) {
        second
            .exits(6)
            .says("another restore into out is in progress");
    }
    assert_eq!(first.code(), Some(0));
    assert_same(&tree, &sandbox.path("out"));
}

#[test]
fn damage_is_an_error_and_never_a_wrong_file() {
    let sandbox = Sandbox::new();
    let (tree, out) = (sandbox.path("tree"), sandbox.path("out"));
    make_tree(&tree, 3 << 20);
    fs::hard_link(tree.join("d0/f0"), tree.join("d1/z-link")).unwrap();
    sandbox.snapshot(&tree, "tree").exits(0);
    let pack = sandbox.objects("packs").remove(0);
    let mut bytes = fs::read(&pack).unwrap();
    bytes[5000] ^= 1;
    fs::write(&pack, bytes).unwrap();
    fs::create_dir(&out).unwrap();
    fs::write(out.join("large0"), "what was there").unwrap();
    let args = ["restore", "tree", "--to", "out", "--overwrite", "--verify"];
    let ran = sandbox.recover(args).exits(4).says("packs/");
    assert!(
        ran.stderr.contains("damaged in the repository"),
        "{}",
        ran.stderr
    );
    // Each file is whole, or not there; and most are there.
    let (mut whole, mut lost) = (0, 0);
    for (path, record) in metadata::read_tree(&tree) {
        let name = OsStr::from_bytes(&path);
        if record.kind != "RegularFile" {
            continue;
        }
        match fs::read(out.join(name)) {
            Ok(found) if found == b"what was there" => lost += 1,
            Ok(found) => {
                assert!(found == fs::read(tree.join(name)).unwrap(), "{name:?}");
                whole += 1;
            }
            Err(_) => lost += 1,
        }
    }
    assert!(whole > 0 && lost > 0, "{whole} whole, {lost} lost");
    let leftover = metadata::read_tree(&out);
    let is_ours = |path: &&Vec<u8>| path.windows(9).any(|part| part == b".reprise-");
    assert_eq!(leftover.keys().filter(is_ours).count(), 0);
    let ran = sandbox.recover(["verify", "--read-data"]).exits(4);
    assert!(ran.stderr.contains("affects snapshot"), "{}", ran.stderr);
}

#[test]
fn a_repository_that_is_gone_stops_a_restore() {
    let sandbox = Sandbox::new();
    let (tree, out) = (sandbox.path("tree"), sandbox.path("out"));
    make_tree(&tree, 60 << 20);
    sandbox.snapshot(&tree, "tree").exits(0);
    let args = ["restore", "tree", "--to", "out"];
    let mut child = begin_captured(sandbox.recovering(), args);
    // It is moved while the restore is held.
    let is_moved = wait_for(&mut child, || {
        out.join("large0").exists()
            && fs::rename(sandbox.path("repository"), sandbox.path("away")).is_ok()
    });
    assert!(is_moved);
    end(child)
        .exits(5)
        .says("no repository at")
        .says("--resume");
    fs::rename(sandbox.path("away"), sandbox.path("repository")).unwrap();
    sandbox
        .recover([&args[..], &["--resume", "--verify"]].concat())
        .exits(0);
    assert_same(&tree, &out);
}

#[test]
fn directories_without_the_right_to_write_are_opened_for_a_restore_and_closed_again() {
    let sandbox = Sandbox::new();
    let (tree, out) = (sandbox.path("tree"), sandbox.path("out"));
    make_tree(&tree, 20 << 20);
    for name in ["d1", "d2", ""] {
        set_mode(&tree.join(name), 0o555);
    }
    set_mode(&tree.join("d1/f1"), 0o000);
    drop(ordinary_user(&sandbox));
    sandbox.snapshot(&tree, "tree").exits(0);
    let restore = |options: &[&str]| {
        let mut command = ordinary_user(&sandbox);
        command
            .args(["restore", "tree", "--to", "out"])
            .args(options);
        command
    };
    let is_restored = || {
        assert_eq!(
            ["", "d1", "d2"].map(|name| mode_of(&out.join(name))),
            [0o555; 3]
        );
        assert_eq!(mode_of(&out.join("d1/f1")), 0);
        let same =
            |name: &str| fs::read(tree.join(name)).unwrap() == fs::read(out.join(name)).unwrap();
        assert!(same("d1/f8") && same("d2/f9") && same("d1/f1"));
    };
    // Killed: the directories are open. Interrupted: they are closed as far as they were made.
    let mut child = begin(restore(&[]), [""; 0]);
    wait_for(&mut child, || out.join("d2").exists());
    kill(&mut child);
    let marked = fs::read_dir(&out).unwrap().flatten().any(|entry| {
        entry
            .file_name()
            .as_bytes()
            .starts_with(b".reprise-restore-")
    });
    assert!(marked, "the restore was not interrupted");
    ran(&mut restore(&["--resume"])).exits(0);
    is_restored();
    set_mode(&out.join("d1"), 0o755);
    fs::remove_file(out.join("d1/f8")).unwrap();
    set_mode(&out.join("d1"), 0o555);
    let verified = ran(&mut restore(&["--overwrite", "--verify"])).exits(0);
    is_restored();
    let verified = verified.says("not compared: what cannot be read with its mode of 1 entry");
    assert!(!verified.stderr.contains("owner"), "{}", verified.stderr);
}

#[test]
fn an_ordinary_user_is_told_once_what_needs_rights() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    make_tree(&tree, 1000);
    for name in ["d1/f1", "d2"] {
        chown(tree.join(name), Some(5), Some(5)).unwrap();
    }
    set_mode(&tree.join("d1/f1"), 0o4755);
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(tree.join("d1/f8"), "trusted.note", b"x", flags).unwrap();
    let null = rustix::fs::makedev(1, 3);
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, tree.join("null"), kind, mode, null).unwrap();
    sandbox.snapshot(&tree, "tree").exits(0);
    let restore = |target: &str, options: &[&str]| {
        let mut command = ordinary_user(&sandbox);
        command.args(["restore", "tree", "--verify", "--to", target]);
        ran(command.args(options))
    };
    // Owners alone are no loss. What was asked to be left out is none either.
    let without = restore("out", &["--no-xattrs", "--no-special"]).exits(0);
    let without = without.says("not restored: owner and group of 311 entries; this needs root");
    assert!(without.stderr.lines().count() < 12, "{}", without.stderr);
    assert_eq!(mode_of(&sandbox.path("out/d1/f1")), 0o755);
    assert!(!sandbox.path("out/null").exists());
    let with = restore("all", &[]).exits(3);
    let with = with
        .says("null is not restored")
        .says("trusted.note could not be set");
    assert!(with.stderr.lines().count() < 14, "{}", with.stderr);
    // Root may leave things out too.
    let args = [
        "restore",
        "tree",
        "--to",
        "mine",
        "--no-owner",
        "--no-setuid",
        "--verify",
    ];
    sandbox
        .recover(args)
        .exits(0)
        .says("owner and group of 2 entries; as asked for");
    let meta = fs::metadata(sandbox.path("mine/d2")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (0, 0));
    assert_eq!(mode_of(&sandbox.path("mine/d1/f1")), 0o755);
    let to_server = [
        "restore",
        "tree",
        "--to",
        "mysql://root@127.0.0.1:1/",
        "--no-owner",
    ];
    sandbox.recover(to_server).exits(2);
}

#[test]
fn patterns_choose_what_exclude_rules_would_exclude() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    for name in [
        "jobs/a/config.xml",
        "jobs/b/config.xml",
        "jobs/b/log",
        "config.xml",
        "x[1]/f",
        "x1/f",
    ] {
        let path = tree.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    sandbox.snapshot(&tree, "tree").exits(0);
    let cases: [(&str, &[&str]); 4] = [
        (
            "jobs/*/config.xml",
            &["jobs/a/config.xml", "jobs/b/config.xml"],
        ),
        ("/*.xml", &["config.xml"]),
        (
            "jobs/?",
            &["jobs/a/config.xml", "jobs/b/config.xml", "jobs/b/log"],
        ),
        // A path that exists is no pattern.
        ("x[1]", &["x[1]/f"]),
    ];
    for (n, (pattern, expected)) in cases.into_iter().enumerate() {
        let target = format!("out{n}");
        let args = ["restore", "tree", "--to", &target, pattern, "--verify"];
        sandbox.recover(args).exits(0);
        let files: Vec<String> = metadata::read_tree(&sandbox.path(&target))
            .into_iter()
            .filter(|(_, record)| record.kind == "RegularFile")
            .map(|(path, _)| String::from_utf8(path).unwrap())
            .collect();
        assert_eq!(files, expected, "{pattern}");
    }
    let args = ["restore", "tree", "--to", "none", "jobs/*/nothing"];
    sandbox.recover(args).exits(5).says("jobs/*/nothing");
    assert!(!sandbox.path("none").exists());
}

#[test]
fn one_file_goes_to_standard_output_as_it_reads() {
    use std::os::unix::fs::FileExt;
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    make_tree(&tree, 3 << 20);
    symlink("large1", tree.join("link")).unwrap();
    fs::hard_link(tree.join("large1"), tree.join("same")).unwrap();
    let sparse = fs::File::create(tree.join("sparse")).unwrap();
    sparse.set_len(5 << 20).unwrap();
    sparse.write_all_at(b"middle", 2 << 20).unwrap();
    fs::write(tree.join("empty"), b"").unwrap();
    sandbox.snapshot(&tree, "tree").exits(0);
    let cat = |path: &str| {
        let mut command = sandbox.recovering();
        command.args(["cat", "tree", path]).output().unwrap()
    };
    for name in ["large1", "same", "sparse", "empty", "./d1//f8"] {
        let read = cat(name);
        assert_eq!(read.status.code(), Some(0), "{name}");
        assert!(read.stdout == fs::read(tree.join(name)).unwrap(), "{name}");
    }
    for (name, code) in [("d1", 6), ("link", 6), ("absent", 5)] {
        let read = cat(name);
        assert_eq!(read.status.code(), Some(code), "{name}");
        assert!(read.stdout.is_empty() && !read.stderr.is_empty(), "{name}");
    }
    for pack in sandbox.objects("packs") {
        let mut bytes = fs::read(&pack).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&pack, bytes).unwrap();
    }
    let read: Vec<_> = ["large0", "large1", "large2"].map(cat).into();
    let damaged = read.iter().find(|read| read.status.code() == Some(4));
    let stderr = String::from_utf8_lossy(&damaged.unwrap().stderr);
    assert!(stderr.contains("is incomplete: "), "{stderr}");
}

/// A policy with one source and a drill of it.
fn drill_policy(sandbox: &Sandbox, drill: &str) {
    let policy = format!(
        "version: 1\nrepositories:\n  main: {{url: {}, identity: \"file:{}\"}}\nsources:\n  tree: {{volume: {{path: {}}}, repositories: [main]}}\ndrills:\n  proof:\n    source: tree\n{drill}",
        sandbox.path("repository").display(),
        sandbox.path("id1").display(),
        sandbox.path("tree").display(),
    );
    fs::write(sandbox.path("policy.yaml"), policy).unwrap();
}

const DRILL: [&str; 4] = ["--json", "--policies", "policy.yaml", "drill"];

#[test]
fn a_drill_of_an_ordinary_user_says_what_it_did_not_compare() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    make_tree(&tree, 1000);
    set_mode(&tree.join("d1"), 0o555);
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(tree.join("d1/f8"), "trusted.note", b"x", flags).unwrap();
    let null = rustix::fs::makedev(1, 3);
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, tree.join("null"), kind, mode, null).unwrap();
    sandbox.snapshot(&tree, "tree").exits(0);
    drill_policy(&sandbox, "");
    fs::create_dir(sandbox.path("scratch")).unwrap();
    let mut command = ordinary_user(&sandbox);
    command.env("TMPDIR", sandbox.path("scratch")).args(DRILL);
    let report = ran(&mut command).exits(0).json()["reports"][0].clone();
    let equal = report["checks"][1]["detail"].as_str().unwrap().to_owned();
    for left_out in [
        "owner and group of 311 entries",
        "extended attributes of 1 entry",
        "devices, fifos and sockets of 1 entry",
    ] {
        assert!(
            equal.contains(&format!("not compared: {left_out}")),
            "{equal}"
        );
    }
    assert_eq!(fs::read_dir(sandbox.path("scratch")).unwrap().count(), 0);
}

#[test]
fn a_drill_may_restore_a_part_and_is_refused_without_room() {
    let sandbox = Sandbox::new();
    make_tree(&sandbox.path("tree"), 3 << 20);
    sandbox.snapshot(&sandbox.path("tree"), "tree").exits(0);
    let scratch = Mounted::new(sandbox.path("scratch"), "size=5m");
    let drill = |keys: &str| {
        drill_policy(&sandbox, keys);
        let mut command = sandbox.recovering();
        command.env("TMPDIR", sandbox.path("scratch")).args(DRILL);
        ran(&mut command)
    };
    let whole = drill("");
    let part =
        drill("    paths: [\"d*/f8\", large1]\n    checks: [{path: large1, exists: true}]\n");
    let absent = drill("    paths: [absent]\n");
    let left = fs::read_dir(sandbox.path("scratch")).unwrap().count();
    drop(scratch);
    let whole = whole.exits(6);
    let has_both = ["5242880 bytes free", "bytes needed"].map(|text| whole.stdout.contains(text));
    assert_eq!(has_both, [true; 2], "{}", whole.stdout);
    let absent = absent.exits(5);
    assert!(
        absent.stdout.contains("`absent` is not in"),
        "{}",
        absent.stdout
    );
    let report = part.exits(0).json()["reports"][0].clone();
    assert_eq!(report["counts"]["files"], 2);
    let complete = report["checks"][0]["detail"].as_str().unwrap().to_owned();
    assert!(
        complete.contains("only `paths` of 311 entries"),
        "{complete}"
    );
    assert_eq!(left, 0);
}
