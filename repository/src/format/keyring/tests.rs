//! Which keys are valid, in whatever order records arrive.

use super::*;
use crate::format::config::{FORMAT, Layout};
use crate::id::RepositoryId;

fn signer(n: u8) -> SignerId {
    hex::encode([n; 32]).parse().unwrap()
}

fn known(n: u8, roles: &[SignerRole]) -> KnownSigner {
    KnownSigner {
        key: signer(n),
        roles: roles.to_vec(),
        name: format!("s{n}"),
    }
}

fn config() -> Config {
    Config {
        format: FORMAT,
        repository: RepositoryId::try_from("0".repeat(32)).unwrap(),
        created: DateTime::UNIX_EPOCH,
        layout: Layout::default(),
        recipients: RecipientTexts {
            data: vec!["d1".to_owned()],
            writers: vec!["w1".to_owned()],
        },
        signers: vec![known(1, &[SignerRole::Writer, SignerRole::Keeper])],
        keys: ObjectId::from_content(b"secrets"),
    }
}

fn record(by: u8, second: i64, change: impl FnOnce(&mut KeyRecord)) -> StoredKeyRecord {
    let mut record = KeyRecord {
        add: AddedKeys::default(),
        revoke: RevokedKeys::default(),
        at: DateTime::UNIX_EPOCH,
        by: "test".to_owned(),
        reason: String::new(),
        program: String::new(),
    };
    change(&mut record);
    StoredKeyRecord {
        id: ObjectId::from_content(format!("{by} {second}").as_bytes()),
        signer: signer(by),
        received: DateTime::from_timestamp(second, 0),
        record,
    }
}

fn keeper(n: u8) -> impl FnOnce(&mut KeyRecord) {
    move |record| record.add.signers.push(known(n, &[SignerRole::Keeper]))
}

fn revokes(n: u8, accepts: Vec<ObjectId>) -> impl FnOnce(&mut KeyRecord) {
    let accepts = accepts.iter().map(|id| format!("keys/{id}")).collect();
    move |record| {
        record.revoke.signers.push(RevokedSigner {
            key: signer(n),
            roles: vec![SignerRole::Keeper],
            accepts,
        });
    }
}

fn is_keeper(ring: &Keyring, n: u8) -> bool {
    ring.trust().has_role(&signer(n), SignerRole::Keeper)
}

#[test]
fn a_keeper_may_make_keepers_in_any_order_of_arrival() {
    // All in the same second, so that the order follows from IDs, which are arbitrary.
    let records = vec![
        record(3, 5, keeper(4)),
        record(2, 5, keeper(3)),
        record(1, 5, keeper(2)),
    ];
    let ring = Keyring::new(&config(), records);
    assert!((1..=4).all(|n| is_keeper(&ring, n)));
    assert_eq!(ring.refused_records(), []);
}

#[test]
fn what_no_keeper_signed_counts_for_nothing() {
    let writer = record(1, 1, |record| {
        record.add.signers.push(known(2, &[SignerRole::Writer]))
    });
    let forged = record(2, 2, keeper(2));
    let ring = Keyring::new(&config(), vec![forged.clone(), writer]);
    assert!(!is_keeper(&ring, 2));
    assert_eq!(ring.refused_records().len(), 1);
    assert_eq!(ring.refused_records()[0].0, forged.id);
    assert!(
        ring.refused_records()[0].1.contains("it is not a keeper"),
        "{:?}",
        ring.refused_records()
    );
}

#[test]
fn of_two_keepers_that_revoke_each_other_the_first_to_arrive_stays() {
    let added = record(1, 1, keeper(2));
    let records = |first: u8, second: u8| {
        vec![
            added.clone(),
            record(first, 2, revokes(second, vec![added.id])),
            record(second, 3, revokes(first, vec![added.id])),
        ]
    };
    for (first, second) in [(1, 2), (2, 1)] {
        let ring = Keyring::new(&config(), records(first, second));
        assert!(
            is_keeper(&ring, first) && !is_keeper(&ring, second),
            "{first}"
        );
        assert_eq!(ring.refused_records().len(), 1);
    }
}

#[test]
fn what_a_keeper_signed_before_it_was_revoked_stays() {
    let (second, third) = (record(1, 1, keeper(2)), record(2, 2, keeper(3)));
    let after = record(2, 4, keeper(4));
    let revocation = record(1, 3, revokes(2, vec![second.id, third.id]));
    let mut records = vec![second, third, revocation, after.clone()];
    let ring = Keyring::new(&config(), records.clone());
    assert!(is_keeper(&ring, 3) && !is_keeper(&ring, 2) && !is_keeper(&ring, 4));
    assert_eq!(ring.refused_records()[0].0, after.id);
    // A copy whose storage received everything in one second gives the same result, from the revocation's list.
    for record in &mut records {
        record.received = None;
    }
    for n in 0..records.len() {
        records.rotate_left(n);
        let ring = Keyring::new(&config(), records.clone());
        assert!(is_keeper(&ring, 3), "{n}");
    }
}

#[test]
fn neither_the_last_keeper_nor_the_last_recovery_recipient_can_be_taken_away() {
    let nobody = record(1, 1, revokes(1, Vec::new()));
    let unreadable = record(1, 2, |record| {
        record.revoke.recipients.data.push("d1".to_owned())
    });
    let ring = Keyring::new(&config(), vec![nobody, unreadable]);
    assert_eq!(
        ring.refused_records().len(),
        2,
        "{:?}",
        ring.refused_records()
    );
    assert!(is_keeper(&ring, 1));
    assert_eq!(ring.recipients().data, ["d1"]);
}

#[test]
fn a_revoked_recipient_never_comes_back() {
    let adds = |second, text: &'static str| {
        record(1, second, move |record| {
            record.add.recipients.data.push(text.to_owned())
        })
    };
    let removes = record(1, 2, |record| {
        record.revoke.recipients.data.push("d1".to_owned())
    });
    let ring = Keyring::new(&config(), vec![adds(1, "d2"), removes, adds(3, "d1")]);
    assert_eq!(ring.recipients().data, ["d2"]);
    assert_eq!(ring.removed_recipients(), ["d1"]);
    assert!(ring.is_revoked_recipient("d1"));
}
