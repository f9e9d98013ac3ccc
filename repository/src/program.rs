//! What this program calls itself in what it stores.

/// What wrote an object, with its version.
pub(crate) const PROGRAM: &str = concat!("reprise ", env!("CARGO_PKG_VERSION"));
