//! A repository: making one, opening one, and finding its snapshots.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::backend::{
    AzureBackend, Backend, BackendError, LocalBackend, Location, ObjectInfo, ObjectKey,
    RemoteOptions, S3Backend, Traffic,
};
use crate::config::{CONFIG_KEY, Config, FORMAT, Layout, RecipientTexts, Trust};
use crate::crypt::{Identities, Recipients};
use crate::envelope::{self, RecordKind};
use crate::error::{Error, ErrorClass, Result};
use crate::host::{HostFolder, HostKeys};
use crate::id::{ObjectId, RepositoryId};
use crate::index::{Index, IndexCache, Unreadable, fragment_key, parse_fragment};
use crate::pack::{DIRECTORY_BYTES_MAX, DirectoryReader, PackRecord, pack_key};
use crate::parallel::in_parallel;
use crate::roots::RootCache;
use crate::secrets::Secrets;
use crate::sign::{KnownSigner, Role, SignerId};
use crate::snapshot::{Snapshot, SnapshotRoot, snapshot_key};
use crate::stored::{put_verified, read_again};

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
    pub(crate) config_hash: ObjectId,
    pub(crate) trust: Trust,
    pub(crate) secrets: Secrets,
    pub(crate) identities: Identities,
    pub(crate) data_recipients: Recipients,
    pub(crate) catalog_recipients: Recipients,
    pub(crate) host: Option<HostKeys>,
    pub(crate) cache: Option<PathBuf>,
}

/// The backend of a location. `options` are for destinations over a network.
///
/// # Errors
/// [`Error::Backend`] when settings or credentials cannot be used.
pub fn backend_at(location: &Location, options: &RemoteOptions) -> Result<Arc<dyn Backend>> {
    let failed = |source| Error::Backend {
        location: location.to_string(),
        source,
    };
    match location {
        Location::Local(path) => {
            let backend = LocalBackend::new(path);
            backend.remove_stale_unfinished();
            Ok(Arc::new(backend))
        }
        Location::S3 { bucket, prefix } => {
            let backend = S3Backend::new(bucket, prefix, options.clone()).map_err(failed)?;
            Ok(Arc::new(backend))
        }
        Location::Azure {
            account,
            container,
            prefix,
        } => {
            let backend = AzureBackend::new(account, container, prefix, options.clone());
            Ok(Arc::new(backend.map_err(failed)?))
        }
    }
}

/// Whether there is a repository.
///
/// # Errors
/// When the backend cannot be asked.
pub fn exists(backend: &dyn Backend) -> Result<bool> {
    // Not by its size: a server that is only asked for a size does not say whether the bucket exists.
    match backend.get(&config_key(), None) {
        Ok(_) => Ok(true),
        Err(BackendError::NotFound { .. }) => Ok(false),
        Err(source) => Err(Error::Backend {
            location: backend.location(),
            source,
        }),
    }
}

pub(crate) fn config_key() -> ObjectKey {
    ObjectKey::trusted(CONFIG_KEY.to_owned())
}

