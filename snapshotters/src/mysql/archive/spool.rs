//! Between the server and the repository: finished segments wait on the local disk until they are stored, in order.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reprise_mysql::log::find_newest_segment;
use reprise_repository::{ObjectId, Repository, SealedLogSegment};

/// First and longest delay before a segment is tried again.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(500);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);

/// How often a reader's view of the log is compared with what was stored, beginning with the first segment.
const COMPARE_INTERVAL: Duration = Duration::from_secs(3600);

/// A bounded directory of log segments.
#[derive(Debug)]
pub(super) struct Spool {
    directory: PathBuf,
    bytes_max: u64,
    state: Mutex<SpoolState>,
    changed: Condvar,
    /// Locks out other archivers of the same source while it is open.
    _lock: File,
}

#[derive(Debug, Default)]
struct SpoolState {
    waiting: VecDeque<SpooledSegment>,
    bytes: u64,
    close_deadline: Option<Instant>,
    stored: u64,
    stored_bytes: u64,
    last_error: Option<String>,
    /// When a reader's view was last compared with what was stored.
    compared_at: Option<Instant>,
    /// Why what was stored is not what a reader takes for the log.
    not_extended: Option<String>,
}

#[derive(Debug, Clone)]
struct SpooledSegment {
    sequence: u64,
    path: PathBuf,
    bytes: u64,
}

/// The progress of storing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SpoolStatus {
    /// Segments that wait.
    pub(super) waiting: usize,
    /// Their bytes.
    pub(super) bytes: u64,
    /// How many segments were stored.
    pub(super) stored: u64,
    /// Their bytes.
    pub(super) stored_bytes: u64,
    /// Why the last attempt to store the oldest one failed.
    pub(super) last_error: Option<String>,
}

/// Why the spool cannot be opened.
#[derive(Debug)]
pub(super) enum SpoolError {
    /// Another archiver uses it.
    Locked,
    Io(io::Error),
}

