//! A repository: making one, opening one, and finding its snapshots.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::backend::{Backend, BackendError, LocalBackend, Location, ObjectKey};
use crate::config::{CONFIG_KEY, Config, FORMAT, Layout, RecipientTexts, Trust};
use crate::crypt::{Identities, Recipients};
use crate::envelope::{self, RecordKind};
use crate::error::{Error, ErrorClass, Result};
use crate::host::{HostFolder, HostKeys};
use crate::id::{ObjectId, RepositoryId};
use crate::index::{Index, IndexCache, Unreadable, fragment_key, parse_fragment};
use crate::pack::{DIRECTORY_BYTES_MAX, DirectoryReader, PackRecord, pack_key};
use crate::secrets::Secrets;
use crate::sign::{KnownSigner, Role, SignerId};
use crate::snapshot::{Snapshot, SnapshotRoot, snapshot_key};

/// No snapshot root is larger, in bytes: enough for the streams of several hundred million chunks.
const ROOT_BYTES_MAX: usize = 256 << 20;

/// The encrypted secrets are a few hundred bytes.
const SECRETS_BYTES_MAX: usize = 64 << 10;

/// What `init` needs to know.
#[derive(Debug)]
pub struct InitOptions {
    /// Recovery recipients: they read everything.
    pub recipients: Vec<String>,
    /// The first host's name.
    pub host_name: String,
    /// When it is made.
    pub now: DateTime<Utc>,
    /// How it is cut and packed.
    pub layout: Layout,
}

/// How to open a repository.
#[derive(Debug)]
pub struct OpenOptions {
    /// The host's folder of keys and pins.
    pub host: HostFolder,
    /// Files with identities that read contents.
    pub identity_files: Vec<PathBuf>,
    /// Where the local cache may be, if anywhere.
    pub cache: Option<PathBuf>,
    /// Signers that a policy pins; empty: whatever `reprise.json` says.
    pub pinned_signers: Vec<SignerId>,
}

/// A root that cannot be read, and why.
pub type UnreadableRoot = (ObjectKey, Error);

/// An open repository. Clones are cheap and share everything.
#[derive(Debug, Clone)]
pub struct Repository {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) config: Config,
    pub(crate) trust: Trust,
    pub(crate) secrets: Secrets,
    pub(crate) identities: Identities,
    pub(crate) data_recipients: Recipients,
    pub(crate) catalog_recipients: Recipients,
    pub(crate) host: Option<HostKeys>,
    pub(crate) cache: Option<PathBuf>,
}

/// The backend of a location.
///
/// # Errors
/// Never for now; later backends check their settings here.
pub fn backend_at(location: &Location) -> Result<Arc<dyn Backend>> {
    match location {
        Location::Local(path) => {
            let backend = LocalBackend::new(path);
            backend.remove_stale_unfinished();
            Ok(Arc::new(backend))
        }
    }
}

/// Whether there is a repository.
///
/// # Errors
/// When the backend cannot be asked.
pub fn exists(backend: &dyn Backend) -> Result<bool> {
    match backend.size(&config_key()) {
        Ok(_) => Ok(true),
        Err(BackendError::NotFound { .. }) => Ok(false),
        Err(source) => Err(Error::Backend {
            location: backend.location(),
            source,
        }),
    }
}

fn config_key() -> ObjectKey {
    ObjectKey::trusted(CONFIG_KEY.to_owned())
}

fn keys_key(id: &ObjectId) -> ObjectKey {
    ObjectKey::trusted(format!("keys/{id}"))
}

