//! Settings of the target that are changed for the time of a restore, and always restored.

use std::sync::Arc;

use reprise_mysql::{DatabaseError, SYSTEM_DATABASES, Session};
use reprise_repository::{ErrorClass, Progress};

use crate::error::{Error, Result};
use crate::mysql::load::preflight::TargetServer;
use crate::mysql::load::selection::SelectedDatabase;
use crate::mysql::load::target_session::connect_to_target;
use crate::mysql::options::MysqlRestoreOptions;
use crate::mysql::restore_state::{self, RestoreState};

/// Settings that let the target commit without waiting for its disk, each with the value that does so.
const RELAXED_DURABILITY: [(&str, &str); 2] = [
    ("innodb_flush_log_at_trx_commit", "2"),
    ("sync_binlog", "0"),
];

/// Statements that flush to the disk what was committed under [`RELAXED_DURABILITY`].
const FLUSH_STATEMENTS: [&str; 2] = [
    "FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS",
    "FLUSH NO_WRITE_TO_BINLOG BINARY LOGS",
];

/// Global settings of the server that are changed for the time of a restore.
#[derive(Debug, Default)]
pub(crate) struct TargetSettings {
    /// The statements that restore them.
    revert_statements: Vec<String>,
    /// Whether the target must be told to flush everything to its disk.
    relaxed: bool,
}

/// The record that commits may be lost.
const UNCERTAIN_STEP: &str = "commits may be lost";

impl TargetSettings {
    /// The settings that an interrupted restore has changed, and could not restore.
    pub(crate) fn from_earlier_attempt(done: &RestoreState) -> Self {
        Self {
            revert_statements: done.settings_to_revert.clone(),
            relaxed: false,
        }
    }

    pub(crate) fn change_settings(
        &mut self,
        control: &mut Session,
        target: &TargetServer,
        options: &MysqlRestoreOptions,
        goes_forward: bool,
    ) -> Result<()> {
        if goes_forward {
            self.stop_event_scheduler(control)?;
        }
        if !target.local_infile {
            let doing = "enable local_infile on the target";
            let (on, off) = (
                "SET GLOBAL local_infile = ON",
                "SET GLOBAL local_infile = OFF",
            );
            self.record_and_set(control, doing, on, off)?;
        }
        if target.must_trust_creators {
            let doing = "enable log_bin_trust_function_creators on the target";
            let (on, off) = (
                "SET GLOBAL log_bin_trust_function_creators = ON",
                "SET GLOBAL log_bin_trust_function_creators = OFF",
            );
            self.record_and_set(control, doing, on, off)?;
        }
        if options.without_redo_log {
            let (off, on) = (
                "ALTER INSTANCE DISABLE INNODB REDO_LOG",
                "ALTER INSTANCE ENABLE INNODB REDO_LOG",
            );
            self.record_and_set(
                control,
                "disable the InnoDB redo log of the target",
                off,
                on,
            )?;
        }
        Ok(())
    }

    /// Events must not run before everything is restored.
    fn stop_event_scheduler(&mut self, control: &mut Session) -> Result<()> {
        let doing = "stop the event scheduler of the target";
        let state = control
            .query_row("SELECT @@GLOBAL.event_scheduler")
            .map_err(|error| Error::from_database(doing, error))?;
        if state.text(0) != Some("ON") {
            return Ok(());
        }
        let (off, on) = (
            "SET GLOBAL event_scheduler = OFF",
            "SET GLOBAL event_scheduler = ON",
        );
        self.record_and_set(control, doing, off, on)
    }

    fn record_and_set(
        &mut self,
        control: &mut Session,
        doing: &'static str,
        statement: &str,
        back: &str,
    ) -> Result<()> {
        let failed = |error| Error::from_database(doing, error);
        // Recorded first: a resumed restore must know it after this program died.
        restore_state::record_setting_to_revert(control, back).map_err(failed)?;
        control.execute(statement).map_err(failed)?;
        if !self.revert_statements.iter().any(|known| known == back) {
            self.revert_statements.push(back.to_owned());
        }
        Ok(())
    }

