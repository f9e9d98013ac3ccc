//! The name that this program writes into what it stores.

/// The program that wrote an object, with its version.
pub(crate) const PROGRAM: &str = concat!("reprise ", env!("CARGO_PKG_VERSION"));
