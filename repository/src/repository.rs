//! A repository: making one, opening one, and finding its snapshots.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::backend::{
    AzureBackend, Backend, BackendError, LocalBackend, ObjectInfo, ObjectKey, RemoteOptions,
    RepositoryLocation, S3Backend, Traffic,
};
use crate::clock::{Clock, SystemClock};
use crate::config::{CONFIG_KEY, Config, FORMAT, Layout, RecipientTexts};
use crate::crypt::{Identities, Recipients, has_recipient};
use crate::envelope::{self, RecordKind};
use crate::error::{Error, ErrorClass, Result};
use crate::host::{HostDirectory, HostKeys, KeeperKeys, load_or_create_keeper_keys};
use crate::id::{ObjectId, RepositoryId};
use crate::index::{
    FRAGMENT_CHUNKS_MAX, FragmentErrors, Index, IndexCache, fragment_key, parse_fragment,
    write_fragment,
};
use crate::keyring::Keyring;
use crate::keys::{put_secrets, read_all_wrapped_keys, read_keyring, read_secrets};
use crate::names::id_from_key;
use crate::pack::{DIRECTORY_BYTES_MAX, PackDirectoryReader, PackRecord, pack_key};
use crate::pack_descriptions::PackDescriptions;
use crate::parallel::map_in_parallel;
use crate::record_cache::RecordCache;
use crate::records::is_not_found;
use crate::replaced_packs::ReplacedPacks;
use crate::secrets::Secrets;
use crate::sign::{HostSigner, KnownSigner, SignerId, SignerRole};
use crate::snapshot::{Snapshot, SnapshotRoot, snapshot_key};
use crate::trust::TrustStore;
use crate::verified_io::{get_verified, read_with_retries};

/// No snapshot root is larger, in bytes: enough for the streams of several hundred million chunks.
const ROOT_BYTES_MAX: usize = 256 << 20;

/// So often the description is read until two readings agree.
const CONFIG_READS_MAX: usize = 5;

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
    /// The file of the keeper's keys, made if it does not exist. `None`: the host is the keeper as well.
    pub keeper: Option<PathBuf>,
}

