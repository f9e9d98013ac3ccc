//! Encryption to recipients and decryption with identities, by the age format.
//!
//! Two classes of recipients see two classes of things: see [`RecipientClass`].

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use age::cli_common::{StdinGuard, read_identities, read_recipients};
use age_core::format::{FILE_KEY_BYTES, FileKey, Stanza};
use crossbeam_channel::{Receiver, Sender};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::ObjectId;

/// Who can read something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecipientClass {
    /// File contents, names, rows: the recovery identities only.
    Data,
    /// IDs, sizes, the index, snapshot roots without names: also the host's own writer identity.
    Catalog,
}

/// Recipients of one class, ready for encryption.
#[derive(Clone)]
pub struct Recipients {
    texts: Arc<Vec<String>>,
    // The age crate's recipients may be sent between threads but not shared; the lock is held only while a
    // file key is wrapped.
    parsed: Arc<Mutex<Vec<Box<dyn age::Recipient + Send>>>>,
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Recipients").field(&self.texts).finish()
    }
}

impl Recipients {
    /// Parses recipients: X25519, SSH public keys or plugin recipients.
    ///
    /// # Errors
    /// [`Error::Recipient`] names the first that cannot be used.
    pub fn parse(texts: &[String]) -> Result<Self> {
        let mut parsed = Vec::new();
        for text in texts {
            parsed.extend(parse_recipient(text)?);
        }
        let texts = Arc::new(texts.to_vec());
        let recipients = Self {
            texts,
            parsed: Arc::new(Mutex::new(parsed)),
        };
        // Some combinations (post-quantum with classic) and missing plugins only show when used.
        if !recipients.texts.is_empty() {
            recipients.encrypt(b"probe")?;
        }
        Ok(recipients)
    }

    /// The recipients as text.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// An ID of this set of recipients.
    pub(crate) fn recipient_set_id(&self) -> ObjectId {
        let texts = self.texts.iter();
        let mut texts: Vec<String> = texts.map(|text| canonical_recipient(text)).collect();
        texts.sort_unstable();
        texts.dedup();
        ObjectId::from_content(texts.join("\n").as_bytes())
    }

    /// Encrypts bytes into one complete age file with its own file key.
    ///
    /// # Errors
    /// When a recipient cannot be used, for instance because its plugin fails.
    pub fn encrypt(&self, plain: &[u8]) -> Result<Vec<u8>> {
        let fail = |reason: String| Error::Recipient {
            recipient: self.texts.join(", "),
            reason,
        };
        let encryptor = {
            let parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
            age::Encryptor::with_recipients(parsed.iter().map(|r| &**r as &dyn age::Recipient))
                .map_err(|error| fail(error.to_string()))?
        };
        // 64 KiB payload blocks add 16 bytes each; the header has a few hundred bytes per recipient.
        let capacity = plain.len() + plain.len() / 4096 + 1024;
        let mut writer = encryptor
            .wrap_output(Vec::with_capacity(capacity))
            .map_err(|error| fail(error.to_string()))?;
        writer
            .write_all(plain)
            .map_err(|error| fail(error.to_string()))?;
        writer.finish().map_err(|error| fail(error.to_string()))
    }
}

/// What all secret keys of age contain, including those of plugins.
const SECRET_KEY_MARKER: &str = "SECRET-KEY-";

/// The prefix of the signing keys of hosts and keepers.
pub(crate) const SIGNING_KEY_PREFIX: &str = "REPRISE-SIGNING-KEY-";

/// What all private keys of SSH contain.
const PRIVATE_KEY_MARKER: &str = "PRIVATE KEY";

/// A text that is safe to show, even if it is a secret key by mistake.
#[must_use]
pub fn mask_secret(text: &str) -> String {
    let upper = text.to_ascii_uppercase();
    let marks = [
        SECRET_KEY_MARKER,
        PRIVATE_KEY_MARKER,
        SIGNING_KEY_PREFIX,
        "AGE-PLUGIN-",
    ];
    match marks.iter().any(|mark| upper.contains(mark)) {
        true => "(a secret key)".to_owned(),
        false => text.to_owned(),
    }
}

/// A recipient in canonical form: an SSH key without its comment, any other in lower case. Two texts are the same
/// recipient when these are equal.
#[must_use]
pub fn canonical_recipient(text: &str) -> String {
    let mut words = text.split_whitespace();
    match (words.next().unwrap_or_default(), words.next()) {
        (sort, Some(key)) if sort.starts_with("ssh-") => format!("{sort} {key}"),
        _ => text.trim().to_ascii_lowercase(),
    }
}

/// Whether a recipient is in a list.
#[must_use]
pub fn has_recipient<'a>(recipients: impl IntoIterator<Item = &'a String>, wanted: &str) -> bool {
    let wanted = canonical_recipient(wanted);
    let mut recipients = recipients.into_iter();
    recipients.any(|recipient| canonical_recipient(recipient) == wanted)
}

