//! Interruptions: the first asks the current operation to stop cleanly, the second ends the program.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use reprise_repository::Progress;

use crate::output;

/// Set by the first interruption, for code that waits deep inside an operation.
static STOP_FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// The interruption flag.
pub(crate) fn stop_flag() -> Arc<AtomicBool> {
    Arc::clone(STOP_FLAG.get_or_init(Arc::default))
}

/// The operation to stop on an interruption.
static CURRENT_OPERATION: OnceLock<Mutex<Weak<Progress>>> = OnceLock::new();

/// The first interruption asks the operation to stop cleanly, the second ends the program.
pub(crate) fn stop_on_interruption(progress: &Arc<Progress>) {
    let current = CURRENT_OPERATION.get_or_init(|| {
        let mut asked = false;
        let handler = move || {
            let current = CURRENT_OPERATION.get().and_then(|current| {
                current
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .upgrade()
            });
            match current {
                Some(progress) if !asked => {
                    asked = true;
                    output::print_note(
                        "stopping; stored data is reused by the next run (interrupt again to stop at once)",
                    );
                    stop_flag().store(true, Ordering::SeqCst);
                    progress.cancel();
                }
                _ => std::process::exit(130),
            }
        };
        if let Err(error) = ctrlc::set_handler(handler) {
            tracing::debug!(%error, "an interruption ends the program at once");
        }
        Mutex::new(Weak::new())
    });
    *current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(progress);
}
