//! The parts of an open repository, and how its objects are listed and read: everything else builds on this.

pub(crate) mod finding;
mod meant_hosts;
pub(crate) mod memory;
pub(crate) mod record_cache;
pub(crate) mod verified_io;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backend::{Backend, BackendError, ObjectInfo, ObjectKey, Traffic};
use crate::clock::Clock;
use crate::crypto::encryption::{Identities, RecipientClass, Recipients};
use crate::crypto::host_keys::HostKeys;
use crate::crypto::signing::HostSigner;
use crate::crypto::trust::TrustStore;
use crate::error::{Error, Result};
use crate::format::config::{Config, config_key};
use crate::format::keyring::Keyring;
use crate::format::names::id_from_key;
use crate::format::pack::PackDirectoryReader;
use crate::format::secrets::Secrets;
use crate::id::ObjectId;
pub use crate::store::meant_hosts::MeantHosts;
use crate::store::memory::LocalMemory;
use crate::store::record_cache::RecordCache;
use crate::store::verified_io::{get_verified, read_with_retries};

/// An open repository. Clones are cheap and share everything.
#[derive(Debug, Clone)]
pub struct Repository {
    pub(crate) inner: Arc<Store>,
    /// What policies and the command line say of hosts.
    pub(crate) meant: Arc<MeantHosts>,
}

/// What every part of this crate needs of an open repository.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) config: Config,
    pub(crate) config_hash: ObjectId,
    pub(crate) trust: TrustStore,
    pub(crate) keyring: Keyring,
    pub(crate) secrets: Secrets,
    pub(crate) identities: Identities,
    pub(crate) data_recipients: Recipients,
    pub(crate) catalog_recipients: Recipients,
    /// Who may read contents: of what was stored before, perhaps only removed recipients.
    pub(crate) data_readers: Vec<String>,
    /// Who may read the catalog.
    pub(crate) catalog_readers: Vec<String>,
    pub(crate) host: Option<HostKeys>,
    pub(crate) cache: Option<PathBuf>,
    pub(crate) clock: Arc<dyn Clock>,
    /// What this machine has seen of it before.
    pub(crate) memory: LocalMemory,
    /// Records of keys that this machine has seen and cannot read any more.
    pub(crate) missing_keys: Vec<ObjectId>,
}

impl Repository {
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

    /// Network traffic so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.inner.backend.traffic()
    }

    /// The location, for display.
    #[must_use]
    pub fn location(&self) -> String {
        self.inner.backend.location()
    }

    /// The repository's directory in the local cache, if there is a cache.
    #[must_use]
    pub fn cache_dir(&self) -> Option<&Path> {
        self.inner.cache.as_deref()
    }

    /// Secrets for chunk IDs and cut points.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.inner.secrets
    }
}

impl Store {
    pub(crate) fn backend_error(&self, source: BackendError) -> Error {
        Error::Backend {
            location: self.backend.location(),
            source,
        }
    }

    pub(crate) fn list_objects(&self, directory: &str) -> Result<Vec<ObjectInfo>> {
        self.backend
            .list(directory)
            .map_err(|source| self.backend_error(source))
    }

    /// The bytes of `reprise.json`, as verified on opening.
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

    /// The cache of the records in a directory, where storage requests are expensive.
    pub(crate) fn record_cache(&self, directory: &str) -> RecordCache {
        let cached = !self.backend.capabilities().cheap_listing;
        RecordCache::new(self.cache.as_deref().filter(|_| cached), directory)
    }

    /// Reads a record, from the cache if it is there; a readable one is cached.
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

    /// All recipients that something of a class may have been encrypted to, the present ones first.
    pub(crate) fn readers(&self, class: RecipientClass) -> &[String] {
        match class {
            RecipientClass::Data => &self.data_readers,
            RecipientClass::Catalog => &self.catalog_readers,
        }
    }

    /// Fails while records of keys are gone: what they removed must not be trusted, or encrypted to.
    pub(crate) fn require_known_keys(&self) -> Result<()> {
        if self.missing_keys.is_empty() {
            return Ok(());
        }
        Err(Error::KeysWithheld {
            location: self.backend.location(),
            records: self
                .missing_keys
                .iter()
                .map(|id| format!("keys/{id}"))
                .collect(),
        })
    }

    /// This host's signing key.
    pub(crate) fn signer(&self) -> Result<&HostSigner> {
        let host = self.host.as_ref();
        host.map(|host| &host.signer)
            .ok_or_else(|| Error::Internal("this host has no signing key".to_owned()))
    }

    pub(crate) fn directory_reader(&self) -> PackDirectoryReader<'_> {
        PackDirectoryReader {
            backend: self.backend.as_ref(),
            identities: &self.identities,
            trust: &self.trust,
            recipients: self.readers(RecipientClass::Catalog),
            plain_max: self.config.segment_plain_max(),
        }
    }
}
