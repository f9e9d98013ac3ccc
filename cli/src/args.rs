//! The command line. Scripts rely on it: names are added, never changed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Encrypted snapshots of volumes, databases, Terraform state and program output, with verified restores.
#[derive(Debug, Parser)]
#[command(name = "reprise", version, about, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  Create a repository and two recovery identities, to be stored off this host:
    reprise -r /srv/backup init --generate-identity recovery-1.txt --generate-identity recovery-2.txt
  Take a snapshot of a directory, and list snapshots:
    reprise -r /srv/backup snapshot volume /var/lib/jenkins
    reprise -r /srv/backup snapshots
  Restore the newest snapshot:
    reprise -r /srv/backup --identity recovery-1.txt restore jenkins --to /restored
  Run a restore drill with sample data:
    reprise drill --policies policies/examples/quickstart.yaml

Exit codes:
  0 ok   1 failed   2 usage or policy error   3 degraded: finished, but something named was skipped
  4 data is damaged or differs from what was expected   5 not found
  6 refused: target not empty, identity or permission missing   130 interrupted";

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct GlobalArgs {
    /// Location of the repository: a path, s3://bucket/prefix or azure://account/container/prefix.
    #[arg(
        short,
        long,
        global = true,
        env = "REPRISE_REPOSITORY",
        value_name = "URL"
    )]
    pub(crate) repository: Option<String>,
    /// File with a recovery identity (age or SSH private key) that decrypts snapshot contents. May be repeated.
    #[arg(long, global = true, env = "REPRISE_IDENTITY", value_name = "FILE")]
    pub(crate) identity: Vec<PathBuf>,
    /// File with a keeper's key, which may forget snapshots and change keys. Default: this host's own key.
    #[arg(
        long,
        global = true,
        env = "REPRISE_KEEPER",
        value_name = "FILE",
        hide_short_help = true
    )]
    pub(crate) keeper: Option<PathBuf>,
    /// Policy file, or directory of policy files.
    #[arg(long, global = true, env = "REPRISE_POLICIES", value_name = "PATH")]
    pub(crate) policies: Option<PathBuf>,
    /// Print one JSON document on standard output; progress as further JSON lines before it.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print more detail. May be repeated.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print only errors.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Do not show progress.
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
    /// Upload at most this many bytes per second, for example 10MiB.
    #[arg(
        long,
        global = true,
        value_name = "RATE",
        help_heading = "Network",
        hide_short_help = true
    )]
    pub(crate) limit_upload: Option<String>,
    /// Download at most this many bytes per second.
    #[arg(
        long,
        global = true,
        value_name = "RATE",
        help_heading = "Network",
        hide_short_help = true
    )]
    pub(crate) limit_download: Option<String>,
    /// Retry a failing request for this long before giving up. Default: 15m.
    #[arg(
        long,
        global = true,
        env = "REPRISE_RETRY_FOR",
        value_name = "TIME",
        help_heading = "Network",
        hide_short_help = true
    )]
    pub(crate) retry_for: Option<String>,
    /// Retry a request that has transferred no data for this long. Default: 60s.
    #[arg(
        long,
        global = true,
        env = "REPRISE_REQUEST_TIMEOUT",
        value_name = "TIME",
        help_heading = "Network",
        hide_short_help = true
    )]
    pub(crate) request_timeout: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a repository.
    Init(InitArgs),
    /// Take a snapshot.
    Snapshot(SnapshotArgs),
    /// Take the snapshots that policies define, once, now.
    Run(RunArgs),
    /// List snapshots.
    Snapshots(SnapshotsArgs),
    /// Show the details of a snapshot.
    Show(ShowArgs),
    /// List the entries of a snapshot.
    Ls(LsArgs),
    /// Compare two snapshots.
    Diff(DiffArgs),
    /// Restore a snapshot to a directory or a database server.
    Restore(RestoreArgs),
    /// Check that the repository is complete and undamaged.
    Verify(VerifyArgs),
    /// Copy the snapshots to another repository.
    Copy(CopyArgs),
    /// List, add and remove recovery recipients, hosts and keepers.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Forget the snapshots that policies no longer keep. `prune` deletes their data later.
    Forget(ForgetArgs),
    /// Undo `forget`, until `prune` has deleted the data.
    Unforget(UnforgetArgs),
    /// Archive the binary log of a MySQL or MariaDB server, for point-in-time recovery.
    Archive(ArchiveArgs),
    /// List the transactions of an archived binary log.
    Log(LogArgs),
    /// Delete data that no snapshot needs any more, in two phases: condemn it, then delete it after a grace period.
    Prune(PruneArgs),
    /// Run restore drills: restore, check the data, and report whether it passed.
    Drill(DrillArgs),
    /// Work with policy files.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
