//! Targets that are not what one hopes for, and restores that are stopped: nothing outside is ever touched.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use reprise_tests::metadata::{self, assert_same, assert_unchanged};
use support::{
    Sandbox, begin, begin_captured, end, incompressible_bytes, kill, make_tree, wait_for,
};

fn files_in(directory: &std::path::Path) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        count += if path.is_dir() { files_in(&path) } else { 1 };
    }
    count
}

fn with_tree() -> Sandbox {
    let sandbox = Sandbox::new();
    make_tree(&sandbox.path("tree"), 1000);
    sandbox.snapshot(&sandbox.path("tree"), "tree").exits(0);
    sandbox
}

#[test]
fn a_restore_killed_again_and_again_ends_right() {
    let sandbox = Sandbox::new();
    let (tree, target) = (sandbox.path("tree"), sandbox.path("out"));
    make_tree(&tree, 20 << 20);
    fs::hard_link(tree.join("large0"), tree.join("other name")).unwrap();
    fs::set_permissions(tree.join("d1"), fs::Permissions::from_mode(0o555)).unwrap();
    sandbox.snapshot(&tree, "tree").exits(0);
    let mut child = begin(sandbox.recovering(), ["restore", "tree", "--to", "out"]);
    for wanted in [1, 30, 150, 302, 303] {
        wait_for(&mut child, || files_in(&target) >= wanted);
        kill(&mut child);
        child = begin(
            sandbox.recovering(),
            ["restore", "tree", "--to", "out", "--resume"],
        );
    }
    kill(&mut child);
    // The last one may have ended before it was killed; then nothing is left to be resumed.
    let marked = fs::read_dir(&target).unwrap().flatten().any(|entry| {
        entry
            .file_name()
            .as_bytes()
            .starts_with(b".reprise-restore-")
    });
    if marked {
        let args = ["restore", "tree", "--to", "out", "--resume", "--verify"];
        sandbox.recover(args).exits(0);
    }
    assert_same(&tree, &target);
}

#[test]
fn an_interrupted_restore_ends_with_130_and_is_continued() {
    let sandbox = Sandbox::new();
    let (tree, target) = (sandbox.path("tree"), sandbox.path("out"));
    make_tree(&tree, 60 << 20);
    sandbox.snapshot(&tree, "tree").exits(0);
    let mut child = begin_captured(sandbox.recovering(), ["restore", "tree", "--to", "out"]);
    wait_for(&mut child, || target.join("large0").exists());
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    end(child)
        .exits(130)
        .says("--resume")
        .says("are not restored");
    // What was incomplete is not there under its own name.
    for path in fs::read_dir(&target).unwrap().flatten() {
        let is_large = path.file_name().as_bytes().starts_with(b"large");
        assert!(!is_large || path.metadata().unwrap().len() == 60 << 20);
    }
    let args = ["restore", "tree", "--to", "out", "--resume"];
    sandbox.recover(args).exits(0);
    assert_same(&tree, &target);
    // Only an interrupted restore can be continued.
    sandbox.recover(args).exits(6);
}

#[test]
fn resuming_trusts_nothing_that_is_in_the_target() {
    let sandbox = with_tree();
    let (tree, target) = (sandbox.path("tree"), sandbox.path("out"));
    sandbox.restore("tree", "out");
    let id = sandbox.run(["--json", "show", "tree"]).json()["snapshot"].clone();
    let mark = target.join(format!(".reprise-restore-{}", id.as_str().unwrap()));
    fs::write(&mark, b"").unwrap();
    // As a crash can leave it: right size and time, wrong bytes; a file cut short; a wrong kind.
    let meta = fs::metadata(target.join("d1/f8")).unwrap();
    fs::write(
        target.join("d1/f8"),
        vec![0; usize::try_from(meta.len()).unwrap()],
    )
    .unwrap();
    let file = fs::File::options()
        .write(true)
        .open(target.join("d1/f8"))
        .unwrap();
    file.set_modified(meta.modified().unwrap()).unwrap();
    fs::write(target.join("large1"), b"short").unwrap();
    fs::remove_file(target.join("large2")).unwrap();
    fs::create_dir(target.join("large2")).unwrap();
    fs::set_permissions(target.join("d2"), fs::Permissions::from_mode(0o700)).unwrap();
    chown(target.join("d3/f3"), Some(77), None).unwrap();
    let args = ["restore", "tree", "--to", "out", "--resume", "--verify"];
    sandbox.recover(args).exits(0);
    assert_same(&tree, &target);
}

