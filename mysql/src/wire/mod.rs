//! A connection that receives a server's binary log unchanged: packet by packet, however long an event is, and
//! without a layer in between that would parse, buffer or change it.
//!
//! Everything else is queried over a [`Session`](crate::Session). `docs/decisions.md` says why the driver is not used
//! for this.
//!
//! `login` authenticates.

mod login;

use std::io::{self, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reprise_repository::Progress;
use rustls::{ClientConnection, StreamOwned};

use crate::binlog::ByteCursor;
use crate::connection::protection::CertificateRule;
use crate::connection::{Address, certificates, container};
use crate::error::DatabaseError;

/// How often a waiting read checks for cancellation.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The server closes connections from which nothing is read; inside a packet it is silent for at most this long.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(120);

/// Maximum packet length; a packet of this length is continued by the next one.
const PACKET_BYTES_MAX: usize = 0xff_ffff;

const COM_QUERY: u8 = 3;
const OK_PACKET: u8 = 0x00;
const EOF_PACKET: u8 = 0xfe;
const ERROR_PACKET: u8 = 0xff;

/// What a read returns.
#[derive(Debug, PartialEq, Eq)]
pub enum ReceivedPacket<'a> {
    /// Nothing within the given time.
    Timeout,
    /// A packet. `more`: the next one continues it.
    Packet {
        /// Its bytes.
        bytes: &'a [u8],
        /// Whether the next one continues it.
        more: bool,
    },
}

enum WireStream {
    Tcp(BufReader<TcpStream>),
    Tls(Box<BufReader<StreamOwned<ClientConnection, TcpStream>>>),
    UnixSocket(BufReader<UnixStream>),
}

impl WireStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
            Self::UnixSocket(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.get_mut().write_all(bytes),
            Self::Tls(stream) => {
                stream.get_mut().write_all(bytes)?;
                stream.get_mut().flush()
            }
            Self::UnixSocket(stream) => stream.get_mut().write_all(bytes),
        }
    }

    /// Whether nobody can eavesdrop on it.
    fn is_secure(&self) -> bool {
        !matches!(self, Self::Tcp(_))
    }
}

/// An open connection.
pub struct WireConnection {
    stream: WireStream,
    sequence: u8,
    buffer: Vec<u8>,
    server: String,
    progress: Arc<Progress>,
    /// How long an answer may take.
    answer_limit: Duration,
}

impl std::fmt::Debug for WireConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WireConnection({})", self.server)
    }
}

impl WireConnection {
    /// Connects and logs in. Waits end when `progress` is cancelled.
    pub fn open(address: &Address, progress: &Arc<Progress>) -> Result<Self, DatabaseError> {
        let shown = address.to_string();
        let failed = |reason: String| DatabaseError::Connection {
            address: shown.clone(),
            reason,
        };
        let place = container::resolve_container(address).map_err(failed)?;
        let link = connect_stream(&place).map_err(|error| failed(error.to_string()))?;
        let wire = Self {
            stream: link,
            sequence: 0,
            buffer: Vec::new(),
            server: shown,
            progress: Arc::clone(progress),
            answer_limit: place.settings.idle_limit(),
        };
        login::log_in(wire, &place)
    }

    /// Runs a statement that has no rows.
    pub fn execute(&mut self, sql: &str) -> Result<(), DatabaseError> {
        self.sequence = 0;
        self.send_packets(&[&[COM_QUERY], sql.as_bytes()].concat())?;
        let answer = self.read_answer()?;
        match answer.first() {
            Some(&OK_PACKET) => Ok(()),
            Some(&ERROR_PACKET) => Err(parse_error_packet(&answer)),
            _ => Err(DatabaseError::UnexpectedResponse(format!(
                "`{sql}` returned rows, which was not expected"
            ))),
        }
    }

    /// Sends a command whose response is read packet by packet.
    pub fn send_command(&mut self, bytes: &[u8]) -> Result<(), DatabaseError> {
        self.sequence = 0;
        self.send_packets(bytes)
    }

    /// Waits for the response to a command that has no rows.
    pub fn expect_ok(&mut self) -> Result<(), DatabaseError> {
        let answer = self.read_answer()?;
        match is_error_packet(&answer) {
            true => Err(parse_error_packet(&answer)),
            false => Ok(()),
        }
    }