The recovery identities decrypt everything; store them off this host, in two places. The host itself gets a
writer identity and a signing key under $XDG_CONFIG_HOME/reprise (or REPRISE_CONFIG_DIR): with these it can
add snapshots and list them, but not read their contents.

The keeper is whoever may forget snapshots. Without --keeper this host is the keeper: an attacker on it can then
forget every snapshot, and the next prune deletes them. With --keeper FILE the keeper's key is created in FILE (or
used, if the file exists): move it to the machine that runs `reprise forget`.

Examples:
  reprise -r /srv/backup init --generate-identity recovery-1.txt --generate-identity recovery-2.txt
  reprise -r /srv/backup init --recipient age1… --recipient age1… --keeper keeper.txt
  reprise -r /srv/backup init --recipient age1… --recipient 'ssh-ed25519 AAAA…'")]
pub(crate) struct InitArgs {
    /// Public key of a recovery identity: age1…, an SSH public key, or a plugin's recipient.
    #[arg(long, value_name = "KEY")]
    pub(crate) recipient: Vec<String>,
    /// Create a new recovery identity and write it to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) generate_identity: Vec<PathBuf>,
    /// Accept a single recovery identity: if it is lost, the repository cannot be read.
    #[arg(long)]
    pub(crate) single_recipient: bool,
    /// Only print the access policy with the least privileges that the destination must grant.
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) print_policy: Option<crate::access_policy::AccessPolicyKind>,
    /// For whom: writer (a backup host), sweeper (`prune`, which deletes), or restore.
    #[arg(
        long,
        value_enum,
        value_name = "ROLE",
        default_value = "writer",
        requires = "print_policy"
    )]
    pub(crate) print_role: crate::access_policy::AccessRole,
}