fn parse_recipient(text: &str) -> Result<Vec<Box<dyn age::Recipient + Send>>> {
    let fail = |reason: String| Error::Recipient {
        recipient: mask_secret(text),
        reason,
    };
    if text.to_ascii_uppercase().contains(SECRET_KEY_MARKER) {
        return Err(fail(
            "it is a secret key: give the public key instead".to_owned(),
        ));
    }
    if text.trim() != text || text.contains(['\n', '\r', '\0']) {
        return Err(fail(
            "it has leading or trailing white space, or contains control characters".to_owned(),
        ));
    }
    read_recipients(
        vec![text.to_owned()],
        vec![],
        vec![],
        None,
        &mut StdinGuard::new(true),
    )
    .map_err(|error| fail(error.to_string()))
}

/// A fresh X25519 identity.
#[derive(Debug)]
pub struct GeneratedIdentity {
    /// The identity file's text, as `age-keygen` writes it. Secret.
    pub file_text: String,
    /// Its public key.
    pub recipient: String,
}

/// Makes a new X25519 identity.
#[must_use]
pub fn generate_identity(created: &str) -> GeneratedIdentity {
    use age::secrecy::ExposeSecret;
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    let secret = identity.to_string();
    let file_text = format!(
        "# created: {created}\n# public key: {recipient}\n{}\n",
        secret.expose_secret()
    );
    GeneratedIdentity {
        file_text,
        recipient,
    }
}

struct UnwrapRequest {
    stanzas: Vec<Stanza>,
    reply: Sender<Option<std::result::Result<FileKey, age::DecryptError>>>,
}

/// File keys of age files, by the hash of the file.
pub(crate) type FileKeys = HashMap<ObjectId, [u8; FILE_KEY_BYTES]>;

/// The file key of one age file, used like an identity.
struct FileKeyIdentity([u8; FILE_KEY_BYTES]);

impl age::Identity for FileKeyIdentity {
    fn unwrap_stanza(&self, _: &Stanza) -> Option<std::result::Result<FileKey, age::DecryptError>> {
        Some(Ok(FileKey::new(Box::new(self.0))))
    }
}

/// Keeps the file key that the identities unwrap.
struct CapturingIdentity<'a> {
    identities: &'a Identities,
    captured_key: Cell<Option<[u8; FILE_KEY_BYTES]>>,
}

impl age::Identity for CapturingIdentity<'_> {
    fn unwrap_stanza(
        &self,
        stanza: &Stanza,
    ) -> Option<std::result::Result<FileKey, age::DecryptError>> {
        use age::secrecy::ExposeSecret;
        let answer = self.identities.unwrap_stanza(stanza);
        if let Some(Ok(key)) = &answer {
            self.captured_key.set(Some(*key.expose_secret()));
        }
        answer
    }
}

/// Identities that several threads can decrypt with.
///
/// The age crate's identities cannot be shared between threads (some ask for a passphrase or talk to a
/// plugin), so one thread owns them all and unwraps file keys for the others.
#[derive(Clone)]
pub struct Identities {
    files: Arc<Vec<PathBuf>>,
    requests: Sender<UnwrapRequest>,
    file_keys: Arc<FileKeys>,
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identities").field(&self.files).finish()
    }
}

