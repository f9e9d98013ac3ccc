//! One blocking connection to a server.
//!
//! The driver is asynchronous; a session owns the small runtime that drives it, so callers are synchronous.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::{StreamExt, stream};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Params};
use reprise_repository::Progress;
use tokio::runtime::Runtime;

use crate::connection::liveness::{Activity, wait_until_dead};
use crate::connection::tunnel::{Tunnel, TunnelError};
use crate::connection::{Address, container};
use crate::error::DatabaseError;

pub use bytes::Bytes;
pub use mysql_async::{Row, Value};

/// The maximum packet size. The server's limit may be lower; a row that it stores, it also sends.
const PACKET_BYTES_MAX: usize = 1 << 30;

/// Packet size for a file that is loaded: a packet larger than the server accepts would abort the load.
const FILE_PACKET_BYTES: usize = 64 << 10;

/// How long killing a statement may take.
const KILL_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a waiting thread checks for cancellation.
const CANCEL_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The result of a statement without rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatementResult {
    /// Rows inserted, updated or deleted.
    pub affected_rows: u64,
    /// How many warnings `SHOW WARNINGS` has.
    pub warnings: u16,
}

/// An open connection.
pub struct Session {
    runtime: Runtime,
    conn: Option<Conn>,
    address: Address,
    /// The address, a container replaced by where it is.
    place: Address,
    display_address: String,
    id: u32,
    progress: Arc<Progress>,
    activity: Arc<Activity>,
}

/// Why the wait for a server ended before the server answered.
enum WaitEnd {
    Cancelled,
    ServerDead,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({} at {})", self.id, self.display_address)
    }
}

impl Session {
    /// Connects. Every wait in this session ends when `progress` is cancelled.
    ///
    /// # Errors
    /// When the server is unreachable or rejects the login.
    pub fn open(address: &Address, progress: &Arc<Progress>) -> Result<Self, DatabaseError> {
        let shown = address.to_string();
        let failed = |reason: String| DatabaseError::Connection {
            address: shown.clone(),
            reason,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let place = container::resolve_container(address).map_err(failed)?;
        let unless_stopped = wait_for_cancel(progress);
        let connected = open_connection(&place, &shown);
        let conn = runtime
            .block_on(run_unless(connected, unless_stopped))
            .map_err(|()| DatabaseError::Interrupted)??;
        Ok(Self {
            id: conn.id(),
            conn: Some(conn),
            runtime,
            address: address.clone(),
            place,
            display_address: shown,
            progress: Arc::clone(progress),
            activity: Arc::default(),
        })
    }

    /// Another connection to the same server.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_another(&self) -> Result<Self, DatabaseError> {
        Self::open(&self.address, &self.progress)
    }

    /// The server's ID of the connection.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Runs a statement whose rows, if any, are ignored.
    ///
    /// # Errors
    /// The server's error.
    pub fn execute(&mut self, sql: impl AsRef<[u8]>) -> Result<StatementResult, DatabaseError> {
        self.run_cancellable(async |conn| {
            conn.query_iter(sql.as_ref()).await?.drop_result().await?;
            Ok(statement_result(conn))
        })
    }

    /// All rows of a statement, as text. For small results.
    ///
    /// # Errors
    /// The server's error.
    pub fn query_rows(&mut self, sql: impl AsRef<[u8]>) -> Result<Vec<TextRow>, DatabaseError> {
        let rows: Vec<Row> = self.run_cancellable(async |conn| conn.query(sql.as_ref()).await)?;
        Ok(rows.into_iter().map(TextRow::new).collect())
    }

    /// The only row of a statement.
    ///
    /// # Errors
    /// The server's error, or that there is no such row.
    pub fn query_row(&mut self, sql: impl AsRef<[u8]>) -> Result<TextRow, DatabaseError> {
        let statement = String::from_utf8_lossy(sql.as_ref()).into_owned();
        self.query_rows(sql)?.into_iter().next().ok_or_else(|| {
            DatabaseError::UnexpectedResponse(format!("`{statement}` returned no row"))
        })
    }

    /// Passes every row of a statement to `take`, over the binary protocol: text would round numbers.
    ///
    /// # Errors
    /// The server's error or that of `take`. The session is then closed.
    pub fn stream_rows<E: From<DatabaseError>>(
        &mut self,
        sql: &str,
        mut take: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut stopped_by = None;
        let activity = Arc::clone(&self.activity);
        let result = self.run_cancellable(async |conn| {
            let mut result = conn.exec_iter(sql, Params::Empty).await?;
            while let Some(row) = result.next().await? {
                activity.note();
                if let Err(error) = take(row) {
                    stopped_by = Some(error);
                    return Ok(());
                }
                // The time that it took is not the server's.
                activity.note();
            }
            Ok(())
        });
        if let Some(error) = stopped_by {
            self.close();
            return Err(error);
        }
        result.map_err(Into::into)
    }

