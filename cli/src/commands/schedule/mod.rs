//! Schedules: `due` runs what is due, `runs` tells what ran, `pause` keeps a source from being due for a time, `slots` lists
//! what will be due, `status` whether all is well.

pub(crate) mod due;
pub(crate) mod pause;
pub(crate) mod runs;
pub(crate) mod slots;
pub(crate) mod status;

use std::path::PathBuf;
use std::sync::Arc;

use reprise_scheduler::ledger::{Ledger, LedgerError};

use crate::context::{Context, current_time};
use crate::failure::{Exit, Failure};
use crate::output;

/// Where this host keeps its ledger.
pub(crate) fn ledger_path(context: &Context) -> PathBuf {
    context.environment.host.path().join("ledger.sqlite")
}

/// Opens this host's ledger. Says where a damaged one was put.
pub(crate) fn open_ledger(context: &Context) -> Result<Arc<Ledger>, Failure> {
    let ledger = Ledger::open(&ledger_path(context), current_time())?;
    if let Some(kept) = ledger.set_aside() {
        output::print_note(&format!(
            "warning: the ledger was damaged and is now {}: a new history of runs begins",
            kept.display()
        ));
    }
    Ok(Arc::new(ledger))
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        let exit = match error {
            LedgerError::Database { .. } | LedgerError::Directory { .. } => Exit::Failed,
            LedgerError::NewerVersion { .. } => Exit::Refused,
            LedgerError::NoSuchRun { .. } => Exit::NotFound,
            LedgerError::AmbiguousRun { .. } => Exit::Usage,
        };
        Self::new(exit, error.to_string(), error.hint())
    }
}
