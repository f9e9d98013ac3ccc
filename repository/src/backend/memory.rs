//! Objects in memory, for tests.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::{
    Backend, BackendError, BackendResult, Capabilities, ObjectInfo, ObjectKey, WriteVerification,
};

/// A backend whose clones share their objects, so that a "crashed" client's storage can be opened again.
#[derive(Debug, Clone, Default)]
pub struct MemoryBackend {
    objects: Arc<Mutex<BTreeMap<ObjectKey, Vec<u8>>>>,
    clock: Arc<Mutex<StorageClock>>,
}

/// When objects were received, and the time that the storage's clock shows.
#[derive(Debug, Clone, Default)]
struct StorageClock {
    /// `None`: this machine's clock.
    now: Option<DateTime<Utc>>,
    received: BTreeMap<ObjectKey, DateTime<Utc>>,
}

impl MemoryBackend {
    /// An empty backend.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes the stored objects directly, as an attacker or a failing disk would.
    pub fn tamper<T>(&self, change: impl FnOnce(&mut BTreeMap<ObjectKey, Vec<u8>>) -> T) -> T {
        change(&mut self.objects.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A copy with its own objects.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            objects: Arc::new(Mutex::new(self.tamper(|objects| objects.clone()))),
            clock: Arc::new(Mutex::new(self.with_clock(|clock| clock.clone()))),
        }
    }

    /// Sets the storage's clock, which then stands still until it is set again.
    pub fn set_clock(&self, now: DateTime<Utc>) {
        self.with_clock(|clock| clock.now = Some(now));
    }

    fn with_clock<T>(&self, use_it: impl FnOnce(&mut StorageClock) -> T) -> T {
        use_it(&mut self.clock.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Backend for MemoryBackend {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            refuses_overwrite: true,
            cheap_listing: true,
            parallel_reads: 4,
            parallel_puts: 2,
            reads_may_be_corrupted: false,
            protected_in_transit: true,
        }
    }

    fn put(&self, key: &ObjectKey, parts: &[Bytes]) -> BackendResult<WriteVerification> {
        let bytes = parts.concat();
        self.tamper(|objects| match objects.get(key) {
            Some(stored) if *stored == bytes => Ok(WriteVerification::Unverified),
            Some(_) => Err(BackendError::AlreadyExists {
                key: key.to_string(),
            }),
            None => {
                objects.insert(key.clone(), bytes);
                self.with_clock(|clock| {
                    let now = clock.now.unwrap_or_else(Utc::now);
                    clock.received.insert(key.clone(), now)
                });
                Ok(WriteVerification::Unverified)
            }
        })
    }

    fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> BackendResult<Vec<u8>> {
        self.tamper(|objects| {
            let bytes = objects.get(key).ok_or_else(|| BackendError::NotFound {
                key: key.to_string(),
            })?;
            let size_bytes = bytes.len() as u64;
            let Range { start, end } = range.unwrap_or(0..size_bytes);
            let part = usize::try_from(start).ok().zip(usize::try_from(end).ok());
            part.and_then(|(start, end)| bytes.get(start..end))
                .map(<[u8]>::to_vec)
                .ok_or_else(|| BackendError::OutOfRange {
                    key: key.to_string(),
                    size_bytes,
                    start,
                    end,
                })
        })
    }

    fn size(&self, key: &ObjectKey) -> BackendResult<u64> {
        self.tamper(|objects| {
            let bytes = objects.get(key).ok_or_else(|| BackendError::NotFound {
                key: key.to_string(),
            })?;
            Ok(bytes.len() as u64)
        })
    }

    fn list(&self, directory: &str) -> BackendResult<Vec<ObjectInfo>> {
        let prefix = format!("{directory}/");
        let received = self.with_clock(|clock| clock.received.clone());
        self.tamper(|objects| {
            let inside = objects
                .iter()
                .filter(|(key, _)| key.as_str().starts_with(&prefix));
            let info = |(key, bytes): (&ObjectKey, &Vec<u8>)| ObjectInfo {
                key: key.clone(),
                size_bytes: bytes.len() as u64,
                received: received.get(key).copied(),
            };
            Ok(inside.map(info).collect())
        })
    }

    fn delete(&self, key: &ObjectKey) -> BackendResult<()> {
        self.tamper(|objects| objects.remove(key));
        self.with_clock(|clock| clock.received.remove(key));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance;
    use super::*;

    #[test]
    fn it_conforms() {
        conformance::check_conformance(&|| (Box::new(MemoryBackend::new()), Box::new(())));
    }
}
