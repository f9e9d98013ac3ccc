//! The command line. Scripts rely on it: names are added, never changed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Snapshots of volumes, Terraform state and program output that prove they come back.
#[derive(Debug, Parser)]
#[command(name = "reprise", version, about, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  Make a repository, and two recovery identities to keep away from this host:
    reprise -r /srv/backup init --generate-identity recovery-1.txt --generate-identity recovery-2.txt
  Store a folder, and see what is there:
    reprise -r /srv/backup snapshot volume /var/lib/jenkins
    reprise -r /srv/backup snapshots
  Bring the newest one back:
    reprise -r /srv/backup --identity recovery-1.txt restore jenkins --to /restored
  Prove it, with sample data, from an empty machine:
    reprise drill --policies policies/examples/quickstart.yaml

Exit codes:
  0 ok   1 failed   2 usage or policy error   3 degraded: finished, but something named was skipped
  4 data is damaged or differs from what was promised   5 not found
  6 refused: target not empty, identity or right missing   130 interrupted";

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Where the repository is: a path, s3://bucket/prefix or azure://account/container/prefix.
    #[arg(
        short,
        long,
        global = true,
        env = "REPRISE_REPOSITORY",
        value_name = "URL"
    )]
    pub(crate) repository: Option<String>,
    /// A file with an identity that reads contents (age or SSH private key). May be repeated.
    #[arg(long, global = true, env = "REPRISE_IDENTITY", value_name = "FILE")]
    pub(crate) identity: Vec<PathBuf>,
    /// The file of a keeper's key, which forgets snapshots and changes keys. Without it: this host's own key.
    #[arg(
        long,
        global = true,
        env = "REPRISE_KEEPER",
        value_name = "FILE",
        hide_short_help = true
    )]
    pub(crate) keeper: Option<PathBuf>,
    /// The policy file, or a folder of them.
    #[arg(long, global = true, env = "REPRISE_POLICIES", value_name = "PATH")]
    pub(crate) policies: Option<PathBuf>,
    /// Print one JSON document on standard output; progress as further JSON lines before it.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say more. May be repeated.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Say only what went wrong.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Show no progress.
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
    /// Send at most this many bytes per second, for instance 10MiB.
    #[arg(
        long,
        global = true,
        value_name = "RATE",
        help_heading = "Network",
        hide_short_help = true
    )]
    pub(crate) limit_upload: Option<String>,
    /// Receive at most this many bytes per second.
    #[arg(
        long,
        global = true,
        value_name = "RATE",
        help_heading = "Network",
        hide_short_help = true
    )]
    pub(crate) limit_download: Option<String>,
    /// Repeat a request that fails for this long before giving up. Default: 15m.
    #[arg(
        long,
        global = true,
        env = "REPRISE_RETRY_FOR",
        value_name = "TIME",
        help_heading = "Network",
        hide_short_help = true
    )]
    pub(crate) retry_for: Option<String>,
    /// Repeat a request in which nothing moved for this long. Default: 60s.
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
    /// Make a repository.
    Init(InitArgs),
    /// Take a snapshot.
    Snapshot(SnapshotArgs),
    /// Take the snapshots that policies describe, now.
    Run(RunArgs),
    /// List snapshots.
    Snapshots(SnapshotsArgs),
    /// Show what is known of a snapshot.
    Show(ShowArgs),
    /// List what is in a snapshot.
    Ls(LsArgs),
    /// Compare two snapshots.
    Diff(DiffArgs),
    /// Bring a snapshot back.
    Restore(RestoreArgs),
    /// Check that everything is there and undamaged.
    Verify(VerifyArgs),
    /// Bring the snapshots to another destination.
    Copy(CopyArgs),
    /// List, add and remove recovery recipients, hosts and keepers.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Forget what the policies no longer keep. Nothing is deleted yet.
    Forget(ForgetArgs),
    /// Take back that snapshots are forgotten.
    Unforget(UnforgetArgs),
    /// Keep a MySQL or MariaDB server's log, so that any moment comes back.
    Archive(ArchiveArgs),
    /// List the transactions of an archived log.
    Log(LogArgs),
    /// Delete what no snapshot needs any more: condemn it first, sweep it later.
    Prune(PruneArgs),
    /// Rehearse a restore and give a verdict.
    Drill(DrillArgs),
    /// Work with policy files.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
