//! Settings of the target that are changed for the time of a restore, and put back whatever happens.

use std::sync::Arc;

use reprise_repository::{ErrorClass, Progress};
use reprise_snapshotters::mysql::{DatabaseError, SYSTEM_DATABASES, Session};

use super::connect;
use super::options::MysqlRestore;
use super::preflight::Target;
use super::progress::{self, Done};
use super::scratch;
use super::selection::Selected;
use crate::error::{Error, Result};

/// What lets the target commit without waiting for its disk, with the value that says so.
const LAZY: [(&str, &str); 2] = [
    ("innodb_flush_log_at_trx_commit", "2"),
    ("sync_binlog", "0"),
];

/// What brings to the disk what was committed under [`RELAXED_DURABILITY`].
const FLUSH: [&str; 2] = [
    "FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS",
    "FLUSH NO_WRITE_TO_BINLOG BINARY LOGS",
];

/// Settings of the whole server that are changed for the time of a restore.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// The statements that put them back.
    back: Vec<String>,
    /// Whether the target must be told to bring everything to its disk.
    lazy: bool,
}

/// What is noted when commits may be lost.
const UNCERTAIN: &str = "commits may be lost";

impl Settings {
    /// What a restore that was interrupted has changed, and could not put back.
    pub(super) fn left_by(done: &Done) -> Self {
        Self {
            back: done.to_put_back.clone(),
            lazy: false,
        }
    }

    pub(super) fn change(
        &mut self,
        control: &mut Session,
        target: &Target,
        options: &MysqlRestore,
        goes_forward: bool,
    ) -> Result<()> {
        if goes_forward {
            self.hold_events(control)?;
        }
        if !target.local_infile {
            let doing = "enable local_infile on the target";
            let (on, off) = (
                "SET GLOBAL local_infile = ON",
                "SET GLOBAL local_infile = OFF",
            );
            self.set(control, doing, on, off)?;
        }
        if target.distrusts {
            let doing = "enable log_bin_trust_function_creators on the target";
            let (on, off) = (
                "SET GLOBAL log_bin_trust_function_creators = ON",
                "SET GLOBAL log_bin_trust_function_creators = OFF",
            );
            self.set(control, doing, on, off)?;
        }
        if options.without_redo_log {
            let (off, on) = (
                "ALTER INSTANCE DISABLE INNODB REDO_LOG",
                "ALTER INSTANCE ENABLE INNODB REDO_LOG",
            );
            self.set(
                control,
                "disable the InnoDB redo log of the target",
                off,
                on,
            )?;
        }
        Ok(())
    }

    /// Events that act by themselves must not, before everything is there.
    fn hold_events(&mut self, control: &mut Session) -> Result<()> {
        let doing = "stop the event scheduler of the target";
        let state = control
            .row("SELECT @@GLOBAL.event_scheduler")
            .map_err(|error| Error::database(doing, error))?;
        if state.text(0) != Some("ON") {
            return Ok(());
        }
        let (off, on) = (
            "SET GLOBAL event_scheduler = OFF",
            "SET GLOBAL event_scheduler = ON",
        );
        self.set(control, doing, off, on)
    }

    fn set(
        &mut self,
        control: &mut Session,
        doing: &'static str,
        statement: &str,
        back: &str,
    ) -> Result<()> {
        let failed = |error| Error::database(doing, error);
        // Noted first: whoever goes on after this program died must know.
        progress::will_put_back(control, back).map_err(failed)?;
        control.execute(statement).map_err(failed)?;
        if !self.back.iter().any(|known| known == back) {
            self.back.push(back.to_owned());
        }
        Ok(())
    }