/// How to open a repository.
#[derive(Debug)]
pub struct OpenOptions {
    /// The host's folder of keys and pins.
    pub host: HostDirectory,
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
    pub(crate) trust: TrustStore,
    pub(crate) keyring: Keyring,
    pub(crate) secrets: Secrets,
    pub(crate) identities: Identities,
    pub(crate) data_recipients: Recipients,
    pub(crate) catalog_recipients: Recipients,
    pub(crate) host: Option<HostKeys>,
    pub(crate) cache: Option<PathBuf>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The backend of a location. `options` are for destinations over a network.
///
/// # Errors
/// [`Error::Backend`] when settings or credentials cannot be used.
pub fn open_backend(
    location: &RepositoryLocation,
    options: &RemoteOptions,
) -> Result<Arc<dyn Backend>> {
    let failed = |source| Error::Backend {
        location: location.to_string(),
        source,
    };
    match location {
        RepositoryLocation::Local(path) => {
            let backend = LocalBackend::new(path);
            backend.remove_stale_temp_files();
            Ok(Arc::new(backend))
        }
        RepositoryLocation::S3 { bucket, prefix } => {
            let backend = S3Backend::new(bucket, prefix, options.clone()).map_err(failed)?;
            Ok(Arc::new(backend))
        }
        RepositoryLocation::Azure {
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
pub fn repository_exists(backend: &dyn Backend) -> Result<bool> {
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
    ObjectKey::from_trusted(CONFIG_KEY.to_owned())
}

impl Repository {
    /// Makes a repository: secrets first, `reprise.json` last, so that a half-made one does not exist.
    ///
    /// # Errors
    /// [`Error::RepositoryExists`], [`Error::Recipient`], or what the backend says.
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
        let mut writers = vec![keys.recipient.clone()];
        writers.extend(keeper.as_ref().and_then(|keeper| keeper.recipient.clone()));
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
            signers: initial_signers(&keys, keeper.as_ref(), options),
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
        // Where nobody refuses a second one, another host may have won; its repository is left alone.
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
    /// [`Error::UnsupportedFormat`], [`Error::Damaged`], or what the backend says.
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
        let (config, hash) = read_config_confirmed(backend.as_ref())?;
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
        let (keyring, unusable) = read_keyring(backend.as_ref(), &config, &records)?;
        for (key, reason) in unusable {
            tracing::warn!(%key, %reason, "an object under keys/ is invalid and is ignored");
        }
        let catalog_recipients = keyring.catalog_recipients()?;
        let recipients = catalog_recipients.texts();
        let (secrets, opened) = read_secrets(backend.as_ref(), &keyring, &identities, recipients)?;
        let handed =
            read_all_wrapped_keys(backend.as_ref(), &keyring, &identities, &records, &opened)?;
        let identities = identities.with_file_keys(handed);
        Ok(Self {
            inner: Arc::new(Inner {
                trust: keyring.trust().clone(),
                data_recipients: keyring.data_recipients()?,
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
            }),
        })
    }

    /// The description of the repository.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The hash of the bytes of `reprise.json`.
    #[must_use]
    pub fn config_hash(&self) -> ObjectId {
        self.inner.config_hash
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
    pub fn cache_dir(&self) -> Option<&Path> {
        self.inner.cache.as_deref()
    }

    /// Secrets for chunk ids and cut points.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.inner.secrets
    }

    /// Fails early when no given identity reads contents, of now or from before recipients were changed.
    ///
    /// # Errors
    /// [`Error::NoMatchingIdentity`].
    pub fn require_data_identity(&self) -> Result<()> {
        let inner = &self.inner;
        let (object, mut recipients) = match self.require_current_identity() {
            Err(Error::NoMatchingIdentity { object, recipients }) => (object, recipients),
            done => return done,
        };
        let added = inner.keyring.applied_records().iter();
        let added = added.flat_map(|applied| &applied.record.add.recipients.data);
        for recipient in inner.config.recipients.data.iter().chain(added) {
            if has_recipient(&recipients, recipient) {
                continue;
            }
            // One that cannot be used here, as its plugin is missing, is no way in.
            let earlier = Recipients::parse(std::slice::from_ref(recipient));
            if earlier
                .and_then(|earlier| self.require_identity_of(&earlier))
                .is_ok()
            {
                return Ok(());
            }
            recipients.push(recipient.clone());
        }
        Err(Error::NoMatchingIdentity { object, recipients })
    }

    /// Fails early when no given identity reads contents that are stored now.
    ///
    /// # Errors
    /// [`Error::NoMatchingIdentity`].
    pub(crate) fn require_current_identity(&self) -> Result<()> {
        self.require_identity_of(&self.inner.data_recipients)
    }

    fn require_identity_of(&self, recipients: &Recipients) -> Result<()> {
        let probe = recipients.encrypt(b"probe")?;
        let (what, texts) = (&"the contents of this repository", recipients.texts());
        let found = self.inner.identities.decrypt(&probe, what, texts, 64);
        found.map(drop)
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
        let (mut snapshots, errors) = self.all_snapshots_lossy()?;
        snapshots.retain(|snapshot| !snapshot.forgotten);
        Ok((snapshots, errors))
    }

    /// As [`Self::snapshots_lossy`], with the forgotten ones that are not swept yet.
    ///
    /// # Errors
    /// When roots or tombstones cannot be listed at all.
    pub fn all_snapshots_lossy(&self) -> Result<(Vec<Snapshot>, Vec<UnreadableRoot>)> {
        self.load_snapshots(&self.inner.record_cache("snapshots"))
    }

    /// As [`Self::snapshots_lossy`], but every root is read from the storage, whatever the cache holds.
    pub(crate) fn snapshots_uncached(&self) -> Result<(Vec<Snapshot>, Vec<UnreadableRoot>)> {
        self.load_snapshots(&RecordCache::new(None, "snapshots"))
    }

    /// Roots before tombstones: what is forgotten meanwhile may still appear here, but nothing that was brought
    /// back meanwhile is taken for forgotten.
    fn load_snapshots(&self, cache: &RecordCache) -> Result<(Vec<Snapshot>, Vec<UnreadableRoot>)> {
        let (mut snapshots, mut errors) = (Vec::new(), Vec::new());
        let listed = self.inner.list_objects("snapshots")?;
        cache.remove_others(listed.iter().map(|info| &info.key));
        let readers = self.inner.backend.capabilities().parallel_reads;
        let roots = map_in_parallel(readers, &listed, |info| self.inner.read_root(info, cache));
        for (info, root) in listed.into_iter().zip(roots) {
            match root {
                Ok(snapshot) => snapshots.push(snapshot),
                // Listed and gone: it was swept meanwhile.
                Err(error) if is_not_found(&error) => {}
                Err(error) => errors.push((info.key, error)),
            }
        }
        let tombstones = self.read_tombstones()?;
        for snapshot in &mut snapshots {
            snapshot.forgotten = tombstones.is_forgotten(&snapshot.id);
        }
        snapshots.sort_by_key(|snapshot| (snapshot.root.data_time, snapshot.id));
        Ok((snapshots, errors))
    }

    /// Finds a snapshot by a prefix of its id, `SOURCE@latest`, or a source's name (its newest snapshot).
    ///
    /// A forgotten snapshot is only found by its id.
    ///
    /// A root that cannot be read is skipped with a warning: the others must still be restorable.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`], [`Error::AmbiguousSnapshot`].
    pub fn find_snapshot(&self, name: &str) -> Result<Snapshot> {
        let (snapshots, errors) = self.all_snapshots_lossy()?;
        for (key, error) in &errors {
            tracing::warn!(%key, %error, "cannot read a snapshot root; the snapshot is not listed");
        }
        let source = name.strip_suffix("@latest").unwrap_or(name);
        let kept = |s: &&Snapshot| !s.forgotten && s.root.source == source;
        if let Some(newest) = snapshots.iter().rev().find(kept) {
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
                    hint: describe_known_sources(&snapshots),
                }),
            },
        }
    }

