//! A repository as its users see it: created and opened (`open`), with its snapshots (`snapshots`, by host in
//! `series`) and its index (`index_loading`).

mod identities;
mod index_loading;
mod open;
pub(crate) mod pack_descriptions;
mod series;
mod snapshots;

pub use open::{InitOptions, OpenOptions, open_backend, repository_exists};
pub use series::SourceSeries;
pub use snapshots::UnreadableRoot;
