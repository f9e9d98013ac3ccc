//! Applies XA transactions, each in a session of its own.

use reprise_mysql::{DatabaseError, Flavour, try_set_variable};

use crate::error::{Error, Result};
use crate::mysql::replay::applier::session::{AUTOMATIC_GTID, ApplierSession};
use crate::mysql::replay::pending_change::PendingChangeKind;
use crate::mysql::replay::transaction_context::{TransactionContext, TransactionEnding};
use crate::mysql::replay::xa;

impl ApplierSession {
    pub(crate) fn begin_xa(&mut self, about: &TransactionContext, xid: &str) -> Result<()> {
        if self.already_applied {
            return Ok(());
        }
        let mut other = Self::open(&self.config)?;
        other.set_format(&about.format)?;
        let identity = other.gtid_assignment(about);
        let started = other.session.execute(format!("{identity}XA START {xid}"));
        started.map_err(|error| other.transaction_error(about, "", error))?;
        other.transaction = Some(about.clone());
        self.xa_session = Some(Box::new(other));
        Ok(())
    }

    pub(crate) fn end_xa(&mut self, ending: TransactionEnding) -> Result<()> {
        let Some(about) = self.transaction.clone() else {
            return Ok(());
        };
        let xid = about.xid.clone().unwrap_or_default();
        let Some(mut other) = self.xa_session.take() else {
            // An interrupted attempt prepared it; any further phase is still to be done.
            let committed = matches!(&about.pending, Some(pending) if pending.what == PendingChangeKind::Commit);
            if ending == TransactionEnding::OnePhase
                && (!committed || self.is_still_prepared(&about)?)
            {
                let done = self.execute_plain(format!("XA COMMIT {xid}"));
                done.map_err(|error| self.step_error("ending the transaction", error))?;
            }
            return Ok(());
        };
        other.send_prefix()?;
        let end = |words: &str, other: &mut Self| {
            let done = other.execute_plain(words);
            done.map_err(|error| other.step_error("ending the transaction", error))
        };
        end(&format!("XA END {xid}"), &mut other)?;
        if ending == TransactionEnding::OnePhase && self.config.keeps_gtids() {
            return end(&format!("XA COMMIT {xid} ONE PHASE"), &mut other);
        }
        end(&format!("XA PREPARE {xid}"), &mut other)?;
        if ending == TransactionEnding::Prepare {
            // Under a MySQL GTID, the session that has the GTID must end it.
            if !self.config.keeps_gtids() || self.config.flavour == Flavour::Mariadb {
                self.prepared_sessions.insert(xid, other);
            }
            return Ok(());
        }
        let noted = self.record_pending(&about, PendingChangeKind::Commit);
        noted.map_err(|error| self.step_error("writing the replay checkpoint", error))?;
        end(&format!("XA COMMIT {xid}"), &mut other)
    }

    pub(crate) fn is_prepared(
        &mut self,
        about: &TransactionContext,
    ) -> Result<bool, DatabaseError> {
        let wanted = about.xid.as_deref().unwrap_or_default();
        let known = xa::prepared_transactions(&mut self.session)?;
        Ok(known.iter().any(|xid| xid.eq_ignore_ascii_case(wanted)))
    }

    fn is_still_prepared(&mut self, about: &TransactionContext) -> Result<bool> {
        let prepared = self.is_prepared(about);
        prepared.map_err(|error| self.step_error("checking whether it is prepared", error))
    }

    /// Prepared XA transactions that wait for their second phase.
    pub(crate) fn prepared_warnings(&mut self) -> Result<Vec<String>> {
        let failed = |error| Error::from_database("list prepared transactions", error);
        // The session that prepared them must be closed for others to see them.
        self.prepared_sessions.clear();
        let unnumbered = try_set_variable(&mut self.session, AUTOMATIC_GTID);
        unnumbered.map_err(failed)?;
        let xids = xa::prepared_transactions(&mut self.session).map_err(failed)?;
        let warn = |xid| {
            format!(
                "XA transaction {xid} is prepared but neither committed nor rolled back: end it with XA COMMIT or XA ROLLBACK"
            )
        };
        Ok(xids.into_iter().map(warn).collect())
    }
}
