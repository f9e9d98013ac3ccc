//! Writes that never stop, for snapshots that must be consistent all the same: money moves between two databases,
//! and a journal says what was moved.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::mem;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::servers::Database;

/// Accounts of each database, and what each begins with.
const ACCOUNTS: u64 = 100;
const BALANCE: u64 = 1000;

/// Transactions between two reads of the client's output.
const BATCH: u64 = 10;

/// Even a loaded machine has written what a test waits for long before.
const WAIT_LIMIT: Duration = Duration::from_secs(300);

/// How long a dropped workload may go on with what it has begun.
const GRACE: Duration = Duration::from_secs(5);

/// The source of all movements is in one database; their target, and the journal, in another. The journal grows
/// at both ends of its key.
const TABLES: &str = "
CREATE DATABASE IF NOT EXISTS ledger_a;
CREATE DATABASE IF NOT EXISTS ledger_b;
CREATE TABLE IF NOT EXISTS ledger_a.accounts (id INT PRIMARY KEY, balance BIGINT NOT NULL) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS ledger_b.accounts (id INT PRIMARY KEY, balance BIGINT NOT NULL) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS ledger_b.journal (
    id BIGINT PRIMARY KEY, writer INT NOT NULL, number BIGINT NOT NULL, source INT NOT NULL, target INT NOT NULL,
    amount BIGINT NOT NULL, UNIQUE KEY (writer, number)
) ENGINE = InnoDB;
";

/// Tables that come, change and go.
const CHURNED: &str = "
DROP TABLE IF EXISTS ledger_b.churned;
CREATE TABLE ledger_b.churned (id INT PRIMARY KEY, v INT) ENGINE = InnoDB;
INSERT INTO ledger_b.churned VALUES (1, 2), (2, 4), (3, 6);
";

/// How many tables of the churn exist at a time.
const ALIVE: u64 = 3;

/// Clients that write until this is dropped.
#[derive(Debug)]
pub struct Workload {
    workers: Vec<WorkloadClient>,
    shared: Arc<WorkloadState>,
}

#[derive(Debug, Default)]
struct WorkloadState {
    stop: AtomicBool,
    transactions: AtomicU64,
    changes: AtomicU64,
}

#[derive(Debug)]
struct WorkloadClient {
    client: Arc<Mutex<Child>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Workload {
    /// Starts so many writers, each a client of its own.
    #[must_use]
    pub fn start(server: &impl Database, writers: u64) -> Self {
        server.execute(&format!("{TABLES}{}", accounts()));
        let mut workload = Self {
            workers: Vec::new(),
            shared: Arc::default(),
        };
        for writer in 0..writers {
            let last: u64 = server.value(&last_number(writer)).parse().unwrap();
            let mut counted = last;
            workload.work(server, move |line, shared| {
                transfer(line, shared, writer, &mut counted)
            });
        }
        workload
    }

    /// Starts so many writers, and one client more that creates, alters, renames and drops tables.
    #[must_use]
    pub fn start_with_churn(server: &impl Database, writers: u64) -> Self {
        let mut workload = Self::start(server, writers);
        workload.work(server, churn);
        workload
    }

    /// How many transactions are known to be committed.
    #[must_use]
    pub fn transactions(&self) -> u64 {
        self.shared.transactions.load(Ordering::Relaxed)
    }

    /// How many tables the churn has made and changed.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.shared.changes.load(Ordering::Relaxed)
    }

