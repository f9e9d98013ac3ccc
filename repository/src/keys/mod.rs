//! Objects under `keys/`: the records of recipients and signers (`key_objects`), how they change (`key_change`), a keeper's key
//! that is kept here (`escrow`), and the
//! catalog keys for hosts that were added later (`key_wrapping`).

pub(crate) mod escrow;
pub(crate) mod key_change;
pub(crate) mod key_objects;
pub(crate) mod key_wrapping;
