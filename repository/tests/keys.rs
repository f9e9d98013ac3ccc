//! Keys are added and taken away by what keepers sign, and by nothing else.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use chrono::TimeDelta;
use reprise_repository::backend::memory::MemoryBackend;
use reprise_repository::backend::{Backend, ObjectKey};
use reprise_repository::testing::CompromisedHost;
use reprise_repository::{
    DataSubset, Error, HostDirectory, InitOptions, KeyChange, KeyChangeResult, KnownSigner, Layout,
    ObjectId, OpenOptions, Progress, PruneOptions, RecipientTexts, Repository, SignerId,
    SignerRole, VerifyDepth, VerifyOptions, generate_identity,
};
use support::garbage::{Time, dry_run, forget, prune};
use support::keys::{Host, switch};
use support::{World, now, read_back, snapshot, tree};

/// Makes a change with the key of the first host, which is the keeper.
fn change(world: &World, change: KeyChange) -> Result<ObjectId, Error> {
    let repository = world.repository();
    let keeper = repository.load_keeper(None, "change keys")?;
    let changed = repository.change_keys(&keeper, &change, now())?;
    Ok(changed.record)
}

fn findings(repository: &Repository) -> Vec<(String, String)> {
    let options = VerifyOptions {
        depth: VerifyDepth::Structure,
        snapshots: Vec::new(),
    };
    let report = repository.verify(&options, &Progress::default()).unwrap();
    let findings = report.findings.into_iter();
    findings.map(|found| (found.object, found.reason)).collect()
}

#[test]
fn an_added_host_takes_snapshots_that_the_others_read() {
    let (world, host) = (World::new(), Host::new());
    assert!(matches!(
        host.open(&world.storage, None),
        Err(Error::NoMatchingIdentity { .. })
    ));
    change(&world, host.addition("second")).unwrap();
    let repository = host.open(&world.storage, None).unwrap();
    assert_eq!(repository.signer_name(&host.signer()), "second");
    let files = tree(1, 100 << 10);
    snapshot(&repository, "source", &files).unwrap();
    assert_eq!(read_back(&world.repository(), "source").unwrap(), files);
    assert_eq!(findings(&world.repository()), []);
    // What the first host stores from now on is read by the second one too.
    snapshot(&world.repository(), "other", &files).unwrap();
    let repository = host.open(&world.storage, None).unwrap();
    assert_eq!(repository.snapshots().unwrap().len(), 2);
}

#[test]
fn an_added_host_uses_what_was_there_before_it_came() {
    let (world, host) = (World::new(), Host::new());
    let files = tree(1, 200 << 10);
    let first = snapshot(&world.repository(), "source", &files).unwrap();
    change(&world, host.addition("second")).unwrap();
    let cache = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let repository = host
            .open(&world.storage, Some(cache.path().to_owned()))
            .unwrap();
        assert!(
            repository
                .snapshots()
                .unwrap()
                .iter()
                .any(|s| s.id == first.snapshot.id)
        );
        let reader = repository.content_reader().unwrap();
        let mut references = reader.snapshot_reader(&first.snapshot).references();
        let mut count = 0;
        while references.next_id().unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, first.snapshot.root.counts.chunks);
        let again = snapshot(&repository, "again", &files).unwrap();
        assert!(again.snapshot.root.added.plain_bytes < 10_000);
        assert_eq!(findings(&repository), []);
        let error = read_back(&repository, "source").unwrap_err();
        assert!(
            matches!(error, Error::NoMatchingIdentity { .. }),
            "{error:?}"
        );
    }
    // Another host that nobody added opens nothing, with the same objects there.
    assert!(Host::new().open(&world.storage, None).is_err());
}

