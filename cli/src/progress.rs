//! Showing progress: a line on a terminal, JSON lines with `--json`, nothing otherwise.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use reprise_repository::Progress;
use serde_json::json;

use crate::context::Context;
use crate::output;

/// How often a terminal line is redrawn and a JSON line is written.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);
const JSON_INTERVAL: Duration = Duration::from_secs(1);

/// Set by the first interruption, for code that waits deep inside an operation.
static STOP_FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// The interruption flag.
pub(crate) fn stop_flag() -> Arc<AtomicBool> {
    Arc::clone(STOP_FLAG.get_or_init(Arc::default))
}

/// The operation to stop on an interruption.
static CURRENT_OPERATION: OnceLock<Mutex<Weak<Progress>>> = OnceLock::new();

/// Shows an operation's progress until dropped.
#[derive(Debug)]
pub(crate) struct ProgressDisplay {
    /// The counters to advance.
    pub(crate) progress: Arc<Progress>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ProgressDisplay {
    /// Starts to show an operation; `what` is its name for people.
    pub(crate) fn start(context: &Context, what: &str) -> Self {
        let progress = Arc::new(Progress::default());
        stop_on_interruption(&progress);
        let quiet = context.global.no_progress || context.global.quiet;
        let terminal = std::io::stderr().is_terminal();
        let (stop, stopped) = channel();
        let (counters, what) = (Arc::clone(&progress), what.to_owned());
        let thread = match (quiet, context.global.json) {
            (true, _) => None,
            (false, true) => Some(std::thread::spawn(move || {
                while stopped.recv_timeout(JSON_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    output::print_json(&json!({
                        "event": "progress",
                        "operation": what,
                        "items": Progress::get(&counters.items),
                        "items_total": Progress::get(&counters.items_total),
                        "bytes": Progress::get(&counters.bytes),
                        "bytes_total": Progress::get(&counters.bytes_total),
                        "stored_bytes": Progress::get(&counters.stored_bytes),
                    }));
                }
            })),
            (false, false) if terminal => Some(std::thread::spawn(move || {
                let bar = create_progress_bar();
                while stopped.recv_timeout(REDRAW_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    bar.set_message(format!("{what}: {}", format_progress(&counters)));
                    bar.tick();
                }
                bar.finish_and_clear();
            })),
            (false, false) => None,
        };
        Self {
            progress,
            stop: Some(stop),
            thread,
        }
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A progress line that fails to draw is not worth an error.
            drop(thread.join());
        }
    }
}

fn create_progress_bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} [{elapsed_precise}] {wide_msg}") {
        bar.set_style(style);
    }
    bar
}

fn format_progress(counters: &Progress) -> String {
    let of = |done: String, total: u64, shown: String| {
        if total == 0 {
            done
        } else {
            format!("{done} of {shown}")
        }
    };
    let (items, items_total) = (
        Progress::get(&counters.items),
        Progress::get(&counters.items_total),
    );
    let (bytes, bytes_total) = (
        Progress::get(&counters.bytes),
        Progress::get(&counters.bytes_total),
    );
    let mut text = format!(
        "entries: {}, {}",
        of(items.to_string(), items_total, items_total.to_string()),
        of(
            output::format_bytes(bytes),
            bytes_total,
            output::format_bytes(bytes_total)
        ),
    );
    let stored = Progress::get(&counters.stored_bytes);
    if stored > 0 {
        text.push_str(&format!(", {} stored", output::format_bytes(stored)));
    }
    text
}

/// The first interruption asks the operation to stop cleanly, the second ends the program.
fn stop_on_interruption(progress: &Arc<Progress>) {
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
