//! What no kept snapshot needs is deleted by the real binary, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reprise_repository::ObjectId;
use reprise_tests::servers::{Azurite, Garage, Moto, Storage, request_anonymously};
use serde_json::Value;
use support::past::{
    self, PastSnapshot, counts, days, forget, git, listed, night, past, policy, take,
};
use support::{
    RunOutput, Sandbox, assert_same_trees, begin, begin_captured, end, incompressible_bytes, kill,
    locked_policy, make_tree, ran, wait_for,
};

fn prune(sandbox: &Sandbox, args: &[&str]) -> RunOutput {
    sandbox.run([&["--json", "prune"], args].concat())
}

/// A number of a plan or a report.
fn number(of: &Value, key: &str) -> u64 {
    of[key].as_u64().unwrap()
}

/// What the packs take on the disk.
fn space(sandbox: &Sandbox) -> u64 {
    let packs = sandbox.objects("packs").into_iter();
    packs.map(|pack| fs::metadata(pack).unwrap().len()).sum()
}

/// Everything that is stored, in order.
fn stored(sandbox: &Sandbox) -> Vec<PathBuf> {
    let mut stored = sandbox.objects("");
    stored.sort();
    stored
}

/// What a source held so many days ago: something of the day, something of the month, something that never
/// changes, and on two days something large that was gone the next.
fn contents(day: i64) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![
        (
            "day".to_owned(),
            incompressible_bytes(40_000, day.unsigned_abs()),
        ),
        (
            "month".to_owned(),
            incompressible_bytes(50_000, 10_000 + day.unsigned_abs() / 30),
        ),
        ("still".to_owned(), incompressible_bytes(300_000, 20_000)),
    ];
    if [364, 209].contains(&day) {
        let large = |n: u64| {
            let seed = 30_000 + day.unsigned_abs() * 100 + n;
            (format!("temp{n:02}"), incompressible_bytes(512 << 10, seed))
        };
        files.extend((0..24).map(large));
    }
    files
}

/// A year of days, and a policy that kept them all until the last commit.
fn year() -> (Sandbox, Vec<(i64, ObjectId)>) {
    let sandbox = Sandbox::new();
    let repository = past::open(&sandbox);
    let days = (0..365).rev().map(|day| {
        let files = contents(day);
        let past = PastSnapshot {
            files,
            ..past("tree", night(day))
        };
        (day, take(&sandbox, &repository, &past))
    });
    let days = days.collect();
    policy(&sandbox, "p.yaml", "{daily: 400}");
    let directory = sandbox.path("p.yaml").parent().unwrap().to_owned();
    git(&directory, &["init", "-q"]);
    git(&directory, &["add", "p.yaml"]);
    git(&directory, &["commit", "-q", "-m", "keep everything"]);
    policy(&sandbox, "p.yaml", "{daily: 7, weekly: 4, monthly: 12}");
    let old = git(&directory, &["show", "HEAD:p.yaml"]);
    fs::write(sandbox.path("old.yaml"), old).unwrap();
    git(&directory, &["commit", "-q", "-a", "-m", "keep less"]);
    (sandbox, days)
}

/// What the changed policy forgets, as its preview said. How many are kept and how many went.
fn forget_as_previewed(sandbox: &Sandbox) -> (u64, u64) {
    let args = ["--json", "policy", "preview", "--policies", "p.yaml"];
    let more = ["--against", "old.yaml", "--max-forget", "10"];
    let shown = sandbox.run([&args[..], &more].concat()).exits(3).json();
    let foretold = counts(&shown);
    let lost = shown["changes"][0]["newly_forgotten"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(lost as u64, foretold.1);
    let dry = forget(sandbox, &["--dry-run"]).exits(0).json();
    assert_eq!(counts(&dry), foretold);
    assert_eq!(counts(&forget(sandbox, &[]).exits(0).json()), foretold);
    foretold
}

/// Restores what is listed, and compares it byte for byte.
fn everything_listed_comes_back(sandbox: &Sandbox, days: &[(i64, ObjectId)]) -> u64 {
    let listed = sandbox.run(["--json", "snapshots"]).exits(0).json();
    let mut count = 0;
    for snapshot in listed["snapshots"].as_array().unwrap() {
        let id = snapshot["snapshot"].as_str().unwrap();
        let (day, _) = days
            .iter()
            .find(|(_, known)| known.to_string() == id)
            .unwrap();
        let directory = sandbox.restore(id, &format!("restored-{day}"));
        let files = contents(*day);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), files.len());
        for (name, content) in files {
            let restored = fs::read(directory.join(&name)).unwrap();
            assert!(restored == content, "{name} of {day} days ago differs");
        }
        fs::remove_dir_all(directory).unwrap();
        count += 1;
    }
    count
}

