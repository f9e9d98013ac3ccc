//! Logging in.

use mysql_common::constants::CapabilityFlags;
use mysql_common::crypto;
use mysql_common::io::ParseBuf;
use mysql_common::packets::{
    AuthPlugin, AuthSwitchRequest, HandshakePacket, HandshakeResponse, SslRequest,
};
use mysql_common::proto::{MyDeserialize, MySerialize};

use super::{FAILED, OK, Wire, refusal};
use crate::mysql::address::{Address, Tls};
use crate::mysql::error::DatabaseError;

/// What the client wants, beyond what the server must be able to do.
const WANTED: CapabilityFlags = CapabilityFlags::CLIENT_PROTOCOL_41
    .union(CapabilityFlags::CLIENT_LONG_PASSWORD)
    .union(CapabilityFlags::CLIENT_SECURE_CONNECTION)
    .union(CapabilityFlags::CLIENT_TRANSACTIONS)
    .union(CapabilityFlags::CLIENT_PLUGIN_AUTH)
    .union(CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA);

const PACKET_LIMIT: u32 = 1 << 30;

/// As in `SET NAMES utf8mb4`.
const CHARACTER_SET: u8 = 45;

const SWITCH: u8 = 0xfe;
const MORE: u8 = 0x01;

/// Answers of the server's cache of passwords: it knows this one, or it wants to see it.
const KNOWN: u8 = 0x03;
const FULL: u8 = 0x04;
const KEY_REQUEST: u8 = 0x02;

/// The length of a challenge; some servers end it with a zero byte.
const CHALLENGE_BYTES: usize = 20;

/// Who logs in.
struct Login<'a> {
    user: String,
    password: &'a str,
    plugin: AuthPlugin<'static>,
    challenge: Vec<u8>,
}

pub(super) fn enter(mut wire: Wire, place: &Address) -> Result<Wire, DatabaseError> {
    let greeting = wire.answer()?;
    if greeting.first() == Some(&FAILED) {
        return Err(refusal(&greeting));
    }
    let handshake: HandshakePacket<'_> = parsed(&greeting, &wire)?;
    let tls = encryption(place, handshake.capabilities(), &wire)?;
    let mut capabilities = WANTED & handshake.capabilities();
    let mut login = Login {
        user: place.user(),
        password: place
            .password
            .as_ref()
            .map_or("", |password| password.expose()),
        plugin: handshake
            .auth_plugin()
            .map_or(AuthPlugin::MysqlNativePassword, AuthPlugin::into_owned),
        challenge: challenge(&handshake.nonce()),
    };
    if let Some(tls) = tls {
        capabilities |= CapabilityFlags::CLIENT_SSL;
        let request = SslRequest::new(capabilities, PACKET_LIMIT, CHARACTER_SET);
        wire.send(&serialized(&request))?;
        wire = wire.secured(place, tls)?;
    }
    let response = HandshakeResponse::new(
        login.proof(&wire)?,
        (8, 0, 0),
        Some(login.user.clone().into_bytes()),
        None::<Vec<u8>>,
        Some(login.plugin.clone()),
        capabilities,
        None,
        PACKET_LIMIT,
    );
    wire.send(&serialized(&response))?;
    login.converse(&mut wire)?;
    Ok(wire)
}

/// How to encrypt, if at all.
fn encryption(
    place: &Address,
    server: CapabilityFlags,
    wire: &Wire,
) -> Result<Option<Tls>, DatabaseError> {
    let tls = place.tls.unwrap_or_default();
    if tls == Tls::Off || wire.link.is_safe() {
        return Ok(None);
    }
    match (server.contains(CapabilityFlags::CLIENT_SSL), tls) {
        (true, tls) => Ok(Some(tls)),
        (false, Tls::Preferred) => Ok(None),
        (false, _) => Err(wire.broken("the server does not have this capability: SSL")),
    }
}