The recovery identities read everything; keep them off this host, in two places. The host itself gets a
writer identity and a signing key under $XDG_CONFIG_HOME/reprise (or REPRISE_CONFIG_DIR): with these it can
add snapshots and list them, but not read what it stored.

Who may forget snapshots is the keeper. Without --keeper that is the host too: whoever breaks into it can then
forget everything, and after the next sweep it is gone. With --keeper FILE the keeper's key is made in FILE (or
used, if the file exists): move it to where `reprise forget` shall run.

Examples:
  reprise -r /srv/backup init --generate-identity recovery-1.txt --generate-identity recovery-2.txt
  reprise -r /srv/backup init --recipient age1… --recipient age1… --keeper keeper.txt
  reprise -r /srv/backup init --recipient age1… --recipient 'ssh-ed25519 AAAA…'")]
pub(crate) struct InitArgs {
    /// The public half of a recovery identity: age1…, an SSH public key, or a plugin's recipient.
    #[arg(long, value_name = "KEY")]
    pub(crate) recipient: Vec<String>,
    /// Make a new recovery identity and write it to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) generate_identity: Vec<PathBuf>,
    /// Accept a single recovery identity: if it is lost, everything is.
    #[arg(long)]
    pub(crate) single_recipient: bool,
    /// Only print the least rights that are needed at the destination.
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) print_policy: Option<crate::rights::Kind>,
    /// Whose rights to print: the host's, the sweeper's that deletes, or those for a restore.
    #[arg(
        long,
        value_enum,
        value_name = "ROLE",
        default_value = "writer",
        requires = "print_policy"
    )]
    pub(crate) print_role: crate::rights::Role,
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
        /// The folder (or single file) to store.
        path: PathBuf,
        /// Leave this out; as a line of a .gitignore. May be repeated.
        #[arg(long, value_name = "RULE")]
        exclude: Vec<String>,
        /// Leave out what the lines of this file say.
        #[arg(long, value_name = "FILE")]
        exclude_file: Vec<PathBuf>,
        /// Stay on the file system of PATH.
        #[arg(long, short = 'x')]
        one_file_system: bool,
        #[command(flatten)]
        naming: Naming,
    },
    /// Store a MySQL or MariaDB server: every row of one moment, and everything that makes the server.
    #[command(after_help = "\
The password comes from --defaults-file, from MYSQL_PWD, or from the URL, where others may see it.
docs/mysql.md lists the rights that the account needs.

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
        /// The state file, or the folder with it and its workspaces.
        path: PathBuf,
        #[command(flatten)]
        naming: Naming,
    },
    /// Store what a program writes to its standard output. If it fails, there is no snapshot.
    #[command(after_help = "\
Example:
  reprise snapshot command --source app-db -- pg_dump -Fc app")]
    Command {
        #[command(flatten)]
        naming: Naming,
        /// The program and its arguments. No shell is involved.
        #[arg(last = true, required = true, value_name = "CMD")]
        argv: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct MysqlArgs {
    /// The server, as mysql://user@host:port/, with ?socket=PATH, ?container=NAME, tls=MODE or tls-ca=FILE behind it.
    pub(crate) url: String,
    /// Only databases that match. May be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) database: Vec<String>,
    /// Leave databases out that match. May be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) exclude_database: Vec<String>,
    /// Only tables and views that match. May be repeated.
    #[arg(long, value_name = "DATABASE.PATTERN")]
    pub(crate) table: Vec<String>,
    /// Leave tables and views out that match. May be repeated.
    #[arg(long, value_name = "DATABASE.PATTERN")]
    pub(crate) exclude_table: Vec<String>,
    /// How many connections read rows. Default: 4.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(crate) threads: Option<u8>,
    /// Leave users and roles out.
    #[arg(long)]
    pub(crate) no_users: bool,
    /// Lock tables without transactions while they are read, so that they are of the same moment.
    #[arg(long)]
    pub(crate) hold_nontransactional: bool,
    /// An option file with user, password and server, as ~/.my.cnf.
    #[arg(long, value_name = "FILE")]
    pub(crate) defaults_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) naming: Naming,
}