    /// Lets the target commit without waiting for its disk, where it holds nothing but what is being restored: each
    /// transaction that keeps its number is a commit of its own. If the host fails meanwhile, what the target has is
    /// not certain any more, and [`Self::check_durability`] refuses to go on with it.
    pub(super) fn flush_lazily(
        &mut self,
        control: &mut Session,
        done: &Done,
        selected: &[Selected],
    ) -> Result<()> {
        let doing = "change innodb_flush_log_at_trx_commit and sync_binlog on the target";
        let failed = |error| Error::database(doing, error);
        self.check_lazy(control, done)?;
        if has_others(control, selected).map_err(failed)? {
            return Ok(());
        }
        // Whoever cannot have everything brought to the disk at the end must not begin.
        if let Err(error) = flush(control) {
            tracing::info!(%error, "the durability settings of the target cannot be relaxed: it flushes every commit, and the restore takes longer");
            return Ok(());
        }
        for (name, lazy) in LAZY {
            let before = control.row(format!("SELECT @@GLOBAL.{name}"));
            let before = before.map_err(failed)?.string(0);
            if before == lazy {
                continue;
            }
            let back = format!("SET GLOBAL {name} = {before}");
            // Its own value changes nothing, and shows whether the account may.
            if let Err(error) = control.execute(&back) {
                let error = failed(error);
                if !lacks_right(&error) {
                    return Err(error);
                }
                tracing::info!(%error, "the durability settings of the target cannot be relaxed: it flushes every commit, and the restore takes longer");
                return Ok(());
            }
            let wanted = format!("SET GLOBAL {name} = {lazy}");
            self.set(control, doing, &wanted, &back)?;
            self.lazy = true;
        }
        Ok(())
    }

    /// A server that was started anew since it was told to commit lazily has its own settings again, and may have
    /// lost some of what it had committed: the record says so from then on.
    fn check_lazy(&mut self, control: &mut Session, done: &Done) -> Result<()> {
        let failed = |error| Error::database("read the settings of the target", error);
        let mut lost = done.has(UNCERTAIN);
        for (name, lazy) in LAZY {
            let set = format!("SET GLOBAL {name} = ");
            if self.back.iter().any(|back| back.starts_with(&set)) {
                self.lazy = true;
                let now = control.row(format!("SELECT @@GLOBAL.{name}"));
                lost |= now.map_err(failed)?.text(0) != Some(lazy);
            }
        }
        if !lost {
            return Ok(());
        }
        progress::note(control, UNCERTAIN).map_err(failed)?;
        Err(Error::RestoreUncertain)
    }

    /// On a connection of its own: the one that changed them may be gone.
    pub(super) fn restore(&mut self, options: &MysqlRestore) -> Result<()> {
        if self.back.is_empty() {
            return Ok(());
        }
        // What was interrupted must be put back all the same.
        let calm = Arc::new(Progress::default());
        let mut control = connect(options, &calm)?;
        let failed = |error| Error::database("revert a setting of the target", error);
        let certain = self.check_lazy(&mut control, &Done::default());
        for statement in self.back.iter().rev() {
            control.execute(statement).map_err(failed)?;
        }
        if self.lazy {
            flush(&mut control)?;
        }
        progress::has_put_back(&mut control).map_err(failed)?;
        certain
    }
}

fn flush(control: &mut Session) -> Result<()> {
    for statement in FLUSH {
        control
            .execute(statement)
            .map_err(|error| Error::database("flush the logs of the target to disk", error))?;
    }
    Ok(())
}

/// Whether the server has databases that are not part of the restore.
fn has_others(control: &mut Session, selected: &[Selected]) -> Result<bool, DatabaseError> {
    let rows = control.rows("SHOW DATABASES")?;
    Ok(rows.iter().any(|row| {
        let name = row.string(0);
        let system = SYSTEM_DATABASES
            .iter()
            .any(|known| known.eq_ignore_ascii_case(&name));
        let ours = selected.iter().any(|chosen| chosen.target == name);
        let known = [progress::DATABASE, scratch::DATABASE];
        !system && !ours && !known.contains(&name.as_str())
    }))
}

/// Whether the server says that this account may not do it.
fn lacks_right(error: &Error) -> bool {
    matches!(error, Error::Database { source, .. } if source.class() == ErrorClass::Refused)
}
