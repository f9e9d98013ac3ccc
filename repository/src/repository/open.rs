//! Creating a repository and opening one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::backend::{Backend, BackendError, RemoteOptions, RepositoryLocation, open_location};
use crate::clock::{Clock, SystemClock};
use crate::crypto::encryption::Identities;
use crate::crypto::host_keys::{HostDirectory, HostKeys, KeeperKeys, load_or_create_keeper_keys};
use crate::crypto::signing::{KnownSigner, SignerId, SignerRole};
use crate::error::{Error, Result};
use crate::format::config::{Config, FORMAT, Layout, RecipientTexts, config_key};
use crate::format::keyring::Keyring;
use crate::format::secrets::Secrets;
use crate::id::{ObjectId, RepositoryId};
use crate::keys::key_objects::{put_secrets, read_all_wrapped_keys, read_keyring, read_secrets};
use crate::store::memory::LocalMemory;
use crate::store::record_cache::RecordCache;
use crate::store::verified_io::read_with_retries;
use crate::store::{Repository, Store};

/// How many times the description is read at most until two readings agree.
const CONFIG_READS_MAX: usize = 5;

/// The parameters of `init`.
#[derive(Debug)]
pub struct InitOptions {
    /// Recovery recipients: they read everything.
    pub recipients: Vec<String>,
    /// The first host's name.
    pub host_name: String,
    /// When it is created.
    pub now: DateTime<Utc>,
    /// Its chunk and pack sizes.
    pub layout: Layout,
    /// The file of the keeper's keys, created if it does not exist. `None`: the host is the keeper as well.
    pub keeper: Option<PathBuf>,
    /// A file for the keys of a second keeper, which are created: with them the repository stays in use if this host, as
    /// its only keeper, is lost.
    pub spare_keeper: Option<PathBuf>,
}

/// How to open a repository.
#[derive(Debug)]
pub struct OpenOptions {
    /// The host's directory of keys and pins.
    pub host: HostDirectory,
    /// Files with identities that can read contents.
    pub identity_files: Vec<PathBuf>,
    /// Where the local cache may be, if anywhere.
    pub cache: Option<PathBuf>,
    /// The directory in which this machine remembers what it has seen of repositories; `None`: it remembers nothing.
    pub memory: Option<PathBuf>,
    /// Signers that a policy pins; empty: those of `reprise.json`.
    pub pinned_signers: Vec<SignerId>,
}

/// The backend of a location. `options` are for destinations over a network.
///
/// # Errors
/// [`Error::Backend`] when the configuration or credentials cannot be used.
pub fn open_backend(
    location: &RepositoryLocation,
    options: &RemoteOptions,
) -> Result<Arc<dyn Backend>> {
    open_location(location, options).map_err(|source| Error::Backend {
        location: location.to_string(),
        source,
    })
}

/// Whether there is a repository.
///
/// # Errors
/// When the backend fails.
pub fn repository_exists(backend: &dyn Backend) -> Result<bool> {
    // Not by its size: a server that is only asked for a size does not tell whether the bucket exists.
    match backend.get(&config_key(), None) {
        Ok(_) => Ok(true),
        Err(BackendError::NotFound { .. }) => Ok(false),
        Err(source) => Err(Error::Backend {
            location: backend.location(),
            source,
        }),
    }
}

impl Repository {
    /// Fails when the repository that was opened is not there any more.
    ///
    /// # Errors
    /// [`Error::NoRepository`], or errors of the backend.
    pub fn check_reachable(&self) -> Result<()> {
        let backend = self.inner.backend.as_ref();
        if repository_exists(backend)? {
            return Ok(());
        }
        let location = backend.location();
        Err(Error::NoRepository { location })
    }

