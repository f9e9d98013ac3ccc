//! Runs a function for many items on several threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::Result;

/// Threads that read segments and write files.
const THREADS_MAX: usize = 8;

/// Runs `body` for 0 to `count` on several threads; the first error stops all.
pub(super) fn run_in_parallel(
    count: usize,
    body: impl Fn(usize, &mut Vec<u8>) -> Result<()> + Sync,
) -> Result<()> {
    run_on_threads(core_count(), count, body)
}

/// As [`run_in_parallel`], on more threads than there are cores where they mostly wait.
pub(super) fn run_on_threads(
    threads: usize,
    count: usize,
    body: impl Fn(usize, &mut Vec<u8>) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(THREADS_MAX).min(count) {
            scope.spawn(|| {
                let mut buffer = Vec::new();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        return;
                    }
                    if let Err(error) = body(n, &mut buffer) {
                        failure
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .get_or_insert(error);
                        next.store(count, Ordering::Relaxed);
                        return;
                    }
                }
            });
        }
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

pub(super) fn core_count() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}