#[test]
fn a_year_of_days_is_pruned_and_frees_what_the_dry_runs_printed() {
    let (sandbox, days) = year();
    let (kept, forgotten) = forget_as_previewed(&sandbox);
    let (before, objects) = (space(&sandbox), stored(&sandbox));
    let dry = prune(&sandbox, &["--dry-run"]).exits(0).json();
    let plan = &dry["plan"];
    assert!(dry["report"].is_null() && stored(&sandbox) == objects);
    assert_eq!(number(plan, "stored_bytes"), before);
    assert_eq!(number(plan, "snapshots"), kept);
    assert_eq!(number(plan, "forgotten"), forgotten);
    assert_eq!(number(plan, "swept_bytes"), 0);
    assert!(number(plan, "dead_packs") > 0, "{plan}");
    assert!(number(plan, "repacked_packs") > 0, "{plan}");

    let condemned = prune(&sandbox, &[]).exits(0).json();
    assert_eq!(&condemned["plan"], plan);
    let new = number(&condemned["report"], "new_bytes");
    assert_eq!(space(&sandbox), before + new);
    assert_eq!(sandbox.objects("snapshots").len(), 365);
    let waits = prune(&sandbox, &["--dry-run"]).exits(0).json();
    assert_eq!(waits["plan"]["waiting"][0]["reason"], "the grace period");
    let due = prune(&sandbox, &["--dry-run", "--grace", "0s"]);
    let due = number(&due.exits(0).json()["plan"], "swept_bytes");

    let pruned = prune(&sandbox, &["--grace", "0s"]).exits(0).json();
    assert_eq!(number(&pruned["report"], "bytes"), due);
    assert_eq!(number(&pruned["report"], "snapshots"), forgotten);
    let after = space(&sandbox);
    assert_eq!(after, before + new - due);
    // A plan does not count the directories of new packs.
    let directories = new - number(plan, "copied_bytes");
    assert_eq!(
        before - after + directories,
        number(plan, "freed_later_bytes")
    );

    let again = prune(&sandbox, &["--grace", "0s"]).exits(0).json();
    assert!(again["report"]["condemned"].is_null(), "{again}");
    let idle = [
        "dead_packs",
        "repacked_packs",
        "swept_packs",
        "freed_later_bytes",
    ];
    assert!(idle.iter().all(|key| number(&again["plan"], key) == 0));
    assert_eq!(space(&sandbox), after);
    assert_eq!(everything_listed_comes_back(&sandbox, &days), kept);
    sandbox.recover(["verify", "--read-data"]).exits(0);
}

/// So much is freed at least of what the second version replaces. How segments are filled depends on threads, and one with a
/// needed chunk stays whole.
const WON: u64 = 2 << 20;

/// Two versions of a tree, the second one in the directory still; the first one is forgotten. Its id.
fn two_versions(sandbox: &Sandbox) -> String {
    let tree = sandbox.path("tree");
    make_tree(&tree, 3 << 20);
    let first = sandbox.snapshot(&tree, "tree").exits(0).json();
    for n in 0..3 {
        fs::write(
            tree.join(format!("large{n}")),
            incompressible_bytes(3 << 20, 700 + n),
        )
        .unwrap();
    }
    sandbox.snapshot(&tree, "tree").exits(0);
    let first = first["snapshot"].as_str().unwrap().to_owned();
    sandbox.run(["forget", &first]).exits(0);
    first
}