impl Repository {
    /// Makes a repository: secrets first, `reprise.json` last, so that a half-made one does not exist.
    ///
    /// # Errors
    /// [`Error::RepositoryExists`], [`Error::Recipient`], or what the backend says.
    pub fn init(backend: &dyn Backend, host: &HostFolder, options: &InitOptions) -> Result<Config> {
        let location = backend.location();
        let failed = |source| Error::Backend {
            location: location.clone(),
            source,
        };
        if exists(backend)? {
            return Err(Error::RepositoryExists {
                location: location.clone(),
            });
        }
        let keys = host.keys_or_new(&options.now.to_rfc3339())?;
        let signer = KnownSigner {
            key: keys.signer.id(),
            roles: vec![Role::Writer, Role::Keeper],
            name: options.host_name.clone(),
        };
        let mut config = Config {
            format: FORMAT,
            repository: RepositoryId::random()
                .map_err(|e| Error::Internal(format!("no randomness: {e}")))?,
            created: options.now,
            layout: options.layout.clone(),
            recipients: RecipientTexts {
                data: options.recipients.clone(),
                writers: vec![keys.recipient],
            },
            signers: vec![signer],
            keys: ObjectId::of(b""),
        };
        config.data_recipients()?;
        let secrets = config
            .catalog_recipients()?
            .encrypt(&Secrets::random()?.to_json()?)?;
        config.keys = ObjectId::of(&secrets);
        put_verified(backend, &keys_key(&config.keys), &[&secrets], &config.keys)?;
        let bytes = config.to_bytes()?;
        match backend.put(&config_key(), &[&bytes]) {
            Err(BackendError::AlreadyExists { .. }) => {
                return Err(Error::RepositoryExists {
                    location: location.clone(),
                });
            }
            done => done.map_err(failed)?,
        }
        host.forget_location(&location);
        host.check_pin(&location, &config.repository, ObjectId::of(&bytes))?;
        Ok(config)
    }

    /// Opens a repository with whatever keys there are.
    ///
    /// # Errors
    /// [`Error::NoRepository`], [`Error::PinMismatch`], [`Error::NoMatchingIdentity`],
    /// [`Error::UnsupportedFormat`], [`Error::Damaged`], or what the backend says.
    pub fn open(backend: Arc<dyn Backend>, options: &OpenOptions) -> Result<Self> {
        let location = backend.location();
        let bytes = match backend.get(&config_key(), None) {
            Ok(bytes) => bytes,
            Err(BackendError::NotFound { .. }) => return Err(Error::NoRepository { location }),
            Err(source) => return Err(Error::Backend { location, source }),
        };
        let config = Config::parse(&bytes)?;
        options
            .host
            .check_pin(&location, &config.repository, ObjectId::of(&bytes))?;
        check_pinned_signers(&config, &options.pinned_signers, &location)?;
        let host = options.host.keys()?;
        let mut files = options.identity_files.clone();
        files.extend(host.iter().map(|keys| keys.identity_file.clone()));
        let identities = Identities::read(&files)?;
        let catalog_recipients = config.catalog_recipients()?;
        let secrets = read_secrets(
            backend.as_ref(),
            &config,
            &identities,
            catalog_recipients.texts(),
        )?;
        let cache = options
            .cache
            .as_ref()
            .map(|cache| cache.join(config.repository.as_str()));
        Ok(Self {
            inner: Arc::new(Inner {
                trust: config.trust(),
                data_recipients: config.data_recipients()?,
                backend,
                config,
                secrets,
                identities,
                catalog_recipients,
                host,
                cache,
            }),
        })
    }

    /// The description of the repository.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Where it is, for people.
    #[must_use]
    pub fn location(&self) -> String {
        self.inner.backend.location()
    }

    /// The repository's folder in the local cache, if there is a cache.
    #[must_use]
    pub fn cache(&self) -> Option<&Path> {
        self.inner.cache.as_deref()
    }

