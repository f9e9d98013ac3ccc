//! A connection to a server: where it is (`address`, from a URL, an `option_file` or a `container`), and a blocking
//! `session` with it.
//!
//! `protection` decides how any connection is protected, `certificates` and `server_pins` which servers are accepted,
//! `login_packets` how a password is sent without TLS. The driver of a session connects through a `tunnel` that keeps to it;
//! `liveness` tells a server that works from one that hangs.

mod address;
pub(crate) mod certificates;
pub(crate) mod container;
mod liveness;
pub(crate) mod login_packets;
mod option_file;
pub(crate) mod protection;
mod server_pins;
mod session;
mod tunnel;

pub use address::{Address, ConnectionSettings, Password, Tls};
pub use session::{Bytes, Row, Session, StatementResult, TextRow, Value};

/// How many connections a snapshot or a restore opens by default.
pub const CONNECTIONS_DEFAULT: usize = 4;