#[test]
fn of_a_revoked_host_what_was_there_counts_and_nothing_later() {
    let (world, host) = (World::new(), Host::new());
    let cache = tempfile::tempdir().unwrap();
    change(&world, host.addition("second")).unwrap();
    let (before, after) = (tree(1, 100 << 10), tree(2, 100 << 10));
    let stale = host.open(&world.storage, None).unwrap();
    snapshot(&stale, "before", &before).unwrap();
    change(&world, host.revocation()).unwrap();
    // It has not heard of it, and goes on. A reader caches what it adds.
    snapshot(&stale, "after", &after).unwrap();
    let error = snapshot(&host.open(&world.storage, None).unwrap(), "x", &after).unwrap_err();
    assert!(matches!(error, Error::UnknownHost { .. }), "{error:?}");
    let options = OpenOptions {
        host: world.host.clone(),
        identity_files: vec![world.identity.clone()],
        cache: Some(cache.path().to_owned()),
        memory: None,
        pinned_signers: Vec::new(),
    };
    for _ in 0..2 {
        let repository = Repository::open(Arc::new(world.storage.clone()), &options).unwrap();
        assert_eq!(read_back(&repository, "before").unwrap(), before);
        assert!(matches!(
            repository.find_snapshot("after"),
            Err(Error::NoSnapshot { .. })
        ));
        let (good, bad) = repository.snapshots_lossy().unwrap();
        assert_eq!((good.len(), bad.len()), (1, 1));
        assert!(bad[0].1.to_string().contains("was revoked"), "{}", bad[0].1);
        let found = findings(&repository);
        for directory in ["index/", "packs/", "snapshots/"] {
            let named = |(object, reason): &(String, String)| {
                object.starts_with(directory) && reason.contains("(second) was revoked")
            };
            assert!(found.iter().any(named), "{directory}: {found:?}");
        }
    }
    // Nothing that it added is relied on.
    let stored = snapshot(&world.repository(), "own", &after).unwrap();
    assert!(stored.snapshot.root.added.plain_bytes > 100 << 10);
    assert_eq!(read_back(&world.repository(), "own").unwrap(), after);
}

#[test]
fn fragments_that_were_cached_before_a_revocation_excluded_them_are_dropped() {
    let (world, host) = (World::new(), Host::new());
    let cache = tempfile::tempdir().unwrap();
    change(&world, host.addition("second")).unwrap();
    let files = tree(1, 100 << 10);
    let made = snapshot(&host.open(&world.storage, None).unwrap(), "bad", &files).unwrap();
    let options = OpenOptions {
        host: world.host.clone(),
        identity_files: vec![world.identity.clone()],
        cache: Some(cache.path().to_owned()),
        memory: None,
        pinned_signers: Vec::new(),
    };
    let open = || Repository::open(Arc::new(world.storage.clone()), &options).unwrap();
    assert_eq!(read_back(&open(), "bad").unwrap(), files);
    let all = ["index", "packs", "snapshots"].map(|directory| world.keys(directory));
    let except = all.iter().flatten().map(|key| key.name().parse().unwrap());
    let revocation = KeyChange {
        excluded_objects: except.collect(),
        ..host.revocation()
    };
    assert!(revocation.excluded_objects.contains(&made.snapshot.id));
    let mut mistyped = revocation.clone();
    mistyped
        .excluded_objects
        .push(ObjectId::from_content(b"mistyped"));
    let error = change(&world, mistyped).unwrap_err();
    assert!(
        error.to_string().contains("no object has the ID"),
        "{error}"
    );
    change(&world, revocation).unwrap();
    let stored = snapshot(&open(), "own", &files).unwrap();
    assert!(stored.snapshot.root.added.plain_bytes > 100 << 10);
    assert_eq!(read_back(&open(), "own").unwrap(), files);
    assert!(open().find_snapshot("bad").is_err());
}

/// Objects of one storage that another one lacks.
fn what_is_new(with: &MemoryBackend, without: &MemoryBackend) -> Vec<(ObjectKey, Vec<u8>)> {
    let there = without.tamper(|objects| objects.clone());
    let all = with.tamper(|objects| objects.clone());
    let new = all.into_iter().filter(|(key, _)| !there.contains_key(key));
    new.collect()
}

/// What the thief of a keeper's keys prepares on a copy: an own keeper, a snapshot, and the end of a good one.
fn prepared_by_a_thief(world: &World, stolen: &Host, evil: SignerId) -> Vec<(ObjectKey, Vec<u8>)> {
    let copy = world.storage.fork();
    let repository = stolen.open(&copy, None).unwrap();
    let keeper = repository.load_keeper(None, "steal").unwrap();
    let mut change = KeyChange::default();
    change.add.signers = vec![KnownSigner {
        key: evil,
        roles: vec![SignerRole::Keeper],
        name: "evil".to_owned(),
    }];
    repository.change_keys(&keeper, &change, now()).unwrap();
    let good = repository.find_snapshot("good").unwrap();
    repository
        .forget_snapshots(&keeper, &[good.id], &support::garbage::why())
        .unwrap();
    snapshot(&repository, "evil", &tree(9, 0)).unwrap();
    what_is_new(&copy, &world.storage)
}