    /// Creates a repository: secrets first, `reprise.json` last, so that a half-made one does not exist.
    ///
    /// # Errors
    /// [`Error::RepositoryExists`], [`Error::Recipient`], or errors of the backend.
    pub fn init(
        backend: &dyn Backend,
        host: &HostDirectory,
        options: &InitOptions,
    ) -> Result<Config> {
        let location = backend.location();
        let failed = |source| Error::Backend {
            location: location.clone(),
            source,
        };
        if repository_exists(backend)? {
            return Err(Error::RepositoryExists {
                location: location.clone(),
            });
        }
        for folder in ["snapshots", "index"] {
            if !backend.list(folder).map_err(failed)?.is_empty() {
                return Err(Error::MissingConfig {
                    location,
                    directory: folder,
                });
            }
        }
        let keys = host.load_or_create_keys(&options.now.to_rfc3339())?;
        let keeper = options.keeper.as_ref();
        let keeper = keeper
            .map(|file| load_separate_keeper_keys(&keys, file, options))
            .transpose()?;
        let spare = options.spare_keeper.as_ref();
        let spare = spare
            .map(|file| load_separate_keeper_keys(&keys, file, options))
            .transpose()?;
        let mut writers = vec![keys.recipient.clone()];
        let keepers = keeper.iter().chain(&spare);
        writers.extend(keepers.filter_map(|keeper| keeper.recipient.clone()));
        let mut config = Config {
            format: FORMAT,
            repository: RepositoryId::random().map_err(|e| {
                Error::Internal(format!("cannot get random bytes from the system: {e}"))
            })?,
            created: options.now,
            layout: options.layout.clone(),
            recipients: RecipientTexts {
                data: options.recipients.clone(),
                writers,
            },
            signers: initial_signers(&keys, keeper.as_ref(), spare.as_ref(), options),
            keys: ObjectId::from_content(b""),
        };
        let first = Keyring::new(&config, Vec::new());
        first.data_recipients()?;
        config.keys = put_secrets(backend, &Secrets::random()?, &first.catalog_recipients()?)?;
        let bytes = config.to_bytes()?;
        match backend.put(&config_key(), &[bytes.clone().into()]) {
            Err(BackendError::AlreadyExists { .. }) => {
                return Err(Error::RepositoryExists {
                    location: location.clone(),
                });
            }
            done => drop(done.map_err(failed)?),
        }
        // Where the storage does not refuse a second one, another host may have been first; its repository is left
        // alone.
        if !backend.capabilities().refuses_overwrite
            && backend.get(&config_key(), None).map_err(failed)? != bytes
        {
            return Err(Error::RepositoryExists {
                location: location.clone(),
            });
        }
        host.remove_pins_for(&location);
        host.check_pin(
            &location,
            &config.repository,
            ObjectId::from_content(&bytes),
        )?;
        Ok(config)
    }

    /// Opens a repository with whatever keys there are.
    ///
    /// # Errors
    /// [`Error::NoRepository`], [`Error::PinMismatch`], [`Error::NoMatchingIdentity`],
    /// [`Error::UnsupportedFormat`], [`Error::Damaged`], or errors of the backend.
    pub fn open(backend: Arc<dyn Backend>, options: &OpenOptions) -> Result<Self> {
        Self::open_with_clock(backend, options, Arc::new(SystemClock))
    }

    /// As [`Self::open`], with a clock other than this machine's.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_with_clock(
        backend: Arc<dyn Backend>,
        options: &OpenOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let location = backend.location();
        let (config, hash) = read_config_confirmed(backend.as_ref(), &options.host)?;
        options
            .host
            .check_pin(&location, &config.repository, hash)?;
        check_pinned_signers(&config, &options.pinned_signers, &location)?;
        let host = options.host.load_keys()?;
        let mut files = options.identity_files.clone();
        files.extend(host.iter().map(|keys| keys.identity_file.clone()));
        let identities = Identities::read(&files)?;
        let cache = options
            .cache
            .as_ref()
            .map(|cache| cache.join(cache_dir_name(&config, &location)));
        let records = RecordCache::new(cache.as_deref(), "keys");
        let memory = LocalMemory::locate(options.memory.as_deref(), &config, &location);
        let seen = memory.read();
        let stored = read_keyring(backend.as_ref(), &config, &records)?;
        let missing_keys = stored.check_memory(&memory, &seen);
        for (key, reason) in stored.unusable {
            tracing::warn!(%key, %reason, "an object under keys/ is invalid and is ignored");
        }
        let keyring = stored.keyring;
        let catalog_recipients = keyring.catalog_recipients()?;
        let recipients = catalog_recipients.texts();
        let (secrets, opened) = read_secrets(backend.as_ref(), &keyring, &identities, recipients)?;
        let handed =
            read_all_wrapped_keys(backend.as_ref(), &keyring, &identities, &records, &opened)?;
        let identities = identities.with_file_keys(handed);
        Ok(Self {
            inner: Arc::new(Store {
                trust: keyring.trust().clone(),
                data_recipients: keyring.data_recipients()?,
                data_readers: keyring.data_readers(),
                catalog_readers: keyring.catalog_readers(),
                keyring,
                backend,
                config,
                config_hash: hash,
                secrets,
                identities,
                catalog_recipients,
                host,
                cache,
                clock,
                memory,
                missing_keys,
            }),
            meant: Arc::default(),
        })
    }
}