impl From<io::Error> for SpoolError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Spool {
    /// Opens a directory, which is created if it does not exist.
    pub(super) fn open(folder: &Path, bytes_max: u64) -> Result<Self, SpoolError> {
        fs::create_dir_all(folder)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join("lock"))?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(SpoolError::Locked),
            Err(error) => return Err(SpoolError::Io(error.into())),
        }
        Ok(Self {
            directory: folder.to_owned(),
            bytes_max,
            state: Mutex::default(),
            changed: Condvar::new(),
            _lock: lock,
        })
    }

    fn lock_state(&self) -> MutexGuard<'_, SpoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Segments that a dead archiver left here, in order; their sequence numbers, hashes and paths.
    pub(super) fn leftover_segments(&self) -> io::Result<Vec<(u64, ObjectId, PathBuf)>> {
        let mut left = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let parts = name.split_once('.');
            let parsed = parts.and_then(|(n, id)| Some((n.parse().ok()?, id.parse().ok()?)));
            match parsed {
                Some((sequence, id)) => left.push((sequence, id, path)),
                // Incomplete: nothing depends on it.
                None if name.ends_with(".unfinished") => fs::remove_file(&path)?,
                None => {}
            }
        }
        left.sort();
        Ok(left)
    }

    /// Queues a segment that is already in the directory.
    pub(super) fn enqueue(&self, sequence: u64, path: PathBuf, bytes: u64) {
        let mut state = self.lock_state();
        state.bytes += bytes;
        state.waiting.push_back(SpooledSegment {
            sequence,
            path,
            bytes,
        });
        self.changed.notify_all();
    }

    /// Whether segments of this many bytes still fit.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        let state = self.lock_state();
        state.waiting.is_empty() || state.bytes + bytes <= self.bytes_max
    }

    /// Writes a segment, which waits here until it is stored. It survives the end of this program.
    pub(super) fn write_segment(&self, sealed: &SealedLogSegment) -> io::Result<()> {
        let key = sealed.key();
        let path = self
            .directory
            .join(format!("{:016}.{}", key.sequence, key.id));
        let unfinished = path.with_extension("unfinished");
        let mut file = File::create(&unfinished)?;
        file.write_all(sealed.bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        File::open(&self.directory)?.sync_all()?;
        self.enqueue(key.sequence, path, key.size);
        Ok(())
    }

    pub(super) fn status(&self) -> SpoolStatus {
        let state = self.lock_state();
        SpoolStatus {
            waiting: state.waiting.len(),
            bytes: state.bytes,
            stored: state.stored,
            stored_bytes: state.stored_bytes,
            last_error: state.last_error.clone(),
        }
    }

    /// Waits for a change, at most this long.
    pub(super) fn wait_for_change(&self, time: Duration) {
        let state = self.lock_state();
        drop(self.changed.wait_timeout(state, time));
    }

    /// Accepts no more segments; waiting ones are still tried until then.
    pub(super) fn close(&self, until: Instant) {
        self.lock_state().close_deadline = Some(until);
        self.changed.notify_all();
    }

    /// Stores segments in order until the spool is closed. Runs in a thread of its own.
    pub(super) fn store_all(&self, repository: &Repository, source: &str) {
        let mut pause = RETRY_PAUSE_MIN;
        while let Some(piece) = self.next_segment() {
            match store_segment(repository, source, &piece) {
                Ok(id) => {
                    pause = RETRY_PAUSE_MIN;
                    self.remove_stored(&piece);
                    if !self.compare_with_reader(repository, source, id) {
                        return;
                    }
                }
                Err(reason) => {
                    tracing::warn!(
                        segment = piece.sequence,
                        reason,
                        "cannot store a log segment; retrying"
                    );
                    self.lock_state().last_error = Some(reason);
                    if !self.wait_before_retry(pause) {
                        return;
                    }
                    pause = (pause * 2).min(RETRY_PAUSE_MAX);
                }
            }
        }
    }

    /// Now and then: whether a reader takes the segment that was just stored for the end of the log. `false`: it does not.
    fn compare_with_reader(&self, repository: &Repository, source: &str, id: ObjectId) -> bool {
        let compared = self.lock_state().compared_at;
        if compared.is_some_and(|at| at.elapsed() < COMPARE_INTERVAL) {
            return true;
        }
        let newest = match find_newest_segment(repository, source) {
            Ok(newest) => newest,
            Err(error) => {
                tracing::warn!(%error, "cannot read the archived log back; trying again after the next segment");
                return true;
            }
        };
        let mut state = self.lock_state();
        state.compared_at = Some(Instant::now());
        if newest.key.as_ref().is_some_and(|newest| newest.id == id) {
            return true;
        }
        state.not_extended = Some(match newest.key {
            Some(newest) => format!("its end is log segment {newest}"),
            None => "no log segment can be read".to_owned(),
        });
        self.changed.notify_all();
        false
    }

    /// Why what was stored is not what a reader takes for the log; `None`: it is.
    pub(super) fn not_extended(&self) -> Option<String> {
        self.lock_state().not_extended.clone()
    }

    /// The oldest segment; waits for one.
    fn next_segment(&self) -> Option<SpooledSegment> {
        let mut state = self.lock_state();
        loop {
            if let Some(piece) = state.waiting.front() {
                return Some(piece.clone());
            }
            if state.close_deadline.is_some() {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn remove_stored(&self, piece: &SpooledSegment) {
        if let Err(error) = fs::remove_file(&piece.path) {
            // It is stored; if it is found again, it is stored again under the same name.
            tracing::warn!(path = %piece.path.display(), %error, "cannot delete a stored log segment from the spool");
        }
        let mut state = self.lock_state();
        state.waiting.pop_front();
        state.bytes = state.bytes.saturating_sub(piece.bytes);
        state.stored += 1;
        state.stored_bytes += piece.bytes;
        state.last_error = None;
        self.changed.notify_all();
    }

    /// Waits. `false` when the time for further attempts is over.
    fn wait_before_retry(&self, pause: Duration) -> bool {
        let end = Instant::now() + pause;
        let mut state = self.lock_state();
        loop {
            let now = Instant::now();
            match state.close_deadline {
                Some(until) if now >= until => return false,
                _ if now >= end => return true,
                _ => {}
            }
            let time = (end - now).min(RETRY_PAUSE_MIN);
            state = match self.changed.wait_timeout(state, time) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

fn store_segment(
    repository: &Repository,
    source: &str,
    piece: &SpooledSegment,
) -> Result<ObjectId, String> {
    let bytes = fs::read(&piece.path)
        .map_err(|error| format!("cannot read {}: {error}", piece.path.display()))?;
    let sealed = repository.log_segment_from_bytes(source, piece.sequence, bytes.into());
    let named = piece
        .path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    if !named.ends_with(&sealed.key().id.to_string()) {
        return Err(format!(
            "{} is damaged: its content does not match its hash",
            piece.path.display()
        ));
    }
    repository
        .store_log_segment(&sealed)
        .map_err(|error| reprise_repository::format_error_chain(&error))?;
    Ok(sealed.key().id)
}
