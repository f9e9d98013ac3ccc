//! Reads definitions: `reader` reads those of a server, `keys` by which key the rows of a table are read, `view_order`
//! sorts views.

pub(crate) mod keys;
pub(crate) mod reader;
pub(crate) mod view_order;