impl Identities {
    /// Reads identity files: age identities (also passphrase-encrypted), SSH private keys, plugin identities.
    ///
    /// # Errors
    /// [`Error::Identity`] names the file that cannot be used.
    pub fn read(files: &[PathBuf]) -> Result<Self> {
        let (ready, readiness) = crossbeam_channel::bounded(1);
        // Each worker waits for the response to its one request, so a short queue is enough.
        let (questions, inbox) = crossbeam_channel::bounded::<UnwrapRequest>(16);
        let owned = files.to_vec();
        thread::Builder::new()
            .name("identities".to_owned())
            .spawn(move || match load_identities(&owned) {
                Ok(identities) => {
                    if ready.send(Ok(())).is_ok() {
                        serve_unwrap_requests(&inbox, &identities);
                    }
                }
                // The receiver waits for exactly this message.
                Err(error) => drop(ready.send(Err(error))),
            })
            .map_err(|source| Error::LocalIo {
                action: "start a thread for",
                path: "identities".into(),
                source,
            })?;
        match readiness.recv() {
            Ok(Ok(())) => Ok(Self {
                files: Arc::new(files.to_vec()),
                requests: questions,
                file_keys: Arc::default(),
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::Identity {
                path: files
                    .iter()
                    .map(|file| file.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
                reason: "the thread that reads identities stopped unexpectedly".to_owned(),
            }),
        }
    }

    /// The same identities, plus the file keys of these age files.
    pub(crate) fn with_file_keys(self, handed: FileKeys) -> Self {
        Self {
            file_keys: Arc::new(handed),
            ..self
        }
    }

    /// The file key of the age file with this hash and this beginning, if one of the identities unwraps it or it was
    /// given to them.
    pub(crate) fn unwrap_file_key(
        &self,
        hash: &ObjectId,
        beginning: &[u8],
    ) -> Option<[u8; FILE_KEY_BYTES]> {
        self.unwrap_own_file_key(beginning).or_else(|| {
            let key = *self.file_keys.get(hash)?;
            let decryptor = age::Decryptor::new_buffered(beginning).ok()?;
            let handed = FileKeyIdentity(key);
            let opened = decryptor.decrypt(std::iter::once(&handed as &dyn age::Identity));
            opened.ok().map(|_| key)
        })
    }

    fn unwrap_own_file_key(&self, beginning: &[u8]) -> Option<[u8; FILE_KEY_BYTES]> {
        let remembering = CapturingIdentity {
            identities: self,
            captured_key: Cell::new(None),
        };
        let decryptor = age::Decryptor::new_buffered(beginning).ok()?;
        let opened = decryptor.decrypt(std::iter::once(&remembering as &dyn age::Identity));
        opened.ok().and_then(|_| remembering.captured_key.get())
    }

    /// Decrypts one complete age file. `object` names it in errors; `size_max` limits the plain size.
    ///
    /// # Errors
    /// [`Error::NoMatchingIdentity`] when none of the identities is a recipient, [`Error::Damaged`] when
    /// the file is incomplete or damaged.
    pub fn decrypt(
        &self,
        encrypted: &[u8],
        object: &dyn fmt::Display,
        recipients: &[String],
        size_max: usize,
    ) -> Result<Vec<u8>> {
        let damaged = |reason: String| Error::Damaged {
            object: object.to_string(),
            reason: collapse_whitespace(&reason),
        };
        let open = |identity: &dyn age::Identity| {
            age::Decryptor::new_buffered(encrypted)?.decrypt(std::iter::once(identity))
        };
        let mut opened = open(self);
        if let Err(age::DecryptError::NoMatchingKeys) = opened
            && !self.file_keys.is_empty()
            && let Some(key) = self.file_keys.get(&ObjectId::from_content(encrypted))
        {
            opened = open(&FileKeyIdentity(*key));
        }
        let reader = match opened {
            Ok(reader) => reader,
            Err(age::DecryptError::NoMatchingKeys) => {
                return Err(Error::NoMatchingIdentity {
                    object: object.to_string(),
                    recipients: recipients.to_vec(),
                });
            }
            Err(error) => return Err(damaged(error.to_string())),
        };
        let mut plain = Vec::with_capacity(encrypted.len().min(size_max));
        let limit = u64::try_from(size_max)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        BufReader::with_capacity(1 << 16, reader)
            .take(limit)
            .read_to_end(&mut plain)
            .map_err(|error| damaged(error.to_string()))?;
        if plain.len() > size_max {
            return Err(damaged(format!(
                "it decrypts to more than {size_max} bytes"
            )));
        }
        Ok(plain)
    }
}

impl age::Identity for Identities {
    fn unwrap_stanza(
        &self,
        stanza: &Stanza,
    ) -> Option<std::result::Result<FileKey, age::DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    fn unwrap_stanzas(
        &self,
        stanzas: &[Stanza],
    ) -> Option<std::result::Result<FileKey, age::DecryptError>> {
        let copy = |stanza: &Stanza| Stanza {
            tag: stanza.tag.clone(),
            args: stanza.args.clone(),
            body: stanza.body.clone(),
        };
        let (answer, answers) = crossbeam_channel::bounded(1);
        let question = UnwrapRequest {
            stanzas: stanzas.iter().map(copy).collect(),
            reply: answer,
        };
        self.requests.send(question).ok()?;
        answers.recv().ok().flatten()
    }
}

fn load_identities(files: &[PathBuf]) -> Result<Vec<Box<dyn age::Identity>>> {
    let mut identities = Vec::new();
    for file in files {
        let fail = |reason: String| Error::Identity {
            path: file.display().to_string(),
            reason: collapse_whitespace(&reason),
        };
        // The library takes names as text only; a file with any other name is opened here.
        let opened = match file.to_str() {
            Some(_) => None,
            None => Some(File::open(file).map_err(|error| fail(error.to_string()))?),
        };
        let name = match (&opened, file.to_str()) {
            (Some(opened), _) => format!("/proc/self/fd/{}", opened.as_raw_fd()),
            // age takes "-" for standard input; here it is always a file name.
            (None, Some("-")) => "./-".to_owned(),
            (None, name) => name.unwrap_or_default().to_owned(),
        };
        let read = read_identities(vec![name], None, &mut StdinGuard::new(true))
            .map_err(|error| fail(error.to_string()))?;
        if read.is_empty() {
            return Err(fail("it contains no identity".to_owned()));
        }
        identities.extend(read);
    }
    Ok(identities)
}

fn serve_unwrap_requests(inbox: &Receiver<UnwrapRequest>, identities: &[Box<dyn age::Identity>]) {
    for question in inbox {
        let answer = identities
            .iter()
            .find_map(|i| i.unwrap_stanzas(&question.stanzas));
        // A worker that no longer waits has already failed.
        drop(question.reply.send(answer));
    }
}

fn collapse_whitespace(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
