//! Authentication.

use mysql_common::constants::CapabilityFlags;
use mysql_common::packets::{
    AuthPlugin, AuthSwitchRequest, HandshakePacket, HandshakeResponse, SslRequest,
};
use mysql_common::proto::{MyDeserialize, MySerialize};

use crate::connection::login_packets::{
    AUTH_MORE_DATA, FAST_AUTH_SUCCESS, FULL_AUTHENTICATION, NO_PASSWORD_KEY, PUBLIC_KEY_REQUEST,
    encrypt_password, password_not_sent, read_key_file, trim_challenge,
};
use crate::connection::protection::{PasswordKeyRule, Protection, TlsUse};
use crate::connection::{Address, login_packets};
use crate::error::DatabaseError;
use crate::wire::{ERROR_PACKET, OK_PACKET, WireConnection, parse_error_packet};

/// The capabilities that the client requests, beyond those that the server must have.
const REQUESTED_CAPABILITIES: CapabilityFlags = CapabilityFlags::CLIENT_PROTOCOL_41
    .union(CapabilityFlags::CLIENT_LONG_PASSWORD)
    .union(CapabilityFlags::CLIENT_SECURE_CONNECTION)
    .union(CapabilityFlags::CLIENT_TRANSACTIONS)
    .union(CapabilityFlags::CLIENT_PLUGIN_AUTH)
    .union(CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA);

const PACKET_BYTES_LIMIT: u32 = 1 << 30;

/// As in `SET NAMES utf8mb4`.
const CHARACTER_SET: u8 = 45;

const AUTH_SWITCH_REQUEST: u8 = 0xfe;

/// The account that logs in.
struct Login<'a> {
    user: String,
    password: &'a str,
    plugin: AuthPlugin<'static>,
    challenge: Vec<u8>,
    password_key: PasswordKeyRule,
}

pub(super) fn log_in(
    mut wire: WireConnection,
    place: &Address,
) -> Result<WireConnection, DatabaseError> {
    let greeting = wire.read_answer()?;
    if greeting.first() == Some(&ERROR_PACKET) {
        return Err(parse_error_packet(&greeting));
    }
    let handshake: HandshakePacket<'_> = parse_packet(&greeting, &wire)?;
    let protection = Protection::for_address(place);
    let encrypts = uses_tls(protection.tls, handshake.capabilities(), &wire)?;
    let mut capabilities = REQUESTED_CAPABILITIES & handshake.capabilities();
    let mut login = Login {
        user: place.user(),
        password: place
            .password
            .as_ref()
            .map_or("", |password| password.expose()),
        plugin: handshake
            .auth_plugin()
            .map_or(AuthPlugin::MysqlNativePassword, AuthPlugin::into_owned),
        challenge: trim_challenge(&handshake.nonce()),
        password_key: protection.password_key,
    };
    if encrypts {
        capabilities |= CapabilityFlags::CLIENT_SSL;
        let request = SslRequest::new(capabilities, PACKET_BYTES_LIMIT, CHARACTER_SET);
        wire.send_packets(&serialize_packet(&request))?;
        wire = wire.upgrade_to_tls(place, protection.certificate)?;
    }
    let response = HandshakeResponse::new(
        login.auth_response(&wire)?,
        (8, 0, 0),
        Some(login.user.clone().into_bytes()),
        None::<Vec<u8>>,
        Some(login.plugin.clone()),
        capabilities,
        None,
        PACKET_BYTES_LIMIT,
    );
    wire.send_packets(&serialize_packet(&response))?;
    login.authenticate(&mut wire)?;
    Ok(wire)
}

/// Whether to encrypt.
fn uses_tls(
    tls: TlsUse,
    server: CapabilityFlags,
    wire: &WireConnection,
) -> Result<bool, DatabaseError> {
    if wire.stream.is_secure() {
        return Ok(false);
    }
    match (tls, server.contains(CapabilityFlags::CLIENT_SSL)) {
        (TlsUse::Never, _) | (TlsUse::IfOffered, false) => Ok(false),
        (TlsUse::IfOffered | TlsUse::Always, true) => Ok(true),
        (TlsUse::Always, false) => Err(DatabaseError::TlsNotOffered {
            address: wire.server.clone(),
        }),
    }
}

