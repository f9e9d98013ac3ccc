//! Who can read, and who is trusted: age recipients and identities (`encryption`), ed25519 signatures (`signing`),
//! signed records (`envelope`), whose signatures are valid (`trust`), and the keys of this host (`host_keys`).

pub(crate) mod encryption;
pub(crate) mod envelope;
pub(crate) mod host_keys;
pub(crate) mod signing;
pub(crate) mod trust;