    /// The newest snapshot of a source, if there is one.
    ///
    /// # Errors
    /// When snapshots cannot be listed.
    pub fn latest_snapshot(&self, source: &str) -> Result<Option<Snapshot>> {
        let (snapshots, _) = self.snapshots_lossy()?;
        Ok(snapshots
            .into_iter()
            .rev()
            .find(|s| s.root.source == source))
    }

    /// The index as the fragments tell it. Where one cannot be read, the directories of the packs that it
    /// described stand in, so that a damaged index never keeps data from coming back.
    pub(crate) fn index_for_reading(&self) -> Result<Index> {
        let quarantine = self.inner.read_quarantine()?;
        let (mut index, unreadable) = self.inner.load_index_without(&quarantine.fragment_ids())?;
        if !unreadable.is_empty() {
            self.add_unindexed_packs(&mut index)?;
        }
        // What was encrypted anew is what the present identities open.
        let mut last = quarantine.pack_ids();
        last.extend(ReplacedPacks::read(&self.inner, self.inner.backend.as_ref())?.packs());
        index.deprioritize_packs(last);
        Ok(index)
    }

    /// The index, and the packs it does not list although they are stored: what an interrupted run left, or
    /// a lost fragment described. They are in the returned index too, ready to be used.
    ///
    /// `noted` are packs that runs which died have noted; they are looked for where nothing is listed.
    /// Nor are `unusable` packs looked at: a sweep is about to delete them.
    pub(crate) fn index_for_writing(
        &self,
        noted: &BTreeSet<ObjectId>,
        unusable: &HashSet<ObjectId>,
    ) -> Result<(Index, Vec<PackRecord>)> {
        let quarantine = self.inner.read_quarantine()?;
        // What is damaged must be stored again.
        let unusable = &unusable.union(&quarantine.pack_ids()).copied().collect();
        let (mut index, unreadable) = self.inner.load_index_without(&quarantine.fragment_ids())?;
        index.exclude_packs(unusable);
        let noted = &noted
            .iter()
            .filter(|id| !unusable.contains(*id))
            .copied()
            .collect();
        if unreadable.is_empty() && !self.inner.backend.capabilities().cheap_listing {
            let adopted = self.inner.find_recorded_packs(&index, noted)?;
            index.add_packs(&adopted)?;
            return Ok((index, adopted));
        }
        let mut adopted = self.inner.find_unindexed_packs(&index)?;
        adopted.retain(|record| !unusable.contains(&record.pack));
        index.add_packs(&adopted)?;
        Ok((index, adopted))
    }

