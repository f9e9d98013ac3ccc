//! Reads definitions: `reader` reads those of a server, with `relations` (tables, views, sequences) and `stored_objects`,
//! to a `server_schema`. `keys` finds the key by which the rows of a table are read, `view_order` sorts views.

pub(crate) mod keys;
pub(crate) mod reader;
mod relations;
pub(crate) mod server_schema;
mod stored_objects;
pub(crate) mod view_order;