pub(crate) fn keys_key(id: &ObjectId) -> ObjectKey {
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
        put_verified(
            backend,
            &keys_key(&config.keys),
            &[secrets.into()],
            &config.keys,
        )?;
        let bytes = config.to_bytes()?;
        match backend.put(&config_key(), &[bytes.clone().into()]) {
            Err(BackendError::AlreadyExists { .. }) => {
                return Err(Error::RepositoryExists {
                    location: location.clone(),
                });
            }
            done => drop(done.map_err(failed)?),
        }
        // Where nobody refuses a second one, another host may have won; its repository is left alone.
        if !backend.abilities().refuses_overwrite
            && backend.get(&config_key(), None).map_err(failed)? != bytes
        {
            return Err(Error::RepositoryExists {
                location: location.clone(),
            });
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
        let (config, hash) = read_again(backend.as_ref(), || read_config(backend.as_ref()))?;
        options
            .host
            .check_pin(&location, &config.repository, hash)?;
        check_pinned_signers(&config, &options.pinned_signers, &location)?;
        let host = options.host.keys()?;
        let mut files = options.identity_files.clone();
        files.extend(host.iter().map(|keys| keys.identity_file.clone()));
        let identities = Identities::read(&files)?;
        let catalog_recipients = config.catalog_recipients()?;
        let recipients = catalog_recipients.texts();
        let secrets = read_again(backend.as_ref(), || {
            read_secrets(backend.as_ref(), &config, &identities, recipients)
        })?;
        let cache = options
            .cache
            .as_ref()
            .map(|cache| cache.join(cache_name(&config, &location)));
        Ok(Self {
            inner: Arc::new(Inner {
                trust: config.trust(),
                data_recipients: config.data_recipients()?,
                backend,
                config,
                config_hash: hash,
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

    /// What was sent and received so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.inner.backend.traffic()
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
        let cached = !self.inner.backend.abilities().cheap_listing;
        self.roots(&RootCache::new(
            self.inner.cache.as_deref().filter(|_| cached),
        ))
    }

    /// As [`Self::snapshots_lossy`], but every root is read from the storage, whatever the cache holds.
    pub(crate) fn snapshots_anew(&self) -> Result<(Vec<Snapshot>, Vec<UnreadableRoot>)> {
        self.roots(&RootCache::new(None))
    }

    fn roots(&self, cache: &RootCache) -> Result<(Vec<Snapshot>, Vec<UnreadableRoot>)> {
        let (mut snapshots, mut errors) = (Vec::new(), Vec::new());
        let keys: Vec<_> = self
            .inner
            .list("snapshots")?
            .into_iter()
            .map(|info| info.key)
            .collect();
        cache.forget_others(&keys);
        let readers = self.inner.backend.abilities().parallel_reads;
        let roots = in_parallel(readers, &keys, |key| self.inner.read_root(key, cache));
        for (key, root) in keys.into_iter().zip(roots) {
            match root {
                Ok(snapshot) => snapshots.push(snapshot),
                Err(error) => errors.push((key, error)),
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
    ///
    /// `noted` are packs that runs which died have noted; they are looked for where nothing is listed.
    pub(crate) fn index_for_writing(
        &self,
        noted: &BTreeSet<ObjectId>,
    ) -> Result<(Index, Vec<PackRecord>)> {
        let (mut index, unreadable) = self.inner.indexed()?;
        if unreadable.is_empty() && !self.inner.backend.abilities().cheap_listing {
            let adopted = self.inner.noted_packs(&index, noted)?;
            index.add_packs(&adopted)?;
            return Ok((index, adopted));
        }
        let adopted = self.adopt_unindexed(&mut index)?;
        Ok((index, adopted))
    }

    /// Adds packs that are stored but not indexed to an index.
    pub(crate) fn adopt_unindexed(&self, index: &mut Index) -> Result<Vec<PackRecord>> {
        let mut adopted = Vec::new();
        let listed = self.inner.list("packs")?;
        for (key, record) in self.inner.unindexed_packs(index, listed) {
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

/// Copies of a repository have the same identifier, but each has its own index and roots.
fn cache_name(config: &Config, location: &str) -> String {
    let place = ObjectId::of(location.as_bytes()).to_string();
    format!("{}-{}", config.repository.as_str(), &place[..8])
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

/// The description of a repository, and the hash of its bytes.
fn read_config(backend: &dyn Backend) -> Result<(Config, ObjectId)> {
    let location = backend.location();
    match backend.get(&config_key(), None) {
        Ok(bytes) => Ok((Config::parse(&bytes)?, ObjectId::of(&bytes))),
        Err(BackendError::NotFound { .. }) => Err(Error::NoRepository { location }),
        Err(source) => Err(Error::Backend { location, source }),
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

impl Inner {
    pub(crate) fn failed(&self, source: BackendError) -> Error {
        Error::Backend {
            location: self.backend.location(),
            source,
        }
    }

    pub(crate) fn list(&self, folder: &str) -> Result<Vec<ObjectInfo>> {
        self.backend
            .list(folder)
            .map_err(|source| self.failed(source))
    }

    /// The bytes of `reprise.json`, which are those that were opened.
    pub(crate) fn config_bytes(&self) -> Result<Vec<u8>> {
        read_again(self.backend.as_ref(), || {
            let bytes = self
                .backend
                .get(&config_key(), None)
                .map_err(|source| self.failed(source))?;
            if ObjectId::of(&bytes) == self.config_hash {
                Ok(bytes)
            } else {
                Err(Error::damaged(
                    &config_key(),
                    "it changed since it was opened",
                ))
            }
        })
    }

    /// Reads an object whose name is the hash of its bytes.
    pub(crate) fn get_named(&self, key: &ObjectKey) -> Result<Vec<u8>> {
        read_again(self.backend.as_ref(), || {
            let bytes = self
                .backend
                .get(key, None)
                .map_err(|source| self.failed(source))?;
            if key.name() == ObjectId::of(&bytes).to_string() {
                Ok(bytes)
            } else {
                Err(Error::damaged(key, "its bytes do not have its name"))
            }
        })
    }

    pub(crate) fn read_root(&self, key: &ObjectKey, roots: &RootCache) -> Result<Snapshot> {
        let id: ObjectId = key
            .name()
            .parse()
            .map_err(|_| Error::damaged(key, "its name is not an identifier"))?;
        if let Some(bytes) = roots.get(&id) {
            return self.parse_root(key, id, &bytes);
        }
        let bytes = self.get_named(key)?;
        let snapshot = self.parse_root(key, id, &bytes)?;
        roots.keep(&id, &bytes);
        Ok(snapshot)
    }

    fn parse_root(&self, key: &ObjectKey, id: ObjectId, bytes: &[u8]) -> Result<Snapshot> {
        let verified = envelope::verify(RecordKind::Snapshot, bytes, key, &self.trust)?;
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
        put_verified(
            self.backend.as_ref(),
            &snapshot_key(&id),
            &[sealed.into()],
            &id,
        )?;
        Ok(id)
    }

    /// The index of all readable fragments, and the unreadable ones.
    pub(crate) fn indexed(&self) -> Result<(Index, Unreadable)> {
        let (index, unreadable) =
            self.indexed_of(&self.fragment_ids()?, |id| Ok(self.read_fragment(id)))?;
        for (fragment, error) in &unreadable {
            tracing::warn!(%fragment, %error, "an index fragment cannot be read");
        }
        Ok((index, unreadable))
    }

    fn indexed_of(
        &self,
        fragments: &BTreeSet<ObjectId>,
        read: impl FnMut(&ObjectId) -> Result<Result<Vec<PackRecord>>>,
    ) -> Result<(Index, Unreadable)> {
        let cache = IndexCache::new(self.cache.as_deref());
        let (tables, unreadable) = cache.load(fragments, read)?;
        Ok((Index::new(tables), unreadable))
    }

    /// As [`Self::indexed`], but every fragment is read from the storage, whatever the cache holds.
    pub(crate) fn indexed_anew(&self) -> Result<(Index, Unreadable)> {
        let cached = IndexCache::new(self.cache.as_deref()).fragments();
        let (mut readable, mut unreadable) = (self.fragment_ids()?, Unreadable::new());
        // What is not cached is read for the index.
        for id in readable.intersection(&cached) {
            if let Err(error) = self.read_or_stop(id)? {
                unreadable.push((*id, error));
            }
        }
        readable.retain(|id| unreadable.iter().all(|(bad, _)| bad != id));
        let (index, more) = self.indexed_of(&readable, |id| self.read_or_stop(id))?;
        unreadable.extend(more);
        Ok((index, unreadable))
    }

    /// A fragment, or what is wrong with it. Where the storage does not answer, nothing is known of either.
    fn read_or_stop(&self, id: &ObjectId) -> Result<Result<Vec<PackRecord>>> {
        match self.read_fragment(id) {
            Err(error) if error.class() == ErrorClass::Failed => Err(error),
            read => Ok(read),
        }
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

    /// Of some packs those that are stored, whole, and unknown to the index. Each is read: nobody may have
    /// verified it when the run that stored it died.
    fn noted_packs(&self, index: &Index, noted: &BTreeSet<ObjectId>) -> Result<Vec<PackRecord>> {
        let known: std::collections::HashSet<_> = index.packs().map(|(id, _)| id).collect();
        let mut found = Vec::new();
        for id in noted.iter().filter(|id| !known.contains(id)) {
            let read = self
                .get_named(&pack_key(id))
                .and_then(|bytes| self.directory_reader().read_whole(id, &bytes));
            match read {
                Ok(record) => found.push(record),
                Err(Error::Backend {
                    source: BackendError::NotFound { .. },
                    ..
                }) => {}
                Err(error) if error.class() == ErrorClass::Failed => return Err(error),
                Err(error) => tracing::warn!(pack = %id, %error, "a pack cannot be used"),
            }
        }
        Ok(found)
    }

    /// Of the listed packs those that the index does not know, with whatever is wrong with them.
    pub(crate) fn unindexed_packs(
        &self,
        index: &Index,
        listed: Vec<ObjectInfo>,
    ) -> Vec<(ObjectKey, Result<PackRecord>)> {
        let known: std::collections::HashSet<_> = index.packs().map(|(id, _)| id).collect();
        let reader = self.directory_reader();
        let mut found = Vec::new();
        for info in listed {
            match info.key.name().parse::<ObjectId>() {
                Ok(id) if known.contains(&id) => {}
                Ok(id) if pack_key(&id) == info.key => {
                    let record = read_again(self.backend.as_ref(), || reader.read(&id));
                    found.push((info.key, record));
                }
                _ => {
                    let error = Error::damaged(&info.key, "its name is not that of a pack");
                    found.push((info.key, Err(error)));
                }
            }
        }
        found
    }
}
