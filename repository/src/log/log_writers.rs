//! Who is writing: runs under way, and the archivers of logs. They may still encrypt to keys that were removed.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::error::{ErrorClass, Result};
use crate::records::leases::{ActiveRun, Leases};
use crate::store::Repository;

/// The archiver of a log, by its newest segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogWriter {
    /// The source.
    pub source: String,
    /// The program, with version and host.
    pub program: String,
    /// When the newest segment was made.
    pub written: DateTime<Utc>,
    /// Whether it is encrypted to those who are recovery recipients now, and nobody else.
    pub has_current_recipients: bool,
}

impl Repository {
    /// The archivers of all logs. Segments that cannot be read are left out.
    ///
    /// # Errors
    /// When the storage does not respond.
    pub fn log_writers(&self) -> Result<Vec<LogWriter>> {
        let current = self.inner.data_recipients.recipient_set_id();
        let mut writers = Vec::new();
        for directory in self.log_directories()? {
            for key in self.list_log_segments_in(&directory)?.iter().rev() {
                match self.read_log_record(key) {
                    Ok(record) => {
                        writers.push(LogWriter {
                            source: record.source,
                            program: record.program,
                            written: record.written,
                            has_current_recipients: record.recipients == Some(current),
                        });
                        break;
                    }
                    Err(error) if error.class() == ErrorClass::Failed => return Err(error),
                    Err(error) => tracing::debug!(%key, %error, "cannot read a log segment"),
                }
            }
        }
        Ok(writers)
    }

    /// Runs under way, by their leases.
    ///
    /// # Errors
    /// When the storage does not respond.
    pub fn active_runs(&self) -> Result<Vec<ActiveRun>> {
        Ok(Leases::read(&self.inner, None)?.active)
    }
}
