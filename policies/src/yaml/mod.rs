//! YAML with positions: `document` turns text into a tree, `decoder` reads the tree by the key table, and `report`
//! collects every error of a file (`error`), each with the line that it is about (`excerpt`).

pub(crate) mod decoder;
pub(crate) mod document;
pub(crate) mod error;
mod excerpt;
pub(crate) mod report;
