//! A repository as its users see it: created and opened (`open`), with its snapshots (`snapshots`, by host in
//! `series`, and whom a name means in `binding`) and its index (`index_loading`); `key_refresh` reads its keys again;
//! `withheld` are snapshots that were seen and are gone, `history` what is stored of a source before a new snapshot.

mod binding;
mod history;
mod identities;
mod index_loading;
mod key_refresh;
mod open;
pub(crate) mod pack_descriptions;
mod series;
mod snapshots;
mod withheld;

pub use binding::ForeignSeries;
pub use history::SourceHistory;
pub use open::{InitOptions, OpenOptions, open_backend, repository_exists};
pub use series::SourceSeries;
pub use snapshots::UnreadableRoot;
