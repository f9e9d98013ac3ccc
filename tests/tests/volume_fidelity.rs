//! A volume comes back with everything that a file system knows of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, makedev, mknodat, utimensat};
use support::{Sandbox, assert_same_trees, incompressible_bytes, make_tree, sh};

fn set_time(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn node(path: &Path, kind: FileType, device: u64) {
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o640), device).unwrap();
}

/// One of everything.
fn zoo(root: &Path) {
    fs::create_dir_all(root.join("empty")).unwrap();
    fs::write(root.join("plain"), b"text\n").unwrap();
    fs::write(root.join("nothing"), b"").unwrap();
    fs::write(root.join("large"), incompressible_bytes(6 << 20, 1)).unwrap();
    fs::write(root.join("setuid"), b"x").unwrap();
    std::os::unix::fs::chown(root.join("setuid"), Some(1234), Some(4321)).unwrap();
    fs::set_permissions(root.join("setuid"), fs::Permissions::from_mode(0o6755)).unwrap();
    fs::create_dir(root.join("sticky")).unwrap();
    fs::set_permissions(root.join("sticky"), fs::Permissions::from_mode(0o1777)).unwrap();
    symlink("/does/not/exist", root.join("dangling")).unwrap();
    symlink("plain", root.join("link")).unwrap();
    std::os::unix::fs::lchown(root.join("link"), Some(7), Some(8)).unwrap();
    fs::hard_link(root.join("plain"), root.join("plain-again")).unwrap();
    node(&root.join("fifo"), FileType::Fifo, 0);
    fs::hard_link(root.join("fifo"), root.join("fifo-again")).unwrap();
    node(&root.join("socket"), FileType::Socket, 0);
    node(&root.join("null"), FileType::CharacterDevice, makedev(1, 3));
    node(&root.join("loop"), FileType::BlockDevice, makedev(7, 200));
    names(root);
    holes(root);
    attributes(root);
    fs::create_dir(root.join("locked")).unwrap();
    fs::write(root.join("locked/inside"), b"x").unwrap();
    fs::set_permissions(root.join("locked"), fs::Permissions::from_mode(0o555)).unwrap();
    set_time(&root.join("plain"), 1_700_000_000, 123_456_789);
    set_time(&root.join("nothing"), -86_400, 5);
    set_time(&root.join("dangling"), 1_000_000_000, 999_999_999);
    set_time(&root.join("empty"), 1_100_000_000, 1);
}

fn names(root: &Path) {
    for name in [
        b"caf\xc3\xa9".as_slice(),
        b"\xff\xfe raw",
        b"new\nline",
        b"-dash",
        b" space ",
        &[b'n'; 255],
    ] {
        fs::write(root.join(OsStr::from_bytes(name)), name).unwrap();
    }
}

/// A directory deeper than a path may be long, which takes steps to build.
fn deep(root: &Path) {
    let script = "cd \"$1\" && for i in $(seq 30); do n=$(printf 'd%0199d' $i); mkdir $n && cd $n || exit 1; done; echo deep > file";
    sh(
        "bash",
        &[
            "-c".as_ref(),
            script.as_ref(),
            "bash".as_ref(),
            root.as_os_str(),
        ],
    );
}

fn holes(root: &Path) {
    use std::os::unix::fs::FileExt;
    let file = fs::File::create(root.join("sparse")).unwrap();
    file.set_len(64 << 20).unwrap();
    file.write_all_at(b"begin", 0).unwrap();
    file.write_all_at(&incompressible_bytes(100_000, 2), 20 << 20)
        .unwrap();
    fs::File::create(root.join("hollow"))
        .unwrap()
        .set_len(10 << 20)
        .unwrap();
}

fn attributes(root: &Path) {
    let plain = root.join("plain");
    let set = |args: &[&str]| {
        let args: Vec<&OsStr> = args
            .iter()
            .map(OsStr::new)
            .chain([plain.as_os_str()])
            .collect();
        sh("setfattr", &args);
    };
    set(&["-n", "user.comment", "-v", "0x00ff00"]);
    set(&["-n", "trusted.note", "-v", "kept"]);
    set(&[
        "-n",
        "security.capability",
        "-v",
        "0x0100000200040000000000000000000000000000",
    ]);
    sh(
        "setfacl",
        &[
            "-m".as_ref(),
            "u:1234:rw,g:55:r".as_ref(),
            plain.as_os_str(),
        ],
    );
    sh(
        "setfacl",
        &[
            "-d".as_ref(),
            "-m".as_ref(),
            "u:1234:rwx".as_ref(),
            root.join("sticky").as_os_str(),
        ],
    );
}

