//! Reading the keys again, for who works for a long time: recipients and signers come and go meanwhile.

use std::sync::Arc;

use crate::error::Result;
use crate::keys::key_objects::read_keyring;
use crate::store::record_cache::RecordCache;
use crate::store::{Repository, Store};

impl Repository {
    /// The same repository with the keys as they are stored now. What it encrypts and signs from then on is for these.
    ///
    /// # Errors
    /// When they cannot be listed or read, or records that this machine has seen are gone.
    pub fn with_current_keys(&self) -> Result<Self> {
        let store = &self.inner;
        let records = RecordCache::new(store.cache.as_deref(), "keys");
        let seen = store.memory.read();
        let stored = read_keyring(store.backend.as_ref(), &store.config, &records)?;
        let missing_keys = stored.check_memory(&store.memory, &seen);
        let keyring = stored.keyring;
        let (data_recipients, catalog_recipients) =
            (keyring.data_recipients()?, keyring.catalog_recipients()?);
        let current = Self {
            inner: Arc::new(Store {
                backend: Arc::clone(&store.backend),
                config: store.config.clone(),
                config_hash: store.config_hash,
                trust: keyring.trust().clone(),
                data_readers: keyring.data_readers(),
                catalog_readers: keyring.catalog_readers(),
                keyring,
                secrets: store.secrets.clone(),
                identities: store.identities.clone(),
                data_recipients,
                catalog_recipients,
                host: store.host.clone(),
                cache: store.cache.clone(),
                clock: Arc::clone(&store.clock),
                memory: store.memory.clone(),
                missing_keys,
            }),
            meant: Arc::clone(&self.meant),
        };
        current.inner.require_known_keys()?;
        Ok(current)
    }

    /// Whether reading the keys again costs nothing that counts.
    #[must_use]
    pub fn reads_are_cheap(&self) -> bool {
        self.inner.backend.capabilities().cheap_listing
    }

    /// Recovery recipients that are not recipients any more, by the keys as they are stored now.
    ///
    /// # Errors
    /// As for [`Self::with_current_keys`].
    pub fn removed_recipients(&self) -> Result<Vec<String>> {
        let current = self.with_current_keys()?;
        let current = current.inner.data_recipients.texts();
        let mine = self.inner.data_recipients.texts().iter();
        Ok(mine
            .filter(|text| !current.contains(text))
            .cloned()
            .collect())
    }
}
