//! The access policies that `init --print-policy s3` prints, at a server that checks actions and resources: each
//! role does its work with its policy, and no more.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::Command;

use reprise_tests::servers::{Moto, Storage};
use serde_json::Value;
use support::{RunOutput, Sandbox, assert_same_trees, incompressible_bytes, make_tree, ran};

type Envs = Vec<(String, String)>;

/// The policy for a role, as Moto can evaluate it: it knows no conditions, so what is denied under one is left out.
fn policy(sandbox: &Sandbox, role: &str) -> String {
    let args = ["init", "--print-policy", "s3", "--print-role", role];
    let printed = sandbox.run(args).exits(0).stdout;
    let mut policy: Value = serde_json::from_str(&printed).unwrap();
    let statements = policy["Statement"].as_array_mut().unwrap();
    statements.retain(|one| one["Effect"] == "Allow" || one["Condition"].is_null());
    assert!(statements.len() >= 2, "{policy}");
    policy.to_string()
}

/// A server with a host's user, a pruner's and a restorer's; a sandbox that has the host's permissions.
struct RoleTest {
    _server: Moto,
    sandbox: Sandbox,
    pruner: Envs,
    restorer: Envs,
    url: String,
}

impl RoleTest {
    fn new() -> Self {
        let server = Moto::start();
        server.new_locked_bucket("bucket");
        let url = server.url("bucket", "here");
        let mut sandbox = Sandbox::at(&url, server.envs());
        let user = |role: &str| server.new_user(role, &policy(&sandbox, role));
        let (host, pruner, restorer) = (user("writer"), user("sweeper"), user("restore"));
        server.enforce_permissions();
        sandbox.set_envs(host);
        Self {
            _server: server,
            sandbox,
            pruner,
            restorer,
            url,
        }
    }

    /// The other host of the repository, with the pruner's permissions and a keeper's key.
    fn prune(&self, args: &[&str]) -> RunOutput {
        let mut command = self.sandbox.on_second_host();
        ran(command
            .envs(self.pruner.clone())
            .env("REPRISE_KEEPER", self.sandbox.path("id1.keeper.txt"))
            .args(["--json", "prune"])
            .args(args))
    }

    /// Tries to delete an object with someone's permissions.
    fn erase(&self, envs: &[(String, String)], key: &str) -> RunOutput {
        let mut command = Command::new(env!("CARGO_BIN_EXE_erase"));
        ran(command
            .envs(envs.iter().cloned())
            .args([self.url.as_str(), key]))
    }
}

#[test]
fn each_role_does_its_work_and_no_more() {
    let roles = RoleTest::new();
    let sandbox = &roles.sandbox;
    // The host makes the repository, stores, forgets, lets another one in, and deletes nothing.
    sandbox.init().exits(0);
    let tree = sandbox.path("tree");
    make_tree(&tree, 2 << 20);
    let first = sandbox.snapshot(&tree, "tree").exits(0).json();
    let first = first["snapshot"].as_str().unwrap();
    for n in 0..3 {
        std::fs::write(
            tree.join(format!("large{n}")),
            incompressible_bytes(2 << 20, 70 + n),
        )
        .unwrap();
    }
    sandbox.snapshot(&tree, "tree").exits(0);
    sandbox.run(["forget", first]).exits(0);
    sandbox.add_second_host();
    sandbox.run(["prune", "--dry-run"]).exits(0);
    sandbox.run(["prune"]).exits(6).says("no permission");
    let root = format!("snapshots/{first}");
    roles
        .erase(&sandbox.envs(), &root)
        .exits(1)
        .says("no permission");
    roles
        .erase(&roles.restorer, &root)
        .exits(1)
        .says("no permission");
    // The pruner reads no contents, and deletes what nothing needs, with its versions.
    let condemned = roles.prune(&["--repack-below", "90"]).exits(0).json();
    assert!(condemned["plan"]["freed_later_bytes"].as_u64().unwrap() > 1 << 20);
    let pruned: Value = roles.prune(&["--grace", "0s"]).exits(0).json();
    assert_eq!(pruned["report"]["snapshots"], 1, "{pruned}");
    assert!(pruned["report"]["packs"].as_u64().unwrap() > 0, "{pruned}");
    sandbox.run(["show", first]).exits(5);
    // Whoever restores needs to read, and can do nothing else.
    let target = sandbox.path("restored");
    let mut restore = sandbox.recovering();
    restore.envs(roles.restorer.clone());
    restore.args(["restore", "tree", "--verify", "--to"]);
    ran(restore.arg(&target)).exits(0);
    assert_same_trees(&tree, &target);
    let mut snapshot = sandbox.command();
    snapshot.envs(roles.restorer.clone());
    snapshot.args(["snapshot", "volume"]).arg(&tree);
    ran(snapshot.args(["--source", "tree"]))
        .exits(6)
        .says("no permission");
    sandbox.recover(["verify", "--read-data"]).exits(0);
    sandbox.snapshot(&tree, "tree").exits(0);
}