#[derive(Debug, Args)]
pub(crate) struct Naming {
    /// What to call the source. Snapshots of one source form a series.
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
    /// A label. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) tag: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reprise run --policies /etc/reprise            everything
  reprise run --policies prod.yaml prod/jenkins  one source")]
pub(crate) struct RunArgs {
    /// Which: POLICY or POLICY/SOURCE; nothing: all.
    #[arg(value_name = "POLICY[/SOURCE]")]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
What forgotten snapshots alone needed is condemned by one run and deleted by a later one, when the grace period and
every run that began before are over; until then `reprise unforget` brings it back. No recovery identity is needed.
It may run on another machine than the host's, with credentials that may delete. It is safe beside other runs, and
goes on where an earlier one was interrupted.

Examples:
  reprise -r s3://backup/prod prune --dry-run
  reprise -r s3://backup/prod prune --max-repack 10GiB")]
pub(crate) struct PruneArgs {
    /// Only say what would be done, and what it would win.
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
    /// How long what is condemned stays before it is deleted.
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub(crate) grace: String,
    /// Copy at most this much out of packs of which little is needed, for instance 10GiB.
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_repack: Option<String>,
    /// Copy out of packs of which less than this is needed.
    #[arg(long, value_name = "PERCENT", default_value = "50", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) repack_below: u8,
}

#[derive(Debug, Args)]
pub(crate) struct SnapshotsArgs {
    /// Only of this source.
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
    /// Forgotten ones too, as long as they are not swept.
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The beginning of an id, SOURCE, or SOURCE@latest.
    pub(crate) snapshot: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  reprise --identity recovery-1.txt ls jenkins@latest jobs/deploy")]
pub(crate) struct LsArgs {
    /// The beginning of an id, SOURCE, or SOURCE@latest.
    pub(crate) snapshot: String,
    /// Only this path and what is below it, relative to the snapshot's root.
    pub(crate) path: Option<OsString>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Each line tells a path and how it changed from A to B:
  + added   - removed   M content changed   T kind changed   a owner, mode, time or attributes changed")]
pub(crate) struct DiffArgs {
    /// The older snapshot.
    pub(crate) a: String,
    /// The newer snapshot.
    pub(crate) b: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Every chunk is compared with its hash before it is written. The target must be empty, unless --overwrite or
--resume says otherwise. A database server as the target: its password comes from --defaults-file or MYSQL_PWD,
rows are read again and compared afterwards, and nothing but the named databases is touched.

Examples:
  reprise --identity recovery-1.txt restore jenkins --to /restored
  reprise --identity recovery-1.txt restore 3f9a1c22 --to /restored jobs/deploy config.xml
  reprise --identity recovery-1.txt restore jenkins --to /restored --resume   after an interruption
  reprise --identity recovery-1.txt restore app-db --to mysql://root@127.0.0.1/
  reprise --identity recovery-1.txt restore app-db --to mysql://root@db/ --database shop=shop_before
  reprise --identity recovery-1.txt restore app-db --to mysql://root@db/ --point-in-time 2026-11-21T14:03:07Z
  reprise --identity recovery-1.txt restore app-db --to mysql://root@db/ --before-gtid 3e11fa47-…:4711")]
pub(crate) struct RestoreArgs {
    /// The beginning of an id, SOURCE, or SOURCE@latest.
    pub(crate) snapshot: String,
    /// The folder to restore into, or a server as mysql://user@host/.
    #[arg(long, value_name = "TARGET")]
    pub(crate) to: PathBuf,
    /// Only these paths and what is below them, relative to the snapshot's root.
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<OsString>,
    /// Replace what is in the target and differs. What the snapshot does not have stays.
    #[arg(long, conflicts_with = "resume")]
    pub(crate) overwrite: bool,
    /// Continue an interrupted restore: what is right already is kept.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Read everything again afterwards and compare it with the snapshot. For a server: none, counts or checksums.
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, default_missing_value = "")]
    pub(crate) verify: Option<OsString>,
    /// Only say what would be done.
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
    /// Only this database, under another name if one is given. May be repeated.
    #[arg(long, value_name = "NAME[=NEW]")]
    pub(crate) database: Vec<String>,
    /// Only this table. May be repeated.
    #[arg(long, value_name = "DATABASE.TABLE")]
    pub(crate) table: Vec<String>,
    /// How many connections load rows. Default: 4.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(crate) threads: Option<u8>,
    /// Bring everything back that was committed at or before this moment: RFC 3339, or local to the policy's zone.
    #[arg(long, value_name = "TIME", group = "moment")]
    pub(crate) point_in_time: Option<String>,
    /// Bring everything back that is before this transaction in the log.
    #[arg(long, value_name = "GTID", group = "moment")]
    pub(crate) before_gtid: Option<String>,
    /// Bring everything back that is archived (`latest`), or exactly what a later snapshot holds, and compare.
    #[arg(long, value_name = "latest|SNAPSHOT", group = "moment")]
    pub(crate) until: Option<String>,
    /// Leave this transaction of the log out. May be repeated.
    #[arg(long, value_name = "GTID", requires = "moment")]
    pub(crate) skip_gtid: Vec<String>,
    /// Let every transaction of the log keep its number, for replicas to follow. Slower; for a server made for this.
    #[arg(long, requires = "moment")]
    pub(crate) keep_gtids: bool,
    /// Which users and roles are made. Default: missing ones when everything is restored, otherwise none.
    #[arg(long, value_enum, value_name = "WHICH")]
    pub(crate) users: Option<UsersArg>,
    /// Let the server write the restore to its binary log, for replicas to follow.
    #[arg(long)]
    pub(crate) write_binlog: bool,
    /// Who owns views, routines, triggers and events: `keep`, or another account.
    #[arg(long, value_name = "USER@HOST")]
    pub(crate) definer: Option<String>,
    /// Do without the redo log while loading. Only for a server made for this: if it dies meanwhile, it is lost.
    #[arg(long)]
    pub(crate) disable_redo_log: bool,
    /// An option file with user, password and server, as ~/.my.cnf.
    #[arg(long, value_name = "FILE")]
    pub(crate) defaults_file: Option<PathBuf>,
}

/// Which accounts a restore makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum UsersArg {
    /// None.
    None,
    /// Those that the server does not have.
    Missing,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Without options the structure is checked: roots and their signatures, the index, and that every pack is there
with its size. This needs no recovery identity.

Examples:
  reprise verify
  reprise --identity recovery-1.txt verify --read-data        everything is read, decrypted and hashed
  reprise --identity recovery-1.txt verify --read-data 10%    a tenth, another one each day
  reprise --identity recovery-1.txt verify jenkins@latest --read-data
  reprise --identity recovery-1.txt verify --read-data --repair             what could be mended
  reprise --identity recovery-1.txt verify --read-data --repair --from s3://bucket/copy --yes")]
pub(crate) struct VerifyArgs {
    /// Read, decrypt and hash stored data: all of it, or a share that rotates by the day.
    #[arg(long, value_name = "PERCENT", num_args = 0..=1, default_missing_value = "100%")]
    pub(crate) read_data: Option<String>,
    /// Say how what is wrong can be mended; with --yes, do it. What cannot be mended goes into quarantine.
    #[arg(long)]
    pub(crate) repair: bool,
    /// Take good bytes from this copy of the repository.
    #[arg(long, value_name = "URL", requires = "repair")]
    pub(crate) from: Option<String>,
    /// Delete a damaged object, once good bytes of it are at hand, and store it anew under its name.
    #[arg(long, requires = "from")]
    pub(crate) replace: bool,
    /// Do what --repair says.
    #[arg(long, requires = "repair")]
    pub(crate) yes: bool,
    /// Only these snapshots and what they need.
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Objects are copied as they are: no recovery identity is needed, and the copy is a whole repository that restores
on its own. What is there already is not sent again; an interrupted copy goes on where it stopped.

Examples:
  reprise -r /srv/backup copy --to s3://bucket/prefix
  reprise copy --policies /etc/reprise          the copies that the policy describes")]
pub(crate) struct CopyArgs {
    /// Where to: an empty destination or an earlier copy. Otherwise: the `copies:` of the policy.
    #[arg(long, value_name = "URL")]
    pub(crate) to: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// List all keys: who reads, who writes, who keeps, and what was changed when.
    List,
    /// Print this host's public keys, for `key add --host`. A host without keys gets them now.
    Show,
    /// Add a recovery recipient, a host or a keeper. Needs the key of a keeper.
    Add(KeyAddArgs),
    /// Take a key away, for good. Needs the key of a keeper. Without --yes: only say what that means.
    Remove(KeyRemoveArgs),
    /// Hand secrets and catalog anew to the hosts and recovery identities there are. Needs the key of a keeper.
    Rotate(KeyRotateArgs),
    /// Print a page for the safe: what it takes to get everything back.
    Sheet,
}

#[derive(Debug, Args)]
#[command(after_help = "\
With --reencrypt every pack with contents that are not encrypted to just the present recovery recipients is read and
stored anew. That takes the identities that read what is stored, and one that reads what is stored from now on, as
everything is read once more before it may replace what was there. `prune` deletes the old packs. A run that was
interrupted is gone on with by the next.

Examples:
  reprise key rotate
  reprise --identity old.txt --identity new.txt key rotate --reencrypt          the plan
  reprise --identity old.txt --identity new.txt key rotate --reencrypt --yes")]
pub(crate) struct KeyRotateArgs {
    /// Encrypt contents anew that removed recovery identities read, or added ones do not. Without --yes: the plan.
    #[arg(long)]
    pub(crate) reencrypt: bool,
    /// Do what --reencrypt says.
    #[arg(long, requires = "reencrypt")]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Everything is encrypted when it is stored, so a new recovery identity reads what is stored from now on. A new host
can use what is there at once: the catalog is handed to it.

Examples:
  reprise key add --recipient age1… --reason 'second safe'
  reprise key show > web2.keys                  on the new host
  reprise key add --host web2.keys --name web2  with the key of a keeper
  reprise key add --keeper-key 3b6a27bc… --name safe")]
pub(crate) struct KeyAddArgs {
    #[command(flatten)]
    pub(crate) what: KeyChoice,
    /// What to call the host or the keeper.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Why. Everybody can read it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
}

/// One key.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct KeyChoice {
    /// The public half of a recovery identity: age1…, an SSH public key, or a plugin's recipient.
    #[arg(long, value_name = "KEY")]
    pub(crate) recipient: Option<String>,
    /// A host: the file or the line that `key show` printed there. To remove one also its name or signer.
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// The public key of a keeper; to remove one also its name.
    #[arg(long, value_name = "KEY")]
    pub(crate) keeper_key: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A removed key never comes back. Of a removed host counts what is stored now; what it adds later is refused by name.

Examples:
  reprise key remove --host web2 --reason decommissioned
  reprise key remove --host web2 --received-until 2026-11-20T00:00:00Z --yes   nothing that came later counts
  reprise key remove --recipient age1… --yes")]
pub(crate) struct KeyRemoveArgs {
    #[command(flatten)]
    pub(crate) what: KeyChoice,
    /// Of what the host or keeper signed, count only what the storage received until then (RFC 3339).
    #[arg(long, value_name = "TIME", conflicts_with = "recipient")]
    pub(crate) received_until: Option<chrono::DateTime<chrono::Utc>>,
    /// Do not count this object, although it is there now. May be repeated.
    #[arg(long, value_name = "ID", conflicts_with = "recipient")]
    pub(crate) except: Vec<String>,
    /// Why. Everybody can read it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
    /// Do it.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Runs until it is told to stop (SIGTERM, Ctrl-C), follows restarts and failovers of the server, and waits for whatever
passes. Run it as a service beside the nightly snapshots. It needs the right REPLICATION SLAVE; docs/point-in-time.md
says more.

Examples:
  reprise archive --policies /etc/reprise app-db
  reprise archive app-db --url mysql://backup@db.example/ --defaults-file /root/.my.cnf
  reprise archive app-db --url mysql://backup@db.example/ --once     from a timer, every minute")]
pub(crate) struct ArchiveArgs {
    /// The source: SOURCE or POLICY/SOURCE of the policy, or with --url any name.
    pub(crate) source: String,
    /// The server, as mysql://user@host:port/; otherwise that of the policy.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// An option file with user, password and server, as ~/.my.cnf.
    #[arg(long, value_name = "FILE", requires = "url")]
    pub(crate) defaults_file: Option<PathBuf>,
    /// Store what was received after this time at the latest. Default: 5s.
    #[arg(long, value_name = "TIME")]
    pub(crate) flush: Option<String>,
    /// End when everything that the server has is stored.
    #[arg(long)]
    pub(crate) once: bool,
    /// A folder for what waits to be stored. Default: in the cache.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) spool: Option<PathBuf>,
    /// How much may wait there. Default: 1GiB.
    #[arg(long, value_name = "SIZE")]
    pub(crate) spool_max: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Times are RFC 3339, or local to the zone of the policy (without a policy: UTC).

Examples:
  reprise --identity recovery-1.txt log app-db --from 2026-11-21T14:00:00Z --to 2026-11-21T14:05:00Z
  reprise --identity recovery-1.txt log app-db --from '2026-11-21 14:00' --table shop.orders --json")]
pub(crate) struct LogArgs {
    /// The source.
    pub(crate) source: String,
    /// Only what was committed at this moment or later.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Only what was committed at this moment or before.
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
    /// Which: POLICY or POLICY/DRILL; nothing: all.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Write the results as JUnit XML.
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check policy files. No secret and no repository is needed.
    Check(PolicyCheckArgs),
    /// Show what policies would keep and forget now. Nothing is changed, and no keeper's key is needed.
    Preview(PreviewArgs),
    /// Print the JSON Schema of policy files, for editors.
    Schema,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Made for a change of a policy that is looked at before it is merged: exit code 3 when it would forget more than
--max-forget. With --against only what the other version would keep counts.

Examples:
  reprise policy preview --policies policy.yaml --max-forget 10
  git show main:policy.yaml > old.yaml; reprise policy preview --policies policy.yaml --against old.yaml --json")]
pub(crate) struct PreviewArgs {
    /// Which: POLICY or POLICY/SOURCE; nothing: all.
    #[arg(value_name = "POLICY[/SOURCE]")]
    pub(crate) names: Vec<String>,
    /// Another version of the policy, to compare with. Only its rules count: repositories are those of --policies.
    #[arg(long, value_name = "FILE")]
    pub(crate) against: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) limits: ForgetLimits,
    #[command(flatten)]
    pub(crate) deciding: Deciding,
}

/// How much may be forgotten.
#[derive(Debug, Args)]
pub(crate) struct ForgetLimits {
    /// At most so many snapshots, and no log: `forget` refuses more, `policy preview` exits with 3.
    #[arg(long, value_name = "N")]
    pub(crate) max_forget: Option<usize>,
    /// At most so much of a source's log, as 36h or 2d, although --max-forget is given.
    #[arg(long, value_name = "SPAN")]
    pub(crate) max_forget_log: Option<String>,
}

/// How retention decides.
#[derive(Debug, Args)]
pub(crate) struct Deciding {
    /// Let a burst of snapshots push older ones out.
    #[arg(long)]
    pub(crate) accept_flood: bool,
    /// Believe the times that snapshots tell, not when the storage received them. For a copy made by someone trusted.
    #[arg(long)]
    pub(crate) trust_times: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
With policies: what their rules do not keep. Without: the snapshots that are named. Each is shown with the rule that
keeps it or the reason why it goes. Forgotten snapshots can be brought back with `reprise unforget` until a sweep
deletes them. Sources that no policy names are left alone. It needs the keeper's key; --dry-run does not.

Examples:
  reprise forget --policies /etc/reprise --dry-run
  reprise forget --policies /etc/reprise prod/jenkins --keeper keeper.txt
  reprise -r /srv/backup forget 3f9a1c22")]
pub(crate) struct ForgetArgs {
    /// Which sources, as POLICY or POLICY/SOURCE (nothing: all), or which snapshots, by the beginning of their ids.
    #[arg(value_name = "SOURCE|SNAPSHOT")]
    pub(crate) names: Vec<String>,
    /// Only say what would be forgotten.
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
    /// Let a source be left without any snapshot.
    #[arg(long)]
    pub(crate) allow_empty: bool,
    /// Forget snapshots that are named even if they are held.
    #[arg(long)]
    pub(crate) release_holds: bool,
    /// Forget snapshots that are named by their whole ids even if they cannot be read: nobody knows what they hold.
    #[arg(long)]
    pub(crate) unreadable: bool,
    #[command(flatten)]
    pub(crate) limits: ForgetLimits,
    #[command(flatten)]
    pub(crate) deciding: Deciding,
}

#[derive(Debug, Args)]
pub(crate) struct UnforgetArgs {
    /// The beginnings of their ids; `reprise snapshots --all` lists them.
    #[arg(value_name = "SNAPSHOT", required_unless_present = "log")]
    pub(crate) snapshots: Vec<String>,
    /// Take back that the beginning of this source's log is forgotten.
    #[arg(long, value_name = "SOURCE")]
    pub(crate) log: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyCheckArgs {
    /// The policy file or folder; otherwise --policies.
    pub(crate) path: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// For which shell.
    pub(crate) shell: clap_complete::Shell,
}