    /// The next packet, or nothing when none begins within `wait`.
    pub fn receive_packet(&mut self, wait: Duration) -> Result<ReceivedPacket<'_>, DatabaseError> {
        let mut header = [0; 4];
        if !self.fill_buffer(&mut header, Some(wait))? {
            return Ok(ReceivedPacket::Timeout);
        }
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
        if header[3] != self.sequence {
            return Err(self.connection_error("the server's packets are out of order"));
        }
        self.sequence = header[3].wrapping_add(1);
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(length, 0);
        let filled = self.fill_buffer(&mut buffer, None);
        self.buffer = buffer;
        filled?;
        Ok(ReceivedPacket::Packet {
            bytes: &self.buffer,
            more: length == PACKET_BYTES_MAX,
        })
    }

    /// The next packet, which must follow now.
    pub fn read_answer(&mut self) -> Result<Vec<u8>, DatabaseError> {
        let begun = Instant::now();
        while begun.elapsed() < self.answer_limit {
            if self.progress.check_cancelled().is_err() {
                return Err(DatabaseError::Interrupted);
            }
            if let ReceivedPacket::Packet { bytes, .. } = self.receive_packet(POLL_INTERVAL)? {
                return Ok(bytes.to_vec());
            }
        }
        Err(self.connection_error("timed out: no answer from the server"))
    }

    fn send_packets(&mut self, payload: &[u8]) -> Result<(), DatabaseError> {
        for part in payload.chunks(PACKET_BYTES_MAX) {
            let length = u32::try_from(part.len()).unwrap_or_default().to_le_bytes();
            let header = [length[0], length[1], length[2], self.sequence];
            self.sequence = self.sequence.wrapping_add(1);
            self.stream
                .write(&[&header, part].concat())
                .map_err(|error| self.connection_error(&error.to_string()))?;
        }
        Ok(())
    }

    /// Fills a buffer. With a time, `false` when no byte arrived within it.
    fn fill_buffer(
        &mut self,
        buffer: &mut [u8],
        wait: Option<Duration>,
    ) -> Result<bool, DatabaseError> {
        let mut filled = 0;
        let mut silent_since = Instant::now();
        while filled < buffer.len() {
            match self.stream.read(&mut buffer[filled..]) {
                Ok(0) => return Err(self.connection_error("the server closed the connection")),
                Ok(n) => {
                    filled += n;
                    silent_since = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => {
                    let silence = silent_since.elapsed();
                    if filled == 0 && wait.is_some_and(|wait| silence >= wait) {
                        return Ok(false);
                    }
                    if silence > SILENCE_TIMEOUT {
                        return Err(
                            self.connection_error("timed out: no more data from the server")
                        );
                    }
                }
                Err(error) => return Err(self.connection_error(&error.to_string())),
            }
        }
        Ok(true)
    }

    fn connection_error(&self, reason: &str) -> DatabaseError {
        DatabaseError::Connection {
            address: self.server.clone(),
            reason: reason.to_owned(),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn connect_stream(place: &Address) -> io::Result<WireStream> {
    if let Some(socket) = &place.socket {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(POLL_INTERVAL))?;
        stream.set_write_timeout(Some(SILENCE_TIMEOUT))?;
        return Ok(WireStream::UnixSocket(BufReader::new(stream)));
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    for address in (place.host(), place.port()).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, place.settings.connect_limit()) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(POLL_INTERVAL))?;
                stream.set_write_timeout(Some(SILENCE_TIMEOUT))?;
                return Ok(WireStream::Tcp(BufReader::with_capacity(256 << 10, stream)));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl WireConnection {
    /// Switches to TLS, if the server proves who it is.
    fn upgrade_to_tls(
        mut self,
        place: &Address,
        rule: CertificateRule,
    ) -> Result<Self, DatabaseError> {
        let WireStream::Tcp(stream) = self.stream else {
            return Err(DatabaseError::UnexpectedResponse(
                "TLS needs a TCP connection".to_owned(),
            ));
        };
        let secure = start_tls(stream.into_inner(), place, rule);
        let secure = secure.map_err(|reason| DatabaseError::Connection {
            address: self.server.clone(),
            reason,
        })?;
        let shown = secure.conn.peer_certificates();
        certificates::check_server_key(place, rule, shown, &self.server)?;
        self.stream = WireStream::Tls(Box::new(BufReader::with_capacity(256 << 10, secure)));
        Ok(self)
    }
}

/// Performs the TLS handshake.
fn start_tls(
    mut stream: TcpStream,
    place: &Address,
    rule: CertificateRule,
) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
    let (config, name) = certificates::tls_client(place, rule)?;
    let mut connection = ClientConnection::new(config, name).map_err(|e| e.to_string())?;
    let (begun, limit) = (Instant::now(), place.settings.connect_limit());
    while connection.is_handshaking() {
        match connection.complete_io(&mut stream) {
            Err(error) if !is_timeout(&error) => return Err(error.to_string()),
            _ if begun.elapsed() > limit => {
                return Err("timed out: the TLS handshake was not completed".to_owned());
            }
            _ => {}
        }
    }
    Ok(StreamOwned::new(connection, stream))
}

/// The error in an error packet.
pub fn parse_error_packet(packet: &[u8]) -> DatabaseError {
    let mut cursor = ByteCursor::new(packet);
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

/// Whether this is an EOF packet.
pub fn is_eof_packet(packet: &[u8]) -> bool {
    packet.first() == Some(&EOF_PACKET) && packet.len() < 9
}

/// Whether this is an error packet.
pub fn is_error_packet(packet: &[u8]) -> bool {
    packet.first() == Some(&ERROR_PACKET)
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
        let opened = WireConnection::open(&Address::parse(&url).unwrap(), &progress);
        assert!(matches!(opened, Err(DatabaseError::Interrupted)));
    }
}
