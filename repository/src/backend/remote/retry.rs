//! Retries of failed requests: with jitter, a total deadline, a limit of requests in flight, and cancellation.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::attempt::AttemptError;
use super::traffic_counters::TrafficCounters;
use crate::backend::{BackendError, BackendResult};

/// Requests in flight to one destination, whichever repositories there they are for. A server that wants fewer says so, and
/// the delays before retries give it fewer: see docs/decisions.md.
const REQUESTS_MAX: usize = 16;

/// The first retry delay; it doubles each time.
const RETRY_DELAY_FIRST: Duration = Duration::from_millis(200);

/// The maximum retry delay, unless the server asks for a longer one.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(20);

/// Maximum retry time for a destination that never responded: it is more likely a wrong address.
const FIRST_CONTACT_TIMEOUT: Duration = Duration::from_secs(20);

/// How often a wait checks for cancellation.
const STOP_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How requests to one destination are retried.
#[derive(Debug)]
pub(super) struct Retrier {
    /// One for each request in flight.
    permits: Arc<Semaphore>,
    counters: Arc<TrafficCounters>,
    retry_for: Duration,
    has_answered: AtomicBool,
    stop_requested: Arc<AtomicBool>,
}

impl Retrier {
    pub(super) fn new(
        destination: &str,
        counters: Arc<TrafficCounters>,
        retry_for: Duration,
        stop_requested: Arc<AtomicBool>,
    ) -> Self {
        Self {
            permits: destination_permits(destination),
            counters,
            retry_for,
            has_answered: AtomicBool::new(false),
            stop_requested,
        }
    }

    /// Sends a request until it succeeds, fails permanently, or the deadline passes.
    pub(super) async fn run_with_retries<T, F>(
        &self,
        operation: &'static str,
        key: &str,
        mut attempt: impl FnMut() -> F,
    ) -> BackendResult<T>
    where
        F: Future<Output = Result<T, AttemptError>>,
    {
        let begun = Instant::now();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let (source, retry_after, answered) = match self.attempt_once(&mut attempt).await {
                Ok(value) => return Ok(value),
                Err(AttemptError::Permanent(error)) => return Err(error),
                Err(AttemptError::Transient {
                    source,
                    retry_after,
                    answered,
                }) => (source, retry_after, answered),
            };
            if answered {
                self.has_answered.store(true, Ordering::Relaxed);
            }
            let pause = retry_delay(attempts, retry_after);
            if begun.elapsed() + pause > self.max_retry_time() {
                return Err(BackendError::Unavailable {
                    operation,
                    key: key.to_owned(),
                    attempts,
                    seconds: begun.elapsed().as_secs(),
                    source,
                });
            }
            log_retry(operation, key, attempts, pause, source.as_ref());
            self.counters.retries.fetch_add(1, Ordering::Relaxed);
            self.wait_before_retry(pause, operation, key).await?;
        }
    }

    async fn attempt_once<T, F>(&self, attempt: &mut impl FnMut() -> F) -> Result<T, AttemptError>
    where
        F: Future<Output = Result<T, AttemptError>>,
    {
        // Nobody closes the semaphore, so there is always a permit in the end.
        let _permit = self.permits.acquire().await;
        let result = attempt().await;
        if let Ok(_) | Err(AttemptError::Permanent(_)) = &result {
            self.has_answered.store(true, Ordering::Relaxed);
        }
        result
    }

    fn max_retry_time(&self) -> Duration {
        if self.has_answered.load(Ordering::Relaxed) {
            self.retry_for
        } else {
            self.retry_for.min(FIRST_CONTACT_TIMEOUT)
        }
    }

    async fn wait_before_retry(
        &self,
        pause: Duration,
        operation: &'static str,
        key: &str,
    ) -> BackendResult<()> {
        let end = Instant::now() + pause;
        loop {
            if self.stop_requested.load(Ordering::Relaxed) {
                return Err(BackendError::Interrupted {
                    operation,
                    key: key.to_owned(),
                });
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(left.min(STOP_POLL_INTERVAL)).await;
        }
    }
}

/// The permits of a destination: all repositories there share them.
fn destination_permits(destination: &str) -> Arc<Semaphore> {
    static PERMITS: OnceLock<Mutex<HashMap<String, Weak<Semaphore>>>> = OnceLock::new();
    let permits = PERMITS.get_or_init(Mutex::default);
    let mut permits = permits.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(shared) = permits.get(destination).and_then(Weak::upgrade) {
        return shared;
    }
    let shared = Arc::new(Semaphore::new(REQUESTS_MAX));
    permits.insert(destination.to_owned(), Arc::downgrade(&shared));
    shared
}

