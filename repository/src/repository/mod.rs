//! A repository as its users see it: created and opened (`open`), with its snapshots (`snapshots`, by host in
//! `series`, and whom a name means in `binding`) and its index (`index_loading`); `key_refresh` reads its keys again.

mod binding;
mod identities;
mod index_loading;
mod key_refresh;
mod open;
pub(crate) mod pack_descriptions;
mod series;
mod snapshots;

pub use binding::ForeignSeries;
pub use open::{InitOptions, OpenOptions, open_backend, repository_exists};
pub use series::SourceSeries;
pub use snapshots::UnreadableRoot;
