//! Counters that long operations advance and front ends show.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Error, Result};

/// What an operation has done so far. All counters only grow.
#[derive(Debug, Default)]
pub struct Progress {
    /// Entries, packs or other items done.
    pub items: AtomicU64,
    /// The number of items, once known; otherwise 0.
    pub items_total: AtomicU64,
    /// Plain bytes done.
    pub bytes: AtomicU64,
    /// The number of bytes, once known; otherwise 0.
    pub bytes_total: AtomicU64,
    /// Bytes written to the repository.
    pub stored_bytes: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress {
    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    /// Reads a counter.
    #[must_use]
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    /// Asks the operation to stop at the next safe point.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }

    /// Stops the operation if that was requested.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub fn check_cancelled(&self) -> Result<()> {
        if self.cancelled.load(Ordering::SeqCst) {
            Err(Error::Interrupted)
        } else {
            Ok(())
        }
    }
}
