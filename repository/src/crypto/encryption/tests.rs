//! Encryption with recipients, and what identities open.

use std::path::PathBuf;

use super::*;
use crate::crypto::encryption::key_text::SECRET_KEY_MARKER;
use crate::id::ObjectId;

fn identity_in(directory: &tempfile::TempDir, name: &str) -> (PathBuf, String) {
    let generated = generate_identity("2026-01-01T00:00:00Z");
    let path = directory.path().join(name);
    std::fs::write(&path, &generated.file_text).unwrap();
    (path, generated.recipient)
}

#[test]
fn each_recipient_alone_can_decrypt_and_a_stranger_cannot() {
    let directory = tempfile::tempdir().unwrap();
    let (file1, recipient1) = identity_in(&directory, "1");
    let (file2, recipient2) = identity_in(&directory, "2");
    let (stranger, _) = identity_in(&directory, "3");
    let recipients = Recipients::parse(&[recipient1.clone(), recipient2]).unwrap();
    let encrypted = recipients.encrypt(b"secret").unwrap();
    for file in [file1, file2] {
        let identities = Identities::read(&[file]).unwrap();
        assert_eq!(
            identities.decrypt(&encrypted, &"x", &[], 100).unwrap(),
            b"secret"
        );
    }
    let stranger = Identities::read(&[stranger]).unwrap();
    let error = stranger
        .decrypt(&encrypted, &"x", recipients.texts(), 100)
        .unwrap_err();
    assert!(error.hint().contains(&recipient1), "{}", error.hint());
}

#[test]
fn comments_and_case_make_no_other_recipient() {
    let same = |a: &str, b: &str| canonical_recipient(a) == canonical_recipient(b);
    assert!(same("ssh-ed25519 AAAA", "ssh-ed25519 AAAA ada@host"));
    assert!(same("ssh-ed25519 AAAA a b", "ssh-ed25519  AAAA"));
    assert!(same("age1abc", "AGE1ABC"));
    assert!(!same("ssh-ed25519 AAAA", "ssh-ed25519 aaaa"));
    assert!(!same("ssh-ed25519 AAAA", "ssh-rsa AAAA"));
    assert!(!same("age1abc", "age1abd"));
    let (one, two) = (
        generate_identity("now").recipient,
        generate_identity("now").recipient,
    );
    let set = |texts: &[String]| Recipients::parse(texts).unwrap().recipient_set_id();
    let again = [two.clone(), one.to_uppercase()];
    assert_eq!(set(&[one, two]), set(&again));
}

#[test]
fn a_wrapped_file_key_opens_its_file_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let (file, recipient) = identity_in(&directory, "1");
    let (stranger, _) = identity_in(&directory, "2");
    let recipients = Recipients::parse(&[recipient]).unwrap();
    let (one, two) = (
        recipients.encrypt(b"one").unwrap(),
        recipients.encrypt(b"two").unwrap(),
    );
    let identities = Identities::read(&[file]).unwrap();
    let stranger = Identities::read(&[stranger]).unwrap();
    assert!(stranger.unwrap_own_file_key(&one).is_none());
    let key = identities
        .unwrap_own_file_key(&one[..one.len() - 5])
        .unwrap();
    let handed = FileKeys::from([
        (ObjectId::from_content(&one), key),
        (ObjectId::from_content(&two), key),
    ]);
    let stranger = stranger.with_file_keys(handed);
    assert_eq!(stranger.decrypt(&one, &"x", &[], 10).unwrap(), b"one");
    assert!(stranger.decrypt(&two, &"x", &[], 10).is_err());
    // So it can be wrapped again, by the hash of the file; a wrong one cannot.
    let beginning = &one[..one.len() - 5];
    assert_eq!(
        stranger.unwrap_file_key(&ObjectId::from_content(&one), beginning),
        Some(key)
    );
    assert_eq!(
        stranger.unwrap_file_key(&ObjectId::from_content(beginning), beginning),
        None
    );
    assert_eq!(
        stranger.unwrap_file_key(&ObjectId::from_content(&two), &two),
        None
    );
}

#[test]
fn an_ssh_key_is_an_identity() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("id");
    let done = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(&path)
        .status();
    assert!(done.unwrap().success());
    let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
    let recipients = Recipients::parse(&[public.trim().to_owned()]).unwrap();
    let identities = Identities::read(&[path]).unwrap();
    let encrypted = recipients.encrypt(b"secret").unwrap();
    assert_eq!(
        identities.decrypt(&encrypted, &"x", &[], 100).unwrap(),
        b"secret"
    );
}

#[test]
fn a_plain_text_larger_than_promised_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (file, recipient) = identity_in(&directory, "1");
    let encrypted = Recipients::parse(&[recipient])
        .unwrap()
        .encrypt(&[0; 101])
        .unwrap();
    let identities = Identities::read(&[file]).unwrap();
    assert!(identities.decrypt(&encrypted, &"x", &[], 101).is_ok());
    assert!(identities.decrypt(&encrypted, &"x", &[], 100).is_err());
}

#[test]
fn no_bit_of_an_age_file_can_change_unnoticed() {
    let directory = tempfile::tempdir().unwrap();
    let (file, recipient) = identity_in(&directory, "1");
    let encrypted = Recipients::parse(&[recipient])
        .unwrap()
        .encrypt(b"secret")
        .unwrap();
    let identities = Identities::read(&[file]).unwrap();
    for position in 0..encrypted.len() {
        let mut flipped = encrypted.clone();
        flipped[position] ^= 1;
        assert!(
            identities.decrypt(&flipped, &"x", &[], 100).is_err(),
            "byte {position}"
        );
    }
}

#[test]
fn what_is_no_recipient_or_identity_is_named() {
    for bad in ["", "age1", "AGE-SECRET-KEY-1", "hello", "age1x\nage1y"] {
        assert!(Recipients::parse(&[bad.to_owned()]).is_err(), "{bad:?}");
    }
    let error = Identities::read(&["/does/not/exist".into()]).unwrap_err();
    assert!(error.to_string().contains("/does/not/exist"), "{error}");
}

#[test]
fn a_secret_key_given_for_a_public_one_is_never_shown() {
    let secret = crate::crypto::encryption::generate_identity("now").file_text;
    let line = secret.lines().find(|line| line.contains(SECRET_KEY_MARKER));
    let line = line.unwrap();
    for text in [line.to_owned(), line.to_ascii_lowercase()] {
        let error = Recipients::parse(std::slice::from_ref(&text))
            .err()
            .unwrap();
        let said = format!("{error} {error:?} {}", error.hint());
        assert!(!said.contains(&text[20..]), "{said}");
    }
    assert_eq!(
        mask_secret(&format!("# {SIGNING_KEY_PREFIX}00ff")),
        "(a secret key)"
    );
    assert_eq!(mask_secret("age1x"), "age1x");
}
