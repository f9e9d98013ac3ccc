//! The way from the driver to a server, on which the [`Protection`] of every connection is kept: the driver's own TLS
//! accepts any certificate or those of an authority, not a remembered key, and it encrypts a password to whatever key a
//! server sends.
//!
//! The driver connects to a socket in a directory of this process's own; behind it the login is passed on packet by packet,
//! with TLS put around it, and after that bytes are. To the driver the connection is a local socket, over which it sends a
//! password as it is when the server asks for it: it goes no further unless the connection to the server is encrypted.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mysql_common::constants::CapabilityFlags;
use mysql_common::packets::{AuthSwitchRequest, HandshakePacket};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::connection::login_packets::{AUTH_MORE_DATA, FAST_AUTH_SUCCESS, FULL_AUTHENTICATION};
use crate::connection::protection::{PasswordKeyRule, Protection, TlsUse};
use crate::connection::{Address, certificates, login_packets};
use crate::error::DatabaseError;

/// Interval of keepalive probes on an idle connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// Packets of a login are short.
const LOGIN_PACKET_BYTES_MAX: usize = 1 << 20;

/// How much is passed on at once.
const BUFFER_BYTES: usize = 128 << 10;

/// The beginning of a client's first packet, of which a request for TLS consists.
const SSL_REQUEST_BYTES: usize = 32;

const OK_PACKET: u8 = 0x00;
const ERROR_PACKET: u8 = 0xff;
const AUTH_SWITCH_REQUEST: u8 = 0xfe;

/// Either side of a tunnel.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Why a login was not passed on.
#[derive(Debug)]
pub(super) enum TunnelError {
    /// The driver has given up, and says why.
    DriverClosed,
    /// The connection to the server.
    Failed(DatabaseError),
}

/// A socket to which the driver connects.
#[derive(Debug)]
pub(super) struct Tunnel {
    listener: UnixListener,
    socket: PathBuf,
    /// Deleted, with the socket in it, once the driver is connected.
    _directory: TempDir,
}

impl Tunnel {
    /// Opens the socket.
    pub(super) fn open() -> io::Result<Self> {
        // Only this user can enter it.
        let directory = tempfile::Builder::new().prefix("reprise-").tempdir()?;
        let socket = directory.path().join("mysql");
        Ok(Self {
            listener: UnixListener::bind(&socket)?,
            socket,
            _directory: directory,
        })
    }

    /// Where the driver connects to.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Connects the driver with a server and passes its login on.
    pub(super) async fn log_in(
        self,
        place: &Address,
        shown: &str,
    ) -> Result<LoggedIn, TunnelError> {
        let failed = |error: io::Error| TunnelError::Failed(connection_error(shown, &error));
        let server = connect_tcp(place).await.map_err(failed)?;
        let (driver, _) = self.listener.accept().await.map_err(failed)?;
        let login = TunnelLogin {
            driver: PacketStream::new(driver),
            place,
            shown,
            protection: Protection::for_address(place),
        };
        login.pass_on(server).await
    }
}

/// Both sides of a connection after the login.
pub(super) struct LoggedIn {
    driver: UnixStream,
    server: Box<dyn Stream>,
}

impl LoggedIn {
    /// Passes bytes on until one side closes the connection.
    pub(super) async fn pass_on(mut self) {
        let passed = tokio::io::copy_bidirectional_with_sizes(
            &mut self.driver,
            &mut self.server,
            BUFFER_BYTES,
            BUFFER_BYTES,
        );
        if let Err(error) = passed.await {
            // The driver sees the connection closed, and reports that.
            tracing::debug!(%error, "the connection to the server broke");
        }
    }
}

async fn connect_tcp(place: &Address) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((place.host(), place.port())).await?;
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(&stream, KEEPALIVE_INTERVAL)?;
    rustix::net::sockopt::set_tcp_keepintvl(&stream, KEEPALIVE_INTERVAL)?;
    Ok(stream)
}