#[test]
fn a_dry_run_changes_nothing() {
    let sandbox = with_tree();
    let all = |name: &str| metadata::read_tree(&sandbox.path(name));
    sandbox
        .recover(["restore", "tree", "--to", "absent", "--dry-run"])
        .exits(0);
    assert!(!sandbox.path("absent").exists());
    fs::create_dir(sandbox.path("full")).unwrap();
    fs::write(sandbox.path("full/large1"), b"mine").unwrap();
    let (before, stored) = (all("full"), all("repository"));
    let args = [
        "restore",
        "tree",
        "--to",
        "full",
        "--dry-run",
        "--overwrite",
    ];
    sandbox.recover(args).exits(0).says("large1");
    let (after, stored_after) = (all("full"), all("repository"));
    assert_unchanged(&before, &after);
    assert_unchanged(&stored, &stored_after);
}

#[test]
fn paths_may_be_chosen_in_any_form() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    for name in [
        b"a/b/c".as_slice(),
        b"a/bb",
        b"raw \xff/x",
        b"-dash",
        b"other",
    ] {
        let path = tree.join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    fs::set_permissions(tree.join("a"), fs::Permissions::from_mode(0o710)).unwrap();
    sandbox.snapshot(&tree, "tree").exits(0);
    let cases: [(&[u8], &[u8]); 5] = [
        (b"a/b", b"a/b/c"),
        (b"./a/b/", b"a/b/c"),
        (b"a/b/c", b"a/b/c"),
        (b"raw \xff", b"raw \xff/x"),
        (b"-dash", b"-dash"),
    ];
    let before = metadata::read_tree(&tree);
    for (n, (wanted, path)) in cases.into_iter().enumerate() {
        let target = sandbox.path(&format!("out{n}"));
        let mut args: Vec<&OsStr> = ["restore", "tree", "--to"].map(OsStr::new).into();
        args.extend([target.as_os_str(), OsStr::new("--verify"), OsStr::new("--")]);
        args.push(OsStr::from_bytes(wanted));
        sandbox.recover(args).exits(0);
        let after = metadata::read_tree(&target);
        for (path, record) in &after {
            assert_eq!(
                Some(record),
                before.get(path),
                "{}",
                String::from_utf8_lossy(path)
            );
        }
        assert!(after.contains_key(path), "{n}");
        let files = after.values().filter(|record| record.kind == "RegularFile");
        assert_eq!(files.count(), 1, "{n}");
    }
    for (n, outside) in ["../tree/other", "/etc/passwd", "a/../other"]
        .into_iter()
        .enumerate()
    {
        let target = format!("no{n}");
        let ran = sandbox.recover(["restore", "tree", "--to", &target, outside]);
        ran.exits(5).says(outside.trim_start_matches('/'));
    }
}

#[test]
fn a_mistyped_path_does_not_stand_in_the_way_of_the_right_one() {
    let sandbox = with_tree();
    sandbox
        .recover(["restore", "tree", "--to", "out", "large11"])
        .exits(5);
    sandbox
        .recover(["restore", "tree", "--to", "out", "large1"])
        .exits(0);
}

#[test]
fn what_cannot_be_replaced_is_named_and_the_rest_is_right() {
    let sandbox = with_tree();
    let target = sandbox.path("out");
    fs::create_dir_all(target.join("large1/full")).unwrap();
    fs::write(target.join("large1/full/mine"), b"precious").unwrap();
    fs::create_dir(target.join("large2")).unwrap();
    fs::write(target.join("d1"), b"a file where a directory belongs").unwrap();
    let args = ["restore", "tree", "--to", "out", "--overwrite"];
    sandbox.recover(args).exits(3).says("warning: large1");
    assert_eq!(
        fs::read(target.join("large1/full/mine")).unwrap(),
        b"precious"
    );
    for name in ["large2", "d1/f8"] {
        let same = |root: &str| fs::read(sandbox.path(root).join(name)).unwrap();
        assert_eq!(same("tree"), same("out"));
    }
    let args = ["restore", "tree", "--to", "out", "--overwrite", "--verify"];
    let ran = sandbox.recover(args).exits(3).says("not compared");
    assert!(ran.stdout.contains("verified"), "{}", ran.stdout);
}

