//! A connection that receives a server's binary log as it is: packet by packet, however long an event is, and
//! without anything in between that would read, hold or change what it says.
//!
//! Everything else is asked over [`super::session`]. `docs/decisions.md` says why this is not done by the driver.

mod login;
mod tls;

use std::io::{self, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reprise_repository::Progress;
use rustls::{ClientConnection, StreamOwned};

use super::address::{Address, Tls};
use super::binlog::Cursor;
use super::container;
use super::error::DatabaseError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A waiting read looks up this often.
const TICK: Duration = Duration::from_millis(200);

/// The server closes connections on which nothing is taken; in the middle of a packet it is as silent at most.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// The longest packet; one of this length is continued by the next.
const PACKET_BYTES_MAX: usize = 0xff_ffff;

const COM_QUERY: u8 = 3;
const OK: u8 = 0x00;
const END: u8 = 0xfe;
const FAILED: u8 = 0xff;

/// What arrives from a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrived<'a> {
    /// Nothing, within the time that was given.
    Nothing,
    /// A packet. `more`: the next one continues it.
    Packet {
        /// Its bytes.
        bytes: &'a [u8],
        /// Whether the next one continues it.
        more: bool,
    },
}

enum Link {
    Plain(BufReader<TcpStream>),
    Secure(Box<BufReader<StreamOwned<ClientConnection, TcpStream>>>),
    Local(BufReader<UnixStream>),
}

impl Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Secure(stream) => stream.read(buffer),
            Self::Local(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.get_mut().write_all(bytes),
            Self::Secure(stream) => {
                stream.get_mut().write_all(bytes)?;
                stream.get_mut().flush()
            }
            Self::Local(stream) => stream.get_mut().write_all(bytes),
        }
    }

    /// Whether nobody on the way can listen.
    fn is_safe(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }
}

/// An open connection.
pub(super) struct Wire {
    link: Link,
    sequence: u8,
    buffer: Vec<u8>,
    shown: String,
    progress: Arc<Progress>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WireConnection({})", self.shown)
    }
}

impl Wire {
    /// Connects and logs in. Who waits for an answer ends when `progress` is cancelled.
    pub(super) fn open(address: &Address, progress: &Arc<Progress>) -> Result<Self, DatabaseError> {
        let shown = address.to_string();
        let failed = |reason: String| DatabaseError::Connection {
            address: shown.clone(),
            reason,
        };
        let place = container::resolved(address).map_err(failed)?;
        let link = link(&place).map_err(|error| failed(error.to_string()))?;
        let wire = Self {
            link,
            sequence: 0,
            buffer: Vec::new(),
            shown,
            progress: Arc::clone(progress),
        };
        login::enter(wire, &place)
    }

    /// Runs a statement that has no rows.
    pub(super) fn execute(&mut self, sql: &str) -> Result<(), DatabaseError> {
        self.sequence = 0;
        self.send(&[&[COM_QUERY], sql.as_bytes()].concat())?;
        let answer = self.answer()?;
        match answer.first() {
            Some(&OK) => Ok(()),
            Some(&FAILED) => Err(refusal(&answer)),
            _ => Err(DatabaseError::Unexpected(format!(
                "`{sql}` returned rows, which was not expected"
            ))),
        }
    }

    /// Sends a command whose answer is read packet by packet.
    pub(super) fn command(&mut self, bytes: &[u8]) -> Result<(), DatabaseError> {
        self.sequence = 0;
        self.send(bytes)
    }

    /// Waits for the answer to a command that has no rows.
    pub(super) fn accepted(&mut self) -> Result<(), DatabaseError> {
        let answer = self.answer()?;
        match is_refusal(&answer) {
            true => Err(refusal(&answer)),
            false => Ok(()),
        }
    }

