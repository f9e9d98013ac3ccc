//! Rolls a restored server forward: applies the transactions of a binary log, each exactly once, up to the recovery
//! target.
//!
//! ```text
//! events ─► progress (skipped? the target?) ─► transactions ─► batches ─► applier pool ─► server, checkpoint
//! ```
//!
//! Whole transactions are applied or skipped, by their commit time. Rows are sent to the server as the log has them
//! (`BINLOG`), statements under the settings of their time.
//!
//! `run` is the entry, with the types `options` and `report`. `read/` assembles events into transactions,
//! `replay_progress` decides which are applied and up to where, `applier/` applies them. Between the two go
//! `transaction_context`, `batch` (rows of several transactions) and `statement`. `checkpoint` records the progress at the
//! target, `pending_change` finds what took effect, `xa` lists prepared transactions, `gtid_history` sets what the server
//! has executed, `messages` names transactions.

mod applier;
mod batch;
mod checkpoint;
mod gtid_history;
mod messages;
mod options;
mod pending_change;
mod read;
mod replay_progress;
mod report;
mod run;
mod statement;
mod transaction_context;
pub(crate) mod xa;

pub use gtid_history::seed_gtid_history;
pub use options::{ReplayMode, ReplayOptions};
pub use report::ReplayReport;
pub use reprise_mysql::log::ExecutedSet;
pub use run::replay_log;