#[test]
fn overwriting_gives_what_is_kept_its_attributes_back() {
    let sandbox = with_tree();
    let (tree, target) = (sandbox.path("tree"), sandbox.path("out"));
    sandbox.restore("tree", "out");
    fs::set_permissions(target.join("d1/f8"), fs::Permissions::from_mode(0o4777)).unwrap();
    chown(target.join("d1"), Some(9), Some(9)).unwrap();
    let set = |path: &str| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::lsetxattr(target.join(path), "user.foreign", b"x", flags).unwrap();
    };
    for path in ["d1/f1", "d2", "large0"] {
        set(path);
    }
    fs::hard_link(target.join("d3/f3"), sandbox.path("elsewhere")).unwrap();
    let args = ["restore", "tree", "--to", "out", "--overwrite"];
    sandbox.recover(args).exits(0);
    assert_same(&tree, &target);
}

#[test]
fn a_directory_that_turns_into_a_link_meanwhile_leads_nowhere() {
    let sandbox = Sandbox::new();
    let (tree, outside) = (sandbox.path("tree"), sandbox.path("outside"));
    fs::create_dir_all(tree.join("d")).unwrap();
    for n in 0..400 {
        fs::write(tree.join(format!("d/f{n}")), incompressible_bytes(2000, n)).unwrap();
    }
    sandbox.snapshot(&tree, "tree").exits(0);
    fs::create_dir(&outside).unwrap();
    for n in 0..400 {
        fs::write(outside.join(format!("f{n}")), b"precious").unwrap();
    }
    let before = metadata::read_tree(&outside);
    let target = sandbox.path("out");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (directory, aside) = (target.join("d"), target.join("aside"));
            while !stop.load(Ordering::Relaxed) {
                if fs::rename(&directory, &aside).is_ok() {
                    drop(symlink(&outside, &directory));
                    drop(fs::remove_file(&directory));
                    drop(fs::rename(&aside, &directory));
                }
            }
        });
        for _ in 0..12 {
            let ran = sandbox.recover(["restore", "tree", "--to", "out", "--overwrite"]);
            assert_ne!(ran.code, Some(101), "{}", ran.stderr);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_unchanged(&before, &metadata::read_tree(&outside));
}

/// A tree of fifos and directories that everybody may write to, whose names it returns, and one large file.
fn tree_to_race_for(tree: &Path) -> Vec<String> {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    fs::create_dir(tree).unwrap();
    let mut names = vec!["large".to_owned()];
    fs::write(tree.join("large"), incompressible_bytes(9 << 20, 7)).unwrap();
    for n in 0..150 {
        let (directory, fifo) = (format!("d{n}"), format!("p{n}"));
        fs::create_dir(tree.join(&directory)).unwrap();
        let mode = Mode::from_raw_mode(0o600);
        mknodat(CWD, tree.join(&fifo), FileType::Fifo, mode, 0).unwrap();
        names.extend([directory, fifo]);
    }
    for name in &names {
        fs::set_permissions(tree.join(name), fs::Permissions::from_mode(0o777)).unwrap();
    }
    names
}

/// Puts links to what is outside in the place of what a restore makes, as soon as it is there.
fn swap_for_links(target: &Path, names: &[String], stop: &AtomicBool) -> usize {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let swap = |name: &String| {
        let (link, made) = (target.join(format!(".link-{name}")), target.join(name));
        renameat_with(CWD, link, CWD, made, RenameFlags::EXCHANGE).is_ok()
    };
    let mut left: Vec<&String> = names.iter().collect();
    while !stop.load(Ordering::Relaxed) && !left.is_empty() {
        left.retain(|name| !swap(name));
    }
    names.len() - left.len()
}