fn connection_error(shown: &str, reason: &dyn std::fmt::Display) -> DatabaseError {
    DatabaseError::Connection {
        address: shown.to_owned(),
        reason: reason.to_string(),
    }
}

/// One side of a login: packets with sequence numbers, which differ between the two sides.
struct PacketStream<S> {
    stream: S,
    sequence: u8,
}

impl<S: AsyncRead + AsyncWrite + Unpin> PacketStream<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            sequence: 0,
        }
    }

    async fn read_packet(&mut self) -> io::Result<Vec<u8>> {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header).await?;
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
        if length > LOGIN_PACKET_BYTES_MAX {
            return Err(io::Error::other("a packet of the login is too long"));
        }
        self.sequence = header[3].wrapping_add(1);
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await?;
        Ok(payload)
    }

    async fn write_packet(&mut self, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes();
        let header = [length[0], length[1], length[2], self.sequence];
        self.sequence = self.sequence.wrapping_add(1);
        self.stream.write_all(&[&header, payload].concat()).await?;
        self.stream.flush().await
    }
}

/// A login that is passed on.
struct TunnelLogin<'a> {
    driver: PacketStream<UnixStream>,
    place: &'a Address,
    shown: &'a str,
    protection: Protection,
}

impl TunnelLogin<'_> {
    fn failed(&self, reason: &dyn std::fmt::Display) -> TunnelError {
        TunnelError::Failed(connection_error(self.shown, reason))
    }

    async fn pass_on(mut self, server: TcpStream) -> Result<LoggedIn, TunnelError> {
        let mut server = PacketStream::new(server);
        let greeting = server.read_packet().await;
        let greeting = greeting.map_err(|error| self.failed(&error))?;
        if greeting.first() == Some(&ERROR_PACKET) {
            self.send_to_driver(&greeting).await?;
            return Ok(self.finish(server.stream));
        }
        let handshake: HandshakePacket<'_> =
            login_packets::parse_packet(&greeting).map_err(|reason| self.failed(&reason))?;
        let challenge = login_packets::trim_challenge(&handshake.nonce());
        let encrypts = self.uses_tls(handshake.capabilities())?;
        self.send_to_driver(&greeting).await?;
        let mut response = self.read_from_driver().await?;
        if !encrypts {
            self.send_response(&mut server, &response).await?;
            self.authenticate(&mut server, challenge, false).await?;
            return Ok(self.finish(server.stream));
        }
        let mut server = self.upgrade_to_tls(server, &mut response).await?;
        self.send_response(&mut server, &response).await?;
        self.authenticate(&mut server, challenge, true).await?;
        Ok(self.finish(server.stream))
    }

    fn finish(self, server: impl Stream + 'static) -> LoggedIn {
        LoggedIn {
            driver: self.driver.stream,
            server: Box::new(server),
        }
    }

    fn uses_tls(&self, server: CapabilityFlags) -> Result<bool, TunnelError> {
        match (
            self.protection.tls,
            server.contains(CapabilityFlags::CLIENT_SSL),
        ) {
            (TlsUse::Never, _) | (TlsUse::IfOffered, false) => Ok(false),
            (TlsUse::IfOffered | TlsUse::Always, true) => Ok(true),
            (TlsUse::Always, false) => Err(TunnelError::Failed(DatabaseError::TlsNotOffered {
                address: self.shown.to_owned(),
            })),
        }
    }

    /// Asks for TLS with the capabilities of the driver: a server takes those of this request.
    async fn upgrade_to_tls(
        &self,
        mut server: PacketStream<TcpStream>,
        response: &mut [u8],
    ) -> Result<PacketStream<TlsStream<TcpStream>>, TunnelError> {
        let Some(capabilities) = response.first_chunk_mut::<4>() else {
            return Err(self.failed(&"the driver's login is too short"));
        };
        let with_tls = u32::from_le_bytes(*capabilities) | CapabilityFlags::CLIENT_SSL.bits();
        *capabilities = with_tls.to_le_bytes();
        let request = &response[..response.len().min(SSL_REQUEST_BYTES)];
        let asked = server.write_packet(request).await;
        asked.map_err(|error| self.failed(&error))?;
        let rule = self.protection.certificate;
        let (config, name) =
            certificates::tls_client(self.place, rule).map_err(|reason| self.failed(&reason))?;
        let stream = TlsConnector::from(config)
            .connect(name, server.stream)
            .await;
        let stream = stream.map_err(|error| self.failed(&error))?;
        let shown_certificates = stream.get_ref().1.peer_certificates();
        certificates::check_server_key(self.place, rule, shown_certificates, self.shown)
            .map_err(TunnelError::Failed)?;
        Ok(PacketStream {
            stream,
            sequence: server.sequence,
        })
    }

    async fn send_response<S: Stream>(
        &self,
        server: &mut PacketStream<S>,
        answer: &[u8],
    ) -> Result<(), TunnelError> {
        let sent = server.write_packet(answer).await;
        sent.map_err(|error| self.failed(&error))
    }

    /// Passes on until the server accepts or refuses the login.
    async fn authenticate<S: Stream>(
        &mut self,
        server: &mut PacketStream<S>,
        mut challenge: Vec<u8>,
        encrypted: bool,
    ) -> Result<(), TunnelError> {
        loop {
            let packet = server.read_packet().await;
            let packet = packet.map_err(|error| self.failed(&error))?;
            self.send_to_driver(&packet).await?;
            match packet.as_slice() {
                [OK_PACKET | ERROR_PACKET, ..] => return Ok(()),
                [AUTH_MORE_DATA, FAST_AUTH_SUCCESS, ..] => {}
                [AUTH_SWITCH_REQUEST, ..] => {
                    let switch: AuthSwitchRequest<'_> = login_packets::parse_packet(&packet)
                        .map_err(|reason| self.failed(&reason))?;
                    challenge = login_packets::trim_challenge(switch.plugin_data());
                    let answer = self.read_from_driver().await?;
                    self.send_response(server, &answer).await?;
                }
                [AUTH_MORE_DATA, FULL_AUTHENTICATION, ..] if !encrypted => {
                    // The driver sends the password as it is, to this process and no further.
                    let _password = self.read_from_driver().await?;
                    self.send_password(server, &challenge).await?;
                }
                _ => {
                    let answer = self.read_from_driver().await?;
                    self.send_response(server, &answer).await?;
                }
            }
        }
    }

    /// Encrypts the password to the server's key, if it may be sent at all.
    async fn send_password<S: Stream>(
        &self,
        server: &mut PacketStream<S>,
        challenge: &[u8],
    ) -> Result<(), TunnelError> {
        let refused =
            |reason| TunnelError::Failed(login_packets::password_not_sent(self.shown, reason));
        let key = match &self.protection.password_key {
            PasswordKeyRule::None => {
                return Err(refused(login_packets::NO_PASSWORD_KEY.to_owned()));
            }
            PasswordKeyRule::File(file) => login_packets::read_key_file(file).map_err(refused)?,
            PasswordKeyRule::Any => {
                self.send_response(server, &[login_packets::PUBLIC_KEY_REQUEST])
                    .await?;
                let answer = server.read_packet().await;
                let answer = answer.map_err(|error| self.failed(&error))?;
                answer.get(1..).unwrap_or_default().to_vec()
            }
        };
        let password = self
            .place
            .password
            .as_ref()
            .map_or("", |password| password.expose());
        let encrypted = login_packets::encrypt_password(password, challenge, &key);
        self.send_response(server, &encrypted.map_err(refused)?)
            .await
    }

    async fn send_to_driver(&mut self, packet: &[u8]) -> Result<(), TunnelError> {
        let written = self.driver.write_packet(packet).await;
        written.map_err(|_| TunnelError::DriverClosed)
    }

    async fn read_from_driver(&mut self) -> Result<Vec<u8>, TunnelError> {
        let read = self.driver.read_packet().await;
        read.map_err(|_| TunnelError::DriverClosed)
    }
}
