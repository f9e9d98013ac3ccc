//! Doing the same with many items on several threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Does something with each item on several threads; the results are in order.
pub(crate) fn in_parallel<T: Sync, R: Send>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    if threads <= 1 || items.len() <= 1 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(n) else { return };
                    let result = work(item);
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    results.push((n, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(n, _)| *n);
    results.into_iter().map(|(_, result)| result).collect()
}

/// As [`in_parallel`], until one fails: then no other item is begun, and that failure is the result.
pub(crate) fn try_in_parallel<T: Sync, R: Send, E: Send>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let failed = AtomicBool::new(false);
    let results = in_parallel(threads, items, |item| {
        if failed.load(Ordering::Relaxed) {
            return None;
        }
        let result = work(item);
        if result.is_err() {
            failed.store(true, Ordering::Relaxed);
        }
        Some(result)
    });
    results.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        let items: Vec<usize> = (0..1000).collect();
        for threads in [0, 1, 7] {
            let doubled = in_parallel(threads, &items, |n| n * 2);
            assert!(doubled.iter().zip(&items).all(|(d, n)| *d == n * 2));
            assert_eq!(doubled.len(), items.len());
        }
    }
    #[test]
    fn after_a_failure_nothing_is_begun() {
        let items: Vec<usize> = (0..1000).collect();
        for threads in [0, 1, 7] {
            let begun = AtomicUsize::new(0);
            let result = try_in_parallel(threads, &items, |n| {
                begun.fetch_add(1, Ordering::Relaxed);
                if *n == 5 { Err("five") } else { Ok(*n) }
            });
            assert_eq!(result, Err("five"));
            assert!(begun.into_inner() < items.len());
            let all: Result<_, ()> = try_in_parallel(threads, &items, |n| Ok(*n));
            assert_eq!(all.as_ref(), Ok(&items));
        }
    }
}
