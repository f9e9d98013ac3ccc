//! How many requests run at the same time: more while they succeed, fewer when the server throttles.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Requests in flight at first, and at most.
const INITIAL_LIMIT: f64 = 8.0;
const MAX_LIMIT: f64 = 16.0;

/// Several throttling responses within this time belong to the same burst and count once.
const THROTTLE_WINDOW: Duration = Duration::from_secs(1);

/// An adaptive limit: additive increase, multiplicative decrease.
#[derive(Debug)]
pub(super) struct ConcurrencyLimiter {
    state: Mutex<LimiterState>,
    permit_released: Notify,
}

#[derive(Debug)]
struct LimiterState {
    limit: f64,
    in_flight: usize,
    last_lowered: Option<Instant>,
}

/// A permit for one request in flight.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    limiter: &'a ConcurrencyLimiter,
}

impl Default for ConcurrencyLimiter {
    fn default() -> Self {
        Self {
            state: Mutex::new(LimiterState {
                limit: INITIAL_LIMIT,
                in_flight: 0,
                last_lowered: None,
            }),
            permit_released: Notify::new(),
        }
    }
}

impl ConcurrencyLimiter {
    /// The limiter of a destination: all repositories there share it.
    pub(super) fn for_destination(destination: &str) -> Arc<Self> {
        static LIMITERS: OnceLock<Mutex<HashMap<String, Weak<ConcurrencyLimiter>>>> =
            OnceLock::new();
        let limiters = LIMITERS.get_or_init(Mutex::default);
        let mut limiters = limiters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(limiter) = limiters.get(destination).and_then(Weak::upgrade) {
            return limiter;
        }
        let limiter = Arc::new(Self::default());
        limiters.insert(destination.to_owned(), Arc::downgrade(&limiter));
        limiter
    }

    fn lock_state(&self) -> std::sync::MutexGuard<'_, LimiterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_acquire(&self) -> bool {
        let mut state = self.lock_state();
        #[expect(clippy::cast_precision_loss, reason = "a handful of requests")]
        let free = (state.in_flight as f64) < state.limit.floor().max(1.0);
        state.in_flight += usize::from(free);
        free
    }

    /// Waits until one more request may be in flight.
    pub(super) async fn acquire(&self) -> Permit<'_> {
        loop {
            let released = self.permit_released.notified();
            if self.try_acquire() {
                return Permit { limiter: self };
            }
            released.await;
        }
    }

    /// A request succeeded.
    pub(super) fn on_success(&self) {
        let mut state = self.lock_state();
        state.limit = (state.limit + 1.0 / state.limit).min(MAX_LIMIT);
    }

    /// The server asked for fewer requests.
    pub(super) fn on_throttle(&self) {
        self.on_throttle_at(Instant::now());
    }

    fn on_throttle_at(&self, now: Instant) {
        let mut state = self.lock_state();
        if state
            .last_lowered
            .is_none_or(|then| now.duration_since(then) >= THROTTLE_WINDOW)
        {
            state.limit = (state.limit / 2.0).max(1.0);
            state.last_lowered = Some(now);
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.limiter.lock_state().in_flight -= 1;
        self.limiter.permit_released.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_halve_the_limit_once_a_burst_and_success_raises_it() {
        let limiter = ConcurrencyLimiter::default();
        let now = Instant::now();
        limiter.on_throttle_at(now);
        limiter.on_throttle_at(now + Duration::from_millis(10));
        assert!((limiter.lock_state().limit - 4.0).abs() < 1e-9);
        for second in 1..20 {
            limiter.on_throttle_at(now + Duration::from_secs(second * 2));
        }
        assert!(
            (limiter.lock_state().limit - 1.0).abs() < 1e-9,
            "one always remains"
        );
        for _ in 0..10_000 {
            limiter.on_success();
        }
        assert!((limiter.lock_state().limit - MAX_LIMIT).abs() < 1e-9);
    }

    #[test]
    fn no_more_than_the_limit_are_in_flight() {
        let limiter = ConcurrencyLimiter::default();
        let inside = (0..100).filter(|_| limiter.try_acquire()).count();
        assert_eq!(inside, 8);
        drop(Permit { limiter: &limiter });
        assert!(limiter.try_acquire());
        assert!(!limiter.try_acquire());
    }

    #[test]
    fn one_destination_has_one_limiter() {
        let one = ConcurrencyLimiter::for_destination("https://a/b");
        assert!(Arc::ptr_eq(
            &one,
            &ConcurrencyLimiter::for_destination("https://a/b")
        ));
        assert!(!Arc::ptr_eq(
            &one,
            &ConcurrencyLimiter::for_destination("https://a/c")
        ));
    }
}