#[test]
fn placeholders_stored_before_a_revocation_let_nothing_in_later() {
    let places: [fn(&ObjectKey) -> String; 7] = [
        |key| format!("leases/{}", key.name()),
        |key| format!("index/{}", key.name()),
        |key| format!("packs/{}/{}", &key.name()[..2], key.name()),
        |key| format!("logs/{}/{:016}.{}", "0".repeat(32), 1, key.name()),
        |key| format!("snapshots/{}", key.name()),
        |key| format!("keys/x/{}", key.name()),
        |key| key.to_string(),
    ];
    for (n, place) in places.into_iter().enumerate() {
        let (world, stolen, evil) = (World::new(), Host::new(), Host::new());
        let mut addition = stolen.addition("stolen");
        addition.add.signers[0].roles.push(SignerRole::Keeper);
        change(&world, addition).unwrap();
        let good = tree(1, 0);
        snapshot(&world.repository(), "good", &good).unwrap();
        let prepared = prepared_by_a_thief(&world, &stolen, evil.signer());
        for (key, _) in &prepared {
            let placeholder = ObjectKey::new(place(key)).unwrap();
            let rubbish = b"rubbish".to_vec();
            world.storage.tamper(|objects| {
                objects.entry(placeholder).or_insert(rubbish);
            });
        }
        let mut revocation = stolen.revocation();
        revocation.revoke_signers[0].1.push(SignerRole::Keeper);
        change(&world, revocation).unwrap();
        world.storage.tamper(|objects| objects.extend(prepared));
        let repository = world.repository();
        let trust = repository.keyring().trust();
        assert!(!trust.has_role(&evil.signer(), SignerRole::Keeper), "{n}");
        assert!(repository.find_snapshot("evil").is_err(), "{n}");
        assert_eq!(read_back(&repository, "good").unwrap(), good, "{n}");
    }
}

/// Puts bytes under `keys/` under the name that they have.
fn put_key(storage: &MemoryBackend, bytes: Vec<u8>) -> ObjectKey {
    let key = ObjectKey::new(format!("keys/{}", ObjectId::from_content(&bytes))).unwrap();
    storage.put(&key, &[bytes.into()]).unwrap();
    key
}

#[test]
fn forged_key_records_count_for_nothing_and_are_named() {
    let (world, host, thief) = (World::new(), Host::new(), Host::new());
    change(&world, host.addition("second")).unwrap();
    // Records of another repository, made by its keeper, and by this one's writer there.
    let other = World::new();
    let foreign = change(&other, thief.addition("thief")).unwrap();
    let key = ObjectKey::new(format!("keys/{foreign}")).unwrap();
    let foreign = put_key(&world.storage, other.storage.get(&key, None).unwrap());
    // A writer signs what only a keeper may.
    let repository = host.open(&world.storage, None).unwrap();
    let refused = repository.load_keeper(None, "change keys").unwrap_err();
    assert!(matches!(refused, Error::NotKeeper { .. }), "{refused:?}");
    let rubbish = put_key(&world.storage, b"rubbish".to_vec());
    let repository = world.repository();
    assert_eq!(
        repository.signer_name(&thief.signer()),
        thief.signer().to_string()
    );
    let found = findings(&repository);
    let names: Vec<&str> = found.iter().map(|(object, _)| object.as_str()).collect();
    assert_eq!(names.len(), 2, "{found:?}");
    assert!(names.contains(&foreign.as_str()) && names.contains(&rubbish.as_str()));
}

fn opened_by(host: &Host, world: &World, identities: Vec<PathBuf>) -> Repository {
    let options = OpenOptions {
        identity_files: identities,
        ..host.options()
    };
    Repository::open(Arc::new(world.storage.clone()), &options).unwrap()
}

/// Makes a change with the key of a host that is a keeper.
fn change_by(host: &Host, world: &World, change: &KeyChange) -> KeyChangeResult {
    let repository = opened_by(host, world, Vec::new());
    let keeper = repository.load_keeper(None, "change keys").unwrap();
    repository.change_keys(&keeper, change, now()).unwrap()
}