/// The keys of a keeper that is not the host.
fn load_separate_keeper_keys(
    host: &HostKeys,
    file: &Path,
    options: &InitOptions,
) -> Result<KeeperKeys> {
    let keeper = load_or_create_keeper_keys(file, &options.now.to_rfc3339())?;
    if keeper.signer == host.signer.id() {
        return Err(Error::HostKeys {
            path: file.to_owned(),
            reason: "it holds this host's own key; a separate keeper needs its own key file"
                .to_owned(),
        });
    }
    Ok(keeper)
}

/// The trusted signers of a new repository, and their roles.
fn initial_signers(
    host: &HostKeys,
    keeper: Option<&KeeperKeys>,
    spare: Option<&KeeperKeys>,
    options: &InitOptions,
) -> Vec<KnownSigner> {
    let signer = |key, roles: &[SignerRole], name: &str| KnownSigner {
        key,
        roles: roles.to_vec(),
        name: name.to_owned(),
    };
    let (id, name) = (host.signer.id(), &options.host_name);
    let mut signers = match keeper {
        None => vec![signer(id, &[SignerRole::Writer, SignerRole::Keeper], name)],
        Some(keeper) => vec![
            signer(id, &[SignerRole::Writer], name),
            signer(keeper.signer, &[SignerRole::Keeper], "keeper"),
        ],
    };
    signers.extend(spare.map(|spare| signer(spare.signer, &[SignerRole::Keeper], "spare-keeper")));
    signers
}

/// Copies of a repository have the same identifier, but each has its own index and roots.
fn cache_dir_name(config: &Config, location: &str) -> String {
    let place = ObjectId::from_content(location.as_bytes()).to_string();
    format!("{}-{}", config.repository.as_str(), &place[..8])
}

/// Reads the description. No name contains its hash: where bytes may be changed in transit, and it is not what this host has
/// pinned, two readings must agree. A corrupt one must neither be pinned nor pass for a forgery.
fn read_config_confirmed(
    backend: &dyn Backend,
    host: &HostDirectory,
) -> Result<(Config, ObjectId)> {
    let read = || read_with_retries(backend, || read_config(backend));
    let mut last = read()?;
    let (config, hash) = &last;
    if backend.capabilities().protected_in_transit || host.has_pin(&config.repository, *hash) {
        return Ok(last);
    }
    for _ in 0..CONFIG_READS_MAX {
        let next = read()?;
        if next.1 == last.1 {
            return Ok(next);
        }
        last = next;
    }
    let reason = "each read returned different bytes: check the network and the storage";
    Err(Error::damaged_object(&config_key(), reason))
}

fn check_pinned_signers(config: &Config, pinned: &[SignerId], location: &str) -> Result<()> {
    let unknown = config
        .signers
        .iter()
        .find(|signer| !pinned.contains(&signer.key));
    match unknown {
        Some(signer) if !pinned.is_empty() => Err(Error::PinMismatch {
            location: location.to_owned(),
            reason: format!(
                "its signer {} is not one of the policy's pinned signers",
                signer.key
            ),
            pin_file: PathBuf::from("the policy's `signers:`"),
        }),
        _ => Ok(()),
    }
}

