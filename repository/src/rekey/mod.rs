//! Key changes that reach what is stored: contents re-encrypted for other recipients (`reencrypt`), and what remains
//! valid of a revoked signer (`revocation`).

pub(crate) mod reencrypt;
pub(crate) mod revocation;
