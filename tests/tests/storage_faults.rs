//! Faults between the program and the server: every command succeeds, or fails and says so.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use reprise_tests::metadata::assert_same;
use reprise_tests::proxy::{FaultKind, FaultProxy, Faults};
use reprise_tests::servers::{Azurite, Garage, Moto, Storage};
use support::{Sandbox, begin, incompressible_bytes, kill, make_tree, wait_for};

fn proxy(server: &impl Storage, percent: u8, kinds: &[FaultKind], seed: u64) -> FaultProxy {
    let kinds = kinds.to_vec();
    let faults = Faults {
        percent,
        kinds,
        seed,
    };
    FaultProxy::start(([127, 0, 0, 1], server.port()).into(), faults)
}

/// Requests that stand still are given up soon, so that the test need not wait.
fn impatient(server: &impl Storage, proxy: &FaultProxy) -> Vec<(String, String)> {
    let mut envs = server.envs_through(proxy.port());
    envs.push(("REPRISE_REQUEST_TIMEOUT".to_owned(), "1s".to_owned()));
    envs.push(("REPRISE_RETRY_FOR".to_owned(), "10m".to_owned()));
    envs
}

/// Everything at 20 % faults, whatever they are; then the same without faults, to see what is really there.
fn survives(server: &impl Storage, kinds: &[FaultKind], seed: u64) {
    server.new_bucket("bucket");
    let proxy = proxy(server, 20, kinds, seed);
    let url = server.url("bucket", "here");
    let mut sandbox = Sandbox::at(&url, server.envs());
    sandbox.init().exits(0);
    let tree = sandbox.path("tree");
    make_tree(&tree, 6 << 20);
    sandbox.set_envs(impatient(server, &proxy));
    for n in 0..3 {
        std::fs::write(tree.join("changes"), incompressible_bytes(500_000, n)).unwrap();
        sandbox.snapshot(&tree, "tree").exits(0);
    }
    sandbox.recover(["verify", "--read-data"]).exits(0);
    let out = sandbox.restore("tree", "restored");
    assert_same(&tree, &out);
    let injected = proxy.injected();
    assert!(injected.values().sum::<u64>() >= 5, "{injected:?}");
    sandbox.set_envs(server.envs());
    assert_eq!(
        sandbox.run(["snapshots"]).exits(0).stdout.lines().count(),
        4
    );
    sandbox.recover(["verify", "--read-data"]).exits(0);
    let out = sandbox.restore("tree", "again");
    assert_same(&tree, &out);
}

#[test]
fn everything_survives_faults_on_the_way_to_garage() {
    survives(&Garage::start(), &FaultKind::ALL, 11);
}

#[test]
fn everything_survives_faults_on_the_way_to_moto() {
    // Moto keeps what has come of a request that was cut off, which no S3 server does.
    let kinds = FaultKind::ALL
        .into_iter()
        .filter(|kind| *kind != FaultKind::CutRequest);
    survives(&Moto::start(), &kinds.collect::<Vec<_>>(), 12);
}

#[test]
fn everything_survives_faults_on_the_way_to_azurite() {
    survives(&Azurite::start(), &FaultKind::ALL, 13);
}

/// Everything through a server that always does this.
fn works_with(kind: FaultKind) -> String {
    let server = Moto::start();
    server.new_bucket("bucket");
    let proxy = proxy(&server, 100, &[kind], 1);
    let url = server.url("bucket", "here");
    let sandbox = Sandbox::at(&url, impatient(&server, &proxy));
    let created = sandbox.init().exits(0);
    let tree = sandbox.path("tree");
    // Large enough for an upload in parts, and for reads of ranges.
    make_tree(&tree, 40 << 20);
    sandbox.snapshot(&tree, "tree").exits(0);
    sandbox.recover(["verify", "--read-data"]).exits(0);
    let out = sandbox.restore("tree", "restored");
    assert_same(&tree, &out);
    let injected = proxy.injected().get(&kind).copied();
    assert!(injected.is_some_and(|count| count > 0), "{injected:?}");
    created.stdout
}

#[test]
fn a_server_that_knows_no_conditions_gets_plain_writes() {
    let created = works_with(FaultKind::ConditionsUnknown);
    assert!(created.contains("conditional create: no"), "{created}");
}

#[test]
fn a_server_that_ignores_ranges_still_gives_everything_back() {
    works_with(FaultKind::RangesIgnored);
}

#[test]
fn what_is_not_found_right_after_it_was_stored_is_looked_up_again() {
    works_with(FaultKind::NotThereYet);
}

#[test]
fn a_server_that_always_fails_is_given_up_with_a_clear_error() {
    let server = Garage::start();
    server.new_bucket("bucket");
    let url = server.url("bucket", "here");
    let mut sandbox = Sandbox::at(&url, server.envs());
    sandbox.init().exits(0);
    make_tree(&sandbox.path("tree"), 1000);
    for kind in [FaultKind::Status500, FaultKind::LostAck, FaultKind::Hang] {
        let proxy = proxy(&server, 100, &[kind], 1);
        let mut envs = impatient(&server, &proxy);
        envs.pop();
        envs.push(("REPRISE_RETRY_FOR".to_owned(), "2s".to_owned()));
        sandbox.set_envs(envs);
        let ran = sandbox.snapshot(&sandbox.path("tree"), "tree").exits(1);
        ran.says("gave up").says("hint");
    }
    sandbox.set_envs(server.envs());
    assert_eq!(
        sandbox.run(["snapshots"]).exits(0).stdout.lines().count(),
        1
    );
}

#[test]
fn what_a_killed_run_has_sent_is_not_sent_again() {
    let server = Garage::start();
    server.new_bucket("bucket");
    let sandbox = Sandbox::at(&server.url("bucket", "here"), server.envs());
    sandbox.init().exits(0);
    std::fs::create_dir(sandbox.path("tree")).unwrap();
    for n in 0..12 {
        let file = sandbox.path(&format!("tree/f{n}"));
        std::fs::write(file, incompressible_bytes(10 << 20, n)).unwrap();
    }
    // Slow enough to be killed in the middle, after some packs have arrived.
    let args = ["snapshot", "volume", "tree", "--limit-upload", "25MiB"];
    let mut child = begin(sandbox.command(), args);
    let noted = || {
        let directories = std::fs::read_dir(sandbox.path("cache"))
            .into_iter()
            .flatten()
            .flatten();
        let journals = directories.flat_map(|directory| {
            std::fs::read_dir(directory.path().join("unindexed"))
                .into_iter()
                .flatten()
                .flatten()
        });
        let texts = journals.map(|journal| std::fs::read_to_string(journal.path()).unwrap());
        texts.map(|text| text.lines().count()).sum::<usize>()
    };
    wait_for(&mut child, || noted() >= 6);
    kill(&mut child);
    let ran = sandbox
        .snapshot(&sandbox.path("tree"), "tree")
        .exits(0)
        .json();
    let sent = ran["traffic"]["sent_bytes"].as_u64().unwrap();
    assert!(sent < 110 << 20, "{sent} bytes were sent of 120 MiB");
    sandbox.recover(["verify", "--read-data"]).exits(0);
    let out = sandbox.restore("tree", "out");
    assert_same(&sandbox.path("tree"), &out);
}