impl Login<'_> {
    /// The proof of the password for the current plugin and challenge.
    fn auth_response(&self, wire: &WireConnection) -> Result<Option<Vec<u8>>, DatabaseError> {
        match &self.plugin {
            AuthPlugin::MysqlNativePassword
            | AuthPlugin::CachingSha2Password
            | AuthPlugin::Ed25519 => {}
            // An impostor could ask for the plain password: it is never sent this way, as with the driver.
            other => {
                return Err(DatabaseError::UnsupportedAuthPlugin {
                    address: wire.server.clone(),
                    plugin: String::from_utf8_lossy(other.as_bytes()).into_owned(),
                });
            }
        }
        let proof = self.plugin.gen_data(Some(self.password), &self.challenge);
        Ok(proof.as_ref().map(serialize_auth_data))
    }

    fn authenticate(&mut self, wire: &mut WireConnection) -> Result<(), DatabaseError> {
        loop {
            let answer = wire.read_answer()?;
            match answer.first() {
                Some(&OK_PACKET) => return Ok(()),
                Some(&ERROR_PACKET) => return Err(parse_error_packet(&answer)),
                Some(&AUTH_SWITCH_REQUEST) => {
                    let switch: AuthSwitchRequest<'_> = parse_packet(&answer, wire)?;
                    self.plugin = switch.auth_plugin().into_owned();
                    self.challenge = trim_challenge(switch.plugin_data());
                    let proof = self.auth_response(wire)?.unwrap_or_default();
                    wire.send_packet(&proof)?;
                }
                Some(&AUTH_MORE_DATA) if answer.get(1) == Some(&FAST_AUTH_SUCCESS) => {}
                Some(&AUTH_MORE_DATA) if answer.get(1) == Some(&FULL_AUTHENTICATION) => {
                    self.send_password(wire)?
                }
                _ => {
                    return Err(
                        wire.connection_error("the server's answer to the login cannot be parsed")
                    );
                }
            }
        }
    }

    /// Over a secure connection as plain text, otherwise encrypted with the server's public key, if that may be trusted.
    fn send_password(&self, wire: &mut WireConnection) -> Result<(), DatabaseError> {
        if wire.stream.is_secure() {
            return wire.send_packet(&[self.password.as_bytes(), &[0]].concat());
        }
        let refused = |reason| password_not_sent(&wire.server, reason);
        let key = match &self.password_key {
            PasswordKeyRule::None => return Err(refused(NO_PASSWORD_KEY.to_owned())),
            PasswordKeyRule::File(file) => read_key_file(file).map_err(refused)?,
            PasswordKeyRule::Any => {
                wire.send_packet(&[PUBLIC_KEY_REQUEST])?;
                wire.read_answer()?.get(1..).unwrap_or_default().to_vec()
            }
        };
        let encrypted = encrypt_password(self.password, &self.challenge, &key)
            .map_err(|reason| password_not_sent(&wire.server, reason))?;
        wire.send_packet(&encrypted)
    }
}

impl WireConnection {
    /// Sends one packet, even an empty one.
    fn send_packet(&mut self, payload: &[u8]) -> Result<(), DatabaseError> {
        if !payload.is_empty() {
            return self.send_packets(payload);
        }
        let header = [0, 0, 0, self.sequence];
        self.sequence = self.sequence.wrapping_add(1);
        self.stream
            .write(&header)
            .map_err(|error| self.connection_error(&error.to_string()))
    }
}

fn parse_packet<'a, T: MyDeserialize<'a, Ctx = ()>>(
    bytes: &'a [u8],
    wire: &WireConnection,
) -> Result<T, DatabaseError> {
    login_packets::parse_packet(bytes).map_err(|reason| wire.connection_error(&reason))
}

fn serialize_packet(packet: &impl MySerialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.serialize(&mut bytes);
    bytes
}

fn serialize_auth_data(proof: &mysql_common::packets::AuthPluginData<'_>) -> Vec<u8> {
    serialize_packet(proof)
}
