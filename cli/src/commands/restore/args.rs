//! Options of `reprise restore`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use reprise_restore::files::{AttributeSelection, SpecialFiles};

use crate::host_args::HostArgs;

#[derive(Debug, Args)]
#[command(after_help = "\
Every chunk is checked against its hash before it is written. The target must be empty, unless --overwrite or
--resume is given. What cannot be restored is named by cause, and the rest is restored: exit 3, or 4 if stored data is
damaged. If the target is a database server, its password comes from --defaults-file or MYSQL_PWD, rows are
read back and compared afterwards, and only the named databases are changed.

Examples:
  reprise --identity recovery-1.txt restore jenkins --to /restored
  reprise --identity recovery-1.txt restore 3f9a1c22 --to /restored jobs/deploy config.xml
  reprise --identity recovery-1.txt restore jenkins@'yesterday 18:00' --to /restored
  reprise --identity recovery-1.txt restore jenkins --to /restored 'jobs/*/config.xml'
  reprise --identity recovery-1.txt restore jenkins --to /restored --resume   after an interruption
  reprise --identity recovery-1.txt restore app-db --to mysql://root@127.0.0.1/
  reprise --identity recovery-1.txt restore app-db --to mysql://root@db/ --database shop=shop_before
  reprise --identity recovery-1.txt restore app-db --to mysql://root@db/ --point-in-time 2026-11-21T14:03:07Z
  reprise --identity recovery-1.txt restore app-db --to mysql://root@db/ --before-gtid 3e11fa47-…:4711")]
pub(crate) struct RestoreArgs {
    /// Beginning of a snapshot ID, SOURCE, SOURCE@latest, SOURCE@2026-11-29, or SOURCE@'yesterday 18:00': the newest at or
    /// before that.
    pub(crate) snapshot: String,
    /// Target directory, or server as mysql://user@host/.
    #[arg(long, value_name = "TARGET")]
    pub(crate) to: PathBuf,
    /// Only these paths and what is below them, relative to the snapshot's root. Patterns follow the rules of exclude
    /// rules (`*`, `**`, `?`, `[…]`); a path that exists is taken literally.
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<OsString>,
    /// Replace what differs in the target. What is not in the snapshot is kept.
    #[arg(long, conflicts_with = "resume")]
    pub(crate) overwrite: bool,
    /// Resume an interrupted restore: what is already correct is kept.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Read everything back afterwards and compare it with the snapshot. For a server: none, counts or checksums.
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, default_missing_value = "")]
    pub(crate) verify: Option<OsString>,
    /// Only print what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    #[command(flatten)]
    pub(crate) directory: DirectoryArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// What only a directory as the target understands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Directory as the target")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub(crate) struct DirectoryArgs {
    /// Leave files to the user who restores. Default where files cannot be given away: without root (CAP_CHOWN).
    #[arg(long)]
    pub(crate) no_owner: bool,
    /// Do not restore extended attributes and ACLs.
    #[arg(long)]
    pub(crate) no_xattrs: bool,
    /// Do not restore devices, FIFOs and sockets.
    #[arg(long)]
    pub(crate) no_special: bool,
    /// Do not restore set-user-id and set-group-id bits of files.
    #[arg(long)]
    pub(crate) no_setuid: bool,
}

impl DirectoryArgs {
    /// The first option that was given.
    pub(crate) fn first_given(&self) -> Option<&'static str> {
        let given = [
            ("--no-owner", self.no_owner),
            ("--no-xattrs", self.no_xattrs),
            ("--no-special", self.no_special),
            ("--no-setuid", self.no_setuid),
        ];
        given
            .into_iter()
            .find_map(|(option, given)| given.then_some(option))
    }

    pub(crate) fn selection(&self) -> AttributeSelection {
        AttributeSelection {
            owners: !self.no_owner,
            xattrs: !self.no_xattrs,
            set_id_bits: !self.no_setuid,
            specials: if self.no_special {
                SpecialFiles::Skip
            } else {
                SpecialFiles::Restore
            },
            only_possible: false,
        }
    }
}

impl RestoreArgs {
    /// How a server is to be compared with the snapshot, if that was said.
    pub(crate) fn verify_level(&self) -> Option<&str> {
        let level = self.verify.as_ref()?.to_str()?;
        VERIFY_LEVELS.contains(&level).then_some(level)
    }

    /// A path that stands behind `--verify`, which needs no level.
    pub(crate) fn stray_path(&self) -> Option<&OsString> {
        let given = self.verify.as_ref().filter(|given| !given.is_empty());
        given.filter(|_| self.verify_level().is_none())
    }
}

const VERIFY_LEVELS: [&str; 3] = ["none", "counts", "checksums"];

/// What only a database server as the target understands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Database server as the target")]
pub(crate) struct ServerArgs {
    /// Only this database, under the name NEW if it is given. May be repeated.
    #[arg(long, value_name = "NAME[=NEW]")]
    pub(crate) database: Vec<String>,
    /// Only this table. May be repeated.
    #[arg(long, value_name = "DATABASE.TABLE")]
    pub(crate) table: Vec<String>,
    /// Number of connections that load rows. Default: 4.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(crate) threads: Option<u8>,
    /// Restore everything committed at or before this time: RFC 3339, or local time (also `yesterday
    /// 18:00`) in the time zone of the policy, without one in that of TZ or the system.
    #[arg(long, value_name = "TIME", group = "recovery_target")]
    pub(crate) point_in_time: Option<String>,
    /// Restore everything before this transaction in the log.
    #[arg(long, value_name = "GTID", group = "recovery_target")]
    pub(crate) before_gtid: Option<String>,
    /// Replay the whole archived log (`latest`), or exactly up to a later snapshot, and compare with it.
    #[arg(long, value_name = "latest|SNAPSHOT", group = "recovery_target")]
    pub(crate) until: Option<String>,
    /// Skip this transaction of the log. May be repeated.
    #[arg(long, value_name = "GTID", requires = "recovery_target")]
    pub(crate) skip_gtid: Vec<String>,
    /// Keep the GTID of every replayed transaction, so that replicas can follow. Slower; needs a fresh server.
    #[arg(long, requires = "recovery_target")]
    pub(crate) keep_gtids: bool,
    /// Which users and roles to create. Default: missing ones when everything is restored, otherwise none.
    #[arg(long, value_enum, value_name = "WHICH")]
    pub(crate) users: Option<UsersArg>,
    /// Write the restore to the server's binary log, so that replicas can follow.
    #[arg(long)]
    pub(crate) write_binlog: bool,
    /// Definer of views, routines, triggers and events: `keep`, or another account.
    #[arg(long, value_name = "USER@HOST")]
    pub(crate) definer: Option<String>,
    /// Disable the redo log while loading. Only for a dedicated server: if it crashes meanwhile, its data is lost.
    #[arg(long)]
    pub(crate) disable_redo_log: bool,
    /// MySQL option file with user, password and server, like ~/.my.cnf.
    #[arg(long, value_name = "FILE")]
    pub(crate) defaults_file: Option<PathBuf>,
}

/// Which accounts a restore makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum UsersArg {
    /// No accounts.
    None,
    /// Accounts that the server does not have.
    Missing,
}
