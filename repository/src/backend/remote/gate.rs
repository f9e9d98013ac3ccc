//! How many requests run at the same time: more while all goes well, fewer when the server asks for less.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Requests in flight at first, and at most.
const FIRST: f64 = 8.0;
const MAX: f64 = 16.0;

/// Several refusals within this time are answers to the same burst and count once.
const BURST: Duration = Duration::from_secs(1);

/// An adaptive limit: additive increase, multiplicative decrease.
#[derive(Debug)]
pub(super) struct Gate {
    state: Mutex<State>,
    left: Notify,
}

#[derive(Debug)]
struct State {
    limit: f64,
    inside: usize,
    lowered: Option<Instant>,
}

/// The right to have one request in flight.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    gate: &'a Gate,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                limit: FIRST,
                inside: 0,
                lowered: None,
            }),
            left: Notify::new(),
        }
    }
}

impl Gate {
    /// The limiter of a destination: all repositories there share it.
    pub(super) fn of(destination: &str) -> Arc<Self> {
        static LIMITERS: OnceLock<Mutex<HashMap<String, Weak<Gate>>>> = OnceLock::new();
        let limiters = LIMITERS.get_or_init(Mutex::default);
        let mut limiters = limiters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(limiter) = limiters.get(destination).and_then(Weak::upgrade) {
            return limiter;
        }
        let limiter = Arc::new(Self::default());
        limiters.insert(destination.to_owned(), Arc::downgrade(&limiter));
        limiter
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_enter(&self) -> bool {
        let mut state = self.state();
        #[expect(clippy::cast_precision_loss, reason = "a handful of requests")]
        let free = (state.inside as f64) < state.limit.floor().max(1.0);
        state.inside += usize::from(free);
        free
    }

    /// Waits until one more request may be in flight.
    pub(super) async fn enter(&self) -> Pass<'_> {
        loop {
            let released = self.left.notified();
            if self.try_enter() {
                return Pass { gate: self };
            }
            released.await;
        }
    }

    /// A request was answered.
    pub(super) fn went_well(&self) {
        let mut state = self.state();
        state.limit = (state.limit + 1.0 / state.limit).min(MAX);
    }

    /// The server asked for fewer requests.
    pub(super) fn throttled(&self) {
        self.throttled_at(Instant::now());
    }

    fn throttled_at(&self, now: Instant) {
        let mut state = self.state();
        if state
            .lowered
            .is_none_or(|then| now.duration_since(then) >= BURST)
        {
            state.limit = (state.limit / 2.0).max(1.0);
            state.lowered = Some(now);
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.gate.state().inside -= 1;
        self.gate.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_halve_the_limit_once_a_burst_and_success_raises_it() {
        let limiter = Gate::default();
        let now = Instant::now();
        limiter.throttled_at(now);
        limiter.throttled_at(now + Duration::from_millis(10));
        assert!((limiter.state().limit - 4.0).abs() < 1e-9);
        for second in 1..20 {
            limiter.throttled_at(now + Duration::from_secs(second * 2));
        }
        assert!(
            (limiter.state().limit - 1.0).abs() < 1e-9,
            "one always remains"
        );
        for _ in 0..10_000 {
            limiter.went_well();
        }
        assert!((limiter.state().limit - MAX).abs() < 1e-9);
    }

    #[test]
    fn no_more_than_the_limit_are_inside() {
        let limiter = Gate::default();
        let inside = (0..100).filter(|_| limiter.try_enter()).count();
        assert_eq!(inside, 8);
        drop(Pass { gate: &limiter });
        assert!(limiter.try_enter());
        assert!(!limiter.try_enter());
    }

    #[test]
    fn one_destination_has_one_gate() {
        let one = Gate::of("https://a/b");
        assert!(Arc::ptr_eq(&one, &Gate::of("https://a/b")));
        assert!(!Arc::ptr_eq(&one, &Gate::of("https://a/c")));
    }
}
