//! Processing many items on several threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Applies a function to each item on several threads; the results are in order.
pub(crate) fn map_in_parallel<T: Sync, R: Send>(
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

/// As [`map_in_parallel`], until one fails: then no other item is started, and that failure is the result.
pub(crate) fn try_map_in_parallel<T: Sync, R: Send, E: Send>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let failed = AtomicBool::new(false);
    let results = map_in_parallel(threads, items, |item| {
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

/// Processes items on several threads while this one consumes the results, in any order. At most `ahead` results
/// wait. After a failure of either side no other item is started, and that failure is the result.
pub(crate) fn try_map_and_consume<T: Sync, R: Send, E: Send>(
    threads: usize,
    ahead: usize,
    items: &[T],
    make: impl Fn(&T) -> Result<R, E> + Sync,
    mut take: impl FnMut(&T, R) -> Result<(), E>,
) -> Result<(), E> {
    if threads <= 1 || items.len() <= 1 {
        return items.iter().try_for_each(|item| take(item, make(item)?));
    }
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (sender, receiver) = crossbeam_channel::bounded(ahead);
        for _ in 0..threads.min(items.len()) {
            let (sender, make, next) = (sender.clone(), &make, &next);
            scope.spawn(move || {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // After a failure nobody receives any more.
                    if sender.send((item, make(item))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        // Dropped at the first failure: a thread that is still working cannot send its result, and ends.
        receiver
            .into_iter()
            .try_for_each(|(item, made)| take(item, made?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        let items: Vec<usize> = (0..1000).collect();
        for threads in [0, 1, 7] {
            let doubled = map_in_parallel(threads, &items, |n| n * 2);
            assert!(doubled.iter().zip(&items).all(|(d, n)| *d == n * 2));
            assert_eq!(doubled.len(), items.len());
        }
    }

    #[test]
    fn what_is_made_is_taken_once() {
        let items: Vec<usize> = (0..1000).collect();
        for threads in [0, 1, 7] {
            let mut taken = Vec::new();
            let all = try_map_and_consume(
                threads,
                2,
                &items,
                |n| Ok::<_, ()>(n * 2),
                |n, doubled| {
                    assert_eq!(doubled, n * 2);
                    taken.push(*n);
                    Ok(())
                },
            );
            taken.sort_unstable();
            assert_eq!((all, &taken), (Ok(()), &items));
        }
    }

    #[test]
    fn whoever_fails_ends_the_making_and_the_taking() {
        let items: Vec<usize> = (0..1000).collect();
        for (threads, maker, taker) in [(1, 5, 1000), (7, 5, 1000), (1, 1000, 5), (7, 1000, 5)] {
            let fails = |n: usize, at: usize| if n == at { Err("five") } else { Ok(n) };
            let begun = AtomicUsize::new(0);
            let make = |n: &usize| {
                begun.fetch_add(1, Ordering::Relaxed);
                fails(*n, maker)
            };
            let take = |n: &usize, _| fails(*n, taker).map(drop);
            let result = try_map_and_consume(threads, 2, &items, make, take);
            assert_eq!(result, Err("five"));
            // Of several threads the one that fails may be the last that the system lets run.
            assert!(threads > 1 || begun.into_inner() < items.len());
        }
    }

    #[test]
    fn after_a_failure_nothing_is_begun() {
        let items: Vec<usize> = (0..1000).collect();
        for threads in [0, 1, 7] {
            let begun = AtomicUsize::new(0);
            let result = try_map_in_parallel(threads, &items, |n| {
                begun.fetch_add(1, Ordering::Relaxed);
                if *n == 5 { Err("five") } else { Ok(*n) }
            });
            assert_eq!(result, Err("five"));
            assert!(begun.into_inner() < items.len());
            let all: Result<_, ()> = try_map_in_parallel(threads, &items, |n| Ok(*n));
            assert_eq!(all.as_ref(), Ok(&items));
        }
    }
}
