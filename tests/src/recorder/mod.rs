//! Writes of every kind that never stop, and a history of them: whatever a restored server holds can be compared with
//! it, to the row.
//!
//! Each writer is a connection of its own and makes numbered steps, which follow from a seed alone. A step is one
//! transaction that also writes its number to the writer's row in `bookkeeping.progress`, or one DDL statement. No two writers touch the same keys, but for accounts of a ledger, where only sums are kept. So
//! the content of a server follows from how many steps of each writer it holds, and the times at which each step was
//! sent and acknowledged say how many that must be.
//!
//! Writers survive the death of their connection and of the server: whether a step was committed is then read from
//! the server.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod connection;
mod history;
mod observed;
mod own_tables;
mod random;
mod schema;
mod steps;
mod table_model;
mod writer;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

pub use history::{ExpectedState, WriteHistory};
pub use observed::ServerContent;
pub use random::Random;
pub use schema::{FIXED_TABLES, wipe};

use crate::servers::Database;
use connection::ClientCommand;
use steps::StepGenerator;
use writer::{StepTimes, StepWriter};

/// Even a loaded machine has written what a test waits for long before.
const WAIT_LIMIT: Duration = Duration::from_secs(180);

/// What kind of server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerFlavour {
    /// MySQL.
    Mysql,
    /// MariaDB.
    Mariadb,
}

impl ServerFlavour {
    /// Reads it from a server.
    ///
    /// # Panics
    /// When it does not respond.
    #[must_use]
    pub fn of(server: &impl Database) -> Self {
        match server.value("SELECT VERSION()").contains("MariaDB") {
            true => Self::Mariadb,
            false => Self::Mysql,
        }
    }
}

/// What is written.
#[derive(Debug, Clone)]
pub struct RecorderOptions {
    /// Everything follows from it.
    pub seed: u64,
    /// How many connections write.
    pub writers: u64,
    /// How many bytes the first writer writes in a single transaction, once.
    pub large: Option<u64>,
    /// How long each writer rests between two steps.
    pub pause: Duration,
}

impl Default for RecorderOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            writers: 8,
            large: None,
            pause: Duration::ZERO,
        }
    }
}

/// Connections that write until this is stopped or dropped.
#[derive(Debug)]
pub struct Recorder {
    threads: Vec<Option<JoinHandle<Result<(), String>>>>,
    shared: Arc<RecorderState>,
    flavour: ServerFlavour,
    options: RecorderOptions,
    client: ClientCommand,
}

/// What the writers share with whoever started them.
#[derive(Debug, Default)]
struct RecorderState {
    stop: AtomicBool,
    count: AtomicU64,
    /// Held while a step runs of which the server's log and its tables may say different things if it dies.
    fragile: RwLock<()>,
    steps: Mutex<Vec<Vec<StepTimes>>>,
    retried: AtomicU64,
}

impl Recorder {
    /// Makes the tables and starts to write. The server must not have them yet.
    ///
    /// # Panics
    /// When the server refuses them.
    #[must_use]
    pub fn start(server: &impl Database, options: RecorderOptions) -> Self {
        let flavour = ServerFlavour::of(server);
        server.execute(&schema::create_statements(&options));
        let directory = server.value("SELECT @@tmpdir");
        let shared = Arc::new(RecorderState::default());
        let none = (0..options.writers).map(|_| Vec::new());
        shared.steps.lock().unwrap().extend(none);
        let threads = (0..options.writers).map(|number| {
            let script = StepGenerator::new(flavour, number, &options);
            let client = ClientCommand::of(&server.client());
            let writer = StepWriter::new(
                number,
                flavour,
                client,
                script,
                directory.clone(),
                Arc::clone(&shared),
            );
            let pause = options.pause;
            Some(thread::spawn(move || writer.run_until_stopped(pause)))
        });
        Self {
            threads: threads.collect(),
            shared,
            client: ClientCommand::of(&server.client()),
            flavour,
            options,
        }
    }

    /// How many steps are known to be committed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.shared.count.load(Ordering::Relaxed)
    }

    /// How often a connection was lost, or a step failed in a way that may happen.
    #[must_use]
    pub fn retried(&self) -> u64 {
        self.shared.retried.load(Ordering::Relaxed)
    }

    /// Returns once so many steps more are committed.
    ///
    /// # Panics
    /// When a writer has failed.
    pub fn wait_for(&mut self, steps: u64) {
        let goal = self.count() + steps;
        let begin = Instant::now();
        while self.count() < goal {
            self.assert_running();
            if begin.elapsed() > WAIT_LIMIT {
                panic!("only {} steps: {}", self.count(), self.client.state());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills the server as a failing machine would, and starts it again; the writers go on by themselves.
    ///
    /// MariaDB's log may lack what its tables have, or the reverse, if it dies within an `XA COMMIT` or a statement
    /// about users, and it may lose a table if it dies while a column is added or dropped in an instant ("unrecognizable
    /// instant ALTER metadata", MDEV-29010), so that there such steps are waited for.
    ///
    /// # Panics
    /// When the server does not come back.
    pub fn kill_server(&self, server: &mut impl Database) {
        let _guard = self.shared.fragile.write().unwrap();
        server.kill_server();
        server.restart();
    }

    /// Kills the connections of all writers; they open new ones by themselves.
    ///
    /// # Panics
    /// When the server does not respond.
    pub fn kill_connections(&self, server: &impl Database) {
        let _guard = self.shared.fragile.write().unwrap();
        let locks = (0..self.options.writers).map(|writer| {
            let name = connection::lock_name(writer);
            format!("SELECT IS_USED_LOCK('{name}');")
        });
        for row in server.query(&locks.collect::<String>()) {
            if let Some(id) = &row[0] {
                // It may have ended meanwhile.
                drop(server.try_execute(&format!("KILL {id}")));
            }
        }
    }

    /// Stops after what was begun.
    ///
    /// # Panics
    /// When a writer has failed.
    #[must_use]
    pub fn stop(mut self) -> WriteHistory {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in &mut self.threads {
            join_writer(thread.take());
        }
        let steps = std::mem::take(&mut *self.shared.steps.lock().unwrap());
        WriteHistory::new(self.flavour, self.options.clone(), steps)
    }

    fn assert_running(&mut self) {
        for thread in &mut self.threads {
            if thread.as_ref().is_none_or(JoinHandle::is_finished) {
                join_writer(thread.take());
                panic!("a writer has ended");
            }
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn join_writer(thread: Option<JoinHandle<Result<(), String>>>) {
    let Some(thread) = thread else {
        panic!("a writer has ended before");
    };
    if let Err(error) = thread.join().unwrap() {
        panic!("{error}");
    }
}

/// Microseconds since 1970, by the clock that server and test share.
///
/// # Panics
/// When the clock is wrong by decades.
#[must_use]
pub fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap().as_micros()).unwrap()
}

/// How many steps of each kind.
pub type StepCounts = BTreeMap<&'static str, u64>;
