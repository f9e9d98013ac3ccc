//! The real binary is killed; nothing that was there is lost, and what was stored is used again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::ffi::OsStr;

use support::{Sandbox, assert_same_trees, begin, kill, make_tree, wait_for};

#[test]
fn a_snapshot_killed_at_any_stage_leaves_earlier_ones_whole_and_its_packs_usable() {
    let sandbox = Sandbox::new();
    let (first, second) = (sandbox.path("first"), sandbox.path("second"));
    make_tree(&first, 1 << 20);
    make_tree(&second, 40 << 20);
    sandbox.snapshot(&first, "first").exits(0);
    let before = sandbox.objects("packs").len();
    for wanted in 0..6 {
        let args = [
            OsStr::new("snapshot"),
            "volume".as_ref(),
            second.as_ref(),
            "--source".as_ref(),
            "second".as_ref(),
        ];
        let mut child = begin(sandbox.command(), args);
        // An unfinished file first, then one finished pack after the other.
        wait_for(&mut child, || match wanted {
            0 => !sandbox.objects("tmp").is_empty(),
            n => sandbox.objects("packs").len() >= before + n - 1,
        });
        kill(&mut child);
        sandbox.recover(["verify", "--read-data"]).exits(0);
    }
    let left = sandbox.objects("packs").len() - before;
    let added = sandbox.snapshot(&second, "second").exits(0).json()["added"]["plain_bytes"]
        .as_u64()
        .unwrap();
    assert!(
        left >= 2 && added < 100 << 20,
        "{left} packs were left, yet {added} bytes were stored again"
    );
    sandbox.recover(["verify", "--read-data"]).exits(0);
    assert_same_trees(&first, &sandbox.restore("first", "first-restored"));
    assert_same_trees(&second, &sandbox.restore("second", "second-restored"));
}

#[test]
fn an_interrupted_snapshot_ends_with_130_and_leaves_no_snapshot() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    make_tree(&tree, 64 << 20);
    let mut child = begin(
        sandbox.command(),
        [OsStr::new("snapshot"), "volume".as_ref(), tree.as_ref()],
    );
    assert!(wait_for(&mut child, || !sandbox.objects("tmp").is_empty()));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(sandbox.objects("snapshots").is_empty());
    sandbox.snapshot(&tree, "tree").exits(0);
}

#[test]
fn a_killed_restore_is_continued() {
    let sandbox = Sandbox::new();
    let (tree, target) = (sandbox.path("tree"), sandbox.path("target"));
    make_tree(&tree, 30 << 20);
    sandbox.snapshot(&tree, "tree").exits(0);
    let args = [
        OsStr::new("restore"),
        "tree".as_ref(),
        "--to".as_ref(),
        target.as_ref(),
    ];
    let mut child = begin(sandbox.recovering(), args);
    assert!(wait_for(&mut child, || target.join("large1").exists()));
    kill(&mut child);
    sandbox.recover(args).exits(6).says("--resume");
    let resumed = args
        .into_iter()
        .chain(["--resume".as_ref(), "--verify".as_ref()]);
    sandbox.recover(resumed).exits(0);
    assert_same_trees(&tree, &target);
}

#[test]
fn two_snapshots_at_the_same_time_both_succeed() {
    let sandbox = Sandbox::new();
    let trees = ["left", "right"].map(|name| {
        let tree = sandbox.path(name);
        make_tree(&tree, 8 << 20);
        std::fs::write(tree.join("own"), name).unwrap();
        (name, tree)
    });
    std::thread::scope(|scope| {
        for (name, tree) in &trees {
            let sandbox = &sandbox;
            scope.spawn(move || sandbox.snapshot(tree, name).exits(0));
        }
    });
    for (name, tree) in &trees {
        assert_same_trees(tree, &sandbox.restore(name, &format!("{name}-restored")));
    }
    sandbox.recover(["verify", "--read-data"]).exits(0);
}

#[test]
fn the_cache_may_vanish_or_rot_at_any_time() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    make_tree(&tree, 1 << 20);
    // The second run caches the index that the first one wrote.
    for _ in 0..2 {
        sandbox.snapshot(&tree, "tree").exits(0);
    }
    let mut files = Vec::new();
    let mut directories = vec![sandbox.path("cache")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path)
            } else {
                files.push(path)
            }
        }
    }
    assert!(files.len() >= 2, "{files:?}");
    for file in files {
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        std::fs::write(&file, bytes).unwrap();
    }
    let again = sandbox.snapshot(&tree, "tree").exits(0).json();
    assert_eq!(again["added"]["plain_bytes"], 0);
    std::fs::remove_dir_all(sandbox.path("cache")).unwrap();
    sandbox.snapshot(&tree, "tree").exits(0);
    assert_same_trees(&tree, &sandbox.restore("tree", "restored"));
}
