//! What a hostile host does that answers in place of a database server: it asks for the password, or for nothing and waits.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The plugin of the greeting, and the challenge.
const PLUGIN: &[u8] = b"caching_sha2_password\0";
const CHALLENGE: &[u8; 20] = b"abcdefghijklmnopqrst";

/// Capabilities of MySQL 8, without TLS.
const CAPABILITIES: u32 = 0x0028_a28f;

/// How long an answer of the client is waited for that must not come.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// What it does with a client.
#[derive(Debug, Clone)]
pub enum Trick {
    /// Accepts and never says anything.
    Silence,
    /// Asks for the whole password, and for its encryption offers a key, in the place of a server's public key.
    FullAuthentication(&'static str),
    /// Asks for the password as it is.
    ClearPassword,
}

/// A hostile server on all addresses of this machine.
#[derive(Debug)]
pub struct Impostor {
    port: u16,
    got: Arc<Mutex<Vec<u8>>>,
}

impl Impostor {
    /// Starts it. It lives as long as the test program.
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn start(trick: Trick) -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let got = Arc::<Mutex<Vec<u8>>>::default();
        let kept = Arc::clone(&got);
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                if let Trick::Silence = trick {
                    held.push(stream);
                    continue;
                }
                // A client that hangs up is what is hoped for.
                drop(play(stream, &trick, &kept));
            }
        });
        Self { port, got }
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Everything that clients have sent.
    ///
    /// # Panics
    /// When the thread that collects it has.
    #[must_use]
    pub fn received(&self) -> Vec<u8> {
        self.got.lock().unwrap().clone()
    }
}

fn play(mut stream: TcpStream, trick: &Trick, got: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    let read = |stream: &mut TcpStream| {
        let mut header = [0; 4];
        stream.read_exact(&mut header)?;
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload)?;
        got.lock().unwrap().extend_from_slice(&payload);
        Ok::<u8, std::io::Error>(header[3] + 1)
    };
    send(&mut stream, 0, &greeting())?;
    let mut sequence = read(&mut stream)?;
    match trick {
        Trick::Silence => {}
        Trick::ClearPassword => {
            send(&mut stream, sequence, b"\xfemysql_clear_password\0")?;
            read(&mut stream)?;
        }
        Trick::FullAuthentication(key) => {
            send(&mut stream, sequence, &[1, 4])?;
            sequence = read(&mut stream)?;
            send(&mut stream, sequence, &[&[1], key.as_bytes()].concat())?;
            read(&mut stream)?;
        }
    }
    Ok(())
}

fn greeting() -> Vec<u8> {
    let [low, high] = [CAPABILITIES & 0xffff, CAPABILITIES >> 16];
    let mut packet = b"\x0a8.0.36\0\x07\0\0\0".to_vec();
    packet.extend_from_slice(&CHALLENGE[..8]);
    packet.push(0);
    packet.extend_from_slice(&low.to_le_bytes()[..2]);
    packet.extend_from_slice(&[45, 2, 0]);
    packet.extend_from_slice(&high.to_le_bytes()[..2]);
    packet.push(21);
    packet.extend_from_slice(&[0; 10]);
    packet.extend_from_slice(&CHALLENGE[8..]);
    packet.push(0);
    packet.extend_from_slice(PLUGIN);
    packet
}

fn send(stream: &mut TcpStream, sequence: u8, payload: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    let header = [length[0], length[1], length[2], sequence];
    stream.write_all(&[&header, payload].concat())
}