/// The description of a repository, and the hash of its bytes.
fn read_config(backend: &dyn Backend) -> Result<(Config, ObjectId)> {
    let location = backend.location();
    match backend.get(&config_key(), None) {
        Ok(bytes) => Ok((Config::parse(&bytes)?, ObjectId::from_content(&bytes))),
        Err(BackendError::NotFound { .. }) => Err(Error::NoRepository { location }),
        Err(source) => Err(Error::Backend { location, source }),
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;

    use super::*;
    use crate::backend::memory::MemoryBackend;
    use crate::backend::{BackendResult, Capabilities, ObjectInfo, ObjectKey, WriteVerification};

    /// A destination without TLS, of which one reading arrives corrupt.
    #[derive(Debug, Default)]
    struct PlainHttp {
        inner: MemoryBackend,
        reads: AtomicUsize,
        corrupt_read: Option<usize>,
    }

    impl Backend for PlainHttp {
        fn location(&self) -> String {
            self.inner.location()
        }

        fn capabilities(&self) -> Capabilities {
            Capabilities {
                reads_may_be_corrupted: true,
                protected_in_transit: false,
                ..self.inner.capabilities()
            }
        }

        fn put(&self, key: &ObjectKey, parts: &[Bytes]) -> BackendResult<WriteVerification> {
            self.inner.put(key, parts)
        }

        fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> BackendResult<Vec<u8>> {
            let bytes = self.inner.get(key, range)?;
            let read = self.reads.fetch_add(1, Ordering::Relaxed);
            if self.corrupt_read != Some(read) {
                return Ok(bytes);
            }
            // Another repository's identifier, as far as anybody can tell.
            let text = String::from_utf8(bytes).unwrap();
            let begin = text.find("\"repository\"").unwrap() + "\"repository\": \"".len();
            let digit = if &text[begin..=begin] == "a" {
                "b"
            } else {
                "a"
            };
            Ok([&text[..begin], digit, &text[begin + 1..]]
                .concat()
                .into_bytes())
        }

        fn size(&self, key: &ObjectKey) -> BackendResult<u64> {
            self.inner.size(key)
        }

        fn list(&self, directory: &str) -> BackendResult<Vec<ObjectInfo>> {
            self.inner.list(directory)
        }

        fn delete(&self, key: &ObjectKey) -> BackendResult<()> {
            self.inner.delete(key)
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the clock of this machine")]
    fn init_on(backend: &MemoryBackend, directory: &Path) -> (HostDirectory, Config) {
        let host = HostDirectory::new(directory);
        let recipient = crate::crypto::encryption::generate_identity("now").recipient;
        let options = InitOptions {
            recipients: vec![recipient],
            host_name: "host".to_owned(),
            now: Utc::now(),
            layout: Layout::default(),
            keeper: None,
            spare_keeper: None,
        };
        let config = Repository::init(backend, &host, &options).unwrap();
        (host, config)
    }

    #[test]
    fn without_tls_a_corrupt_description_is_never_taken_for_the_real_one() {
        let directory = tempfile::tempdir().unwrap();
        let storage = MemoryBackend::default();
        let (_, config) = init_on(&storage, directory.path());
        let stranger = HostDirectory::new(directory.path().join("stranger"));
        for corrupt_read in [None, Some(0), Some(1)] {
            let backend = PlainHttp {
                inner: storage.clone(),
                corrupt_read,
                ..PlainHttp::default()
            };
            let (read, _) = read_config_confirmed(&backend, &stranger).unwrap();
            assert_eq!(read.repository, config.repository);
            let reads = if corrupt_read.is_none() { 2 } else { 3 };
            assert!(backend.reads.into_inner() >= reads, "{corrupt_read:?}");
        }
    }

    #[test]
    fn what_is_pinned_or_protected_is_read_once() {
        let directory = tempfile::tempdir().unwrap();
        let storage = MemoryBackend::default();
        let (host, _) = init_on(&storage, directory.path());
        let backend = PlainHttp {
            inner: storage,
            ..PlainHttp::default()
        };
        read_config_confirmed(&backend, &host).unwrap();
        assert_eq!(backend.reads.into_inner(), 1);
    }
}