impl Login<'_> {
    /// What proves the password for the present plugin and challenge.
    fn proof(&self, wire: &Wire) -> Result<Option<Vec<u8>>, DatabaseError> {
        match &self.plugin {
            AuthPlugin::MysqlNativePassword
            | AuthPlugin::CachingSha2Password
            | AuthPlugin::Ed25519 => {}
            // Whoever answers may ask for the password itself: nobody gets it so, as with the driver.
            other => {
                return Err(DatabaseError::Login {
                    address: wire.shown.clone(),
                    plugin: String::from_utf8_lossy(other.as_bytes()).into_owned(),
                });
            }
        }
        let proof = self.plugin.gen_data(Some(self.password), &self.challenge);
        Ok(proof.as_ref().map(serialized_proof))
    }

    fn converse(&mut self, wire: &mut Wire) -> Result<(), DatabaseError> {
        loop {
            let answer = wire.answer()?;
            match answer.first() {
                Some(&OK) => return Ok(()),
                Some(&FAILED) => return Err(refusal(&answer)),
                Some(&SWITCH) => {
                    let switch: AuthSwitchRequest<'_> = parsed(&answer, wire)?;
                    self.plugin = switch.auth_plugin().into_owned();
                    self.challenge = challenge(switch.plugin_data());
                    let proof = self.proof(wire)?.unwrap_or_default();
                    wire.send_one(&proof)?;
                }
                Some(&MORE) if answer.get(1) == Some(&KNOWN) => {}
                Some(&MORE) if answer.get(1) == Some(&FULL) => self.show_password(wire)?,
                _ => return Err(wire.broken("the server's answer to the login cannot be parsed")),
            }
        }
    }

    /// Over a way on which nobody listens as it is, otherwise encrypted with the server's key.
    fn show_password(&self, wire: &mut Wire) -> Result<(), DatabaseError> {
        let mut password = [self.password.as_bytes(), &[0]].concat();
        if wire.link.is_safe() {
            return wire.send_one(&password);
        }
        wire.send_one(&[KEY_REQUEST])?;
        let answer = wire.answer()?;
        let key = answer.get(1..).unwrap_or_default();
        if answer.first() != Some(&MORE) || !key.starts_with(b"-----BEGIN PUBLIC KEY-----") {
            return Err(wire.broken(
                "the server sent no RSA public key to encrypt the password with: use TLS",
            ));
        }
        let challenge = self.challenge.iter().cycle();
        password
            .iter_mut()
            .zip(challenge)
            .for_each(|(byte, mask)| *byte ^= mask);
        wire.send_one(&crypto::encrypt(&password, key))
    }
}

impl Wire {
    /// Sends one packet, be it empty.
    fn send_one(&mut self, payload: &[u8]) -> Result<(), DatabaseError> {
        if !payload.is_empty() {
            return self.send(payload);
        }
        let header = [0, 0, 0, self.sequence];
        self.sequence = self.sequence.wrapping_add(1);
        self.link
            .write(&header)
            .map_err(|error| self.broken(&error.to_string()))
    }
}

fn challenge(bytes: &[u8]) -> Vec<u8> {
    match bytes {
        [challenge @ .., 0] if challenge.len() == CHALLENGE_BYTES => challenge.to_vec(),
        whole => whole.to_vec(),
    }
}

fn parsed<'a, T: MyDeserialize<'a, Ctx = ()>>(
    bytes: &'a [u8],
    wire: &Wire,
) -> Result<T, DatabaseError> {
    T::deserialize((), &mut ParseBuf(bytes))
        .map_err(|error| wire.broken(&format!("the server's handshake cannot be parsed: {error}")))
}

fn serialized(packet: &impl MySerialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.serialize(&mut bytes);
    bytes
}

fn serialized_proof(proof: &mysql_common::packets::AuthPluginData<'_>) -> Vec<u8> {
    serialized(proof)
}