#[test]
fn hosts_that_let_each_other_in_hand_on_the_whole_catalog() {
    let (world, second, third) = (World::new(), Host::new(), Host::new());
    let files = tree(1, 200 << 10);
    snapshot(&world.repository(), "source", &files).unwrap();
    let mut addition = second.addition("second");
    addition.add.signers[0].roles.push(SignerRole::Keeper);
    change(&world, addition).unwrap();
    let added = change_by(&second, &world, &third.addition("third"));
    assert_eq!(added.keys_not_wrapped, 0);
    let first = world.host.load_keys().unwrap().unwrap();
    let mut removal = KeyChange {
        revoke_signers: vec![(
            first.signer.id(),
            vec![SignerRole::Writer, SignerRole::Keeper],
        )],
        ..KeyChange::default()
    };
    removal.revoke_recipients.writers = vec![first.recipient];
    change_by(&second, &world, &removal);

    let repository = opened_by(&third, &world, Vec::new());
    assert_eq!(repository.snapshots().unwrap().len(), 1);
    assert_eq!(findings(&repository), []);
    let again = snapshot(&repository, "source", &files).unwrap();
    assert!(again.snapshot.root.added.plain_bytes < 10_000);
    let for_a_keeper = PruneOptions {
        keeper_file: Some(second.directory.path().join("signing-key.txt")),
        ..support::garbage::options()
    };
    let (plan, _) = support::garbage::prune_with(&repository, &for_a_keeper).unwrap();
    assert_eq!(plan.dead_packs, 0, "{plan:?}");
    let reader = opened_by(&third, &world, vec![world.identity.clone()]);
    assert_eq!(read_back(&reader, "source").unwrap(), files);
}

#[test]
fn a_removed_keepers_file_opens_nothing_that_is_stored_later() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keeper");
    let mut world = World::new();
    world.storage = MemoryBackend::new();
    world.host = HostDirectory::new(directory.path().join("host"));
    let options = InitOptions {
        recipients: vec![generate_identity("now").recipient],
        host_name: "host".to_owned(),
        now: now(),
        layout: Layout::default(),
        keeper: Some(file.clone()),
        spare_keeper: None,
    };
    Repository::init(&world.storage, &world.host, &options).unwrap();
    snapshot(&world.repository(), "before", &tree(1, 0)).unwrap();
    let other = Host::new();
    let mut addition = KeyChange::default();
    addition.add.signers = vec![KnownSigner {
        key: other.signer(),
        roles: vec![SignerRole::Keeper],
        name: "other".to_owned(),
    }];
    let repository = world.repository();
    let keeper = repository.load_keeper(Some(&file), "change keys").unwrap();
    repository.change_keys(&keeper, &addition, now()).unwrap();
    let first = repository.config().signers[1].clone();
    assert_eq!(first.roles, [SignerRole::Keeper]);
    let readers = repository.keyring().recipients().writers.clone();
    let holder = repository
        .keyring()
        .owner_of_recipient(&readers[1])
        .unwrap();
    assert_eq!((readers.len(), holder.key), (2, first.key));
    let removal = KeyChange {
        revoke_signers: vec![(first.key, vec![SignerRole::Keeper])],
        ..KeyChange::default()
    };
    let repository = world.repository();
    let keeper = repository.load_keeper(Some(&file), "change keys").unwrap();
    repository.change_keys(&keeper, &removal, now()).unwrap();
    let repository = world.repository();
    assert_eq!(repository.keyring().recipients().writers, readers[..1]);
    let made = snapshot(&repository, "after", &tree(2, 0)).unwrap();
    let (stranger, opened) = (Host::new(), vec![file]);
    let (read, closed) = opened_by(&stranger, &world, opened)
        .snapshots_lossy()
        .unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0].0.name(), made.snapshot.id.to_string());
    assert!(matches!(closed[0].1, Error::NoMatchingIdentity { .. }));
}

#[test]
fn what_cannot_be_handed_over_is_counted() {
    let (world, second, third) = (World::new(), Host::new(), Host::new());
    let mut addition = second.addition("second");
    addition.add.signers[0].roles.push(SignerRole::Keeper);
    let stale = world.repository();
    change(&world, addition).unwrap();
    snapshot(&stale, "source", &tree(1, 0)).unwrap();
    let added = change_by(&second, &world, &third.addition("third"));
    assert!(added.keys_not_wrapped > 0);
    let again = KeyChange {
        wrap_catalog_keys: true,
        ..KeyChange::default()
    };
    let handed = world.repository();
    let keeper = handed.load_keeper(None, "change keys").unwrap();
    let changed = handed.change_keys(&keeper, &again, now()).unwrap();
    assert_eq!(changed.keys_not_wrapped, 0);
    let repository = opened_by(&third, &world, Vec::new());
    assert_eq!(repository.snapshots().unwrap().len(), 1);
}

