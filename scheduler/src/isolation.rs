//! Work that must not take the rest of a run down with it: on a thread of its own, with a deadline, its panics caught.
//!
//! A thread that hangs in the operating system cannot be ended from inside the process. It is asked to stop, and after a
//! grace period it is abandoned: its result is never used, and its lease in the repository expires.

use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use reprise_repository::Progress;

use crate::error::{JobError, JobResult};

/// How long work may take to stop when it is asked to.
const STOP_GRACE_MAX: Duration = Duration::from_secs(30);

/// Panics that no error has reported yet.
static RECORDED_PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From now on panics are recorded, to be part of an error, instead of printed.
pub fn record_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let described = describe_panic(panic);
        tracing::debug!(
            panic = %described,
            backtrace = %std::backtrace::Backtrace::capture(),
            "a thread panicked"
        );
        lock_recorded_panics().push(described);
    }));
}

/// The panics that no error has reported yet, oldest first.
pub fn take_recorded_panics() -> Vec<String> {
    std::mem::take(&mut lock_recorded_panics())
}

fn lock_recorded_panics() -> std::sync::MutexGuard<'static, Vec<String>> {
    RECORDED_PANICS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

fn describe_panic(panic: &PanicHookInfo<'_>) -> String {
    let message = panic.payload_as_str().unwrap_or("unknown reason");
    match panic.location() {
        Some(place) => format!("{message} (at {place})"),
        None => message.to_owned(),
    }
}

/// The result of work, unless it panics: then an error with the reason.
///
/// # Errors
/// Those of the work, and [`JobError::Panicked`].
pub fn catch_panics<T>(work: impl FnOnce() -> JobResult<T>) -> JobResult<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        // Those of threads that the work had started are told too: they were first.
        let mut reasons = take_recorded_panics();
        if reasons.is_empty() {
            let text = payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned());
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
            reasons.push(text.unwrap_or_else(|| "unknown reason".to_owned()));
        }
        Err(JobError::Panicked {
            reason: reasons.join("; "),
        })
    })
}

/// Runs work on a thread of its own, for `time_max` at most. `progress` is how it is asked to stop.
///
/// # Errors
/// Those of the work, [`JobError::Panicked`], and [`JobError::Overdue`].
pub fn run_isolated<T: Send + 'static>(
    progress: &Arc<Progress>,
    time_max: Duration,
    work: impl FnOnce() -> JobResult<T> + Send + 'static,
) -> JobResult<T> {
    let (done, result) = channel();
    let started = thread::Builder::new()
        .name("job".to_owned())
        .spawn(move || {
            // Nobody waits any more for the result of abandoned work.
            drop(done.send(catch_panics(work)));
        });
    if let Err(error) = started {
        return Err(JobError::Panicked {
            reason: format!("cannot start a thread: {error}"),
        });
    }
    let ended_unexpectedly = || JobError::Panicked {
        reason: "its thread ended without a result".to_owned(),
    };
    match result.recv_timeout(time_max) {
        Ok(result) => return result,
        Err(RecvTimeoutError::Disconnected) => return Err(ended_unexpectedly()),
        Err(RecvTimeoutError::Timeout) => progress.cancel(),
    }
    let overdue = |abandoned| JobError::Overdue {
        limit: time_max,
        abandoned,
    };
    match result.recv_timeout(time_max.min(STOP_GRACE_MAX)) {
        Ok(Ok(finished)) => Ok(finished),
        Ok(Err(panicked @ JobError::Panicked { .. })) => Err(panicked),
        Ok(Err(_)) => Err(overdue(false)),
        Err(RecvTimeoutError::Disconnected) => Err(ended_unexpectedly()),
        Err(RecvTimeoutError::Timeout) => Err(overdue(true)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);
    const SHORT: Duration = Duration::from_millis(20);

    #[test]
    fn a_panic_is_an_error_with_its_reason() {
        let progress = Arc::new(Progress::default());
        let failed = run_isolated::<()>(&progress, LONG, || panic!("no such {}", "thing"));
        let Err(JobError::Panicked { reason }) = failed else {
            panic!("{failed:?}");
        };
        assert!(reason.contains("no such thing"), "{reason}");
    }

    #[test]
    fn what_can_stop_is_stopped_and_what_cannot_is_abandoned() {
        let progress = Arc::new(Progress::default());
        let asked = Arc::clone(&progress);
        let stopped = run_isolated::<()>(&progress, SHORT, move || {
            while asked.check_cancelled().is_ok() {
                thread::yield_now();
            }
            Err(reprise_repository::Error::Interrupted.into())
        });
        // On a busy machine it may be late, and is abandoned then: it is overdue all the same.
        assert!(
            matches!(stopped, Err(JobError::Overdue { .. })),
            "{stopped:?}"
        );
        let (release, wait) = channel::<()>();
        let hung = run_isolated(&Arc::new(Progress::default()), SHORT, move || {
            let _ = wait.recv();
            Ok(())
        });
        assert!(
            matches!(
                hung,
                Err(JobError::Overdue {
                    abandoned: true,
                    ..
                })
            ),
            "{hung:?}"
        );
        drop(release);
    }

    #[test]
    fn the_result_of_work_is_its_own() {
        let progress = Arc::new(Progress::default());
        assert_eq!(run_isolated(&progress, LONG, || Ok(7)).unwrap(), 7);
        let failed = run_isolated::<()>(&progress, LONG, || Err(JobError::DuplicateRecipient));
        assert!(matches!(failed, Err(JobError::DuplicateRecipient)));
        assert!(progress.check_cancelled().is_ok());
    }
}
