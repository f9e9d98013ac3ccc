//! Telling a server that works on a long statement from one that hangs: the latter does not answer others either.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts what arrives on a connection.
#[derive(Debug, Default)]
pub(super) struct Activity(AtomicU64);

impl Activity {
    /// Something arrived.
    pub(super) fn note(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Ends when nothing has arrived for some time and the server did not answer anybody else either, twice in a row.
/// `is_answering` asks it over another connection.
pub(super) async fn wait_until_dead<A: Future<Output = bool>>(
    activity: &Activity,
    idle_limit: Duration,
    mut is_answering: impl FnMut() -> A,
) {
    loop {
        let before = activity.count();
        tokio::time::sleep(idle_limit).await;
        let is_silent = || activity.count() == before;
        if is_silent() && !is_answering().await && !is_answering().await && is_silent() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(5);

    fn run<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime.unwrap().block_on(work)
    }

    #[test]
    fn a_silent_server_that_answers_others_works_on_a_long_statement() {
        let activity = Activity::default();
        let mut asked = 0;
        run(wait_until_dead(&activity, LIMIT, || {
            asked += 1;
            // One answer that is lost is not enough to give up.
            std::future::ready(asked <= 3 || asked == 5)
        }));
        assert_eq!(asked, 7);
    }

    #[test]
    fn a_server_that_sends_is_not_asked() {
        let activity = Activity::default();
        let mut answers = 0;
        run(wait_until_dead(&activity, LIMIT, || {
            answers += 1;
            if answers <= 2 {
                activity.note();
            }
            std::future::ready(false)
        }));
        assert_eq!(answers, 4);
    }
}
