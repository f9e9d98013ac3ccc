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
    /// The gate of a destination: all repositories there share it.
    pub(super) fn of(destination: &str) -> Arc<Self> {
        static GATES: OnceLock<Mutex<HashMap<String, Weak<Gate>>>> = OnceLock::new();
        let gates = GATES.get_or_init(Mutex::default);
        let mut gates = gates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(destination).and_then(Weak::upgrade) {
            return gate;
        }
        let gate = Arc::new(Self::default());
        gates.insert(destination.to_owned(), Arc::downgrade(&gate));
        gate
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
            let left = self.left.notified();
            if self.try_enter() {
                return Pass { gate: self };
            }
            left.await;
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
        let gate = Gate::default();
        let now = Instant::now();
        gate.throttled_at(now);
        gate.throttled_at(now + Duration::from_millis(10));
        assert!((gate.state().limit - 4.0).abs() < 1e-9);
        for second in 1..20 {
            gate.throttled_at(now + Duration::from_secs(second * 2));
        }
        assert!(
            (gate.state().limit - 1.0).abs() < 1e-9,
            "one always remains"
        );
        for _ in 0..10_000 {
            gate.went_well();
        }
        assert!((gate.state().limit - MAX).abs() < 1e-9);
    }

    #[test]
    fn no_more_than_the_limit_are_inside() {
        let gate = Gate::default();
        let inside = (0..100).filter(|_| gate.try_enter()).count();
        assert_eq!(inside, 8);
        drop(Pass { gate: &gate });
        assert!(gate.try_enter());
        assert!(!gate.try_enter());
    }

    #[test]
    fn one_destination_has_one_gate() {
        let one = Gate::of("https://a/b");
        assert!(Arc::ptr_eq(&one, &Gate::of("https://a/b")));
        assert!(!Arc::ptr_eq(&one, &Gate::of("https://a/c")));
    }
}