#[test]
fn a_link_in_the_place_of_what_was_just_made_leads_nowhere() {
    let sandbox = Sandbox::new();
    let (target, outside) = (sandbox.path("out"), sandbox.path("outside"));
    let names = tree_to_race_for(&sandbox.path("tree"));
    sandbox.snapshot(&sandbox.path("tree"), "tree").exits(0);
    fs::create_dir_all(outside.join("directory")).unwrap();
    for name in ["file", "directory/inside"] {
        fs::write(outside.join(name), b"precious").unwrap();
        fs::set_permissions(outside.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    chown(outside.join("file"), Some(77), Some(77)).unwrap();
    let before = metadata::read_tree(&outside);
    let mut swapped = 0;
    for _ in 0..6 {
        drop(fs::remove_dir_all(&target));
        fs::create_dir(&target).unwrap();
        for name in &names {
            let to = if name.starts_with('d') {
                "directory"
            } else {
                "file"
            };
            symlink(outside.join(to), target.join(format!(".link-{name}"))).unwrap();
        }
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let racer = scope.spawn(|| swap_for_links(&target, &names, &stop));
            let ran = sandbox.recover(["restore", "tree", "--to", "out", "--overwrite"]);
            stop.store(true, Ordering::Relaxed);
            assert!(
                matches!(ran.code, Some(0 | 3)),
                "{:?}: {}",
                ran.code,
                ran.stderr
            );
            swapped += racer.join().unwrap();
        });
        assert_unchanged(&before, &metadata::read_tree(&outside));
    }
    assert!(swapped > 0, "the race never took place");
}

#[test]
fn a_target_without_enough_room_is_refused_before_anything_is_written() {
    let sandbox = Sandbox::new();
    make_tree(&sandbox.path("tree"), 3 << 20);
    sandbox.snapshot(&sandbox.path("tree"), "tree").exits(0);
    let small = sandbox.path("small");
    fs::create_dir(&small).unwrap();
    let mount = ["-t", "tmpfs", "-o", "size=2m", "none"].map(OsStr::new);
    support::sh("mount", &[&mount[..], &[small.as_ref()]].concat());
    let ran = sandbox.recover(["restore", "tree", "--to", "small/out"]);
    let left = fs::read_dir(small.join("out")).map_or(0, Iterator::count);
    // What the hint says works: fewer paths fit.
    let fewer = sandbox.recover(["restore", "tree", "--to", "small/out", "d1"]);
    support::sh("umount", &[small.as_ref()]);
    ran.exits(6).says("bytes free").says("bytes needed");
    assert_eq!(left, 0, "a refused restore changes nothing");
    fewer.exits(0);
}

#[test]
fn a_disk_that_fills_up_stops_a_restore_and_names_resume() {
    let sandbox = Sandbox::new();
    make_tree(&sandbox.path("tree"), 3 << 20);
    sandbox.snapshot(&sandbox.path("tree"), "tree").exits(0);
    let small = sandbox.path("small");
    fs::create_dir_all(small.join("out")).unwrap();
    let mount = ["-t", "tmpfs", "-o", "size=13m", "none"].map(OsStr::new);
    support::sh("mount", &[&mount[..], &[small.as_ref()]].concat());
    // The old contents leave no room for the new ones beside them.
    fs::create_dir(small.join("out")).unwrap();
    for n in 0..3 {
        fs::write(small.join(format!("out/large{n}")), vec![7; 3 << 20]).unwrap();
    }
    fs::write(small.join("ballast"), vec![7; 2 << 20]).unwrap();
    let args = ["restore", "tree", "--to", "small/out", "--overwrite"];
    let full = sandbox.recover(args);
    let sizes: Vec<u64> = (0..3)
        .map(|n| fs::metadata(small.join(format!("out/large{n}"))).map_or(0, |meta| meta.len()))
        .collect();
    fs::remove_file(small.join("ballast")).unwrap();
    let remount = ["-o", "remount,size=40m"].map(OsStr::new);
    support::sh("mount", &[&remount[..], &[small.as_ref()]].concat());
    let args = [
        "restore",
        "tree",
        "--to",
        "small/out",
        "--resume",
        "--verify",
    ];
    let resumed = sandbox.recover(args);
    support::sh("umount", &[small.as_ref()]);
    full.exits(1)
        .says("continue with --resume")
        .says("free space");
    assert_eq!(sizes, [3 << 20; 3], "what was there is there, old or new");
    resumed.exits(0);
}
