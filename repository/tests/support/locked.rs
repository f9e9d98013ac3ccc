//! Storage on which some objects are locked against deletion.

use std::ops::Range;

use bytes::Bytes;
use reprise_repository::backend::memory::MemoryBackend;
use reprise_repository::backend::{
    Backend, BackendError, BackendResult, Capabilities, ObjectInfo, ObjectKey, WriteVerification,
};

#[derive(Debug)]
pub(crate) struct Locked {
    inner: MemoryBackend,
    prefix: String,
}

impl Locked {
    /// Everything whose key begins so is locked.
    pub(crate) fn new(inner: MemoryBackend, prefix: &str) -> Self {
        Self {
            inner,
            prefix: prefix.to_owned(),
        }
    }
}

impl Backend for Locked {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn put(&self, key: &ObjectKey, parts: &[Bytes]) -> BackendResult<WriteVerification> {
        self.inner.put(key, parts)
    }

    fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> BackendResult<Vec<u8>> {
        self.inner.get(key, range)
    }

    fn size(&self, key: &ObjectKey) -> BackendResult<u64> {
        self.inner.size(key)
    }

    fn list(&self, directory: &str) -> BackendResult<Vec<ObjectInfo>> {
        self.inner.list(directory)
    }

    fn delete(&self, key: &ObjectKey) -> BackendResult<()> {
        if key.as_str().starts_with(&self.prefix) {
            return Err(BackendError::Locked {
                key: key.to_string(),
                until: None,
            });
        }
        self.inner.delete(key)
    }
}
