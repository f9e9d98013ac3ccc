//! Recovery recipients, hosts and keepers come and go by the command line, and each change says what it means.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::process::Command;

use reprise_tests::servers::{Azurite, Garage, Storage};
use support::{RunOutput, Sandbox, begin_captured, end, make_tree, ran, sh};

fn snapshot_by(command: &mut Command, sandbox: &Sandbox, source: &str) -> RunOutput {
    let tree = sandbox.path("tree");
    ran(command
        .args(["snapshot", "volume"])
        .arg(tree)
        .args(["--source", source]))
}

/// A sandbox with a snapshot, and a second host that was added to it.
fn two_hosts() -> Sandbox {
    let sandbox = Sandbox::new();
    make_tree(&sandbox.path("tree"), 100_000);
    sandbox.snapshot(&sandbox.path("tree"), "first").exits(0);
    snapshot_by(&mut sandbox.on_second_host(), &sandbox, "second")
        .exits(6)
        .says("none of the given identities");
    sandbox.add_second_host();
    sandbox
}

#[test]
fn a_host_is_added_works_and_is_removed() {
    let sandbox = two_hosts();
    snapshot_by(&mut sandbox.on_second_host(), &sandbox, "second").exits(0);
    sandbox.restore("second", "restored");
    let listed = sandbox.run(["--json", "key", "list"]).exits(0).json();
    let names: Vec<&str> = listed["signers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|signer| signer["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"web2"), "{listed}");
    // It is no keeper.
    ran(sandbox
        .on_second_host()
        .args(["key", "remove", "--host", "web2", "--yes"]))
    .exits(6)
    .says("only a keeper may change keys");
    let planned = sandbox.run(["key", "remove", "--host", "web2", "--dry-run"]);
    let plan = sandbox.run(["key", "remove", "--host", "web2"]).exits(6);
    assert_eq!(planned.exits(0).stdout, plan.stdout);
    assert!(plan.stdout.contains("revoke host web2"), "{}", plan.stdout);
    snapshot_by(&mut sandbox.on_second_host(), &sandbox, "second").exits(0);
    sandbox
        .run([
            "key", "remove", "--host", "web2", "--yes", "--reason", "gone",
        ])
        .exits(0);
    snapshot_by(&mut sandbox.on_second_host(), &sandbox, "second")
        .exits(6)
        .says("is not known to repository");
    sandbox.restore("second", "restored-again");
    sandbox.recover(["verify", "--read-data"]).exits(0);
    sandbox
        .run(["key", "add", "--host", "web2.keys"])
        .exits(6)
        .says("cannot be added again");
    let listed = sandbox.run(["key", "list"]).exits(0).stdout;
    assert!(
        listed.contains("(gone)") && listed.contains("signer: revoked"),
        "{listed}"
    );
}