    /// Runs `LOAD DATA LOCAL INFILE` with these bytes as the file.
    ///
    /// # Errors
    /// The server's error, or that of reading the bytes.
    pub fn load_data(
        &mut self,
        sql: &str,
        data: impl Iterator<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<StatementResult, DatabaseError> {
        let activity = Arc::clone(&self.activity);
        self.run_cancellable(async |conn| {
            // The driver requires a type that threads can share; a mutex makes any type so.
            let data = Mutex::new(data);
            conn.set_infile_handler(async move {
                let data = data.into_inner().unwrap_or_else(PoisonError::into_inner);
                let noted = data.inspect(move |_| activity.note());
                Ok(stream::iter(noted.flat_map(split_packets)).boxed())
            });
            conn.query_drop(sql).await?;
            Ok(statement_result(conn))
        })
    }

    /// Closes the connection at once; the server rolls back the open transaction.
    pub fn close(&mut self) {
        if let Some(conn) = self.conn.take() {
            let _entered = self.runtime.enter();
            drop(conn);
        }
    }

    fn run_cancellable<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Conn) -> Result<T, mysql_async::Error>,
    ) -> Result<T, DatabaseError> {
        let Some(mut conn) = self.conn.take() else {
            return Err(DatabaseError::Connection {
                address: self.display_address.clone(),
                reason: "the connection was closed after an earlier error".to_owned(),
            });
        };
        let finished = self
            .runtime
            .block_on(async { run_unless(work(&mut conn), self.wait_for_end()).await });
        match finished {
            Ok(Ok(value)) => {
                self.conn = Some(conn);
                Ok(value)
            }
            Ok(Err(error)) => {
                if !error.is_fatal() {
                    self.conn = Some(conn);
                }
                Err(DatabaseError::from_driver(error, &self.display_address))
            }
            Err(WaitEnd::Cancelled) => {
                let _entered = self.runtime.enter();
                drop(conn);
                self.kill_connection();
                Err(DatabaseError::Interrupted)
            }
            Err(WaitEnd::ServerDead) => {
                let _entered = self.runtime.enter();
                drop(conn);
                Err(DatabaseError::Connection {
                    address: self.display_address.clone(),
                    reason: "timed out: the server is silent, and does not answer other connections either".to_owned(),
                })
            }
        }
    }

    /// Ends when a stop is requested, or the server hangs.
    async fn wait_for_end(&self) -> WaitEnd {
        let dead = wait_until_dead(&self.activity, self.address.settings.idle_limit(), || {
            is_answering(&self.place, &self.display_address)
        });
        match run_unless(dead, wait_for_cancel(&self.progress)).await {
            Ok(()) => WaitEnd::ServerDead,
            Err(()) => WaitEnd::Cancelled,
        }
    }

    /// Kills the connection at the server, which would otherwise continue a long statement.
    fn kill_connection(&self) {
        let kill = async {
            let mut conn = open_connection(&self.place, &self.display_address).await?;
            conn.query_drop(format!("KILL {}", self.id))
                .await
                .map_err(|error| DatabaseError::from_driver(error, &self.display_address))
        };
        let killed = self.runtime.block_on(run_with_timeout(KILL_TIMEOUT, kill));
        if !matches!(killed, Some(Ok(()))) {
            tracing::debug!(
                ?killed,
                "could not kill the connection; its statement may keep running on the server for a while"
            );
        }
    }
}

/// The values of a row, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextRow(Vec<Option<Vec<u8>>>);

impl TextRow {
    fn new(row: Row) -> Self {
        let text = |value| match value {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        };
        Self(row.unwrap().into_iter().map(text).collect())
    }

    /// Number of columns.
    #[must_use]
    pub fn column_count(&self) -> usize {
        self.0.len()
    }

    /// The bytes of a column; `None` when it is NULL or does not exist.
    #[must_use]
    pub fn bytes(&self, column: usize) -> Option<&[u8]> {
        self.0.get(column)?.as_deref()
    }

    /// The text of a column; `None` when it is NULL or not UTF-8.
    #[must_use]
    pub fn text(&self, column: usize) -> Option<&str> {
        std::str::from_utf8(self.bytes(column)?).ok()
    }