    /// Secrets for chunk ids and cut points.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.inner.secrets
    }

    /// Fails early when no given identity reads contents.
    ///
    /// # Errors
    /// [`Error::NoMatchingIdentity`].
    pub fn require_data_identity(&self) -> Result<()> {
        let inner = &self.inner;
        let probe = inner.data_recipients.encrypt(b"probe")?;
        let recipients = inner.data_recipients.texts();
        inner
            .identities
            .decrypt(&probe, &"the contents of this repository", recipients, 64)
            .map(drop)
    }

    /// All snapshots, oldest data first. A root that cannot be read is an error here: see
    /// [`Self::snapshots_lossy`].
    ///
    /// # Errors
    /// What reading the first unreadable root gives.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>> {
        let (snapshots, errors) = self.snapshots_lossy()?;
        match errors.into_iter().next() {
            None => Ok(snapshots),
            Some((_, error)) => Err(error),
        }
    }

    /// All readable snapshots, oldest data first, and the others with what is wrong with them.
    ///
    /// # Errors
    /// When roots cannot be listed at all.
    pub fn snapshots_lossy(&self) -> Result<(Vec<Snapshot>, Vec<UnreadableRoot>)> {
        let (mut snapshots, mut errors) = (Vec::new(), Vec::new());
        for info in self.inner.list("snapshots")? {
            match self.inner.read_root(&info.key) {
                Ok(snapshot) => snapshots.push(snapshot),
                Err(error) => errors.push((info.key, error)),
            }
        }
        snapshots.sort_by_key(|snapshot| (snapshot.root.data_time, snapshot.id));
        Ok((snapshots, errors))
    }

    /// Finds a snapshot by a prefix of its id, `SOURCE@latest`, or a source's name (its newest snapshot).
    ///
    /// A root that cannot be read is skipped with a warning: the others must still be restorable.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`], [`Error::AmbiguousSnapshot`].
    pub fn find_snapshot(&self, name: &str) -> Result<Snapshot> {
        let (snapshots, errors) = self.snapshots_lossy()?;
        for (key, error) in &errors {
            tracing::warn!(%key, %error, "a snapshot cannot be read and is left out");
        }
        let source = name.strip_suffix("@latest").unwrap_or(name);
        if let Some(newest) = snapshots.iter().rev().find(|s| s.root.source == source) {
            return Ok(newest.clone());
        }
        let with_prefix = |s: &&Snapshot| name.len() >= 4 && s.id.to_string().starts_with(name);
        let mut matches = snapshots.iter().filter(with_prefix);
        match (matches.next(), matches.count()) {
            (Some(snapshot), 0) => Ok(snapshot.clone()),
            (Some(_), others) => Err(Error::AmbiguousSnapshot {
                name: name.to_owned(),
                count: others + 1,
            }),
            (None, _) => match errors
                .into_iter()
                .find(|(key, _)| key.name().starts_with(name) && name.len() >= 4)
            {
                Some((_, error)) => Err(error),
                None => Err(Error::NoSnapshot {
                    name: name.to_owned(),
                    hint: known_sources(&snapshots),
                }),
            },
        }
    }

    /// The newest snapshot of a source, if there is one.
    ///
    /// # Errors
    /// When snapshots cannot be listed.
    pub fn latest(&self, source: &str) -> Result<Option<Snapshot>> {
        let (snapshots, _) = self.snapshots_lossy()?;
        Ok(snapshots
            .into_iter()
            .rev()
            .find(|s| s.root.source == source))
    }

    /// The index as the fragments tell it. Where one cannot be read, the directories of the packs that it
    /// described stand in, so that a damaged index never keeps data from coming back.
    pub(crate) fn index_for_reading(&self) -> Result<Index> {
        let (mut index, unreadable) = self.inner.indexed()?;
        if !unreadable.is_empty() {
            self.adopt_unindexed(&mut index)?;
        }
        Ok(index)
    }

    /// The index, and the packs it does not list although they are stored: what an interrupted run left, or
    /// a lost fragment described. They are in the returned index too, ready to be used.
    pub(crate) fn index_for_writing(&self) -> Result<(Index, Vec<PackRecord>)> {
        let (mut index, unreadable) = self.inner.indexed()?;
        if unreadable.is_empty() && !self.inner.backend.abilities().cheap_listing {
            return Ok((index, Vec::new()));
        }
        let adopted = self.adopt_unindexed(&mut index)?;
        Ok((index, adopted))
    }

    /// Adds packs that are stored but not indexed to an index.
    pub(crate) fn adopt_unindexed(&self, index: &mut Index) -> Result<Vec<PackRecord>> {
        let mut adopted = Vec::new();
        for (key, record) in self.inner.unindexed_packs(index)? {
            match record {
                Ok(record) => adopted.push(record),
                Err(error) => tracing::warn!(%key, %error, "a pack cannot be used"),
            }
        }
        index.add_packs(&adopted)?;
        Ok(adopted)
    }
}

fn known_sources(snapshots: &[Snapshot]) -> String {
    let sources: BTreeSet<_> = snapshots.iter().map(|s| s.root.source.as_str()).collect();
    if sources.is_empty() {
        return "the repository holds no snapshot yet".to_owned();
    }
    let list: Vec<_> = sources.into_iter().collect();
    format!(
        "sources with snapshots: {}; `reprise snapshots` lists ids",
        list.join(", ")
    )
}