    /// Lets the target commit without waiting for its disk, where it holds only restored data: each transaction that
    /// keeps its GTID is a commit of its own. If the host fails meanwhile, the target's data is not certain any more,
    /// and [`Self::check_durability`] refuses to resume.
    pub(crate) fn relax_durability(
        &mut self,
        control: &mut Session,
        done: &RestoreState,
        selected: &[SelectedDatabase],
    ) -> Result<()> {
        let doing = "change innodb_flush_log_at_trx_commit and sync_binlog on the target";
        let failed = |error| Error::from_database(doing, error);
        self.check_durability(control, done)?;
        if has_other_databases(control, selected).map_err(failed)? {
            return Ok(());
        }
        // An account that cannot have everything flushed to the disk at the end must not begin.
        if let Err(error) = flush_to_disk(control) {
            tracing::info!(%error, "the durability settings of the target cannot be relaxed: it flushes every commit, and the restore takes longer");
            return Ok(());
        }
        for (name, lazy) in RELAXED_DURABILITY {
            let before = control.query_row(format!("SELECT @@GLOBAL.{name}"));
            let before = before.map_err(failed)?.string(0);
            if before == lazy {
                continue;
            }
            let back = format!("SET GLOBAL {name} = {before}");
            // Setting its current value changes nothing, and shows whether the account may.
            if let Err(error) = control.execute(&back) {
                let error = failed(error);
                if !is_permission_error(&error) {
                    return Err(error);
                }
                tracing::info!(%error, "the durability settings of the target cannot be relaxed: it flushes every commit, and the restore takes longer");
                return Ok(());
            }
            let wanted = format!("SET GLOBAL {name} = {lazy}");
            self.record_and_set(control, doing, &wanted, &back)?;
            self.relaxed = true;
        }
        Ok(())
    }

    /// A server that was restarted since it was set to relaxed durability has its own settings again, and may have lost
    /// some of its commits: the record says so from then on.
    fn check_durability(&mut self, control: &mut Session, done: &RestoreState) -> Result<()> {
        let failed = |error| Error::from_database("read the settings of the target", error);
        let mut lost = done.has_step(UNCERTAIN_STEP);
        for (name, lazy) in RELAXED_DURABILITY {
            let set = format!("SET GLOBAL {name} = ");
            if self
                .revert_statements
                .iter()
                .any(|back| back.starts_with(&set))
            {
                self.relaxed = true;
                let now = control.query_row(format!("SELECT @@GLOBAL.{name}"));
                lost |= now.map_err(failed)?.text(0) != Some(lazy);
            }
        }
        if !lost {
            return Ok(());
        }
        restore_state::record_step(control, UNCERTAIN_STEP).map_err(failed)?;
        Err(Error::RestoreNotDurable)
    }

    /// On a connection of its own: the one that changed them may be closed.
    pub(crate) fn revert_settings(&mut self, options: &MysqlRestoreOptions) -> Result<()> {
        if self.revert_statements.is_empty() {
            return Ok(());
        }
        // The settings of an interrupted restore must be restored all the same.
        let calm = Arc::new(Progress::default());
        let mut control = connect_to_target(options, &calm)?;
        let failed = |error| Error::from_database("revert a setting of the target", error);
        let certain = self.check_durability(&mut control, &RestoreState::default());
        for statement in self.revert_statements.iter().rev() {
            control.execute(statement).map_err(failed)?;
        }
        if self.relaxed {
            flush_to_disk(&mut control)?;
        }
        restore_state::clear_settings_to_revert(&mut control).map_err(failed)?;
        certain
    }
}

fn flush_to_disk(control: &mut Session) -> Result<()> {
    for statement in FLUSH_STATEMENTS {
        control
            .execute(statement)
            .map_err(|error| Error::from_database("flush the logs of the target to disk", error))?;
    }
    Ok(())
}

/// Whether the server has databases that are not part of the restore.
fn has_other_databases(
    control: &mut Session,
    selected: &[SelectedDatabase],
) -> Result<bool, DatabaseError> {
    let rows = control.query_rows("SHOW DATABASES")?;
    Ok(rows.iter().any(|row| {
        let name = row.string(0);
        let system = SYSTEM_DATABASES
            .iter()
            .any(|known| known.eq_ignore_ascii_case(&name));
        let ours = selected.iter().any(|chosen| chosen.target == name);
        let known = [restore_state::STATE_DATABASE, restore_state::DRILL_DATABASE];
        !system && !ours && !known.contains(&name.as_str())
    }))
}

/// Whether the server reports that this account lacks the privilege.
fn is_permission_error(error: &Error) -> bool {
    matches!(error, Error::Database { source, .. } if source.class() == ErrorClass::Refused)
}
