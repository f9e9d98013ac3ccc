//! The key table: the only definition of which keys a policy file has and what each is for.
//!
//! The decoder rejects every key that is not here, and the JSON Schema for editors is generated from here.

pub(crate) mod drill_keys;
pub(crate) mod json_schema;
pub(crate) mod mysql_keys;
pub(crate) mod policy_keys;
pub(crate) mod schedule_keys;
pub(crate) mod shape;