/// How a host opens a repository, with a cache.
fn with_cache(world: &World, cache: &std::path::Path) -> Repository {
    let options = OpenOptions {
        host: world.host.clone(),
        identity_files: vec![world.identity.clone()],
        cache: Some(cache.to_owned()),
        memory: None,
        pinned_signers: Vec::new(),
    };
    Repository::open(Arc::new(world.storage.clone()), &options).unwrap()
}

#[test]
fn a_record_that_calls_a_revocation_secrets_hides_it_from_nobody() {
    let (world, host) = (World::new(), Host::new());
    change(&world, host.addition("second")).unwrap();
    let thief = CompromisedHost::new(host.open(&world.storage, None).unwrap());
    let revocation = change(&world, host.revocation()).unwrap();
    let key = ObjectKey::new(format!("keys/{revocation}")).unwrap();
    for field in ["secrets", "catalogs"] {
        let forged = serde_json::json!({
            "add": {field: [revocation]}, "at": now(), "by": "thief", "program": "evil",
        });
        thief.put_record("keys", &forged.to_string()).unwrap();
    }
    let cache = tempfile::tempdir().unwrap();
    let hidden = world
        .storage
        .tamper(|objects| objects.remove(&key))
        .unwrap();
    let repository = with_cache(&world, cache.path());
    assert!(
        !repository
            .keyring()
            .trust()
            .is_revoked(&host.signer(), SignerRole::Writer)
    );
    world.storage.tamper(|objects| objects.insert(key, hidden));
    for _ in 0..2 {
        let repository = with_cache(&world, cache.path());
        assert!(
            repository
                .keyring()
                .trust()
                .is_revoked(&host.signer(), SignerRole::Writer)
        );
    }
}