fn comes_back(sandbox: &Sandbox, name: &str) {
    assert_same_trees(&sandbox.path("tree"), &sandbox.restore("tree", name));
    sandbox.recover(["verify", "--read-data"]).exits(0);
}

#[test]
fn a_host_with_the_catalog_identity_alone_prunes_for_a_keeper_and_can_neither_forget_nor_read() {
    let sandbox = Sandbox::new();
    let forgotten = two_versions(&sandbox);
    sandbox.add_second_host();
    let elsewhere = |args: &[&str]| ran(sandbox.on_second_host().arg("--json").args(args));
    let kept = sandbox.run(["--json", "snapshots"]).exits(0).json();
    let kept = kept["snapshots"][0]["snapshot"].as_str().unwrap();
    elsewhere(&["forget", "--allow-empty", kept])
        .exits(6)
        .says("--keeper FILE");
    let target = sandbox.path("stolen");
    elsewhere(&["restore", "tree", "--to", target.to_str().unwrap()]).exits(6);
    assert!(!target.join("large1").exists());

    let before = space(&sandbox);
    let plan = elsewhere(&["prune", "--dry-run", "--repack-below", "90"])
        .exits(0)
        .json();
    let plan = &plan["plan"];
    assert!(number(plan, "freed_later_bytes") > WON, "{plan}");
    // What it announces makes others avoid good packs: that takes a keeper.
    elsewhere(&["prune", "--repack-below", "90"])
        .exits(6)
        .says("--keeper FILE");
    let keeper = sandbox.path("config/signing-key.txt");
    let keeper = ["--keeper", keeper.to_str().unwrap(), "prune"];
    let condemned = elsewhere(&[&keeper[..], &["--repack-below", "90"]].concat())
        .exits(0)
        .json();
    assert_eq!(&condemned["plan"], plan);
    let pruned = elsewhere(&[&keeper[..], &["--grace", "0s"]].concat())
        .exits(0)
        .json();
    assert_eq!(number(&pruned["report"], "snapshots"), 1);
    let new = number(&condemned["report"], "new_bytes");
    let directories = new - number(plan, "copied_bytes");
    let won = before + directories - space(&sandbox);
    assert_eq!(won, number(plan, "freed_later_bytes"));
    assert!(
        !sandbox
            .path("repository/snapshots")
            .join(forgotten)
            .exists()
    );
    comes_back(&sandbox, "restored");
}

/// Forgets and prunes where nothing is on this disk. Returns how many packs are left.
fn is_pruned(sandbox: &Sandbox) -> u64 {
    sandbox.init().exits(0);
    let forgotten = two_versions(sandbox);
    let plan = prune(sandbox, &["--dry-run", "--repack-below", "90"])
        .exits(0)
        .json();
    let condemned = prune(sandbox, &["--repack-below", "90"]).exits(0).json();
    assert_eq!(condemned["plan"], plan["plan"]);
    let new = number(&condemned["report"], "new_bytes");
    let pruned = prune(sandbox, &["--grace", "0s"]).exits(0).json();
    assert_eq!(number(&pruned["report"], "snapshots"), 1);
    assert_eq!(pruned["report"]["locked"].as_array().unwrap().len(), 0);
    let again = prune(sandbox, &["--grace", "0s"]).exits(0).json();
    let (plan, left) = (&plan["plan"], &again["plan"]);
    let directories = new - number(plan, "copied_bytes");
    let won = number(plan, "stored_bytes") + directories - number(left, "stored_bytes");
    assert_eq!(won, number(plan, "freed_later_bytes"));
    assert!(won > WON, "{plan}");
    assert_eq!(
        number(left, "freed_later_bytes") + number(left, "swept_bytes"),
        0
    );
    sandbox.run(["show", &forgotten]).exits(5);
    comes_back(sandbox, "restored");
    number(left, "packs")
}