#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    #[command(subcommand)]
    pub(crate) kind: SnapshotKind,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotKind {
    /// Store a directory tree.
    #[command(after_help = "\
Examples:
  reprise snapshot volume /var/lib/jenkins --exclude workspace/ --exclude '*.tmp'
  reprise snapshot volume / --one-file-system --source web1 --tag env=prod")]
    Volume {
        /// Directory (or single file) to store.
        path: PathBuf,
        /// Exclude what matches, in the syntax of .gitignore. May be repeated.
        #[arg(long, value_name = "RULE")]
        exclude: Vec<String>,
        /// Exclude what matches a line of this file.
        #[arg(long, value_name = "FILE")]
        exclude_file: Vec<PathBuf>,
        /// Do not enter other file systems.
        #[arg(long, short = 'x')]
        one_file_system: bool,
        #[command(flatten)]
        naming: NamingArgs,
    },
    /// Store a MySQL or MariaDB server: a consistent snapshot of rows, schema objects and accounts.
    #[command(after_help = "\
The password comes from --defaults-file, from MYSQL_PWD, or from the URL, which other users can see.
docs/mysql.md lists the privileges that the account needs.

Examples:
  reprise snapshot mysql mysql://backup@db.example/ --source app-db
  reprise snapshot mysql 'mysql://root@localhost/?socket=/run/mysqld/mysqld.sock' --database 'shop_*'
  reprise snapshot mysql 'mysql://backup@/?container=shop-db' --defaults-file /root/.my.cnf")]
    Mysql(MysqlArgs),
    /// Store Terraform or OpenTofu state.
    #[command(after_help = "\
Example:
  reprise snapshot tfstate ./terraform.tfstate --source network")]
    Tfstate {
        /// State file, or directory with the state and its workspaces.
        path: PathBuf,
        #[command(flatten)]
        naming: NamingArgs,
    },
    /// Store the standard output of a program. If the program fails, no snapshot is stored.
    #[command(after_help = "\
Example:
  reprise snapshot command --source app-db -- pg_dump -Fc app")]
    Command {
        #[command(flatten)]
        naming: NamingArgs,
        /// Program and arguments. No shell is used.
        #[arg(last = true, required = true, value_name = "CMD")]
        argv: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct MysqlArgs {
    /// Server URL: mysql://user@host:port/, optionally with ?socket=PATH, container=NAME, tls=MODE or tls-ca=FILE.
    pub(crate) url: String,
    /// Only databases that match. May be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) database: Vec<String>,
    /// Exclude databases that match. May be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) exclude_database: Vec<String>,
    /// Only tables and views that match. May be repeated.
    #[arg(long, value_name = "DATABASE.PATTERN")]
    pub(crate) table: Vec<String>,
    /// Exclude tables and views that match. May be repeated.
    #[arg(long, value_name = "DATABASE.PATTERN")]
    pub(crate) exclude_table: Vec<String>,
    /// Number of connections that read rows. Default: 4.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(crate) threads: Option<u8>,
    /// Exclude users and roles.
    #[arg(long)]
    pub(crate) no_users: bool,
    /// Lock non-transactional tables while they are read, so that they are consistent with the others.
    #[arg(long)]
    pub(crate) hold_nontransactional: bool,
    /// MySQL option file with user, password and server, like ~/.my.cnf.
    #[arg(long, value_name = "FILE")]
    pub(crate) defaults_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) naming: NamingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct NamingArgs {
    /// Name of the source. Snapshots with the same source name form a series.
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
    /// Tag to store with the snapshot. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) tag: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reprise run --policies /etc/reprise            everything
  reprise run --policies prod.yaml prod/jenkins  one source")]
pub(crate) struct RunArgs {
    /// POLICY or POLICY/SOURCE. Default: all.
    #[arg(value_name = "POLICY[/SOURCE]")]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Data that only forgotten snapshots need is condemned by one run and deleted by a later one, when the grace period and
every run that began before are over; until then `reprise unforget` undoes it. No recovery identity is needed.
Prune can run on another machine than the backup host, with credentials that may delete. It is safe to run it beside
other commands. An interrupted prune is resumed by the next run.

Examples:
  reprise -r s3://backup/prod prune --dry-run
  reprise -r s3://backup/prod prune --max-repack 10GiB")]
pub(crate) struct PruneArgs {
    /// Only print what would be deleted, and the space it would free.
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
    /// How long condemned data is kept before it is deleted.
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub(crate) grace: String,
    /// Repack at most this much data, for example 10GiB.
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_repack: Option<String>,
    /// Repack packs of which less than this percentage is needed.
    #[arg(long, value_name = "PERCENT", default_value = "50", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) repack_below: u8,
}

#[derive(Debug, Args)]
pub(crate) struct SnapshotsArgs {
    /// Only snapshots of this source.
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
    /// Include forgotten snapshots that are not deleted yet.
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Beginning of a snapshot ID, SOURCE, or SOURCE@latest.
    pub(crate) snapshot: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  reprise --identity recovery-1.txt ls jenkins@latest jobs/deploy")]
pub(crate) struct LsArgs {
    /// Beginning of a snapshot ID, SOURCE, or SOURCE@latest.
    pub(crate) snapshot: String,
    /// Only this path and what is below it, relative to the snapshot's root.
    pub(crate) path: Option<OsString>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Each line shows a path and how it changed from A to B:
  + added   - removed   M content changed   T kind changed   a owner, mode, time or attributes changed")]
pub(crate) struct DiffArgs {
    /// The older snapshot.
    pub(crate) a: String,
    /// The newer snapshot.
    pub(crate) b: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Every chunk is checked against its hash before it is written. The target must be empty, unless --overwrite or
--resume is given. If the target is a database server, its password comes from --defaults-file or MYSQL_PWD, rows are
read back and compared afterwards, and only the named databases are changed.

Examples:
  reprise --identity recovery-1.txt restore jenkins --to /restored
  reprise --identity recovery-1.txt restore 3f9a1c22 --to /restored jobs/deploy config.xml
  reprise --identity recovery-1.txt restore jenkins --to /restored --resume   after an interruption
  reprise --identity recovery-1.txt restore app-db --to mysql://root@127.0.0.1/
  reprise --identity recovery-1.txt restore app-db --to mysql://root@db/ --database shop=shop_before
  reprise --identity recovery-1.txt restore app-db --to mysql://root@db/ --point-in-time 2026-11-21T14:03:07Z
  reprise --identity recovery-1.txt restore app-db --to mysql://root@db/ --before-gtid 3e11fa47-…:4711")]
pub(crate) struct RestoreArgs {
    /// Beginning of a snapshot ID, SOURCE, or SOURCE@latest.
    pub(crate) snapshot: String,
    /// Target directory, or server as mysql://user@host/.
    #[arg(long, value_name = "TARGET")]
    pub(crate) to: PathBuf,
    /// Only these paths and what is below them, relative to the snapshot's root.
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
    pub(crate) server: ServerArgs,
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
    /// Restore everything committed at or before this time: RFC 3339, or local time in the policy's time zone.
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

#[derive(Debug, Args)]
#[command(after_help = "\
Without options the structure is checked: snapshot roots and their signatures, the index, and that every pack exists
with the right size. This needs no recovery identity.

Examples:
  reprise verify
  reprise --identity recovery-1.txt verify --read-data        everything is read, decrypted and hashed
  reprise --identity recovery-1.txt verify --read-data 10%    a tenth, a different one each day
  reprise --identity recovery-1.txt verify jenkins@latest --read-data
  reprise --identity recovery-1.txt verify --read-data --repair             what could be repaired
  reprise --identity recovery-1.txt verify --read-data --repair --from s3://bucket/copy --yes")]
pub(crate) struct VerifyArgs {
    /// Read, decrypt and hash stored data: all of it, or a percentage, a different part each day.
    #[arg(long, value_name = "PERCENT", num_args = 0..=1, default_missing_value = "100%")]
    pub(crate) read_data: Option<String>,
    /// Print how damage can be repaired; with --yes, repair it. What cannot be repaired is quarantined.
    #[arg(long)]
    pub(crate) repair: bool,
    /// Read undamaged data from this repository copy.
    #[arg(long, value_name = "URL", requires = "repair")]
    pub(crate) from: Option<String>,
    /// Delete a damaged object once its undamaged bytes are available, and store it again under its name.
    #[arg(long, requires = "from")]
    pub(crate) replace: bool,
    /// Carry out the repair that --repair prints.
    #[arg(long, requires = "repair")]
    pub(crate) yes: bool,
    /// Only these snapshots and the data that they need.
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Objects are copied unchanged: no recovery identity is needed, and the copy is a complete repository of its own.
Objects that the copy already has are not sent again. An interrupted copy is resumed by the next run.

Examples:
  reprise -r /srv/backup copy --to s3://bucket/prefix
  reprise copy --policies /etc/reprise          the copies that the policy describes")]
pub(crate) struct CopyArgs {
    /// Destination: empty, or an earlier copy. Default: the `copies:` of the policy.
    #[arg(long, value_name = "URL")]
    pub(crate) to: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// List all keys (recovery recipients, hosts and keepers) and all changes of keys.
    List,
    /// Print this host's public keys, for `key add --host`. Missing keys are created.
    Show,
    /// Add a recovery recipient, a host or a keeper. Needs a keeper's key.
    Add(KeyAddArgs),
    /// Remove a key permanently. Needs a keeper's key. Without --yes: only print the consequences.
    Remove(KeyRemoveArgs),
    /// Wrap secrets and catalog again for the present hosts and recovery recipients. Needs a keeper's key.
    Rotate(KeyRotateArgs),
    /// Print a recovery sheet: everything that is needed to restore, to be kept in a safe.
    Sheet,
}

#[derive(Debug, Args)]
#[command(after_help = "\
With --reencrypt every pack whose contents are not encrypted to exactly the present recovery recipients is read and
stored again. This needs the identities that read the old packs, and one that reads the new packs, because new packs
are read back before they replace old ones. `prune` deletes the old packs. An interrupted run is resumed by the next
run.

Examples:
  reprise key rotate
  reprise --identity old.txt --identity new.txt key rotate --reencrypt          the plan
  reprise --identity old.txt --identity new.txt key rotate --reencrypt --yes")]
pub(crate) struct KeyRotateArgs {
    /// Re-encrypt contents that removed recovery identities can read, or added ones cannot. Without --yes: the plan.
    #[arg(long)]
    pub(crate) reencrypt: bool,
    /// Carry out the plan that --reencrypt prints.
    #[arg(long, requires = "reencrypt")]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Data is encrypted when it is stored, so a new recovery identity reads only what is stored from now on. A new host
can use the existing data at once: the catalog is wrapped for its key.

Examples:
  reprise key add --recipient age1… --reason 'second safe'
  reprise key show > web2.keys                  on the new host
  reprise key add --host web2.keys --name web2  with the key of a keeper
  reprise key add --keeper-key 3b6a27bc… --name safe")]
pub(crate) struct KeyAddArgs {
    #[command(flatten)]
    pub(crate) what: KeyChoiceArgs,
    /// Name of the host or the keeper.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Reason for the change. It is stored unencrypted.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
}

/// One key.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct KeyChoiceArgs {
    /// Public key of a recovery identity: age1…, an SSH public key, or a plugin's recipient.
    #[arg(long, value_name = "KEY")]
    pub(crate) recipient: Option<String>,
    /// Host: the file or the line that `key show` printed there. For `key remove` also its name or signer.
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Public key of a keeper. For `key remove` also its name.
    #[arg(long, value_name = "KEY")]
    pub(crate) keeper_key: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A removed key can never be added again. What a removed host has stored so far stays valid; what it adds later is
rejected.

Examples:
  reprise key remove --host web2 --reason decommissioned
  reprise key remove --host web2 --received-until 2026-11-20T00:00:00Z --yes   reject what was received later
  reprise key remove --recipient age1… --yes")]
pub(crate) struct KeyRemoveArgs {
    #[command(flatten)]
    pub(crate) what: KeyChoiceArgs,
    /// Reject what the host or keeper signed and the storage received after this time (RFC 3339).
    #[arg(long, value_name = "TIME", conflicts_with = "recipient")]
    pub(crate) received_until: Option<chrono::DateTime<chrono::Utc>>,
    /// Reject this object as well, although it is stored now. May be repeated.
    #[arg(long, value_name = "ID", conflicts_with = "recipient")]
    pub(crate) except: Vec<String>,
    /// Reason for the change. It is stored unencrypted.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
    /// Carry out the removal.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Runs until it is stopped (SIGTERM, Ctrl-C), follows restarts and failovers of the server, and retries after transient
errors. Run it as a service beside the nightly snapshots. It needs the privilege REPLICATION SLAVE; see
docs/point-in-time.md.

Examples:
  reprise archive --policies /etc/reprise app-db
  reprise archive app-db --url mysql://backup@db.example/ --defaults-file /root/.my.cnf
  reprise archive app-db --url mysql://backup@db.example/ --once     from a timer, every minute")]
pub(crate) struct ArchiveArgs {
    /// Source: SOURCE or POLICY/SOURCE of the policy, or any name with --url.
    pub(crate) source: String,
    /// Server URL: mysql://user@host:port/. Default: the server of the policy.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// MySQL option file with user, password and server, like ~/.my.cnf.
    #[arg(long, value_name = "FILE", requires = "url")]
    pub(crate) defaults_file: Option<PathBuf>,
    /// Store received log after at most this time. Default: 5s.
    #[arg(long, value_name = "TIME")]
    pub(crate) flush: Option<String>,
    /// Exit when the whole log of the server is stored.
    #[arg(long)]
    pub(crate) once: bool,
    /// Spool directory for log that waits to be stored. Default: in the cache.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) spool: Option<PathBuf>,
    /// Maximum size of the spool. Default: 1GiB.
    #[arg(long, value_name = "SIZE")]
    pub(crate) spool_max: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Times are RFC 3339, or local times in the time zone of the policy (without a policy: UTC).

Examples:
  reprise --identity recovery-1.txt log app-db --from 2026-11-21T14:00:00Z --to 2026-11-21T14:05:00Z
  reprise --identity recovery-1.txt log app-db --from '2026-11-21 14:00' --table shop.orders --json")]
pub(crate) struct LogArgs {
    /// The source.
    pub(crate) source: String,
    /// Only transactions committed at or after this time.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Only transactions committed at or before this time.
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Only transactions that change this table. May be repeated.
    #[arg(long, value_name = "DATABASE.TABLE")]
    pub(crate) table: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  reprise drill --policies policies/examples/quickstart.yaml --junit drill.xml")]
pub(crate) struct DrillArgs {
    /// POLICY or POLICY/DRILL. Default: all.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Write the results as JUnit XML.
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check policy files. Needs no secrets and no repository.
    Check(PolicyCheckArgs),
    /// Show what policies would keep and forget now. Changes nothing, and needs no keeper's key.
    Preview(PreviewArgs),
    /// Print the JSON Schema of policy files, for editors.
    Schema,
}

#[derive(Debug, Args)]
#[command(after_help = "\
For reviewing a change of a policy before it is merged: exit code 3 when more than --max-forget snapshots would be
forgotten. With --against, only snapshots that the other version would keep are counted.

Examples:
  reprise policy preview --policies policy.yaml --max-forget 10
  git show main:policy.yaml > old.yaml; reprise policy preview --policies policy.yaml --against old.yaml --json")]
pub(crate) struct PreviewArgs {
    /// POLICY or POLICY/SOURCE. Default: all.
    #[arg(value_name = "POLICY[/SOURCE]")]
    pub(crate) names: Vec<String>,
    /// Another version of the policy to compare with. Only its rules are used: repositories are those of --policies.
    #[arg(long, value_name = "FILE")]
    pub(crate) against: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) limits: ForgetLimitArgs,
    #[command(flatten)]
    pub(crate) deciding: RetentionArgs,
}

/// How much may be forgotten.
#[derive(Debug, Args)]
pub(crate) struct ForgetLimitArgs {
    /// Forget at most this many snapshots, and no log. Beyond that `forget` refuses and `policy preview` exits with 3.
    #[arg(long, value_name = "N")]
    pub(crate) max_forget: Option<usize>,
    /// Forget at most this much of a source's log, for example 36h or 2d, also with --max-forget.
    #[arg(long, value_name = "SPAN")]
    pub(crate) max_forget_log: Option<String>,
}

/// How retention decides.
#[derive(Debug, Args)]
pub(crate) struct RetentionArgs {
    /// Let an unusual burst of snapshots displace older ones.
    #[arg(long)]
    pub(crate) accept_flood: bool,
    /// Use the times recorded in snapshots, not when the storage received them. For a copy made by someone trusted.
    #[arg(long)]
    pub(crate) trust_times: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
With policies, forgets the snapshots that no rule keeps; without, the named snapshots. Each snapshot is listed with the
rule that keeps it, or the reason why it is forgotten. `reprise unforget` undoes it until `reprise prune` has deleted
the data. Sources that no policy names are not changed. Needs the keeper's key, except with --dry-run.

Examples:
  reprise forget --policies /etc/reprise --dry-run
  reprise forget --policies /etc/reprise prod/jenkins --keeper keeper.txt
  reprise -r /srv/backup forget 3f9a1c22")]
pub(crate) struct ForgetArgs {
    /// Sources, as POLICY or POLICY/SOURCE (default: all), or snapshots, by the beginning of their IDs.
    #[arg(value_name = "SOURCE|SNAPSHOT")]
    pub(crate) names: Vec<String>,
    /// Only print what would be forgotten.
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
    /// Allow a source to be left without any snapshot.
    #[arg(long)]
    pub(crate) allow_empty: bool,
    /// Forget named snapshots even if they are on hold.
    #[arg(long)]
    pub(crate) release_holds: bool,
    /// Forget snapshots that are named by their full IDs even if they cannot be read and may be on hold.
    #[arg(long)]
    pub(crate) unreadable: bool,
    #[command(flatten)]
    pub(crate) limits: ForgetLimitArgs,
    #[command(flatten)]
    pub(crate) deciding: RetentionArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UnforgetArgs {
    /// Beginnings of snapshot IDs; `reprise snapshots --all` lists them.
    #[arg(value_name = "SNAPSHOT", required_unless_present = "log")]
    pub(crate) snapshots: Vec<String>,
    /// Undo that the beginning of this source's log is forgotten.
    #[arg(long, value_name = "SOURCE")]
    pub(crate) log: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyCheckArgs {
    /// Policy file or directory. Default: --policies.
    pub(crate) path: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell to print the script for.
    pub(crate) shell: clap_complete::Shell,
}
