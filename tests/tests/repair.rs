//! `verify --repair --from`: what a disk has damaged or lost comes back from a copy of the repository.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use reprise_tests::servers::{Azurite, Garage, Storage};
use support::{Sandbox, assert_same_trees, incompressible_bytes, make_tree};

/// Snapshots whose copy is at `url`.
fn copied(url: &str, envs: Vec<(String, String)>) -> Sandbox {
    let mut sandbox = Sandbox::new();
    sandbox.set_envs(envs);
    let tree = sandbox.path("tree");
    make_tree(&tree, 400_000);
    sandbox.snapshot(&tree, "data").exits(0);
    fs::write(tree.join("later"), incompressible_bytes(200_000, 5)).unwrap();
    sandbox.snapshot(&tree, "data").exits(0);
    sandbox.run(["copy", "--to", url]).exits(0);
    sandbox
}

fn flip(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).unwrap();
}

/// Packs, the largest first.
fn packs(sandbox: &Sandbox) -> Vec<PathBuf> {
    let mut packs = sandbox.objects("packs");
    packs.sort_by_key(|pack| std::cmp::Reverse(fs::metadata(pack).unwrap().len()));
    packs
}

fn stored(sandbox: &Sandbox) -> Vec<(PathBuf, Vec<u8>)> {
    let mut stored = sandbox.objects("");
    stored.sort();
    stored
        .into_iter()
        .map(|file| (file.clone(), fs::read(file).unwrap()))
        .collect()
}

fn a_copy_gives_back_what_was_damaged_and_lost(url: &str, envs: Vec<(String, String)>) {
    let sandbox = copied(url, envs);
    let packs = packs(&sandbox);
    flip(&packs[0]);
    fs::remove_file(&packs[1]).unwrap();
    for fragment in sandbox.objects("index") {
        fs::remove_file(fragment).unwrap();
    }
    let before = stored(&sandbox);
    sandbox.recover(["verify", "--read-data"]).exits(4);
    let repair = ["verify", "--read-data", "--repair", "--from", url];
    let plan = sandbox.recover(repair).exits(4);
    assert!(plan.stdout.contains("restored from"), "{}", plan.stdout);
    assert!(stored(&sandbox) == before, "a plan has changed something");
    let act = [
        "verify",
        "--read-data",
        "--repair",
        "--from",
        url,
        "--replace",
        "--yes",
    ];
    let done = sandbox.recover(act).exits(0);
    assert!(
        done.stdout.contains("replacing the damaged"),
        "{}",
        done.stdout
    );
    sandbox.recover(["verify", "--read-data"]).exits(0);
    let restored = sandbox.restore("data", "restored");
    assert_same_trees(&sandbox.path("tree"), &restored);
    sandbox.recover(act).exits(0);
}

#[test]
fn a_copy_on_a_disk_gives_back_what_was_damaged_and_lost() {
    let directory = tempfile::tempdir().unwrap();
    let url = directory.path().join("copy");
    a_copy_gives_back_what_was_damaged_and_lost(url.to_str().unwrap(), Vec::new());
}

#[test]
fn a_copy_on_garage_gives_back_what_was_damaged_and_lost() {
    let server = Garage::start();
    server.new_bucket("bucket");
    let url = server.url("bucket", "here");
    a_copy_gives_back_what_was_damaged_and_lost(&url, server.envs());
}

#[test]
fn a_copy_on_azurite_gives_back_what_was_damaged_and_lost() {
    let server = Azurite::start();
    server.new_bucket("container");
    let url = server.url("container", "here");
    a_copy_gives_back_what_was_damaged_and_lost(&url, server.envs());
}

#[test]
fn what_has_no_good_copy_is_named_until_the_next_snapshot_stores_it_again() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    make_tree(&tree, 400_000);
    sandbox.snapshot(&tree, "data").exits(0);
    flip(&packs(&sandbox)[0]);
    let repair = ["verify", "--read-data", "--repair", "--yes"];
    sandbox.recover(repair).exits(4);
    let listed = sandbox.run(["snapshots"]).exits(0).stdout;
    assert!(listed.contains("affected by damage"), "{listed}");
    sandbox.snapshot(&tree, "data").exits(0);
    let listed = sandbox.run(["snapshots"]).exits(0).stdout;
    assert!(!listed.contains("affected by damage"), "{listed}");
    sandbox.recover(["verify", "--read-data"]).exits(0);
    let restored = sandbox.restore("data", "restored");
    assert_same_trees(&tree, &restored);
}