fn check_pinned_signers(config: &Config, pinned: &[SignerId], location: &str) -> Result<()> {
    let unknown = config
        .signers
        .iter()
        .find(|signer| !pinned.contains(&signer.key));
    match unknown {
        Some(signer) if !pinned.is_empty() => Err(Error::PinMismatch {
            location: location.to_owned(),
            reason: format!("the policy does not pin its signer {}", signer.key),
            pin_file: PathBuf::from("the policy's `signers:`"),
        }),
        _ => Ok(()),
    }
}

fn read_secrets(
    backend: &dyn Backend,
    config: &Config,
    identities: &Identities,
    recipients: &[String],
) -> Result<Secrets> {
    let key = keys_key(&config.keys);
    let bytes = match backend.get(&key, None) {
        Ok(bytes) => bytes,
        Err(BackendError::NotFound { .. }) => {
            return Err(Error::Missing {
                object: key.to_string(),
                needed_by: CONFIG_KEY.to_owned(),
            });
        }
        Err(source) => {
            return Err(Error::Backend {
                location: backend.location(),
                source,
            });
        }
    };
    if ObjectId::of(&bytes) != config.keys {
        return Err(Error::damaged(&key, "its bytes do not have its name"));
    }
    let json = identities.decrypt(&bytes, &key, recipients, SECRETS_BYTES_MAX)?;
    Secrets::from_json(&json).map_err(|reason| Error::damaged(&key, reason))
}

/// Stores an object whose hash is `id`, and reads it back before anything relies on it.
pub(crate) fn put_verified(
    backend: &dyn Backend,
    key: &ObjectKey,
    parts: &[&[u8]],
    id: &ObjectId,
) -> Result<()> {
    /// Read back in pieces, so that a pack is not in memory twice.
    const PIECE: u64 = 4 << 20;
    let failed = |source| Error::Backend {
        location: backend.location(),
        source,
    };
    backend.put(key, parts).map_err(failed)?;
    let size: u64 = parts.iter().map(|part| part.len() as u64).sum();
    let mut hasher = blake3::Hasher::new();
    if backend.size(key).map_err(failed)? != size {
        return Err(Error::damaged(
            key,
            "it has another size than what was just written",
        ));
    }
    let mut position = 0;
    while position < size {
        let end = (position + PIECE).min(size);
        hasher.update(&backend.get(key, Some(position..end)).map_err(failed)?);
        position = end;
    }
    if ObjectId::from_bytes(*hasher.finalize().as_bytes()) == *id {
        Ok(())
    } else {
        Err(Error::damaged(
            key,
            "it reads back other than it was just written: check the disk",
        ))
    }
}

impl Inner {
    pub(crate) fn failed(&self, source: BackendError) -> Error {
        Error::Backend {
            location: self.backend.location(),
            source,
        }
    }

    pub(crate) fn list(&self, folder: &str) -> Result<Vec<crate::backend::ObjectInfo>> {
        self.backend
            .list(folder)
            .map_err(|source| self.failed(source))
    }

    /// Reads an object whose name is the hash of its bytes.
    pub(crate) fn get_named(&self, key: &ObjectKey) -> Result<Vec<u8>> {
        let bytes = self
            .backend
            .get(key, None)
            .map_err(|source| self.failed(source))?;
        if key.name() == ObjectId::of(&bytes).to_string() {
            Ok(bytes)
        } else {
            Err(Error::damaged(key, "its bytes do not have its name"))
        }
    }

    pub(crate) fn read_root(&self, key: &ObjectKey) -> Result<Snapshot> {
        let id: ObjectId = key
            .name()
            .parse()
            .map_err(|_| Error::damaged(key, "its name is not an identifier"))?;
        let bytes = self.get_named(key)?;
        let verified = envelope::verify(RecordKind::Snapshot, &bytes, key, &self.trust)?;
        let recipients = self.catalog_recipients.texts();
        let json = verified.open(&self.identities, key, recipients, ROOT_BYTES_MAX)?;
        let root: SnapshotRoot = serde_json::from_slice(&json)
            .map_err(|e| Error::damaged(key, format!("it cannot be understood: {e}")))?;
        Ok(Snapshot {
            id,
            signer: verified.signer,
            root,
        })
    }