    /// Returns once so many transactions more are committed.
    ///
    /// # Panics
    /// When a writer has failed.
    pub fn wait_for(&mut self, transactions: u64) {
        let goal = self.transactions() + transactions;
        let begin = Instant::now();
        while self.transactions() < goal {
            self.workers
                .iter_mut()
                .for_each(WorkloadClient::assert_running);
            assert!(begin.elapsed() < WAIT_LIMIT, "{self:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops after what was begun; returns how many transactions were committed.
    ///
    /// # Panics
    /// When a writer has failed.
    #[must_use]
    pub fn finish(mut self) -> u64 {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.workers.iter_mut().for_each(WorkloadClient::join);
        self.transactions()
    }

    /// Gives a client to a writer, and a new one after an error that a later attempt does not meet.
    #[expect(
        clippy::zombie_processes,
        reason = "`WorkloadClient` waits for the last client"
    )]
    fn work(
        &mut self,
        server: &impl Database,
        mut work: impl FnMut(&mut WriterConnection, &WorkloadState) -> io::Result<()> + Send + 'static,
    ) {
        let command = server.client();
        let (first, mut line) = WriterConnection::open(&command);
        let client = Arc::new(Mutex::new(first));
        let (shared, current) = (Arc::clone(&self.shared), Arc::clone(&client));
        let thread = thread::spawn(move || {
            while let Err(error) = work(&mut line, &shared) {
                let (next, next_line) = WriterConnection::open(&command);
                let mut ended = mem::replace(&mut *current.lock().unwrap(), next);
                line = next_line;
                _ = ended.kill();
                let mut stderr = String::new();
                ended.stderr.take().unwrap().read_to_string(&mut stderr)?;
                ended.wait()?;
                if !TRANSIENT.iter().any(|code| stderr.contains(code)) {
                    return Err(io::Error::other(format!("{error}: {stderr}")));
                }
            }
            Ok(())
        });
        self.workers.push(WorkloadClient {
            client,
            thread: Some(thread),
        });
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let begin = Instant::now();
        for worker in &mut self.workers {
            worker.end(begin + GRACE);
        }
    }
}

impl WorkloadClient {
    fn assert_running(&mut self) {
        let ended = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
        if ended {
            self.join();
            panic!("a writer has ended");
        }
    }

    fn join(&mut self) {
        let ended = self.thread.take().unwrap().join().unwrap();
        if let Err(error) = ended {
            panic!("a writer: {error}");
        }
        let mut client = self.client.lock().unwrap();
        // It ends at the end of its input, which the thread has closed.
        client.wait().unwrap();
    }

    /// A client in a container outlives the one that was killed here, so it is given the time to end by itself.
    fn end(&mut self, deadline: Instant) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        while !thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        if !thread.is_finished() {
            // Whatever it waits for may never come: a lock of a test that failed, for instance.
            _ = self.client.lock().unwrap().kill();
        }
        _ = thread.join();
        _ = self.client.lock().unwrap().wait();
    }
}

/// The connection with a client: statements in, rows out.
struct WriterConnection {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl WriterConnection {
    /// Starts the client of a command.
    fn open(command: &Command) -> (Child, Self) {
        let mut client = spawn(command);
        let line = Self {
            input: client.stdin.take().unwrap(),
            output: BufReader::new(client.stdout.take().unwrap()),
        };
        (client, line)
    }

    /// Returns once the statements have been executed.
    fn run(&mut self, statements: &str) -> io::Result<()> {
        let result = self.ask(&format!("{statements}\nSELECT 'done';"))?;
        match result.as_str() {
            "done" => Ok(()),
            _ => Err(io::Error::other(format!("unexpected result {result:?}"))),
        }
    }