#[test]
fn garbage_is_gone_from_garage() {
    let server = Garage::start();
    server.new_bucket("bucket");
    is_pruned(&Sandbox::at(&server.url("bucket", "here"), server.envs()));
}

#[test]
fn garbage_is_gone_from_azurite() {
    let server = Azurite::start();
    server.new_bucket("container");
    is_pruned(&Sandbox::at(
        &server.url("container", "here"),
        server.envs(),
    ));
}

#[test]
fn garbage_is_gone_with_all_its_versions() {
    let server = Moto::start();
    server.new_locked_bucket("bucket");
    let sandbox = Sandbox::at(&server.url("bucket", "here"), server.envs());
    let packs = is_pruned(&sandbox);
    let (_, listing) =
        request_anonymously(server.port(), "GET", "/bucket?versions&prefix=here/packs/");
    let listing = String::from_utf8(listing).unwrap();
    assert_eq!(listing.matches("<Version>").count() as u64, packs);
    assert_eq!(listing.matches("<DeleteMarker>").count(), 0);
}

#[test]
fn locked_objects_are_left_and_counted() {
    let server = Moto::start();
    server.new_locked_bucket("bucket");
    let url = server.url("bucket", "here");
    let sandbox = Sandbox::at(&url, server.envs());
    sandbox.init().exits(0);
    locked_policy(&sandbox, &url, 10);
    let run = ["--json", "run", "--policies", "p.yaml"];
    let tree = sandbox.path("tree");
    make_tree(&tree, 100_000);
    sandbox.run(run).exits(0);
    let first = sandbox.run(["--json", "snapshots"]).exits(0).json();
    let first = first["snapshots"][0]["snapshot"].as_str().unwrap();
    fs::write(tree.join("large1"), incompressible_bytes(100_000, 5)).unwrap();
    sandbox.run(run).exits(0);
    sandbox.run(["forget", first]).exits(0);
    prune(&sandbox, &[]).exits(0);
    for _ in 0..2 {
        let pruned = prune(&sandbox, &["--grace", "0s"]).exits(0).json();
        let report = &pruned["report"];
        let locked = report["locked"].as_array().unwrap();
        let name = format!("snapshots/{first}");
        assert!(locked.iter().any(|one| one["object"] == name.as_str()));
        assert_eq!(number(report, "snapshots") + number(report, "packs"), 0);
    }
    // As long as it is locked, all of it is there.
    let restored = sandbox.path("restored");
    let args = ["restore", first, "--verify", "--to"].map(OsStr::new);
    let args = args.into_iter().chain([restored.as_os_str()]);
    sandbox.recover(args).exits(0);
    // It is back, and nobody can promise that before the next prune.
    let back = sandbox.run(["unforget", first]).exits(6);
    back.says("may be deleted by a prune");
    let done = prune(&sandbox, &["--grace", "0s"]).exits(0).json();
    assert_eq!(done["report"]["locked"].as_array().unwrap().len(), 0);
    assert_eq!(listed(&sandbox, &[]), 2);
    sandbox.recover(["verify", "--read-data"]).exits(0);
}

/// Lets everything be stored an hour ago, as the disk tells it.
fn an_hour_later(sandbox: &Sandbox) {
    let hour = Duration::from_secs(3600);
    for object in stored(sandbox) {
        let object = File::options().append(true).open(object).unwrap();
        let received = object.metadata().unwrap().modified().unwrap();
        object.set_modified(received - hour).unwrap();
    }
}

/// A source that a command prints, the second half of it once the test lets it.
const HALVES: [&str; 6] = ["snapshot", "command", "--source", "tree", "--", "sh"];

