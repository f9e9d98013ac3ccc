//! A connection to a server: where it is (`address`, from a URL, an `option_file` or a `container`), and a blocking
//! `session` with it.

mod address;
pub(crate) mod container;
mod option_file;
mod session;

pub use address::{Address, Password, Tls};
pub use session::{Bytes, Row, Session, StatementResult, TextRow, Value};

/// How many connections a snapshot or a restore opens by default.
pub const CONNECTIONS_DEFAULT: usize = 4;
