//! A wrapper that makes another backend fail on purpose, for tests.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::{
    Backend, BackendError, BackendResult, Capabilities, ObjectInfo, ObjectKey, ProbedCapabilities,
    Traffic, WriteVerification,
};

/// What happens from the chosen operation on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InjectedFault {
    /// The process is dead: this operation and all later ones fail and change nothing.
    Crash,
    /// As `Crash`, but the chosen operation, if it is a put, still reaches the storage.
    CrashAfter,
    /// Every put fails as on a full disk; reads work.
    DiskFull,
}

/// Counts operations and injects a fault from the n-th on (counted from 0).
#[derive(Debug)]
pub struct FaultyBackend<B> {
    inner: B,
    fault: InjectedFault,
    from_operation: u64,
    operations: AtomicU64,
}

impl<B: Backend> FaultyBackend<B> {
    /// Wraps `inner`; `from_operation` is the first operation that fails.
    pub fn new(inner: B, fault: InjectedFault, from_operation: u64) -> Self {
        Self {
            inner,
            fault,
            from_operation,
            operations: AtomicU64::new(0),
        }
    }

    /// The number of operations so far.
    pub fn operations(&self) -> u64 {
        self.operations.load(Ordering::SeqCst)
    }

    /// `None`: continue. `Some(first)`: fail; `first` is true for the chosen operation itself.
    fn next_fault(&self) -> Option<bool> {
        let operation = self.operations.fetch_add(1, Ordering::SeqCst);
        (operation >= self.from_operation).then_some(operation == self.from_operation)
    }

    fn should_fail_read(&self) -> bool {
        self.next_fault().is_some() && self.fault != InjectedFault::DiskFull
    }
}

fn crash_error(key: &str) -> BackendError {
    BackendError::Io {
        operation: "reach",
        key: key.to_owned(),
        source: "injected crash".into(),
    }
}

#[deny(clippy::missing_trait_methods)]
impl<B: Backend> Backend for FaultyBackend<B> {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn put(&self, key: &ObjectKey, parts: &[Bytes]) -> BackendResult<WriteVerification> {
        match (self.next_fault(), self.fault) {
            (None, _) => self.inner.put(key, parts),
            (Some(_), InjectedFault::DiskFull) => Err(BackendError::NoSpace {
                operation: "write",
                key: key.to_string(),
                source: std::io::Error::from(std::io::ErrorKind::StorageFull).into(),
            }),
            (Some(true), InjectedFault::CrashAfter) => {
                self.inner.put(key, parts)?;
                Err(crash_error(key.as_str()))
            }
            (Some(_), _) => Err(crash_error(key.as_str())),
        }
    }

    fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> BackendResult<Vec<u8>> {
        if self.should_fail_read() {
            Err(crash_error(key.as_str()))
        } else {
            self.inner.get(key, range)
        }
    }

    fn size(&self, key: &ObjectKey) -> BackendResult<u64> {
        if self.should_fail_read() {
            Err(crash_error(key.as_str()))
        } else {
            self.inner.size(key)
        }
    }

    fn received(&self, key: &ObjectKey) -> BackendResult<Option<DateTime<Utc>>> {
        if self.should_fail_read() {
            Err(crash_error(key.as_str()))
        } else {
            self.inner.received(key)
        }
    }

    fn list(&self, directory: &str) -> BackendResult<Vec<ObjectInfo>> {
        if self.should_fail_read() {
            Err(crash_error(directory))
        } else {
            self.inner.list(directory)
        }
    }

    fn delete(&self, key: &ObjectKey) -> BackendResult<()> {
        if self.should_fail_read() {
            Err(crash_error(key.as_str()))
        } else {
            self.inner.delete(key)
        }
    }

    fn locked_until(&self, key: &ObjectKey) -> BackendResult<Option<DateTime<Utc>>> {
        if self.should_fail_read() {
            Err(crash_error(key.as_str()))
        } else {
            self.inner.locked_until(key)
        }
    }

    fn lock_until(&self, key: &ObjectKey, until: DateTime<Utc>) -> BackendResult<()> {
        if self.should_fail_read() {
            Err(crash_error(key.as_str()))
        } else {
            self.inner.lock_until(key, until)
        }
    }

    fn probe(&self) -> BackendResult<ProbedCapabilities> {
        self.inner.probe()
    }

    fn traffic(&self) -> Traffic {
        self.inner.traffic()
    }
}