    /// The packet that follows, or nothing when none begins within `wait`.
    pub(super) fn arrived(&mut self, wait: Duration) -> Result<Arrived<'_>, DatabaseError> {
        let mut header = [0; 4];
        if !self.fill(&mut header, Some(wait))? {
            return Ok(Arrived::Nothing);
        }
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
        if header[3] != self.sequence {
            return Err(self.broken("the server's packets are out of order"));
        }
        self.sequence = header[3].wrapping_add(1);
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(length, 0);
        let filled = self.fill(&mut buffer, None);
        self.buffer = buffer;
        filled?;
        Ok(Arrived::Packet {
            bytes: &self.buffer,
            more: length == PACKET_BYTES_MAX,
        })
    }

    /// The packet that must follow now.
    pub(super) fn answer(&mut self) -> Result<Vec<u8>, DatabaseError> {
        let begun = Instant::now();
        while begun.elapsed() < SILENCE_MAX {
            if self.progress.check().is_err() {
                return Err(DatabaseError::Interrupted);
            }
            if let Arrived::Packet { bytes, .. } = self.arrived(TICK)? {
                return Ok(bytes.to_vec());
            }
        }
        Err(self.broken("timed out: no answer from the server"))
    }

    fn send(&mut self, payload: &[u8]) -> Result<(), DatabaseError> {
        for part in payload.chunks(PACKET_BYTES_MAX) {
            let length = u32::try_from(part.len()).unwrap_or_default().to_le_bytes();
            let header = [length[0], length[1], length[2], self.sequence];
            self.sequence = self.sequence.wrapping_add(1);
            self.link
                .write(&[&header, part].concat())
                .map_err(|error| self.broken(&error.to_string()))?;
        }
        Ok(())
    }

    /// Fills a buffer. With a time, `false` when nothing at all came within it.
    fn fill(&mut self, buffer: &mut [u8], wait: Option<Duration>) -> Result<bool, DatabaseError> {
        let mut filled = 0;
        let mut silent_since = Instant::now();
        while filled < buffer.len() {
            match self.link.read(&mut buffer[filled..]) {
                Ok(0) => return Err(self.broken("the server closed the connection")),
                Ok(n) => {
                    filled += n;
                    silent_since = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if waited(&error) => {
                    let silence = silent_since.elapsed();
                    if filled == 0 && wait.is_some_and(|wait| silence >= wait) {
                        return Ok(false);
                    }
                    if silence > SILENCE_MAX {
                        return Err(self.broken("timed out: no more data from the server"));
                    }
                }
                Err(error) => return Err(self.broken(&error.to_string())),
            }
        }
        Ok(true)
    }

    fn broken(&self, reason: &str) -> DatabaseError {
        DatabaseError::Connection {
            address: self.shown.clone(),
            reason: reason.to_owned(),
        }
    }
}

fn waited(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn link(place: &Address) -> io::Result<Link> {
    if let Some(socket) = &place.socket {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(TICK))?;
        return Ok(Link::Local(BufReader::new(stream)));
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    for address in (place.host(), place.port()).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(TICK))?;
                stream.set_write_timeout(Some(SILENCE_MAX))?;
                return Ok(Link::Plain(BufReader::with_capacity(256 << 10, stream)));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Wire {
    /// Goes on encrypted.
    fn secured(self, place: &Address, tls: Tls) -> Result<Self, DatabaseError> {
        let Self {
            link,
            sequence,
            buffer,
            shown,
            progress,
        } = self;
        let Link::Plain(stream) = link else {
            return Err(DatabaseError::Unexpected(
                "TLS needs a TCP connection".to_owned(),
            ));
        };
        let secure = tls::secure(stream.into_inner(), place, tls);
        let secure = secure.map_err(|reason| DatabaseError::Connection {
            address: shown.clone(),
            reason,
        })?;
        let link = Link::Secure(Box::new(BufReader::with_capacity(256 << 10, secure)));
        Ok(Self {
            link,
            sequence,
            buffer,
            shown,
            progress,
        })
    }
}

/// What a packet says that begins with the mark of a refusal.
pub(super) fn refusal(packet: &[u8]) -> DatabaseError {
    let mut cursor = Cursor::new(packet);
    cursor.u8();
    let code = cursor.u16().unwrap_or_default();
    let rest = cursor.rest();
    let message = match rest.first() {
        Some(b'#') => rest.get(6..).unwrap_or_default(),
        _ => rest,
    };
    DatabaseError::Server {
        code,
        message: String::from_utf8_lossy(message).into_owned(),
    }
}

/// Whether a packet says that nothing follows.
pub(super) fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&END) && packet.len() < 9
}

/// Whether a packet is a refusal.
pub(super) fn is_refusal(packet: &[u8]) -> bool {
    packet.first() == Some(&FAILED)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_waits_for_an_answer_ends_when_told_to() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("mysql://root@{}", silent.local_addr().unwrap());
        let progress = Arc::new(Progress::default());
        progress.cancel();
        let opened = Wire::open(&Address::parse(&url).unwrap(), &progress);
        assert!(matches!(opened, Err(DatabaseError::Interrupted)));
    }
}
