//! A limit of bytes per second, shared by all requests in one direction.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// No single wait is longer than this, however low the limit is.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// Computes how long to wait to keep to a rate.
#[derive(Debug)]
pub(super) struct BandwidthLimiter {
    bytes_per_second: Option<u64>,
    /// When all bytes reserved so far have been transferred.
    next_free: Mutex<Option<Instant>>,
}

impl BandwidthLimiter {
    /// `None`: no limit.
    pub(super) fn new(bytes_per_second: Option<u64>) -> Self {
        Self {
            bytes_per_second: bytes_per_second.filter(|rate| *rate > 0),
            next_free: Mutex::new(None),
        }
    }

    /// Reserves some bytes, and returns how long to wait afterwards.
    pub(super) fn reserve_bytes(&self, bytes: usize) -> Duration {
        self.reserve_bytes_at(bytes, Instant::now())
    }

    fn reserve_bytes_at(&self, bytes: usize, now: Instant) -> Duration {
        let Some(rate) = self.bytes_per_second else {
            return Duration::ZERO;
        };
        #[expect(clippy::cast_precision_loss, reason = "pieces are small")]
        let cost = Duration::from_secs_f64(bytes as f64 / rate as f64).min(PAUSE_MAX);
        let mut free_at = self
            .next_free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let begin = free_at.unwrap_or(now).max(now);
        let end = begin + cost;
        *free_at = Some(end);
        (end - now).min(PAUSE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_however_many_share_it() {
        let bandwidth = BandwidthLimiter::new(Some(1000));
        let now = Instant::now();
        let mut last = Duration::ZERO;
        for _ in 0..10 {
            last = bandwidth.reserve_bytes_at(500, now);
        }
        assert_eq!(last.as_millis(), 5000);
        // Unused time is not saved up.
        let later = now + Duration::from_secs(100);
        assert_eq!(bandwidth.reserve_bytes_at(500, later).as_millis(), 500);
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        assert!(
            BandwidthLimiter::new(None)
                .reserve_bytes(usize::MAX)
                .is_zero()
        );
    }
}