    /// The value that the last of the statements selects.
    fn ask(&mut self, statements: &str) -> io::Result<String> {
        writeln!(self.input, "{statements}")?;
        self.input.flush()?;
        let mut result = String::new();
        self.output.read_line(&mut result)?;
        Ok(result.trim_end().to_owned())
    }
}

/// Errors after which a writer goes on with a new connection: a deadlock, and a lock that was waited for too long. A
/// loaded machine makes both.
const TRANSIENT: [&str; 2] = ["ERROR 1213", "ERROR 1205"];

fn last_number(writer: u64) -> String {
    format!("SELECT COALESCE(MAX(number), 0) FROM ledger_b.journal WHERE writer = {writer}")
}

fn spawn(command: &Command) -> Child {
    let mut client = Command::new(command.get_program());
    client
        .args(command.get_args())
        .args(["--batch", "--skip-column-names", "--unbuffered"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{client:?}: {error}"))
}

/// Locks are taken in one order everywhere, so that no two writers wait for each other in a circle.
///
/// `counted` is the number of the writer's last transaction that `shared` counts.
fn transfer(
    line: &mut WriterConnection,
    shared: &WorkloadState,
    writer: u64,
    counted: &mut u64,
) -> io::Result<()> {
    let last = line.ask(&format!("{};", last_number(writer)))?;
    let mut number: u64 = last.parse().map_err(io::Error::other)?;
    shared
        .transactions
        .fetch_add(number - *counted, Ordering::Relaxed);
    *counted = number;
    let mut random = WriterRandom(writer + 1 + number);
    while !shared.stop.load(Ordering::Relaxed) {
        let mut statements = String::new();
        for _ in 0..BATCH {
            number += 1;
            let (source, target) = (random.below(ACCOUNTS), random.below(ACCOUNTS));
            let amount = random.below(BALANCE);
            let sign = if number.is_multiple_of(2) { "-" } else { "" };
            let id = number * 100 + writer;
            writeln!(
                statements,
                "START TRANSACTION;\n\
                 UPDATE ledger_a.accounts SET balance = balance - {amount} WHERE id = {source};\n\
                 UPDATE ledger_b.accounts SET balance = balance + {amount} WHERE id = {target};\n\
                 INSERT INTO ledger_b.journal VALUES ({sign}{id}, {writer}, {number}, {source}, {target}, {amount});\n\
                 COMMIT;"
            )
            .unwrap();
        }
        line.run(&statements)?;
        shared.transactions.fetch_add(BATCH, Ordering::Relaxed);
        *counted = number;
    }
    Ok(())
}

fn churn(line: &mut WriterConnection, shared: &WorkloadState) -> io::Result<()> {
    line.run(CHURNED)?;
    for number in 0_u64.. {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let new = format!("churn_{}", number % ALIVE);
        line.run(&format!(
            "DROP TABLE IF EXISTS ledger_a.{new};\n\
             DROP TABLE IF EXISTS ledger_b.{new};\n\
             CREATE TABLE ledger_a.{new} (id INT PRIMARY KEY, v INT) ENGINE = InnoDB;\n\
             INSERT INTO ledger_a.{new} VALUES (1, 2), (2, 4), (3, 6);\n\
             ALTER TABLE ledger_a.{new} ADD COLUMN added INT DEFAULT 5 FIRST, ALGORITHM = INSTANT;\n\
             INSERT INTO ledger_a.{new} (id, v) VALUES (4, 8);\n\
             ALTER TABLE ledger_a.{new} ADD KEY (v);\n\
             RENAME TABLE ledger_a.{new} TO ledger_b.{new};\n\
             ALTER TABLE ledger_b.churned ADD COLUMN added INT DEFAULT {number}, ALGORITHM = INSTANT;\n\
             ALTER TABLE ledger_b.churned DROP COLUMN added, ALGORITHM = INSTANT;\n\
             ALTER TABLE ledger_b.churned FORCE;"
        ))?;
        shared.changes.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn accounts() -> String {
    let values: Vec<String> = (0..ACCOUNTS)
        .map(|id| format!("({id}, {BALANCE})"))
        .collect();
    let values = values.join(", ");
    format!(
        "INSERT IGNORE INTO ledger_a.accounts VALUES {values};\n\
         INSERT IGNORE INTO ledger_b.accounts VALUES {values};\n"
    )
}

/// How many transactions the journal of a server holds, after it was compared with the accounts. It may be
/// written to all the while.
///
/// # Errors
/// When a transaction is there in part, or one is missing before a later one of the same writer.
pub fn audit(server: &impl Database) -> Result<u64, String> {
    let side = |database: &str, column: &str, sign: &str| {
        format!(
            "SELECT 'balance', a.id FROM {database}.accounts AS a LEFT JOIN \
             (SELECT {column} AS id, SUM(amount) AS moved FROM ledger_b.journal GROUP BY {column}) AS j \
             ON a.id = j.id WHERE a.balance <> {BALANCE} {sign} COALESCE(j.moved, 0);\n"
        )
    };
    let total = 2 * ACCOUNTS * BALANCE;
    let mut sql = "START TRANSACTION WITH CONSISTENT SNAPSHOT;\n".to_owned();
    sql += "SELECT COUNT(*) FROM ledger_b.journal;\n";
    sql += &side("ledger_a", "source", "-");
    sql += &side("ledger_b", "target", "+");
    write!(
        sql,
        "SELECT 'gap of writer', writer FROM ledger_b.journal GROUP BY writer HAVING COUNT(*) <> MAX(number);\n\
         SELECT 'total', SUM(balance) AS money FROM (SELECT balance FROM ledger_a.accounts UNION ALL \
         SELECT balance FROM ledger_b.accounts) AS both_sides HAVING money <> {total} OR money IS NULL;\n"
    )
    .unwrap();
    let rows = server.try_query(&sql)?;
    match rows.as_slice() {
        [count] => Ok(count[0].as_ref().unwrap().parse().unwrap()),
        rows => Err(format!("{rows:?}")),
    }
}

/// Numbers that are different for every writer and the same in every run.
struct WriterRandom(u64);

impl WriterRandom {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}
