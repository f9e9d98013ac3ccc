//! Encryption to recipients and decryption with identities, by the age format.
//!
//! Two classes of recipients see two classes of things: see [`RecipientClass`].
//!
//! `recipients` encrypt, `identities` decrypt, `passphrase` does both with one, `key_text` keeps secret keys out of messages.

mod identities;
mod key_text;
mod passphrase;
mod recipients;
#[cfg(test)]
mod tests;

pub(crate) use identities::FileKeys;
pub use identities::{GeneratedIdentity, Identities, generate_identity};
pub(crate) use key_text::SIGNING_KEY_PREFIX;
pub use key_text::mask_secret;
pub use passphrase::Passphrase;
pub use recipients::{RecipientClass, Recipients, canonical_recipient, has_recipient};