    /// Adds packs that are stored but not indexed to an index.
    pub(crate) fn add_unindexed_packs(&self, index: &mut Index) -> Result<Vec<PackRecord>> {
        let adopted = self.inner.find_unindexed_packs(index)?;
        index.add_packs(&adopted)?;
        Ok(adopted)
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

/// Whom a new repository believes, and in what.
fn initial_signers(
    host: &HostKeys,
    keeper: Option<&KeeperKeys>,
    options: &InitOptions,
) -> Vec<KnownSigner> {
    let signer = |key, roles: &[SignerRole], name: &str| KnownSigner {
        key,
        roles: roles.to_vec(),
        name: name.to_owned(),
    };
    let (id, name) = (host.signer.id(), &options.host_name);
    match keeper {
        None => vec![signer(id, &[SignerRole::Writer, SignerRole::Keeper], name)],
        Some(keeper) => vec![
            signer(id, &[SignerRole::Writer], name),
            signer(keeper.signer, &[SignerRole::Keeper], "keeper"),
        ],
    }
}

fn describe_known_sources(snapshots: &[Snapshot]) -> String {
    let kept = snapshots.iter().filter(|s| !s.forgotten);
    let sources: BTreeSet<_> = kept.map(|s| s.root.source.as_str()).collect();
    if sources.is_empty() {
        return "the repository has no snapshots".to_owned();
    }
    let list: Vec<_> = sources.into_iter().collect();
    format!(
        "sources with snapshots: {}; `reprise snapshots` lists snapshot IDs",
        list.join(", ")
    )
}

/// Copies of a repository have the same identifier, but each has its own index and roots.
fn cache_dir_name(config: &Config, location: &str) -> String {
    let place = ObjectId::from_content(location.as_bytes()).to_string();
    format!("{}-{}", config.repository.as_str(), &place[..8])
}

/// Reads the description. No name tells its hash, so where bytes may be changed on the way, two readings must agree:
/// one that was garbled must neither be pinned nor pass for a forgery.
fn read_config_confirmed(backend: &dyn Backend) -> Result<(Config, ObjectId)> {
    let read = || read_with_retries(backend, || read_config(backend));
    let mut last = read()?;
    if !backend.capabilities().reads_may_be_corrupted {
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

impl Inner {
    pub(crate) fn backend_error(&self, source: BackendError) -> Error {
        Error::Backend {
            location: self.backend.location(),
            source,
        }
    }

    pub(crate) fn list_objects(&self, folder: &str) -> Result<Vec<ObjectInfo>> {
        self.backend
            .list(folder)
            .map_err(|source| self.backend_error(source))
    }

    /// The bytes of `reprise.json`, which are those that were opened.
    pub(crate) fn config_bytes(&self) -> Result<Vec<u8>> {
        read_with_retries(self.backend.as_ref(), || {
            let bytes = self
                .backend
                .get(&config_key(), None)
                .map_err(|source| self.backend_error(source))?;
            if ObjectId::from_content(&bytes) == self.config_hash {
                Ok(bytes)
            } else {
                Err(Error::damaged_object(
                    &config_key(),
                    "it was changed after the repository was opened",
                ))
            }
        })
    }

    /// Reads an object whose name is the hash of its bytes.
    pub(crate) fn get_verified(&self, key: &ObjectKey) -> Result<Vec<u8>> {
        get_verified(self.backend.as_ref(), key)
    }

    /// The cache of the records in a folder, where asking the storage is dear.
    pub(crate) fn record_cache(&self, folder: &str) -> RecordCache {
        let cached = !self.backend.capabilities().cheap_listing;
        RecordCache::new(self.cache.as_deref().filter(|_| cached), folder)
    }

    pub(crate) fn read_root(&self, info: &ObjectInfo, roots: &RecordCache) -> Result<Snapshot> {
        self.read_cached(&info.key, roots, |id, bytes| {
            self.parse_root(info, id, bytes)
        })
    }

    /// Reads a record, from the cache if it is there; one that can be read is kept there.
    pub(crate) fn read_cached<T>(
        &self,
        key: &ObjectKey,
        cache: &RecordCache,
        parse: impl Fn(ObjectId, &[u8]) -> Result<T>,
    ) -> Result<T> {
        let id = id_from_key(key)
            .ok_or_else(|| Error::damaged_object(key, "its name is not an object ID"))?;
        if let Some(bytes) = cache.get(&id) {
            return parse(id, &bytes);
        }
        let bytes = self.get_verified(key)?;
        let record = parse(id, &bytes)?;
        cache.insert(&id, &bytes);
        Ok(record)
    }

    fn parse_root(&self, info: &ObjectInfo, id: ObjectId, bytes: &[u8]) -> Result<Snapshot> {
        let key = &info.key;
        let verified = envelope::verify_record(RecordKind::Snapshot, bytes, key, &self.trust)?;
        let recipients = self.catalog_recipients.texts();
        let json = verified.open(&self.identities, key, recipients, ROOT_BYTES_MAX)?;
        let root: SnapshotRoot = serde_json::from_slice(&json).map_err(|e| {
            Error::damaged_object(key, format!("its content cannot be parsed: {e}"))
        })?;
        Ok(Snapshot {
            id,
            signer: verified.signer,
            root,
            received: info.received,
            forgotten: false,
        })
    }

    pub(crate) fn write_root(&self, root: &SnapshotRoot, host: &HostKeys) -> Result<ObjectId> {
        let json = serde_json::to_vec(root)
            .map_err(|e| Error::Internal(format!("cannot encode a snapshot root: {e}")))?;
        let (backend, signer) = (self.backend.as_ref(), &host.signer);
        self.put_signed(backend, RecordKind::Snapshot, &json, signer, snapshot_key)
    }

    /// This host's signing key.
    pub(crate) fn signer(&self) -> Result<&HostSigner> {
        let host = self.host.as_ref();
        host.map(|host| &host.signer)
            .ok_or_else(|| Error::Internal("this host has no signing key".to_owned()))
    }

    /// Stores a fragment of the index.
    pub(crate) fn put_fragment(&self, packs: &[PackRecord]) -> Result<ObjectId> {
        self.put_fragment_at(self.backend.as_ref(), packs)
    }

    /// Stores packs' descriptions in fragments here, or at a copy of this repository.
    pub(crate) fn put_fragments_at(
        &self,
        backend: &dyn Backend,
        packs: Vec<PackRecord>,
    ) -> Result<()> {
        let (mut part, mut chunks) = (Vec::new(), 0);
        for pack in packs {
            chunks += pack.chunk_count();
            part.push(pack);
            if chunks >= FRAGMENT_CHUNKS_MAX {
                self.put_fragment_at(backend, &std::mem::take(&mut part))?;
                chunks = 0;
            }
        }
        if !part.is_empty() {
            self.put_fragment_at(backend, &part)?;
        }
        Ok(())
    }

    fn put_fragment_at(&self, backend: &dyn Backend, packs: &[PackRecord]) -> Result<ObjectId> {
        let json = write_fragment(packs)?;
        self.put_signed(
            backend,
            RecordKind::Index,
            &json,
            self.signer()?,
            fragment_key,
        )
    }

    /// The index of all readable fragments, and the unreadable ones.
    pub(crate) fn load_index(&self) -> Result<(Index, FragmentErrors)> {
        self.load_index_without(&self.read_quarantine()?.fragment_ids())
    }

    /// The index of all readable fragments but some.
    pub(crate) fn load_index_without(
        &self,
        left_out: &HashSet<ObjectId>,
    ) -> Result<(Index, FragmentErrors)> {
        let mut fragments = self.fragment_ids()?;
        fragments.retain(|id| !left_out.contains(id));
        let (index, unreadable) = self.build_index(&fragments, |id| Ok(self.read_fragment(id)))?;
        for (fragment, error) in &unreadable {
            tracing::warn!(%fragment, %error, "an index fragment cannot be read");
        }
        Ok((index, unreadable))
    }

    /// Fragments that a signer added after it was revoked must not come out of a cache.
    fn index_cache(&self) -> IndexCache {
        IndexCache::new(self.cache.as_deref(), self.trust.revocations_hash())
    }

    fn build_index(
        &self,
        fragments: &BTreeSet<ObjectId>,
        read: impl FnMut(&ObjectId) -> Result<Result<Vec<PackRecord>>>,
    ) -> Result<(Index, FragmentErrors)> {
        let cache = self.index_cache();
        let (tables, unreadable) = cache.load_tables(fragments, read)?;
        Ok((Index::new(tables), unreadable))
    }

    /// As [`Self::load_index`], but every fragment is read from the storage, whatever the cache holds. `left_out`
    /// are not read. Also tells what each fragment says.
    pub(crate) fn load_index_uncached(
        &self,
        left_out: &HashSet<ObjectId>,
    ) -> Result<(Index, FragmentErrors, PackDescriptions)> {
        let cached = self.index_cache().cached_fragments();
        let (mut readable, mut unreadable) = (self.fragment_ids()?, FragmentErrors::new());
        readable.retain(|id| !left_out.contains(id));
        let mut said = PackDescriptions::default();
        // What is not cached is read for the index.
        for id in readable.intersection(&cached) {
            match self.read_fragment_or_fail(id)? {
                Ok(packs) => said.add_fragment(id, &packs),
                Err(error) => unreadable.push((*id, error)),
            }
        }
        readable.retain(|id| unreadable.iter().all(|(bad, _)| bad != id));
        let (index, more) = self.build_index(&readable, |id| {
            let read = self.read_fragment_or_fail(id)?;
            if let Ok(packs) = &read {
                said.add_fragment(id, packs);
            }
            Ok(read)
        })?;
        unreadable.extend(more);
        Ok((index, unreadable, said))
    }

    /// A fragment, or what is wrong with it. Where the storage does not answer, nothing is known of either.
    fn read_fragment_or_fail(&self, id: &ObjectId) -> Result<Result<Vec<PackRecord>>> {
        match self.read_fragment(id) {
            // Its packs tell what is in them, whatever a newer version's fragment says.
            Err(error @ Error::UnsupportedFormat { .. }) => Ok(Err(error)),
            Err(error) if error.class() == ErrorClass::Failed => Err(error),
            read => Ok(read),
        }
    }

    pub(crate) fn fragment_ids(&self) -> Result<BTreeSet<ObjectId>> {
        // A foreign name cannot be a fragment; `verify` reports it.
        Ok(self
            .list_objects("index")?
            .iter()
            .filter_map(|info| id_from_key(&info.key))
            .collect())
    }

    pub(crate) fn read_fragment(&self, id: &ObjectId) -> Result<Vec<PackRecord>> {
        let bytes = self.get_verified(&fragment_key(id))?;
        self.open_fragment(id, &bytes)
    }

    /// What a fragment says whose bytes are known to have its name.
    pub(crate) fn open_fragment(&self, id: &ObjectId, bytes: &[u8]) -> Result<Vec<PackRecord>> {
        let key = fragment_key(id);
        let verified = envelope::verify_record(RecordKind::Index, bytes, &key, &self.trust)?;
        let recipients = self.catalog_recipients.texts();
        let content = verified.open(&self.identities, &key, recipients, DIRECTORY_BYTES_MAX)?;
        parse_fragment(&content, self.config.segment_plain_max())
            .map_err(|reason| Error::damaged_object(&key, reason))
    }

    pub(crate) fn directory_reader(&self) -> PackDirectoryReader<'_> {
        PackDirectoryReader {
            backend: self.backend.as_ref(),
            identities: &self.identities,
            trust: &self.trust,
            recipients: self.catalog_recipients.texts(),
            plain_max: self.config.segment_plain_max(),
        }
    }

    /// Of some packs those that are stored, whole, and unknown to the index. Each is read: nobody may have
    /// verified it when the run that stored it died.
    fn find_recorded_packs(
        &self,
        index: &Index,
        noted: &BTreeSet<ObjectId>,
    ) -> Result<Vec<PackRecord>> {
        let known: std::collections::HashSet<_> = index.packs().map(|(id, _)| id).collect();
        let mut found = Vec::new();
        for id in noted.iter().filter(|id| !known.contains(id)) {
            let read = self
                .get_verified(&pack_key(id))
                .and_then(|bytes| self.directory_reader().parse_whole_pack(id, &bytes));
            match read {
                Ok(record) => found.push(record),
                Err(Error::Backend {
                    source: BackendError::NotFound { .. },
                    ..
                }) => {}
                Err(error) if error.class() == ErrorClass::Failed => return Err(error),
                Err(error) => {
                    tracing::warn!(pack = %id, %error, "a pack that is not in the index cannot be read; it is ignored")
                }
            }
        }
        Ok(found)
    }

    /// Packs that are stored and whole but not indexed.
    fn find_unindexed_packs(&self, index: &Index) -> Result<Vec<PackRecord>> {
        let mut found = Vec::new();
        let listed = self.list_objects("packs")?;
        for (key, record) in self.read_unindexed_packs(index, listed) {
            match record {
                Ok(record) => found.push(record),
                Err(error) => {
                    tracing::warn!(%key, %error, "a pack that is not in the index cannot be read; it is ignored")
                }
            }
        }
        Ok(found)
    }

    /// Of the listed packs those that the index does not know, with whatever is wrong with them.
    pub(crate) fn read_unindexed_packs(
        &self,
        index: &Index,
        listed: Vec<ObjectInfo>,
    ) -> Vec<(ObjectKey, Result<PackRecord>)> {
        let known: std::collections::HashSet<_> = index.packs().map(|(id, _)| id).collect();
        let reader = self.directory_reader();
        let mut found = Vec::new();
        for info in listed {
            match id_from_key(&info.key) {
                Some(id) if known.contains(&id) => {}
                Some(id) => {
                    let record =
                        read_with_retries(self.backend.as_ref(), || reader.read_directory(&id));
                    found.push((info.key, record));
                }
                None => {
                    let error = Error::damaged_object(&info.key, "its name is not a pack ID");
                    found.push((info.key, Err(error)));
                }
            }
        }
        found
    }
}