    /// The text of a column that is never NULL.
    #[must_use]
    pub fn string(&self, column: usize) -> String {
        self.text(column).unwrap_or_default().to_owned()
    }

    /// The number in a column.
    #[must_use]
    pub fn number<T: std::str::FromStr>(&self, column: usize) -> Option<T> {
        self.text(column)?.parse().ok()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.close();
    }
}

fn statement_result(conn: &Conn) -> StatementResult {
    StatementResult {
        affected_rows: conn.affected_rows(),
        warnings: conn.get_warnings(),
    }
}

/// The same bytes in parts that every server accepts.
fn split_packets(
    data: std::io::Result<Bytes>,
) -> impl Iterator<Item = std::io::Result<Bytes>> + Send {
    let (mut rest, failed) = match data {
        Ok(bytes) => (bytes, None),
        Err(error) => (Bytes::new(), Some(Err(error))),
    };
    let parts = std::iter::from_fn(move || {
        let part = rest.split_to(rest.len().min(FILE_PACKET_BYTES));
        (!part.is_empty()).then_some(Ok(part))
    });
    parts.chain(failed)
}

/// The result of `work`, unless `end` completes first.
async fn run_unless<T, E>(
    work: impl Future<Output = T>,
    end: impl Future<Output = E>,
) -> Result<T, E> {
    match select(pin!(work), pin!(end)).await {
        Either::Left((result, _)) => Ok(result),
        Either::Right((end, _)) => Err(end),
    }
}

/// Whether a server answers a new connection, even with an error.
async fn is_answering(address: &Address, shown: &str) -> bool {
    match open_connection(address, shown).await {
        Ok(conn) => {
            // It is there to be asked, so how it ends does not matter.
            drop(run_with_timeout(address.settings.connect_limit(), conn.disconnect()).await);
            true
        }
        Err(error) => error.code().is_some(),
    }
}

async fn wait_for_cancel(progress: &Progress) {
    while progress.check_cancelled().is_ok() {
        tokio::time::sleep(CANCEL_POLL_INTERVAL).await;
    }
}

async fn open_connection(address: &Address, shown: &str) -> Result<Conn, DatabaseError> {
    let limit = address.settings.connect_limit();
    let connected = match &address.socket {
        Some(socket) => run_with_timeout(limit, connect_driver(address, socket, shown)).await,
        None => run_with_timeout(limit, connect_through_tunnel(address, shown)).await,
    };
    connected.unwrap_or_else(|| {
        Err(DatabaseError::Connection {
            address: shown.to_owned(),
            reason: format!("no answer within {} s", limit.as_secs_f64()),
        })
    })
}

async fn connect_driver(
    address: &Address,
    socket: &Path,
    shown: &str,
) -> Result<Conn, DatabaseError> {
    let connected = Conn::new(connection_options(address, socket)).await;
    connected.map_err(|error| DatabaseError::from_driver(error, shown))
}

async fn connect_through_tunnel(address: &Address, shown: &str) -> Result<Conn, DatabaseError> {
    let tunnel = Tunnel::open().map_err(|error| DatabaseError::Connection {
        address: shown.to_owned(),
        reason: format!("no local socket can be made for it: {error}"),
    })?;
    let socket = tunnel.socket().to_owned();
    let (tell, told) = tokio::sync::oneshot::channel();
    let (place, shown_there) = (address.clone(), shown.to_owned());
    let passing = tokio::spawn(async move {
        match tunnel.log_in(&place, &shown_there).await {
            Ok(connection) => {
                drop(tell);
                connection.pass_on().await;
            }
            // The driver's error is only that the connection was closed.
            Err(TunnelError::Failed(error)) => drop(tell.send(error)),
            Err(TunnelError::DriverClosed) => {}
        }
    });
    let connected = connect_driver(address, &socket, shown).await;
    if connected.is_err() {
        let cause = told.await.ok();
        passing.abort();
        return match cause {
            Some(error) => Err(error),
            None => connected,
        };
    }
    connected
}

async fn run_with_timeout<T>(time: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(time, work).await.ok()
}

fn connection_options(address: &Address, socket: &Path) -> Opts {
    let builder = OptsBuilder::default()
        .socket(Some(socket.to_string_lossy()))
        .user(Some(address.user()))
        .pass(address.password.as_ref().map(|password| password.expose()))
        .prefer_socket(false)
        .max_allowed_packet(Some(PACKET_BYTES_MAX))
        .stmt_cache_size(0);
    Opts::from(builder)
}
