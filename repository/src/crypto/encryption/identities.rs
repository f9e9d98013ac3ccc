//! Identities: they decrypt, and unwrap file keys for hosts that were added later.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, thread};

use age::cli_common::{StdinGuard, read_identities};
use age_core::format::{FILE_KEY_BYTES, FileKey, Stanza};
use crossbeam_channel::{Receiver, Sender};

use crate::crypto::encryption::Recipients;
use crate::crypto::encryption::key_text::collapse_whitespace;
use crate::error::{Error, PossibleReaders, Result};
use crate::id::ObjectId;

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
    /// Whether recipients belong to these identities, as far as that was asked.
    own_recipients: Arc<Mutex<HashMap<String, bool>>>,
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
                own_recipients: Arc::default(),
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

    pub(super) fn unwrap_own_file_key(&self, beginning: &[u8]) -> Option<[u8; FILE_KEY_BYTES]> {
        let remembering = CapturingIdentity {
            identities: self,
            captured_key: Cell::new(None),
        };
        let decryptor = age::Decryptor::new_buffered(beginning).ok()?;
        let opened = decryptor.decrypt(std::iter::once(&remembering as &dyn age::Identity));
        opened.ok().and_then(|_| remembering.captured_key.get())
    }

    /// Whether one of the identities is that of a recipient. A recipient that cannot be used here, because its plugin is
    /// missing, is not.
    pub(crate) fn have_recipient(&self, recipient: &str) -> bool {
        let mut known = self
            .own_recipients
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *known.entry(recipient.to_owned()).or_insert_with(|| {
            let probe = Recipients::parse(&[recipient.to_owned()])
                .and_then(|recipients| recipients.encrypt(b"probe"));
            probe.is_ok_and(|probe| self.unwrap_own_file_key(&probe).is_some())
        })
    }

    /// The error for an object that none of the identities decrypts, of all that might have been its recipients.
    fn missing_identity(&self, object: &dyn fmt::Display, recipients: &[String]) -> Error {
        let (own, others): (Vec<String>, Vec<String>) = recipients
            .iter()
            .cloned()
            .partition(|recipient| self.have_recipient(recipient));
        Error::NoMatchingIdentity {
            object: object.to_string(),
            readers: PossibleReaders {
                recipients: others,
                reads_others: !own.is_empty(),
            },
        }
    }

    /// Decrypts one complete age file. `object` names it in errors, `recipients` are all that it may have been encrypted
    /// to; `size_max` limits the plain size.
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
                return Err(self.missing_identity(object, recipients));
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