#[test]
fn everything_comes_back_as_it_was() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    zoo(&tree);
    sandbox.snapshot(&tree, "zoo").exits(0);
    let restored = sandbox.restore("zoo", "restored");
    assert_same_trees(&tree, &restored);
    for name in ["sparse", "hollow"] {
        let meta = fs::metadata(restored.join(name)).unwrap();
        assert!(
            meta.blocks() * 512 < 1 << 20,
            "{name} takes {} blocks",
            meta.blocks()
        );
    }
    let times = |path: &Path| {
        let meta = fs::symlink_metadata(path).unwrap();
        (meta.mtime(), meta.mtime_nsec())
    };
    for name in ["plain", "nothing", "dangling", "empty"] {
        assert_eq!(
            times(&tree.join(name)),
            times(&restored.join(name)),
            "{name}"
        );
    }
    let inode = |name: &str| fs::symlink_metadata(restored.join(name)).unwrap().ino();
    assert_eq!(inode("plain"), inode("plain-again"));
    assert_eq!(inode("fifo"), inode("fifo-again"));
}

#[test]
fn a_path_longer_than_the_system_takes_comes_back() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    fs::create_dir(&tree).unwrap();
    deep(&tree);
    sandbox.snapshot(&tree, "deep").exits(0);
    let target = sandbox.path("restored");
    let args = [
        OsStr::new("restore"),
        "deep".as_ref(),
        "--to".as_ref(),
        target.as_ref(),
        "--verify".as_ref(),
    ];
    sandbox.recover(args).exits(0);
}

#[test]
fn an_unchanged_tree_is_not_read_again_and_a_change_is_found() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    make_tree(&tree, 4 << 20);
    // Older than a clock tick, or their stamps would prove nothing.
    for path in walk(&tree) {
        set_time(&path, 1_600_000_000, 1);
    }
    sandbox.snapshot(&tree, "t").exits(0);
    // The change of time itself is a moment ago: the second run may read some files, the third none.
    sandbox.snapshot(&tree, "t").exits(0);
    let before = bytes_read_by_children();
    let again = sandbox.snapshot(&tree, "t").exits(0).json();
    let read = bytes_read_by_children() - before;
    assert_eq!(again["added"]["plain_bytes"], 0);
    assert!(
        read < 8 << 20,
        "{read} bytes were read for an unchanged tree of more than 12 MiB"
    );
    fs::write(tree.join("d1/f1"), b"changed").unwrap();
    let changed = sandbox.snapshot(&tree, "t").exits(0).json();
    assert!(changed["added"]["chunks"].as_u64().unwrap() > 0);
    assert_same_trees(&tree, &sandbox.restore("t", "restored"));
    let diff = sandbox
        .recover(["diff", again["snapshot"].as_str().unwrap(), "t@latest"])
        .exits(0);
    assert!(diff.stdout.contains("M d1/f1"), "{}", diff.stdout);
    assert_eq!(
        diff.stdout
            .lines()
            .filter(|line| line.starts_with(['M', '+', '-', 'T']))
            .count(),
        1
    );
}

fn walk(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path))
        } else {
            found.push(path)
        }
    }
    found
}

/// Bytes that finished children of this process have read, pipes included.
fn bytes_read_by_children() -> u64 {
    let text = fs::read_to_string("/proc/self/io").unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("rchar: "))
        .unwrap();
    line.parse().unwrap()
}

#[test]
fn excludes_mean_what_they_mean_in_gitignore() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    make_tree(&tree, 1000);
    fs::create_dir_all(tree.join("d1/cache")).unwrap();
    fs::write(tree.join("d1/cache/x"), b"x").unwrap();
    fs::write(tree.join("a.tmp"), b"x").unwrap();
    let args = [
        OsStr::new("snapshot"),
        "volume".as_ref(),
        tree.as_ref(),
        "--source".as_ref(),
        "t".as_ref(),
        "--exclude".as_ref(),
        "cache/".as_ref(),
        "--exclude".as_ref(),
        "*.tmp".as_ref(),
    ];
    sandbox.run(args).exits(0);
    let listing = sandbox.recover(["ls", "t"]).exits(0).stdout;
    assert!(
        !listing.contains("cache") && !listing.contains("a.tmp") && listing.contains("d1/f1"),
        "{listing}"
    );
}

#[test]
fn the_repository_itself_is_never_part_of_a_volume() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("");
    sandbox.snapshot(&tree, "all").exits(0);
    let listing = sandbox.recover(["ls", "all"]).exits(0).stdout;
    assert!(
        listing.contains("id1") && !listing.contains("repository/"),
        "{listing}"
    );
}