#[test]
fn a_recovery_recipient_comes_and_goes_and_the_last_stays() {
    let sandbox = Sandbox::new();
    make_tree(&sandbox.path("tree"), 100_000);
    sandbox.snapshot(&sandbox.path("tree"), "first").exits(0);
    sh("age-keygen", &["-o".as_ref(), sandbox.path("id3").as_ref()]);
    let public = std::fs::read_to_string(sandbox.path("id3")).unwrap();
    let public = public
        .lines()
        .find_map(|line| line.strip_prefix("# public key: "))
        .unwrap();
    let added = sandbox.run(["key", "add", "--recipient", public]).exits(0);
    assert!(
        added.stdout.contains("It does not read:"),
        "{}",
        added.stdout
    );
    for needed in ["1 snapshot taken before", "log segments"] {
        assert!(added.stdout.contains(needed), "{}", added.stdout);
    }
    sandbox
        .run(["key", "add", "--recipient", public])
        .exits(6)
        .says("is already a recipient");
    sandbox
        .run(["key", "add", "--recipient", "rubbish"])
        .exits(2)
        .says("cannot be used");
    make_tree(&sandbox.path("other"), 50_000);
    std::fs::write(
        sandbox.path("other/own"),
        support::incompressible_bytes(70_000, 99),
    )
    .unwrap();
    sandbox.snapshot(&sandbox.path("other"), "other").exits(0);
    let listed = sandbox.run(["--json", "key", "list"]).exits(0).json();
    let mut readers = listed["recipients"].as_array().unwrap().iter();
    let hosts = readers.find(|recipient| recipient["class"] == "catalog");
    let hosts = hosts.unwrap()["key"].as_str().unwrap().to_owned();
    sandbox
        .run(["key", "remove", "--recipient", &hosts, "--yes"])
        .exits(6)
        .says("belongs to");
    let all: Vec<String> = listed["recipients"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|recipient| recipient["class"] == "data")
        .map(|recipient| recipient["key"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(all.len(), 3);
    for recipient in &all[1..] {
        sandbox
            .run(["key", "remove", "--recipient", recipient, "--yes"])
            .exits(0);
    }
    sandbox
        .run(["key", "remove", "--recipient", &all[0], "--yes"])
        .exits(6)
        .says("no recovery recipient");
    sandbox
        .run(["key", "remove", "--recipient", "age1unknown", "--yes"])
        .exits(5)
        .says("key list");
    let sheet = sandbox.run(["key", "sheet"]).exits(0).stdout;
    let (_, removed) = sheet.split_once("Removed:").unwrap();
    assert!(all[1..].iter().all(|key| removed.contains(key)), "{sheet}");
    // The first recovery identity still reads everything.
    sandbox.restore("first", "restored");
    sandbox.restore("other", "restored-other");
}

fn reencrypted_data_is_inaccessible_to_a_removed_host(sandbox: &Sandbox) {
    make_tree(&sandbox.path("tree"), 300_000);
    sandbox.snapshot(&sandbox.path("tree"), "first").exits(0);
    let before = sandbox.run(["--json", "key", "list"]).exits(0).json();
    sh("age-keygen", &["-o".as_ref(), sandbox.path("id3").as_ref()]);
    let text = std::fs::read_to_string(sandbox.path("id3")).unwrap();
    let public = text
        .lines()
        .find_map(|line| line.strip_prefix("# public key: "))
        .unwrap();
    sandbox.run(["key", "add", "--recipient", public]).exits(0);
    for recipient in before["recipients"].as_array().unwrap() {
        if recipient["class"] == "data" {
            let key = recipient["key"].as_str().unwrap();
            sandbox
                .run(["key", "remove", "--recipient", key, "--yes"])
                .exits(0);
        }
    }
    // A host can plan it, and cannot do it; nor can the old identity without the new one.
    let plan = sandbox.run(["key", "rotate", "--reencrypt"]).exits(6);
    assert!(plan.stdout.contains(public), "{}", plan.stdout);
    let all = ["key", "rotate", "--reencrypt", "--yes"];
    sandbox
        .run(all)
        .exits(6)
        .says("none of the given identities");
    sandbox
        .recover(all)
        .exits(6)
        .says("none of the given identities");
    let both = |args: &[&str]| {
        let mut command = sandbox.command();
        for id in ["id1", "id3"] {
            command.arg("--identity").arg(sandbox.path(id));
        }
        ran(command.args(args))
    };
    let done = both(&["--json", "key", "rotate", "--reencrypt", "--yes"])
        .exits(0)
        .json();
    assert_eq!(done["event"], "reencrypt");
    assert!(done["report"]["packs"].as_u64().unwrap() > 0, "{done}");
    for _ in 0..2 {
        sandbox.run(["prune", "--grace", "0s"]).exits(0);
    }
    let plan = both(&["--json", "key", "rotate", "--reencrypt"])
        .exits(0)
        .json();
    let left = (&plan["plan"]["packs"], &plan["plan"]["replaced_packs"]);
    assert_eq!(left, (&0.into(), &0.into()), "{plan}");
    let target = sandbox.path("refused");
    let restore = |id: &str, target: &std::path::Path| {
        let mut command = sandbox.command();
        command.arg("--identity").arg(sandbox.path(id));
        let args = ["restore", "first", "--verify", "--to"];
        ran(command.args(args).arg(target))
    };
    restore("id1", &target).exits(6);
    restore("id3", &sandbox.path("restored")).exits(0);
    let compare = [sandbox.path("tree"), sandbox.path("restored")];
    sh(
        "diff",
        &["-r".as_ref(), compare[0].as_ref(), compare[1].as_ref()],
    );
}

#[test]
fn reencrypted_data_on_a_disk_is_inaccessible_to_a_removed_host() {
    reencrypted_data_is_inaccessible_to_a_removed_host(&Sandbox::new());
}

#[test]
fn reencrypted_data_on_garage_is_inaccessible_to_a_removed_host() {
    let server = Garage::start();
    server.new_bucket("bucket");
    let sandbox = Sandbox::at(&server.url("bucket", "here"), server.envs());
    sandbox.init().exits(0);
    reencrypted_data_is_inaccessible_to_a_removed_host(&sandbox);
}

#[test]
fn reencrypted_data_on_azurite_is_inaccessible_to_a_removed_host() {
    let server = Azurite::start();
    server.new_bucket("container");
    let sandbox = Sandbox::at(&server.url("container", "here"), server.envs());
    sandbox.init().exits(0);
    reencrypted_data_is_inaccessible_to_a_removed_host(&sandbox);
}

/// The snapshots that count.
fn listed(sandbox: &Sandbox) -> Vec<String> {
    let listed = sandbox.run(["--json", "snapshots"]).stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let snapshots = listed["snapshots"].as_array().unwrap().iter();
    snapshots
        .map(|one| one["snapshot"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn snapshots_of_a_removed_host_are_valid_until_its_removal_time() {
    let sandbox = two_hosts();
    snapshot_by(&mut sandbox.on_second_host(), &sandbox, "second").exits(0);
    let good = listed(&sandbox);
    std::fs::write(
        sandbox.path("tree/new"),
        support::incompressible_bytes(50_000, 7),
    )
    .unwrap();
    snapshot_by(&mut sandbox.on_second_host(), &sandbox, "second").exits(0);
    let all = listed(&sandbox);
    let late = all.iter().find(|id| !good.contains(id)).unwrap();
    // When the storage received it, as the disk tells.
    let now = std::time::SystemTime::now();
    let hours = |count: u64| now + std::time::Duration::from_secs(count * 3600);
    let stored = sandbox.path("repository/snapshots").join(late);
    let file = std::fs::File::options().write(true).open(stored).unwrap();
    file.set_modified(hours(2)).unwrap();
    let until = chrono::DateTime::<chrono::Utc>::from(hours(1)).to_rfc3339();
    let remove = [
        "key",
        "remove",
        "--host",
        "web2",
        "--yes",
        "--received-until",
    ];
    // What would be lost is named before anything is changed.
    let plan = [
        "key",
        "remove",
        "--host",
        "web2",
        "--received-until",
        &until,
    ];
    let plan = sandbox.run(plan).exits(6);
    let lost = plan.stdout.lines().find(|line| line.contains("LOST"));
    assert!(lost.unwrap().contains(&late[..8]), "{}", plan.stdout);
    let plan = plan.says("nothing was changed");
    assert!(good.iter().all(|id| !plan.stdout.contains(&id[..8])));
    sandbox.run([&remove[..], &[&until]].concat()).exits(0);
    assert_eq!(listed(&sandbox), good);
    sandbox
        .recover(["verify", "--read-data"])
        .exits(4)
        .says(late);
    sandbox.restore("second", "restored");
    // A second removal rejects more, and brings nothing back.
    sandbox
        .run(["key", "remove", "--host", "web2", "--yes"])
        .exits(6)
        .says("--except ID");
    let doomed = good.last().unwrap();
    let second = ["key", "remove", "--host", "web2", "--yes", "--except"];
    sandbox.run([&second[..], &[doomed]].concat()).exits(0);
    let left: Vec<&String> = good.iter().filter(|id| *id != doomed).collect();
    assert_eq!(listed(&sandbox).iter().collect::<Vec<_>>(), left);
}

#[test]
fn what_a_new_host_cannot_get_is_reported_and_a_later_rotation_makes_up_for_it() {
    let sandbox = two_hosts();
    // What is damaged cannot be handed over.
    let root = sandbox.objects("snapshots").remove(0);
    let whole = std::fs::read(&root).unwrap();
    std::fs::remove_file(&root).unwrap();
    std::fs::write(&root, &whole[1..]).unwrap();
    sandbox
        .run(["key", "rotate"])
        .exits(3)
        .says("1 object of the catalog could not be wrapped");
    std::fs::remove_file(&root).unwrap();
    std::fs::write(&root, &whole).unwrap();
    sandbox.run(["key", "rotate"]).exits(0);
}

#[test]
fn a_keeper_goes_with_the_recipient_in_its_file() {
    let sandbox = Sandbox::new();
    let at = sandbox.path("kept");
    let keeper = |args: &[&str]| {
        let mut command = sandbox.command();
        command.env("REPRISE_REPOSITORY", &at);
        ran(command.args(["--keeper", "keeper.txt"]).args(args))
    };
    let init = [
        "init",
        "--generate-identity",
        "one",
        "--generate-identity",
        "two",
    ];
    keeper(&init).exits(0);
    let readers = || {
        let listed = keeper(&["--json", "key", "list"]).exits(0).json();
        let all = listed["recipients"].as_array().unwrap().clone();
        let all = all.into_iter().filter(|one| one["class"] == "catalog");
        all.count()
    };
    assert_eq!(readers(), 2);
    let signer = ran(sandbox.on_second_host().args(["--json", "key", "show"])).exits(0);
    let signer = signer.json()["signer"].as_str().unwrap().to_owned();
    keeper(&["key", "add", "--keeper-key", &signer, "--name", "safe"]).exits(0);
    keeper(&["key", "remove", "--keeper-key", "keeper", "--yes"]).exits(0);
    assert_eq!(readers(), 1);
}

#[test]
fn the_page_for_the_safe_has_what_it_takes() {
    let sandbox = two_hosts();
    let sheet = sandbox.run(["key", "sheet"]).exits(0).stdout;
    let config = std::fs::read(sandbox.path("repository/reprise.json")).unwrap();
    let hash = reprise_repository::ObjectId::from_content(&config).to_string();
    for needed in [
        hash.as_str(),
        "web2",
        "restore SOURCE --to",
        "age -d -i FILE",
        "not encrypted: tail -n +2 OBJECT | zstd -d",
        sandbox.path("repository").to_str().unwrap(),
    ] {
        assert!(sheet.contains(needed), "{needed} is not in: {sheet}");
    }
    // The fingerprint, typed from the page, lets nothing else pass on a new machine.
    let on_new_machine = |fingerprint: &str| {
        let mut command = sandbox.recovering();
        command.env("REPRISE_CONFIG_DIR", sandbox.path("new machine"));
        ran(command.args(["--expect", fingerprint, "snapshots"]))
    };
    on_new_machine(&"0".repeat(64))
        .exits(6)
        .says("not the expected repository");
    assert!(!sandbox.path("new machine/pins").exists());
    on_new_machine(&hash.to_uppercase()).exits(0);
    let longest = sheet.lines().map(str::len).max().unwrap();
    assert!(
        sheet.lines().count() < 60 && longest < 140,
        "{longest}: {sheet}"
    );
}

#[test]
fn a_recovery_identity_is_generated_where_it_is_added_and_a_plan_changes_nothing() {
    let sandbox = two_hosts();
    let keys = || sandbox.objects("keys").len();
    let before = keys();
    let add = ["key", "add", "--generate-identity", "id3"];
    sandbox.run(add.iter().chain(&["--dry-run"])).exits(0);
    sandbox.run(["key", "rotate", "--dry-run"]).exits(0);
    assert!(keys() == before && !sandbox.path("id3").exists());
    sandbox.run(add).exits(0);
    sandbox.run(add).exits(6).says("id3");
    sandbox.snapshot(&sandbox.path("tree"), "third").exits(0);
    std::fs::write(sandbox.path("tree/new"), "stored after the key was added").unwrap();
    sandbox.snapshot(&sandbox.path("tree"), "third").exits(0);
    let mut command = sandbox.command();
    command.env("REPRISE_IDENTITY", sandbox.path("id3"));
    ran(command.args(["restore", "third", "--to", "out", "new"])).exits(0);
    assert!(sandbox.path("out/new").exists());
    // A recipient that is one already is refused by the plan as by the change.
    let recipient = std::fs::read_to_string(sandbox.path("id3")).unwrap();
    let recipient = recipient
        .lines()
        .find_map(|line| line.strip_prefix("# public key: "));
    let again = ["key", "add", "--recipient", recipient.unwrap()];
    let change = sandbox.run(again);
    let plan = sandbox.run(again.iter().chain(&["--dry-run"]));
    assert_eq!((plan.code, plan.stderr), (change.code, change.stderr));
}

#[test]
fn when_the_host_is_gone_a_recovery_identity_and_the_spare_keeper_appoint_a_new_one() {
    let sandbox = Sandbox::bare();
    let made = sandbox.init().exits(0).stdout;
    assert!(made.contains("id1.keeper.txt"), "{made}");
    make_tree(&sandbox.path("tree"), 100_000);
    let first = sandbox
        .snapshot(&sandbox.path("tree"), "tree")
        .exits(0)
        .json();
    let first = first["snapshot"].as_str().unwrap();
    let old = sandbox.run(["--json", "key", "show"]).exits(0).json();
    let old = old["signer"].as_str().unwrap();
    for lost in ["config", "cache"] {
        std::fs::remove_dir_all(sandbox.path(lost)).unwrap();
    }
    let new = |args: &[&str]| {
        let mut command = sandbox.on_second_host();
        command.env("REPRISE_IDENTITY", sandbox.path("id1"));
        ran(command.args(args))
    };
    snapshot_by(&mut sandbox.on_second_host(), &sandbox, "tree").exits(6);
    let public = new(&["key", "show"]).exits(0).stdout;
    std::fs::write(sandbox.path("new.keys"), public).unwrap();
    let keeping = |args: &[&str]| new(&[&["--keeper", "id1.keeper.txt"][..], args].concat());
    let host = ["key", "add", "--host", "new.keys", "--name", "new"];
    keeping(&[&host[..], &["--replaces", old]].concat()).exits(0);
    std::fs::write(sandbox.path("tree/more"), "more").unwrap();
    snapshot_by(&mut sandbox.on_second_host(), &sandbox, "tree").exits(0);
    keeping(&["forget", first]).exits(0);
    keeping(&["prune"]).exits(0);
    keeping(&["prune", "--grace", "0s"]).exits(0);
    new(&["restore", "tree", "--to", "restored", "--verify"]).exits(0);
    let more = std::fs::read_to_string(sandbox.path("restored/more"));
    assert_eq!(more.unwrap(), "more");
    new(&["verify", "--read-data"]).exits(0);
    let sheet = new(&["key", "sheet"]).exits(0).stdout;
    assert!(sheet.contains("spare-keeper"), "{sheet}");
}

#[test]
fn who_loses_the_right_to_write_with_the_host_is_told_before() {
    let sandbox = Sandbox::new();
    let key = |file: &str| {
        let text = std::fs::read_to_string(sandbox.path(file)).unwrap();
        let line = text.lines().find(|line| line.contains("age1")).unwrap();
        line[line.find("age1").unwrap()..].to_owned()
    };
    let (one, two) = (key("id1"), key("id2"));
    let other = sandbox.path("other");
    let other = other.to_str().unwrap();
    sandbox
        .run([
            "-r",
            other,
            "init",
            "--recipient",
            &one,
            "--recipient",
            &two,
        ])
        .exits(0)
        .says("--keeper-key");
    sandbox
        .run(["-r", other, "key", "list"])
        .exits(0)
        .says("Every keeper is a host");
}

/// Replaces the recovery identities `id1` and `id2` by `id3`.
fn rotate_identities(sandbox: &Sandbox) {
    let before = sandbox.run(["--json", "key", "list"]).exits(0).json();
    let add = ["key", "add", "--generate-identity", "id3"];
    sandbox.run(add).exits(0);
    let old = before["recipients"].as_array().unwrap().iter();
    for recipient in old.filter(|recipient| recipient["class"] == "data") {
        let key = recipient["key"].as_str().unwrap();
        let remove = ["key", "remove", "--recipient", key, "--yes"];
        sandbox.run(remove).exits(0);
    }
}

/// What was copied before is as it was, until the new packs are copied as well.
fn re_encryption_reaches_a_copy(sandbox: &Sandbox, new: &dyn Fn(&str, &[&str]) -> RunOutput) {
    let mut both = sandbox.command();
    for id in ["id1", "id3"] {
        both.arg("--identity").arg(sandbox.path(id));
    }
    ran(both.args(["key", "rotate", "--reencrypt", "--yes"])).exits(0);
    new("elsewhere", &["verify", "--read-data"]).exits(0);
    new("elsewhere", &["restore", "first", "--to", "restored"]).exits(0);
    let copy = |args: &[&str]| new("elsewhere", &[&["-r", "copy-config"][..], args].concat());
    copy(&["restore", "first", "--to", "from-copy"])
        .exits(6)
        .says("`reprise copy`");
    new("config", &["copy", "--to", "copy-config"]).exits(0);
    copy(&["restore", "first", "--to", "from-copy-later"]).exits(0);
    copy(&["verify", "--read-data"]).exits(0);
}

#[test]
fn what_an_identity_cannot_read_is_named_and_not_called_damaged() {
    let sandbox = Sandbox::new();
    make_tree(&sandbox.path("tree"), 100_000);
    sandbox.snapshot(&sandbox.path("tree"), "first").exits(0);
    let old = std::fs::read_to_string(sandbox.path("id1")).unwrap();
    let old = old.lines().find_map(|line| line.split_once("age1"));
    let old = format!("age1{}", old.unwrap().1);
    rotate_identities(&sandbox);
    make_tree(&sandbox.path("other"), 50_000);
    sandbox.snapshot(&sandbox.path("other"), "other").exits(0);
    let new = |config: &str, args: &[&str]| {
        let mut command = sandbox.command();
        command.env("REPRISE_CONFIG_DIR", sandbox.path(config));
        command.env("REPRISE_CACHE_DIR", sandbox.path(config).join("cache"));
        command.env("REPRISE_IDENTITY", sandbox.path("id3"));
        ran(command.args(args))
    };
    // A new list of entries, most of which were stored before.
    std::fs::write(sandbox.path("tree/new"), "stored after the rotation").unwrap();
    sandbox.snapshot(&sandbox.path("tree"), "mixed").exits(0);
    std::fs::write(
        sandbox.path("p.yaml"),
        "version: 1\nname: p\nrepositories:\n  main: {url: ./repository, identity: 'file:id3'}\nsources:\n  \
         mixed: {volume: {path: tree}, repositories: [main]}\ndrills:\n  d: {source: mixed}\n",
    )
    .unwrap();
    // On the host, and on a machine that has nothing but the new identity.
    for config in ["config", "elsewhere"] {
        let said = new(config, &["verify", "--read-data"]).exits(3).says(&old);
        let all = format!("{}{}", said.stdout, said.stderr);
        assert!(
            all.contains("--reencrypt") && all.contains("not checked"),
            "{all}"
        );
        assert!(!all.contains("damaged"), "{all}");
        let report = new(config, &["--json", "verify"]).exits(3).json();
        let unreadable = &report["report"]["unreadable"][0];
        assert_eq!(unreadable["kind"], "entry-lists", "{report}");
        let recipients = unreadable["recipients"].as_array().unwrap();
        assert!(
            recipients.iter().any(|one| *one == old.as_str()),
            "{report}"
        );
        let repair = ["--json", "verify", "--read-data", "--repair"];
        let repair = new(config, &repair).exits(3).json();
        assert_eq!(repair["report"]["quarantined"], serde_json::json!([]));
        let restore = ["restore", "first", "--to", &format!("to-{config}")];
        new(config, &restore)
            .exits(6)
            .says(&old)
            .says("--reencrypt");
        let target = format!("mixed-{config}");
        let restored = new(config, &["restore", "mixed", "--to", &target]);
        restored.exits(6).says(&old).says("not restored");
        assert!(sandbox.path(&target).join("new").exists());
        let drill = ["--policies", "p.yaml", "drill", "d"];
        new(config, &drill).exits(6).says("--reencrypt");
        let copy = ["copy", "--to", &format!("copy-{config}")];
        new(config, &copy).exits(0);
        new(config, &["show", "first"]).exits(0);
        new(config, &["snapshots"]).exits(0);
    }
    re_encryption_reaches_a_copy(&sandbox, &new);
}

const PASSPHRASE: &str = "correct horse battery";

/// A command of a machine that has nothing of the host, with a recovery identity.
fn elsewhere(sandbox: &Sandbox, identity: &str, passphrase: &str) -> Command {
    let mut command = sandbox.on_second_host();
    command
        .env("REPRISE_IDENTITY", sandbox.path(identity))
        .env("REPRISE_ESCROW_PASSPHRASE", passphrase);
    command
}

/// A sandbox whose repository keeps an escrow key, and a snapshot.
fn with_escrow() -> Sandbox {
    let sandbox = Sandbox::bare();
    let ids = ["--generate-identity", "id1", "--generate-identity", "id2"];
    let init = [&["init", "--escrow-keeper"][..], &ids].concat();
    let mut without = sandbox.command();
    ran(without.args(&init)).exits(2).says("--passphrase-file");
    let mut short = sandbox.command();
    short.env("REPRISE_ESCROW_PASSPHRASE", "too short");
    ran(short.args(&init)).exits(6).says("at least 12");
    assert!(sandbox.objects("keys").is_empty() && !sandbox.path("id1").exists());
    std::fs::write(sandbox.path("passphrase"), format!("{PASSPHRASE}\n")).unwrap();
    let file = [&init[..], &["--passphrase-file", "passphrase"]].concat();
    let made = sandbox.run(file).exits(0).stdout;
    assert!(made.contains("escrow key"), "{made}");
    assert!(!sandbox.path("id1.keeper.txt").exists());
    make_tree(&sandbox.path("tree"), 100_000);
    sandbox.snapshot(&sandbox.path("tree"), "tree").exits(0);
    sandbox
}

#[test]
fn when_the_host_is_gone_a_recovery_identity_and_the_passphrase_appoint_a_new_one() {
    let sandbox = with_escrow();
    let listed = sandbox.run(["--json", "key", "list"]).exits(0).json();
    let old_escrow = listed["escrow"]["signer"].as_str().unwrap();
    let sheet = sandbox.run(["key", "sheet"]).exits(0).stdout;
    assert!(sheet.contains("key escrow --open") && sheet.contains("passphrase of the escrow key"));
    let old = sandbox.run(["--json", "key", "show"]).exits(0).json();
    let old = old["signer"].as_str().unwrap();
    sandbox.run(["copy", "--to", "copy"]).exits(0);
    let host_alone = [
        "key",
        "escrow",
        "--open",
        "keeper",
        "--passphrase-file",
        "passphrase",
    ];
    sandbox
        .run(host_alone)
        .exits(6)
        .says("none of the given identities");
    for lost in ["config", "cache"] {
        std::fs::remove_dir_all(sandbox.path(lost)).unwrap();
    }
    let new = |args: &[&str]| ran(elsewhere(&sandbox, "id2", PASSPHRASE).args(args));
    let open = ["key", "escrow", "--open", "keeper"];
    let wrong = "correct horse batterie";
    ran(elsewhere(&sandbox, "id2", wrong).args(open))
        .exits(6)
        .says("passphrase is not that of");
    assert!(!sandbox.path("keeper").exists());
    // A copy is as good.
    new(&["-r", "copy", "key", "escrow", "--open", "keeper-of-copy"]).exits(0);
    std::fs::remove_dir_all(sandbox.path("copy/escrow")).unwrap();
    new(&["-r", "copy", "key", "escrow", "--open", "none"])
        .exits(4)
        .says("is missing");
    new(&open).exits(0);
    let public = new(&["key", "show"]).exits(0).stdout;
    std::fs::write(sandbox.path("new.keys"), public).unwrap();
    let keeping = |args: &[&str]| new(&[&["--keeper", "keeper"][..], args].concat());
    let host = ["key", "add", "--host", "new.keys", "--name", "new"];
    keeping(&[&host[..], &["--replaces", old]].concat()).exits(0);
    keeping(&["key", "remove", "--host", old, "--yes"]).exits(0);
    std::fs::write(sandbox.path("tree/more"), "more").unwrap();
    snapshot_by(&mut sandbox.on_second_host(), &sandbox, "tree").exits(0);
    // What was opened is replaced by another one, and is worth nothing then.
    keeping(&["key", "escrow"]).exits(0);
    keeping(&["key", "escrow"]).exits(6).says("is not a keeper");
    let listed = new(&["--json", "key", "list"]).exits(0).json();
    assert_ne!(listed["escrow"]["signer"], old_escrow, "{listed}");
    new(&["key", "escrow", "--open", "keeper-2"]).exits(0);
    new(&["--keeper", "keeper-2", "key", "rotate"]).exits(0);
    new(&["verify", "--read-data"]).exits(0);
}

#[test]
fn a_removed_recipient_takes_the_escrow_key_with_it() {
    let sandbox = with_escrow();
    let opened = elsewhere(&sandbox, "id1", PASSPHRASE)
        .args(["key", "escrow", "--open", "keeper"])
        .output();
    RunOutput::from(&opened.unwrap()).exits(0);
    let recipient = |file: &str| {
        let text = std::fs::read_to_string(sandbox.path(file)).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("# public key: "));
        line.unwrap().to_owned()
    };
    // One that is added later has no part in it, and that is said.
    let third = ["key", "add", "--generate-identity", "id3"];
    let added = sandbox.run(third).exits(0).stdout;
    assert!(added.contains("does not open the escrow key"), "{added}");
    let listed = sandbox.run(["key", "list"]).exits(0).stdout;
    assert!(
        listed.contains(&format!("not for {}", recipient("id3"))),
        "{listed}"
    );
    let open = |identity: &str, file: &str| {
        let mut command = elsewhere(&sandbox, identity, PASSPHRASE);
        ran(command.args(["key", "escrow", "--open", file]))
    };
    open("id3", "of-3")
        .exits(6)
        .says("none of the given identities");
    // With the passphrase the others get a new one; what was opened before forgets nothing any more.
    let one = recipient("id1");
    let remove = ["key", "remove", "--recipient", &one];
    let plan = sandbox.run(remove).exits(6).stdout;
    assert!(plan.contains("escrow key is revoked"), "{plan}");
    let with_file = ["--yes", "--passphrase-file", "passphrase"];
    sandbox.run(remove.iter().chain(&with_file)).exits(0);
    let rotate = ["--keeper", "keeper", "key", "rotate"];
    sandbox.run(rotate).exits(6).says("is not a keeper");
    open("id1", "of-1")
        .exits(6)
        .says("none of the given identities");
    for identity in ["id2", "id3"] {
        open(identity, &format!("of-{identity}")).exits(0);
    }
    // Without the passphrase there is none, which is said.
    let two = recipient("id2");
    let remove = ["key", "remove", "--recipient", &two, "--yes"];
    let removed = sandbox.run(remove).exits(3).stdout;
    assert!(removed.contains("There is no escrow key now"), "{removed}");
    open("id3", "none").exits(5).says("keeps no escrow key");
    sandbox.recover(["verify"]).exits(0);
}

#[test]
fn a_policy_creates_a_repository_with_a_keeper_elsewhere_or_an_escrow_key() {
    let sandbox = Sandbox::bare();
    make_tree(&sandbox.path("tree"), 10_000);
    let policy = |name: &str, create: &str| {
        let text = format!(
            "version: 1\nname: {name}\nrepositories:\n  main: {{url: ./{name}, create: {{{create}}}}}\n\
             sources:\n  tree: {{volume: {{path: tree}}, repositories: [main]}}\n"
        );
        let file = format!("{name}.yaml");
        std::fs::write(sandbox.path(&file), text).unwrap();
        file
    };
    let identities = "generate_identities: [a/1, a/2], keeper: a/keeper.txt";
    let keeper = policy("keeper", identities);
    let run = |file: &str, passphrase: &str, args: &[&str]| {
        let mut command = sandbox.command();
        command.env_remove("REPRISE_REPOSITORY");
        command.env("REPRISE_ESCROW_PASSPHRASE", passphrase);
        ran(command.args(["--policies", file]).args(args))
    };
    run(&keeper, "", &["policy", "check"]).exits(0);
    run(&keeper, "", &["run"]).exits(0);
    let rotate = ["key", "rotate"];
    run(&keeper, "", &rotate).exits(6).says("not a keeper");
    let kept = [&["--keeper", "a/keeper.txt"][..], &rotate].concat();
    run(&keeper, "", &kept).exits(0);
    let signers = run(&keeper, "", &["--json", "key", "list"]).exits(0).json();
    let roles: Vec<_> = signers["signers"].as_array().unwrap().iter().collect();
    assert!(
        roles
            .iter()
            .all(|one| one["roles"].as_array().unwrap().len() == 1)
    );
    // Given recipients alone, the host is the only keeper, and `policy check` says so.
    let public = |file: &str| {
        let text = std::fs::read_to_string(sandbox.path(file)).unwrap();
        let key = text
            .lines()
            .find_map(|line| line.strip_prefix("# public key: "));
        key.unwrap().to_owned()
    };
    let recipients = format!("recipients: [{}, {}]", public("a/1"), public("a/2"));
    let alone = |create: &str| {
        let file = policy("other", create);
        let text = std::fs::read_to_string(sandbox.path(&file)).unwrap();
        let text = text.replace("create:", &format!("{recipients}, create:"));
        std::fs::write(sandbox.path(&file), text).unwrap();
        file
    };
    let warning = "only keeper";
    let file = alone("");
    run(&file, "", &["policy", "check"]).exits(0).says(warning);
    let file = alone("escrow: 'my own passphrase'");
    let said = run(&file, "", &["policy", "check"]).exits(2);
    assert!(
        !said.stderr.contains("my own passphrase"),
        "{}",
        said.stderr
    );
    let file = alone("escrow: '${env:REPRISE_ESCROW_PASSPHRASE}'");
    let checked = run(&file, "", &["policy", "check"]).exits(0);
    assert!(!checked.stderr.contains(warning), "{}", checked.stderr);
    run(&file, "", &["run"]).exits(6).says("is empty");
    run(&file, "too short", &["run"])
        .exits(6)
        .says("at least 12");
    assert!(!sandbox.path("other").join("reprise.json").exists());
    run(&file, PASSPHRASE, &["run"]).exits(0);
    let mut open = elsewhere(&sandbox, "a/1", PASSPHRASE);
    ran(open.args(["-r", "other", "key", "escrow", "--open", "opened"])).exits(0);
}

#[test]
fn a_snapshot_under_way_says_that_a_recipient_was_removed_meanwhile() {
    let sandbox = Sandbox::new();
    let fifo = sandbox.path("fifo");
    sh("mkfifo", &[fifo.as_ref()]);
    let text = std::fs::read_to_string(sandbox.path("id2")).unwrap();
    let removed = text
        .lines()
        .find_map(|line| line.strip_prefix("# public key: "));
    let removed = removed.unwrap();
    let take = |source: &'static str| {
        let program = ["--", "cat", "fifo"];
        let args = ["--json", "snapshot", "command", "--source", source];
        begin_captured(sandbox.command(), args.iter().chain(&program))
    };
    // Opening it waits until the program reads.
    let open = || std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    let (run, mut input) = (take("held"), open());
    let remove = ["--json", "key", "remove", "--recipient", removed, "--yes"];
    let changed = sandbox.run(remove).exits(0).json();
    let add = ["key", "add", "--generate-identity", "id3"];
    sandbox.run(add).exits(0);
    let runs = changed["writers"]["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1, "{changed}");
    input.write_all(b"stored for two").unwrap();
    drop(input);
    let taken = end(run).exits(3).json();
    assert_eq!(taken["removed_recipients"], serde_json::json!([removed]));
    // The next one is for those who are recipients now.
    let (run, mut input) = (take("next"), open());
    input.write_all(b"stored for one").unwrap();
    drop(input);
    let taken = end(run).exits(0).json();
    assert_eq!(taken["removed_recipients"], serde_json::json!([]));
    let restore = |identity: &str, source: &str| {
        let mut command = sandbox.command();
        command.env("REPRISE_IDENTITY", sandbox.path(identity));
        let target = format!("{source}-{identity}");
        ran(command.args(["restore", source, "--to", &target]))
    };
    restore("id2", "held").exits(0);
    restore("id2", "next").exits(6).says("was stored for other");
    restore("id1", "held").exits(0);
    restore("id1", "next").exits(0);
    // The root of the first is not for one that was added meanwhile, and not damaged either.
    let added = |args: &[&str]| {
        let mut command = sandbox.on_second_host();
        ran(command
            .env("REPRISE_IDENTITY", sandbox.path("id3"))
            .args(args))
    };
    added(&["snapshots"]).exits(3).says("none of the given");
    let verified = added(&["--json", "verify"]).exits(3).json();
    let report = &verified["report"];
    assert_eq!(report["findings"], serde_json::json!([]), "{report}");
    let unreadable = report["unreadable"].as_array().unwrap().iter();
    let kinds: Vec<_> = unreadable
        .map(|one| one["kind"].as_str().unwrap())
        .collect();
    assert!(kinds.contains(&"snapshots"), "{report}");
    added(&["restore", "next", "--to", "by-added"]).exits(0);
    // A copy encrypts no contents: both are in it as they are stored.
    sandbox.run(["copy", "--to", "copy"]).exits(0);
    // What is named can be re-encrypted: it is the one that began before.
    let plan = sandbox.recover(["--json", "key", "rotate", "--reencrypt", "--dry-run"]);
    let plan = plan.exits(0).json();
    assert_eq!(plan["plan"]["packs"], 1, "{plan}");
    assert_eq!(plan["plan"]["current_packs"], 1, "{plan}");
}
