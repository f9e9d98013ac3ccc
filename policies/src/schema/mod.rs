//! The key table: which keys a policy file has and what each is for. The decoder reads by it, and the JSON Schema for
//! editors is generated from it.

pub(crate) mod drill_keys;
pub(crate) mod json_schema;
pub(crate) mod mysql_keys;
pub(crate) mod table;