#[test]
fn an_unreadable_file_is_named_and_the_rest_is_saved() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    make_tree(&tree, 1000);
    fs::write(tree.join("secret"), b"x").unwrap();
    fs::set_permissions(tree.join("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    sh(
        "chown",
        &[
            "-R".as_ref(),
            "65534:65534".as_ref(),
            sandbox.path("").as_os_str(),
        ],
    );
    std::os::unix::fs::chown(tree.join("secret"), Some(0), Some(0)).unwrap();
    let output = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(support::binary())
        .args(["snapshot", "volume"])
        .arg(&tree)
        .envs([
            ("REPRISE_CONFIG_DIR", sandbox.path("config")),
            ("REPRISE_CACHE_DIR", sandbox.path("cache")),
            ("REPRISE_REPOSITORY", sandbox.path("repository")),
        ])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("secret: cannot be read"), "{stderr}");
    let listing = sandbox.recover(["ls", "tree"]).exits(0).stdout;
    assert!(
        listing.contains("d1/f1") && !listing.contains("secret"),
        "{listing}"
    );
}

#[test]
fn a_file_that_changes_while_it_is_read_is_named_and_never_fails_the_run() {
    use std::io::Write;
    use std::sync::atomic::{AtomicBool, Ordering};
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("steady"), b"steady").unwrap();
    fs::write(tree.join("busy.log"), incompressible_bytes(48 << 20, 3)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut log = fs::OpenOptions::new()
                .append(true)
                .open(tree.join("busy.log"))
                .unwrap();
            while !done.load(Ordering::SeqCst) {
                log.write_all(b"another line\n").unwrap();
            }
        });
        let ran = sandbox.snapshot(&tree, "tree");
        done.store(true, Ordering::SeqCst);
        writer.join().unwrap();
        ran.exits(3).says("busy.log: changed while it was read");
    });
    let target = sandbox.path("out");
    let args = [
        OsStr::new("restore"),
        "tree".as_ref(),
        "--to".as_ref(),
        target.as_ref(),
    ];
    sandbox.recover(args).exits(0);
    let (saved, now) = (
        fs::read(target.join("busy.log")).unwrap(),
        fs::read(tree.join("busy.log")).unwrap(),
    );
    assert!(now.starts_with(&saved) && saved.len() >= 48 << 20);
}

#[test]
fn a_link_given_as_the_source_is_followed_and_noted() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("real.conf"), "content").unwrap();
    fs::create_dir(sandbox.path("real")).unwrap();
    fs::write(sandbox.path("real/inside"), "inside").unwrap();
    for (link, target) in [("link.conf", "real.conf"), ("link", "real")] {
        std::os::unix::fs::symlink(target, sandbox.path(link)).unwrap();
        let stored = sandbox.snapshot(&sandbox.path(link), link).exits(0);
        stored.says("is a symbolic link: what it leads to is stored");
    }
    let file = sandbox.restore("link.conf", "file").join("real.conf");
    assert_eq!(fs::read_to_string(file).unwrap(), "content");
    let directory = sandbox.restore("link", "directory").join("inside");
    assert_eq!(fs::read_to_string(directory).unwrap(), "inside");
    std::os::unix::fs::symlink("nowhere", sandbox.path("dangling")).unwrap();
    sandbox.snapshot(&sandbox.path("dangling"), "d").exits(5);
}

#[test]
fn a_small_source_that_was_emptied_is_degraded_until_it_has_content_again() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("share");
    fs::create_dir(&tree).unwrap();
    sandbox.snapshot(&tree, "share").exits(0);
    fs::write(tree.join("small"), "x").unwrap();
    sandbox.snapshot(&tree, "share").exits(0);
    fs::remove_file(tree.join("small")).unwrap();
    for _ in 0..2 {
        let emptied = sandbox.snapshot(&tree, "share").exits(3);
        emptied.says("alarm: it has no files");
    }
    fs::write(tree.join("small"), "").unwrap();
    let emptied = sandbox.snapshot(&tree, "share").exits(3);
    emptied.says("alarm: it has no content");
    fs::write(tree.join("small"), "y").unwrap();
    sandbox.snapshot(&tree, "share").exits(0);
}

#[test]
fn exclude_rules_are_understood_as_they_are_written() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    fs::create_dir(&tree).unwrap();
    for name in ["a.log", "cache", "here", "kept"] {
        fs::write(tree.join(name), name).unwrap();
    }
    let absolute = tree.join("cache");
    let rules = format!(
        "\u{feff}*.log\r\n{}\r\n./here\r\n/var/none\r\n",
        absolute.display()
    );
    fs::write(sandbox.path("rules"), rules).unwrap();
    let snapshot = [
        "snapshot",
        "volume",
        "tree",
        "--source",
        "v",
        "--exclude-file",
        "rules",
    ];
    let stored = sandbox.run(snapshot).exits(0);
    stored.says("exclude rule `/var/none` matches nothing");
    let restored = sandbox.restore("v", "out");
    let names = fs::read_dir(restored).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["kept"]);
    let never = ["snapshot", "volume", "tree", "--exclude", "../other"];
    sandbox
        .run(never)
        .exits(3)
        .says("exclude rule `../other` can never match");
}
