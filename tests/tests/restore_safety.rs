//! A restore writes what was asked for, where it was asked for, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use support::{Sandbox, make_tree};

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

#[test]
fn damage_is_an_error_and_never_a_wrong_file() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    make_tree(&tree, 300_000);
    sandbox.snapshot(&tree, "tree").exits(0);
    let pack = sandbox.objects("packs").remove(0);
    let mut bytes = fs::read(&pack).unwrap();
    bytes[5000] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let ran = sandbox.recover(["restore", "tree", "--to", "out"]).exits(4);
    assert!(ran.stderr.contains("packs/"), "{}", ran.stderr);
    let ran = sandbox.recover(["verify", "--read-data"]).exits(4);
    assert!(ran.stderr.contains("affects snapshot"), "{}", ran.stderr);
}
