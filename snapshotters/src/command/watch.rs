//! Watching over a program: it ends when its time is over or a stop is asked for, with all that it started.

use std::io::Read;
use std::os::fd::AsFd;
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use reprise_repository::Progress;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

/// How often a wish to stop is looked for.
const CHECK: Duration = Duration::from_millis(100);

/// A program that is asked to end has this long for it.
const GRACE: Duration = Duration::from_secs(5);

/// Why a program was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It ran longer than it may.
    TimedOut,
    /// A stop was asked for, or what it writes is no longer wanted.
    Stopped,
}

#[derive(Debug, Default)]
struct State {
    /// The program has ended by itself.
    done: bool,
    ending: Option<Ending>,
    /// Nothing that it still writes is waited for.
    given_up: bool,
}

type Shared = Arc<(Mutex<State>, Condvar)>;

/// Watches one program.
#[derive(Debug)]
pub(super) struct Watch {
    state: Shared,
    thread: JoinHandle<()>,
}

impl Watch {
    pub(super) fn start(child: &Child, timeout: Option<Duration>, progress: Arc<Progress>) -> Self {
        let state = Shared::default();
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || watch(&shared, group, timeout, &progress));
        Self { state, thread }
    }

    /// Ends the program because nobody wants what it writes any more.
    pub(super) fn end_now(&self) {
        lock(&self.state).ending.get_or_insert(Ending::Stopped);
        self.state.1.notify_all();
    }

    /// The program has ended; says why, if it was not by itself.
    pub(super) fn finish(self) -> Option<Ending> {
        lock(&self.state).done = true;
        self.state.1.notify_all();
        drop(self.thread.join());
        lock(&self.state).ending
    }

    /// Reads a pipe of the program, and stops waiting for it once the program was ended.
    pub(super) fn reader<R: Read + AsFd>(&self, pipe: R) -> Patient<R> {
        Patient {
            pipe,
            state: Arc::clone(&self.state),
        }
    }
}

fn lock(state: &Shared) -> std::sync::MutexGuard<'_, State> {
    state.0.lock().unwrap_or_else(PoisonError::into_inner)
}

fn watch(shared: &Shared, group: Option<Pid>, timeout: Option<Duration>, progress: &Progress) {
    let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut state = lock(shared);
    while !state.done && state.ending.is_none() {
        if end.is_some_and(|end| Instant::now() >= end) {
            state.ending = Some(Ending::TimedOut);
        } else if progress.check().is_err() {
            state.ending = Some(Ending::Stopped);
        } else {
            state = wait(shared, state, CHECK);
        }
    }
    if state.done {
        return;
    }
    signal(group, Signal::TERM);
    let begun = Instant::now();
    while !state.done && begun.elapsed() < GRACE {
        state = wait(shared, state, GRACE.saturating_sub(begun.elapsed()));
    }
    // Also when the program itself has ended: what it started may hold its pipes.
    signal(group, Signal::KILL);
    state.given_up = true;
}

fn wait<'a>(
    shared: &'a Shared,
    state: std::sync::MutexGuard<'a, State>,
    time: Duration,
) -> std::sync::MutexGuard<'a, State> {
    match shared.1.wait_timeout(state, time) {
        Ok((state, _)) => state,
        Err(poisoned) => poisoned.into_inner().0,
    }
}

fn signal(group: Option<Pid>, signal: Signal) {
    let sent = group.map(|group| kill_process_group(group, signal));
    if let Some(Err(error)) = sent {
        tracing::debug!(%error, "cannot signal the program; it has already exited");
    }
}

/// A pipe that is read until its end, or until the program's time is over.
#[derive(Debug)]
pub(super) struct Patient<R> {
    pipe: R,
    state: Shared,
}

impl<R: Read + AsFd> Read for Patient<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let timeout = Timespec {
                tv_sec: 0,
                tv_nsec: i64::from(CHECK.subsec_nanos()),
            };
            let ready = poll(
                &mut [PollFd::new(&self.pipe, PollFlags::IN)],
                Some(&timeout),
            );
            match ready {
                Ok(0) if lock(&self.state).given_up => return Ok(0),
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return self.pipe.read(buffer),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