    pub(crate) fn write_root(&self, root: &SnapshotRoot, host: &HostKeys) -> Result<ObjectId> {
        let json = serde_json::to_vec(root)
            .map_err(|e| Error::Internal(format!("writing a snapshot root: {e}")))?;
        let sealed = envelope::seal(
            RecordKind::Snapshot,
            &json,
            &self.catalog_recipients,
            &host.signer,
            self.trust.repository(),
        )?;
        let id = ObjectId::of(&sealed);
        put_verified(self.backend.as_ref(), &snapshot_key(&id), &[&sealed], &id)?;
        Ok(id)
    }

    /// The index of all readable fragments, and the unreadable ones.
    pub(crate) fn indexed(&self) -> Result<(Index, Unreadable)> {
        let (index, unreadable) = self.indexed_of(&self.fragment_ids()?)?;
        for (fragment, error) in &unreadable {
            tracing::warn!(%fragment, %error, "an index fragment cannot be read");
        }
        Ok((index, unreadable))
    }

    fn indexed_of(&self, fragments: &BTreeSet<ObjectId>) -> Result<(Index, Unreadable)> {
        let cache = IndexCache::new(self.cache.as_deref());
        let (tables, unreadable) = cache.load(fragments, |id| self.read_fragment(id))?;
        Ok((Index::new(tables), unreadable))
    }

    /// As [`Self::indexed`], but every fragment is read from the storage, whatever the cache holds.
    pub(crate) fn indexed_anew(&self) -> Result<(Index, Unreadable)> {
        let (mut readable, mut unreadable) = (BTreeSet::new(), Unreadable::new());
        for id in self.fragment_ids()? {
            match self.read_fragment(&id) {
                Ok(_) => drop(readable.insert(id)),
                Err(error) if error.class() == ErrorClass::Failed => return Err(error),
                Err(error) => unreadable.push((id, error)),
            }
        }
        let (index, more) = self.indexed_of(&readable)?;
        unreadable.extend(more);
        Ok((index, unreadable))
    }

    pub(crate) fn fragment_ids(&self) -> Result<BTreeSet<ObjectId>> {
        // A foreign name cannot be a fragment; `verify` reports it.
        Ok(self
            .list("index")?
            .iter()
            .filter_map(|info| info.key.name().parse().ok())
            .collect())
    }

    pub(crate) fn read_fragment(&self, id: &ObjectId) -> Result<Vec<PackRecord>> {
        let key = fragment_key(id);
        let bytes = self.get_named(&key)?;
        let verified = envelope::verify(RecordKind::Index, &bytes, &key, &self.trust)?;
        let recipients = self.catalog_recipients.texts();
        let content = verified.open(&self.identities, &key, recipients, DIRECTORY_BYTES_MAX)?;
        parse_fragment(&content, self.config.segment_plain_max())
            .map_err(|reason| Error::damaged(&key, reason))
    }

    pub(crate) fn directory_reader(&self) -> DirectoryReader<'_> {
        DirectoryReader {
            backend: self.backend.as_ref(),
            identities: &self.identities,
            trust: &self.trust,
            recipients: self.catalog_recipients.texts(),
            plain_max: self.config.segment_plain_max(),
        }
    }

    /// Packs that are stored but that the index does not know, with whatever is wrong with them.
    pub(crate) fn unindexed_packs(
        &self,
        index: &Index,
    ) -> Result<Vec<(ObjectKey, Result<PackRecord>)>> {
        let known: std::collections::HashSet<_> = index.packs().map(|(id, _)| id).collect();
        let reader = self.directory_reader();
        let mut found = Vec::new();
        for info in self.list("packs")? {
            match info.key.name().parse::<ObjectId>() {
                Ok(id) if known.contains(&id) => {}
                Ok(id) if pack_key(&id) == info.key => found.push((info.key, reader.read(&id))),
                _ => {
                    let error = Error::damaged(&info.key, "its name is not that of a pack");
                    found.push((info.key, Err(error)));
                }
            }
        }
        Ok(found)
    }
}