#[test]
fn a_prune_waits_for_a_snapshot_that_uses_what_it_condemns() {
    let sandbox = Sandbox::new();
    let content = incompressible_bytes(6 << 20, 1);
    fs::write(sandbox.path("one"), &content[..3 << 20]).unwrap();
    fs::write(sandbox.path("two"), &content[3 << 20..]).unwrap();
    let gate = sandbox.path("gate");
    support::sh("mkfifo", &[gate.as_ref()]);
    let mut gate = File::options().read(true).write(true).open(gate).unwrap();
    let halves = |script: &'static str| HALVES.into_iter().chain(["-c", script]);
    let first = sandbox.run(["--json"].into_iter().chain(halves("cat one two")));
    let first = first.exits(0).json()["snapshot"]
        .as_str()
        .unwrap()
        .to_owned();
    sandbox.run(["forget", "--allow-empty", &first]).exits(0);
    an_hour_later(&sandbox);
    let before = sandbox.objects("leases").len();
    let script = "cat one; touch started; read line < gate; cat two";
    let mut running = begin_captured(sandbox.command(), halves(script));
    assert!(wait_for(&mut running, || sandbox.path("started").exists()));
    assert!(sandbox.objects("leases").len() > before);

    let condemned = prune(&sandbox, &["--grace", "0s"]).exits(0).json();
    assert!(number(&condemned["plan"], "dead_packs") > 0, "{condemned}");
    let waits = sandbox.run(["prune", "--grace", "0s"]).exits(0);
    let words = "for the snapshot running on ";
    assert!(waits.stdout.contains(words), "{}", waits.stdout);
    assert!(
        waits.stdout.contains("deleted: 0 snapshots"),
        "{}",
        waits.stdout
    );
    gate.write_all(b"\n").unwrap();
    end(running).exits(0);
    for _ in 0..3 {
        prune(&sandbox, &["--grace", "0s"]).exits(0);
    }
    assert!(!sandbox.path("repository/snapshots").join(first).exists());
    assert_eq!(listed(&sandbox, &["--all"]), 1);
    let restored = sandbox.restore("tree", "restored");
    let file = fs::read_dir(restored).unwrap().next().unwrap().unwrap();
    assert!(fs::read(file.path()).unwrap() == content);
    sandbox.recover(["verify", "--read-data"]).exits(0);
}

#[test]
fn a_prune_knows_what_was_seen_however_the_directory_is_spelled() {
    let sandbox = Sandbox::new();
    two_versions(&sandbox);
    sandbox.run(["snapshots"]).exits(0);
    let repository = sandbox.path("repository");
    let newest = sandbox.run(["--json", "show", "tree"]).exits(0).json();
    let newest = newest["snapshot"].as_str().unwrap();
    let root = repository.join("snapshots").join(newest);
    fs::rename(&root, sandbox.path("hidden")).unwrap();
    std::os::unix::fs::symlink(&repository, sandbox.path("link")).unwrap();
    for spelling in ["repository", "repository/", "./repository", "link"] {
        let refused = sandbox.run(["-r", spelling, "prune", "--grace", "0s"]);
        refused.exits(6).says(newest);
    }
    fs::rename(sandbox.path("hidden"), &root).unwrap();
    sandbox.run(["-r", "link/", "prune"]).exits(0);
}

/// Puts the repository back as it was saved.
fn put_back(saved: &Path, repository: &Path) {
    if repository.exists() {
        fs::remove_dir_all(repository).unwrap();
    }
    support::sh("cp", &["-a".as_ref(), saved.as_ref(), repository.as_ref()]);
}

#[test]
fn a_prune_that_was_killed_is_resumed() {
    let sandbox = Sandbox::new();
    let days = days(&sandbox, 60, 1);
    policy(&sandbox, "p.yaml", "{last: 2}");
    forget(&sandbox, &[]).exits(0);
    prune(&sandbox, &[]).exits(0);
    let due = prune(&sandbox, &["--dry-run", "--grace", "0s"]);
    let due = number(&due.exits(0).json()["plan"], "swept_packs");
    let (repository, saved) = (sandbox.path("repository"), sandbox.path("saved"));
    put_back(&repository, &saved);
    let before = sandbox.objects("packs").len();
    let left = before - usize::try_from(due).unwrap();
    // The kill may come too late.
    let killed_amid = (0..10).any(|_| {
        put_back(&saved, &repository);
        let mut child = begin(sandbox.command(), ["prune", "--grace", "0s"]);
        wait_for(&mut child, || sandbox.objects("packs").len() < before);
        kill(&mut child);
        sandbox.objects("packs").len() > left
    });
    assert!(killed_amid);
    sandbox.recover(["verify", "--read-data"]).exits(0);
    prune(&sandbox, &["--grace", "0s"]).exits(0);
    assert_eq!(sandbox.objects("packs").len(), left);
    assert_eq!(listed(&sandbox, &["--all"]), 2);
    for id in &days[58..] {
        sandbox.restore(&id.to_string(), &format!("restored-{id}"));
    }
    sandbox.recover(["verify", "--read-data"]).exits(0);
}

