//! Showing progress: a line on a terminal, JSON lines with `--json`, nothing otherwise.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use reprise_repository::Progress;
use serde_json::json;

use crate::context::Context;
use crate::interruption::stop_on_interruption;
use crate::output;

/// How often a terminal line is redrawn and a JSON line is written.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);
const JSON_INTERVAL: Duration = Duration::from_secs(1);

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
