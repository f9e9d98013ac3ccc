//! Supervising a program: on a timeout or a stop request it ends, with everything that it started.

use std::io::Read;
use std::os::fd::AsFd;
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use reprise_repository::Progress;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

/// How often a stop request is checked for.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// How long a program may take to end on request.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a program was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProgramStopReason {
    /// It exceeded its timeout.
    TimedOut,
    /// A stop was requested, or its output is no longer needed.
    Interrupted,
}

#[derive(Debug, Default)]
struct SupervisorState {
    /// The program has exited.
    exited: bool,
    stop_reason: Option<ProgramStopReason>,
    /// Its remaining output is not waited for.
    abandoned: bool,
}

type SharedSupervisorState = Arc<(Mutex<SupervisorState>, Condvar)>;

/// Supervises one program.
#[derive(Debug)]
pub(super) struct ProgramSupervisor {
    state: SharedSupervisorState,
    thread: JoinHandle<()>,
}

impl ProgramSupervisor {
    pub(super) fn start(child: &Child, timeout: Option<Duration>, progress: Arc<Progress>) -> Self {
        let state = SharedSupervisorState::default();
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let shared = Arc::clone(&state);
        let thread =
            std::thread::spawn(move || supervise_program(&shared, group, timeout, &progress));
        Self { state, thread }
    }

    /// Stops the program because its output is no longer needed.
    pub(super) fn stop_program(&self) {
        lock_state(&self.state)
            .stop_reason
            .get_or_insert(ProgramStopReason::Interrupted);
        self.state.1.notify_all();
    }

    /// After the program has exited: returns why it was stopped, if it was.
    pub(super) fn join(self) -> Option<ProgramStopReason> {
        lock_state(&self.state).exited = true;
        self.state.1.notify_all();
        drop(self.thread.join());
        lock_state(&self.state).stop_reason
    }

    /// Reads a pipe of the program, and stops waiting for it once the program was stopped.
    pub(super) fn pipe_reader<R: Read + AsFd>(&self, pipe: R) -> StoppablePipe<R> {
        StoppablePipe {
            pipe,
            state: Arc::clone(&self.state),
        }
    }
}

fn lock_state(state: &SharedSupervisorState) -> std::sync::MutexGuard<'_, SupervisorState> {
    state.0.lock().unwrap_or_else(PoisonError::into_inner)
}

fn supervise_program(
    shared: &SharedSupervisorState,
    group: Option<Pid>,
    timeout: Option<Duration>,
    progress: &Progress,
) {
    let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut state = lock_state(shared);
    while !state.exited && state.stop_reason.is_none() {
        if end.is_some_and(|end| Instant::now() >= end) {
            state.stop_reason = Some(ProgramStopReason::TimedOut);
        } else if progress.check_cancelled().is_err() {
            state.stop_reason = Some(ProgramStopReason::Interrupted);
        } else {
            state = wait_for_change(shared, state, CHECK_INTERVAL);
        }
    }
    if state.exited {
        return;
    }
    signal_group(group, Signal::TERM);
    let begun = Instant::now();
    while !state.exited && begun.elapsed() < STOP_TIMEOUT {
        state = wait_for_change(shared, state, STOP_TIMEOUT.saturating_sub(begun.elapsed()));
    }
    // Even when the program itself has exited: its children may hold its pipes.
    signal_group(group, Signal::KILL);
    state.abandoned = true;
}

fn wait_for_change<'a>(
    shared: &'a SharedSupervisorState,
    state: std::sync::MutexGuard<'a, SupervisorState>,
    time: Duration,
) -> std::sync::MutexGuard<'a, SupervisorState> {
    match shared.1.wait_timeout(state, time) {
        Ok((state, _)) => state,
        Err(poisoned) => poisoned.into_inner().0,
    }
}

fn signal_group(group: Option<Pid>, signal: Signal) {
    let sent = group.map(|group| kill_process_group(group, signal));
    if let Some(Err(error)) = sent {
        tracing::debug!(%error, "cannot signal the program; it has already exited");
    }
}

/// A pipe that is read until its end, or until the program was stopped.
#[derive(Debug)]
pub(super) struct StoppablePipe<R> {
    pipe: R,
    state: SharedSupervisorState,
}

impl<R: Read + AsFd> Read for StoppablePipe<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let timeout = Timespec {
                tv_sec: 0,
                tv_nsec: i64::from(CHECK_INTERVAL.subsec_nanos()),
            };
            let ready = poll(
                &mut [PollFd::new(&self.pipe, PollFlags::IN)],
                Some(&timeout),
            );
            match ready {
                Ok(0) if lock_state(&self.state).abandoned => return Ok(0),
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return self.pipe.read(buffer),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