#[test]
fn condemned_snapshots_come_back_until_they_are_pruned() {
    let sandbox = Sandbox::new();
    let first = two_versions(&sandbox);
    prune(&sandbox, &[]).exits(0);
    sandbox.run(["unforget", &first]).exits(0);
    let still_needed_packs = prune(&sandbox, &["--grace", "0s"]).exits(0).json();
    assert!(
        number(&still_needed_packs["report"], "still_needed_packs") > 0,
        "{still_needed_packs}"
    );
    assert_eq!(listed(&sandbox, &[]), 2);
    sandbox.restore(&first, "first");
    comes_back(&sandbox, "second");

    sandbox.run(["forget", &first]).exits(0);
    prune(&sandbox, &[]).exits(0);
    let pruned = prune(&sandbox, &["--grace", "0s"]).exits(0).json();
    assert_eq!(number(&pruned["report"], "snapshots"), 1);
    sandbox
        .run(["unforget", &first])
        .exits(6)
        .says("has been deleted by prune");
    comes_back(&sandbox, "third");
}

#[test]
fn a_prune_without_permission_or_keys_deletes_nothing() {
    let sandbox = Sandbox::new();
    let forgotten = two_versions(&sandbox);
    prune(&sandbox, &[]).exits(0);
    let objects = stored(&sandbox);
    // A host that nobody let in.
    let grace = ["prune", "--grace", "0s"];
    ran(sandbox.on_second_host().args(grace)).exits(6);
    ran(sandbox.on_second_host().args(["prune", "--dry-run"])).exits(6);
    assert_eq!(stored(&sandbox), objects);

    // A root that nobody can read.
    let snapshot_files = sandbox.objects("snapshots");
    let kept = snapshot_files
        .iter()
        .find(|root| !root.ends_with(&forgotten))
        .unwrap();
    let mut bytes = fs::read(kept).unwrap();
    let (whole, middle) = (bytes.clone(), bytes.len() / 2);
    bytes[middle] ^= 1;
    fs::write(kept, &bytes).unwrap();
    fs::remove_dir_all(sandbox.path("cache")).unwrap();
    let name = kept.file_name().unwrap().to_str().unwrap();
    sandbox.run(grace).exits(4).says(name);
    sandbox.run(["prune", "--dry-run"]).exits(4).says(name);
    let but_leases = |objects: Vec<PathBuf>| {
        let mut objects = objects;
        objects.retain(|path| !path.parent().unwrap().ends_with("leases"));
        objects
    };
    assert_eq!(but_leases(stored(&sandbox)), but_leases(objects));
    fs::write(kept, &whole).unwrap();
    sandbox.run(grace).exits(0);
    comes_back(&sandbox, "restored");
}

#[test]
fn a_prune_that_may_not_delete_says_so() {
    let server = Garage::start();
    server.new_bucket("bucket");
    let sandbox = Sandbox::at(&server.url("bucket", "here"), server.envs());
    sandbox.init().exits(0);
    two_versions(&sandbox);
    server.forbid_writing("bucket");
    prune(&sandbox, &["--dry-run"]).exits(0);
    prune(&sandbox, &[]).exits(6).says("no permission");
    comes_back(&sandbox, "restored");
}

/// An object of the repository that is hidden while this lives.
struct Hidden {
    object: PathBuf,
    aside: PathBuf,
}

