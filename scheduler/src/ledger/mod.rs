//! The ledger: which slots were decided and how, which runs there were, and what they did.
//!
//! `records` is what is kept; `migrations` are its tables; `database` is the file; `claims` gives a slot to exactly one owner
//! at a time, and `history` lists what was. It is a convenience: losing it loses history, never a slot that is due and
//! never a restore.

mod claims;
mod database;
mod error;
mod history;
mod migrations;
mod records;
#[cfg(test)]
mod tests;

pub use claims::{Claim, Claimant};
pub use database::Ledger;
pub use error::{LedgerError, LedgerResult};
pub use history::RunFilter;
pub use records::{
    ActiveSlot, ActiveState, CLOCK_AHEAD_MAX, DecidedSlot, JobRecord, RunDetails, RunRecord,
    RunResult, SkippedSlots, SlotState, SourcePause, StepRecord,
};
