//! Drills: a rehearsed restore, with a verdict about the data.
//!
//! `directory` runs drills in a temporary directory, with the file assertions of `checks`; `server` those in a database
//! server that `scratch_server` reserves. `report` is the outcome, `junit` writes it for other programs.

mod checks;
mod directory;
mod junit;
mod report;
mod scratch_server;
mod server;

pub use directory::run_in_directory;
pub use junit::{FailedDrill, render_junit};
pub use report::{CheckResult, DrillReport, RestoredServer};
pub use server::run_in_server;