impl Hidden {
    fn new(sandbox: &Sandbox, object: &str) -> Self {
        let object = sandbox.path("repository").join(object);
        let aside = sandbox.path("aside");
        fs::rename(&object, &aside).unwrap();
        Self { object, aside }
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        fs::rename(&self.aside, &self.object).unwrap();
    }
}

#[test]
fn a_snapshot_that_the_storage_hides_is_named_everywhere_and_never_pruned() {
    let sandbox = Sandbox::new();
    let (tree, other) = (sandbox.path("tree"), sandbox.path("other"));
    make_tree(&tree, 100_000);
    make_tree(&other, 50_000);
    let taken = sandbox.snapshot(&tree, "tree").exits(0).json();
    sandbox.snapshot(&other, "other").exits(0);
    let id = taken["snapshot"].as_str().unwrap();
    let object = format!("snapshots/{id}");
    let hidden = Hidden::new(&sandbox, &object);
    let packs = sandbox.objects("packs");
    let named = |done: RunOutput, code| {
        done.exits(code).says(&object).says("of `tree` of ");
    };
    for _ in 0..2 {
        named(sandbox.run(["prune", "--grace", "0s"]), 6);
        named(sandbox.run(["prune", "--dry-run"]), 6);
    }
    assert_eq!(sandbox.objects("packs"), packs);
    named(sandbox.run(["snapshots"]), 4);
    named(sandbox.run(["verify"]), 4);
    let copy = sandbox.path("copy");
    named(
        sandbox.run([OsStr::new("copy"), "--to".as_ref(), copy.as_ref()]),
        4,
    );
    sandbox.run(["show", id]).exits(4).says("--accept-missing");
    sandbox.snapshot(&other, "other").exits(0);
    drop(hidden);
    sandbox.run(["prune", "--grace", "0s"]).exits(0);
    comes_back(&sandbox, "restored");

    // A new snapshot of the source says it as well, and what is accepted is not asked again.
    let hidden = Hidden::new(&sandbox, &object);
    sandbox.snapshot(&tree, "tree").exits(3);
    let accept = |args: &[&str]| sandbox.run([args, &["--accept-missing", &id[..8]]].concat());
    accept(&["prune", "--dry-run"]).exits(2);
    accept(&["prune", "--grace", "0s"]).exits(0).says(id);
    sandbox.run(["prune", "--grace", "0s"]).exits(0);
    sandbox.run(["verify"]).exits(0);
    accept(&["verify"]).exits(5);
    sandbox.snapshot(&tree, "tree").exits(0);
    drop(hidden);
}

#[test]
fn a_keeper_forgets_a_snapshot_that_is_gone_for_everybody() {
    let sandbox = Sandbox::new();
    let first = two_versions(&sandbox);
    sandbox.run(["unforget", &first]).exits(0);
    let hidden = Hidden::new(&sandbox, &format!("snapshots/{first}"));
    sandbox.run(["snapshots"]).exits(4).says(&first);
    sandbox.run(["prune"]).exits(6).says("forget --unreadable");
    sandbox.run(["forget", "--unreadable", &first]).exits(0);
    sandbox.run(["prune"]).exits(0);
    drop(hidden);
}

#[test]
fn a_copy_brings_back_a_snapshot_that_is_gone() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    make_tree(&tree, 100_000);
    let taken = sandbox.snapshot(&tree, "tree").exits(0).json();
    let copy = sandbox.path("copy");
    let copy = copy.to_str().unwrap();
    sandbox.run(["copy", "--to", copy]).exits(0);
    let object = format!("snapshots/{}", taken["snapshot"].as_str().unwrap());
    let hidden = Hidden::new(&sandbox, &object);
    sandbox.run(["prune"]).exits(6);
    let repair = ["verify", "--repair", "--from", copy, "--yes"];
    sandbox.recover(repair).exits(0).says(&object);
    comes_back(&sandbox, "restored");
    sandbox.run(["prune"]).exits(0);
    drop(hidden);
}