fn log_retry(operation: &str, key: &str, attempts: u32, pause: Duration, source: &dyn StdError) {
    let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    let mut reason = source.to_string();
    let mut cause = source.source();
    while let Some(error) = cause {
        reason = format!("{reason}: {error}");
        cause = error.source();
    }
    // One retry is normal; more are worth a message.
    if attempts == 4 {
        tracing::warn!("cannot {operation} {key} ({reason}); retrying");
    } else {
        tracing::info!(operation, key, attempts, pause_ms, %reason, "retrying");
    }
}

/// A random delay below a bound that doubles, or the delay that the server asks for.
fn retry_delay(attempts: u32, retry_after: Option<Duration>) -> Duration {
    let bound = RETRY_DELAY_FIRST
        .saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1).min(16)))
        .min(RETRY_DELAY_MAX);
    let jittered = bound.mul_f64(0.5 + random_fraction() / 2.0);
    match retry_after {
        // The server gave all clients the same time; not all should return at it.
        Some(asked) => asked + jittered.min(Duration::from_secs(1)),
        None => jittered,
    }
}

/// At least 0, below 1. Without randomness the delay is just not jittered.
fn random_fraction() -> f64 {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    fn test_retrier(retry_for: Duration) -> Retrier {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let destination = format!("test {}", NUMBER.fetch_add(1, Ordering::Relaxed));
        Retrier::new(&destination, Arc::default(), retry_for, Arc::default())
    }

    fn transient_error(answered: bool) -> AttemptError {
        AttemptError::Transient {
            source: "busy".into(),
            retry_after: None,
            answered,
        }
    }

    fn block_on_test<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn transient_errors_are_retried_and_permanent_ones_are_not() {
        let retrier = test_retrier(Duration::from_secs(60));
        let mut left = 3;
        let result = block_on_test(retrier.run_with_retries("read", "x", || {
            left -= 1;
            let result = if left > 0 {
                Err(transient_error(true))
            } else {
                Ok(7)
            };
            async { result }
        }));
        assert_eq!(result.unwrap(), 7);
        assert_eq!(retrier.counters.traffic().retries, 2);
        let mut calls = 0;
        let result: BackendResult<()> =
            block_on_test(retrier.run_with_retries("read", "x", || {
                calls += 1;
                async {
                    Err(AttemptError::Permanent(BackendError::NotFound {
                        key: "x".to_owned(),
                    }))
                }
            }));
        assert!(matches!(result, Err(BackendError::NotFound { .. })));
        assert_eq!(calls, 1);
    }

    #[test]
    fn one_destination_has_one_set_of_permits() {
        let one = destination_permits("https://a/b");
        assert!(Arc::ptr_eq(&one, &destination_permits("https://a/b")));
        assert!(!Arc::ptr_eq(&one, &destination_permits("https://a/c")));
    }

    #[test]
    fn no_more_requests_than_permits_are_in_flight() {
        let retrier = test_retrier(Duration::from_secs(60));
        let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
        let attempt = async || {
            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // All that may be in flight are begun before the first goes on.
            tokio::task::yield_now().await;
            inside.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        let callers = (0..50).map(|_| retrier.run_with_retries("read", "x", attempt));
        block_on_test(futures_util::future::join_all(callers));
        assert_eq!(most.into_inner() as usize, REQUESTS_MAX);
    }

    #[test]
    fn pauses_grow_up_to_a_bound_and_heed_the_server() {
        for attempts in 1..100 {
            assert!(retry_delay(attempts, None) <= RETRY_DELAY_MAX);
        }
        assert!(retry_delay(1, None) >= RETRY_DELAY_FIRST / 2);
        assert!(retry_delay(9, None) >= RETRY_DELAY_MAX / 2);
        let asked = Duration::from_secs(33);
        assert!(retry_delay(1, Some(asked)) >= asked);
    }

    #[test]
    fn a_wish_to_stop_ends_the_waiting() {
        let retrier = test_retrier(Duration::from_secs(600));
        retrier.stop_requested.store(true, Ordering::Relaxed);
        let result: BackendResult<()> =
            block_on_test(
                retrier.run_with_retries("read", "x", || async { Err(transient_error(true)) }),
            );
        assert!(matches!(result, Err(BackendError::Interrupted { .. })));
    }
}
