//! Changes of keys that reach what is stored: contents encrypted for other recipients (`reencrypt`), and what counts of a
//! signer that was revoked (`revocation`).

pub(crate) mod reencrypt;
pub(crate) mod revocation;