#[test]
fn whatever_is_cached_the_keys_are_the_same() {
    let (world, host) = (World::new(), Host::new());
    change(&world, host.addition("second")).unwrap();
    let thief = CompromisedHost::new(host.open(&world.storage, None).unwrap());
    let revocation = change(&world, host.revocation()).unwrap();
    let forged = serde_json::json!({
        "add": {"secrets": [revocation]}, "at": now(), "by": "thief", "program": "evil",
    });
    thief.put_record("keys", &forged.to_string()).unwrap();
    let state = |repository: &Repository| {
        let ring = repository.keyring();
        let applied: Vec<ObjectId> = ring.applied_records().iter().map(|one| one.id).collect();
        let signers = ring.trust().signers();
        (
            applied,
            ring.recipients().clone(),
            signers,
            ring.refused_records().to_vec(),
        )
    };
    let expected = state(&world.repository());
    let full = tempfile::tempdir().unwrap();
    assert_eq!(state(&with_cache(&world, full.path())), expected);
    let of_repository = std::fs::read_dir(full.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let files: Vec<PathBuf> = std::fs::read_dir(of_repository.path().join("keys"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert!(files.len() >= 4, "{files:?}");
    for subset in 0..1_u32 << files.len() {
        let cache = tempfile::tempdir().unwrap();
        let directory = cache.path().join(of_repository.file_name()).join("keys");
        std::fs::create_dir_all(&directory).unwrap();
        for (n, file) in files
            .iter()
            .enumerate()
            .filter(|(n, _)| subset >> n & 1 == 1)
        {
            let name = file.file_name().unwrap();
            std::fs::copy(file, directory.join(name)).unwrap_or_else(|e| panic!("{n}: {e}"));
        }
        assert_eq!(
            state(&with_cache(&world, cache.path())),
            expected,
            "{subset:b}"
        );
    }
}

#[test]
fn a_recipient_is_its_key_and_not_its_comment() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINBdeR6KlGRK1qk67TePn9WhTm5XFcFO5/lR11A1CDHC";
    let age = generate_identity("now").recipient;
    let forms = [
        [format!("{key} a"), key.to_owned(), format!("{key} b")],
        [age.clone(), age.to_uppercase(), age],
    ];
    for [first, second, third] in forms {
        let world = World::new();
        let add = |text: &String| {
            let mut addition = KeyChange::default();
            addition.add.recipients.data = vec![text.clone()];
            change(&world, addition)
        };
        add(&first).unwrap();
        for text in [&first, &second, &third] {
            let error = add(text).unwrap_err().to_string();
            assert!(error.contains("is already a recipient"), "{error}");
        }
        let mut removal = KeyChange::default();
        removal.revoke_recipients.data = vec![second.clone()];
        change(&world, removal).unwrap();
        assert_eq!(world.repository().keyring().recipients().data.len(), 1);
        for text in [&first, &second, &third] {
            assert!(world.repository().keyring().is_revoked_recipient(text));
            let error = add(text).unwrap_err().to_string();
            assert!(error.contains("cannot be added again"), "{error}");
        }
        let mut twice = KeyChange::default();
        let other = generate_identity("now").recipient;
        twice.add.recipients.data = vec![other.clone(), other.to_uppercase()];
        let error = change(&world, twice).unwrap_err().to_string();
        assert!(error.contains("is given twice"), "{error}");
    }
}

#[test]
fn secrets_that_no_keeper_names_are_never_used() {
    let (world, host) = (World::new(), Host::new());
    let made = change(&world, host.addition("second")).unwrap();
    let files = tree(1, 50 << 10);
    snapshot(&world.repository(), "source", &files).unwrap();
    // Anybody can encrypt to public keys.
    let repository = world.repository();
    let everybody = [
        repository.keyring().recipients().data.clone(),
        repository.keyring().recipients().writers.clone(),
    ]
    .concat();
    let forged = reprise_repository::Secrets::random()
        .unwrap()
        .to_json()
        .unwrap();
    let recipients = reprise_repository::Recipients::parse(&everybody).unwrap();
    let forged = put_key(&world.storage, recipients.encrypt(&forged).unwrap());
    for _ in 0..2 {
        let again = snapshot(&host.open(&world.storage, None).unwrap(), "source", &files).unwrap();
        // The same ids, so the same secrets: everything is known.
        assert_eq!(again.snapshot.root.added.plain_bytes / 10_000, 0);
    }
    let found = findings(&world.repository());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, forged.to_string());
    // The new host's own object is of no use to it once it is gone, and that is said.
    let applied = repository.keyring().applied_records();
    assert_eq!(applied[0].id, made);
    let secrets = ObjectKey::new(format!("keys/{}", applied[0].record.add.secrets[0])).unwrap();
    world.storage.tamper(|objects| objects.remove(&secrets));
    let error = host.open(&world.storage, None).unwrap_err();
    assert!(error.to_string().contains(secrets.as_str()), "{error}");
    assert_eq!(read_back(&world.repository(), "source").unwrap(), files);
}

#[test]
fn a_recipient_reads_what_is_stored_after_it_was_added_and_until_it_was_removed() {
    let world = World::new();
    let identity = generate_identity("now");
    let file = world.host.path().join("third");
    std::fs::write(&file, &identity.file_text).unwrap();
    // Not a line of entries is the same.
    let own = |n: u64| {
        tree(n, 50 << 10)
            .into_iter()
            .map(move |(name, bytes)| (format!("{n}{name}"), bytes))
    };
    let files: Vec<support::Tree> = (1..=3).map(|n| own(n).collect()).collect();
    snapshot(&world.repository(), "one", &files[0]).unwrap();
    let mut addition = KeyChange::default();
    addition.add.recipients.data = vec![identity.recipient.clone()];
    change(&world, addition.clone()).unwrap();
    assert!(matches!(
        change(&world, addition.clone()),
        Err(Error::KeyChange { .. })
    ));
    snapshot(&world.repository(), "two", &files[1]).unwrap();
    let removal = KeyChange {
        revoke_recipients: RecipientTexts {
            data: vec![identity.recipient.clone()],
            writers: Vec::new(),
        },
        ..KeyChange::default()
    };
    change(&world, removal).unwrap();
    let error = change(&world, addition).unwrap_err();
    assert!(
        error.to_string().contains("cannot be added again"),
        "{error}"
    );
    snapshot(&world.repository(), "three", &files[2]).unwrap();
    let opened = world.open_with(world.storage.clone(), vec![file]).unwrap();
    assert_eq!(read_back(&opened, "two").unwrap(), files[1]);
    for closed in ["one", "three"] {
        let error = read_back(&opened, closed).unwrap_err();
        assert!(
            matches!(error, Error::NoMatchingIdentity { .. }),
            "{error:?}"
        );
    }
    // The first recovery identity reads everything, and the new one cannot have become the only one.
    for (name, tree) in ["one", "two", "three"].iter().zip(&files) {
        assert_eq!(read_back(&world.repository(), name).unwrap(), *tree);
    }
    let last = KeyChange {
        revoke_recipients: RecipientTexts {
            data: world.repository().keyring().recipients().data.clone(),
            writers: Vec::new(),
        },
        ..KeyChange::default()
    };
    let error = change(&world, last).unwrap_err();
    assert!(
        error.to_string().contains("no recovery recipient"),
        "{error}"
    );
}

#[test]
fn a_copy_has_the_keys_and_none_of_the_forgeries() {
    let (world, host) = (World::new(), Host::new());
    let target = MemoryBackend::new();
    let files = tree(1, 50 << 10);
    snapshot(&world.repository(), "source", &files).unwrap();
    let copy = || {
        world
            .repository()
            .copy_to(&target, &Progress::default())
            .unwrap()
    };
    assert!(copy().not_copied.is_empty());
    change(&world, host.addition("second")).unwrap();
    put_key(&world.storage, b"rubbish".to_vec());
    snapshot(&host.open(&world.storage, None).unwrap(), "second", &files).unwrap();
    assert!(copy().not_copied.is_empty());
    change(&world, host.revocation()).unwrap();
    assert!(copy().not_copied.is_empty());
    let copied = world.open(target).unwrap();
    assert_eq!(read_back(&copied, "second").unwrap(), files);
    assert!(
        copied
            .keyring()
            .trust()
            .is_revoked(&host.signer(), SignerRole::Writer)
    );
    let options = VerifyOptions {
        depth: VerifyDepth::ReadData(DataSubset::All),
        snapshots: Vec::new(),
    };
    let report = copied.verify(&options, &Progress::default()).unwrap();
    assert_eq!(report.findings, []);
}

#[test]
fn damage_of_a_key_record_is_found() {
    let (world, host) = (World::new(), Host::new());
    change(&world, host.addition("second")).unwrap();
    change(&world, host.revocation()).unwrap();
    for key in world.keys("keys") {
        let length = world.storage.tamper(|objects| objects[&key].len());
        for position in (0..length).step_by(7) {
            let storage = world.storage.fork();
            storage.tamper(|objects| objects.get_mut(&key).unwrap()[position] ^= 1);
            match world.open(storage) {
                Ok(repository) => {
                    let found = findings(&repository);
                    assert!(
                        found.iter().any(|(object, _)| *object == key.to_string()),
                        "{position}"
                    );
                }
                Err(error) => assert!(error.to_string().contains(key.as_str()), "{error}"),
            }
        }
    }
    assert!(change(&world, host.addition("again")).is_err());
}

#[test]
fn what_is_no_public_key_becomes_no_keeper() {
    let world = World::new();
    for text in [
        format!("02{}", "0".repeat(62)),
        format!("01{}", "0".repeat(62)),
    ] {
        let mut addition = KeyChange::default();
        addition.add.signers = vec![KnownSigner {
            key: text.parse().unwrap(),
            roles: vec![SignerRole::Keeper],
            name: "keeper".to_owned(),
        }];
        let error = change(&world, addition).unwrap_err();
        assert!(
            error.to_string().contains("not a valid public signing key"),
            "{error}"
        );
    }
}

#[test]
fn an_identity_that_was_removed_still_reads_what_was_stored_for_it() {
    let world = World::new();
    let files = tree(1, 30 << 10);
    snapshot(&world.repository(), "source", &files).unwrap();
    let other = switch(&world, "other");
    snapshot(&world.repository(), "later", &tree(2, 10 << 10)).unwrap();
    let with = |identity: PathBuf| world.open_with(world.storage.clone(), vec![identity]);
    let old = with(world.identity.clone()).unwrap();
    old.require_data_identity().unwrap();
    assert_eq!(read_back(&old, "source").unwrap(), files);
    assert!(read_back(&old, "later").is_err());
    with(other).unwrap().require_data_identity().unwrap();
}

/// A host that may write and is no keeper, and its repository.
fn with_writer() -> (World, Host, Repository) {
    let (world, host) = (World::new(), Host::new());
    change(&world, host.addition("second")).unwrap();
    let stolen = host.open(&world.storage, None).unwrap();
    (world, host, stolen)
}

#[test]
fn control_records_of_a_writer_hold_nobody_up_and_end_with_its_removal() {
    for directory in ["sweeps", "leases"] {
        let (world, host, stolen) = with_writer();
        let files = tree(1, 30 << 10);
        snapshot(&world.repository(), "source", &files).unwrap();
        let thief = CompromisedHost::new(stolen);
        let newer = thief.put_newer_record(directory).unwrap();
        let closed = thief.put_unreadable_record(directory).unwrap();
        snapshot(&world.repository(), "again", &files).unwrap();
        let (plan, _) = prune(&world.repository()).unwrap();
        for key in [newer, closed] {
            let named = plan.findings.iter();
            let mut named = named.filter(|found| found.object == key.as_str());
            assert!(named.next().is_some(), "{key}: {:?}", plan.findings);
        }
        change(&world, host.revocation()).unwrap();
        let (plan, _) = prune(&world.repository()).unwrap();
        let waiting: Vec<_> = plan.waiting.iter().map(|waiting| &waiting.reason).collect();
        assert!(
            waiting.iter().all(|reason| !reason.contains("unreadable")),
            "{waiting:?}"
        );
        assert_eq!(read_back(&world.repository(), "source").unwrap(), files);
    }
}

#[test]
fn a_prune_needs_the_key_of_a_keeper_and_its_plan_does_not() {
    let (_world, _host, writer) = with_writer();
    let error = prune(&writer).unwrap_err();
    assert!(matches!(error, Error::NotKeeper { .. }), "{error:?}");
    dry_run(&writer);
}

#[test]
fn what_a_writer_announces_to_be_deleted_is_named_and_makes_nobody_store_it_again() {
    let (world, _host, stolen) = with_writer();
    let files = tree(1, 30 << 10);
    snapshot(&world.repository(), "source", &files).unwrap();
    let before = world.keys("packs").len();
    let key = CompromisedHost::new(stolen)
        .put_sweep_of_everything()
        .unwrap();
    let again = snapshot(&world.repository(), "again", &files).unwrap();
    assert_eq!(again.snapshot.root.added.plain_bytes, 0);
    assert!(world.keys("packs").len() <= before + 1);
    let plan = dry_run(&world.repository());
    let mut named = plan.findings.iter();
    assert!(named.any(|found| found.object == key.as_str()), "{plan:?}");
    let options = VerifyOptions {
        depth: VerifyDepth::Structure,
        snapshots: Vec::new(),
    };
    let report = world.repository().verify(&options, &Progress::default());
    let report = report.unwrap();
    assert_eq!(report.findings, []);
    let mut notes = report.notes.iter();
    assert!(
        notes.any(|note| note.contains(key.as_str())),
        "{:?}",
        report.notes
    );
}

#[test]
fn a_lease_that_is_renewed_for_ever_holds_a_sweep_for_seven_days_at_most() {
    let (world, _host, _) = with_writer();
    let time = Time::of(&world.storage);
    let repository = world.host_at(world.storage.clone(), &time);
    let thief = CompromisedHost::new(repository.clone());
    thief.put_lease("00", TimeDelta::hours(24)).unwrap();
    let doomed = snapshot(&repository, "source", &tree(1, 30 << 10)).unwrap();
    snapshot(&repository, "source", &tree(2, 30 << 10)).unwrap();
    forget(&repository, doomed.snapshot.id).unwrap();
    let mut deleted_on = None;
    for day in 0..14 {
        let (_, report) = prune(&repository).unwrap();
        if report.snapshots > 0 && deleted_on.is_none() {
            deleted_on = Some(day);
        }
        time.pass(TimeDelta::hours(23));
        thief.put_lease("00", TimeDelta::hours(24)).unwrap();
    }
    assert!(
        deleted_on.is_some_and(|day| (7..9).contains(&day)),
        "{deleted_on:?}"
    );
}

#[test]
fn what_a_writer_left_under_control_records_goes_after_a_week() {
    let (world, _host, stolen) = with_writer();
    let time = Time::of(&world.storage);
    let repository = world.host_at(world.storage.clone(), &time);
    let thief = CompromisedHost::new(stolen);
    for directory in ["sweeps", "leases"] {
        thief.put_newer_record(directory).unwrap();
        thief.put_unreadable_record(directory).unwrap();
    }
    let (plan, _) = prune(&repository).unwrap();
    assert_eq!(plan.findings.len(), 4, "{:?}", plan.findings);
    time.pass(TimeDelta::days(8));
    prune(&repository).unwrap();
    let (plan, _) = prune(&repository).unwrap();
    assert_eq!(plan.findings, []);
}
