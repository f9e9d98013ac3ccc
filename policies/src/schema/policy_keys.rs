//! The key table of a policy as a whole, of repositories, sources, copies and retention rules.

use super::drill_keys::DRILL;
use super::mysql_keys::MYSQL;
use super::schedule_keys::{MAINTENANCE, SCHEDULE};
use super::shape::{KeyShape, TableObject, key, object};

/// A lock for longer than a century is a mistake, and in compliance mode nobody can undo it.
pub(crate) const IMMUTABLE_DAYS_MAX: u32 = 36_500;

/// The words for the lock mode of stored objects.
pub(crate) const LOCK_MODES: &[&str] = &["governance", "compliance"];

/// The whole file.
pub(crate) static POLICY: TableObject = object(
    "a policy",
    &[
        key("version", KeyShape::Version, "The version of the policy format. This version of reprise supports version 1.").required(),
        key("name", KeyShape::Name, "The policy's name, as in `reprise run NAME/SOURCE`. Default: the file's name without its ending.")
            .example("\"prod\""),
        key("time_zone", KeyShape::Text, "The IANA time zone in which days, weeks and months begin. Default: UTC.")
            .example("\"Europe/Paris\""),
        key("hosts", KeyShape::Map(&KeyShape::Object(&HOST)), "Hosts and their public keys, by name. What a keeper has recorded in a repository counts more."),
        key("repositories", KeyShape::Map(&KeyShape::Object(&REPOSITORY)), "Where snapshots are kept, by name.").required(),
        key("sources", KeyShape::Map(&KeyShape::Object(&SOURCE)), "What to protect, by name.").required(),
        key("schedules", KeyShape::Map(&KeyShape::Object(&SCHEDULE)), "Schedules, by name."),
        key("maintenance", KeyShape::Map(&KeyShape::Object(&MAINTENANCE)), "What is done to repositories besides storing, by the repository's name."),
        key("copies", KeyShape::Map(&KeyShape::Object(&COPY)), "What is copied from one repository to another, by name."),
        key("retention", KeyShape::Map(&KeyShape::Object(&RETENTION)), "Rules for how long snapshots are kept, by name."),
        key("drills", KeyShape::Map(&KeyShape::Object(&DRILL)), "Restore rehearsals, by name."),
    ],
)
.rejecting(&[("schedule", SCHEDULE_PLACE)]);

/// The words for what a host does.
pub(crate) const HOST_ROLES: &[&str] = &["writer", "keeper", "prover", "watcher"];

/// `hosts.NAME`
pub(crate) static HOST: TableObject = object(
    "a host",
    &[
        key(
            "signer",
            KeyShape::Hex64,
            "Its public signing key, as `reprise key show` prints it there: 64 hexadecimal digits.",
        )
        .required(),
        key(
            "roles",
            KeyShape::List(&KeyShape::Word(HOST_ROLES)),
            "What the host does.",
        )
        .example("[\"writer\"]"),
    ],
);

const SCHEDULE_PLACE: &str =
    "name schedules under `schedules`, and give each source its own: `schedule: nightly`";

/// `repositories.NAME`
pub(crate) static REPOSITORY: TableObject = object(
    "a repository",
    &[
        key("url", KeyShape::Url, "A path (relative to this file), `file:///path`, `s3://bucket/prefix` or `azure://account/container/prefix`.")
            .required()
            .example("\"s3://backups/prod\""),
        key("recipients", KeyShape::List(&KeyShape::Text), "Age or SSH public keys that can read the repository once it is created.")
            .example("[\"ssh-ed25519 AAAA...\"]"),
        key("signers", KeyShape::List(&KeyShape::Hex64), "Public keys (64 hexadecimal digits) whose signatures are trusted. Without this, the first ones seen are."),
        key("identity", KeyShape::Reference, "The identity file with which drills read: `file:PATH`, or `${env:NAME}` for a variable that holds the path.")
            .example("\"file:keys/recovery.txt\""),
        key("create", KeyShape::Object(&CREATE), "Create the repository on first use when it is missing."),
        key("immutable_days", KeyShape::CountTo(IMMUTABLE_DAYS_MAX), "Every stored object is locked against deletion for this many days. Not for local directories.")
            .example("30"),
        key("lock_mode", KeyShape::Word(LOCK_MODES), "Who may lift a lock early: `governance` lets those with a special right, `compliance` nobody at all. Default: compliance."),
        key("storage_class", KeyShape::Text, "The S3 storage class or Azure access tier of packs. It must be one that can be read immediately.")
            .example("\"STANDARD_IA\""),
        key("path_style", KeyShape::Flag, "S3 only: the bucket is named in the path of requests, not in the host's name."),
        key("allow_http", KeyShape::Flag, "Accept an endpoint with plain HTTP on another host, where nothing on the way is protected. Default: false."),
        key("limit_upload", KeyShape::Rate, "Upload at most this much per second. Default: no limit.").example("\"10MiB\""),
        key("limit_download", KeyShape::Rate, "Download at most this much per second. Default: no limit.").example("\"50MiB/s\""),
        key("retry_for", KeyShape::Duration, "How long a failing request is retried before giving up.").example("\"15m\""),
        key("failure_domain", KeyShape::Text, "What the repository would be lost with. Default: this host for a local directory, the bucket for S3, the storage account for Azure.")
            .example("\"paris\""),
    ],
);

/// `repositories.NAME.create`
pub(crate) static CREATE: TableObject = object(
    "`create`",
    &[
        key(
            "generate_identities",
            KeyShape::List(&KeyShape::Path),
            "Files in which new recovery identities are written. Move them off this host.",
        )
        .example("[\"keys/recovery-1.txt\", \"keys/recovery-2.txt\"]"),
        key(
            "single_recipient",
            KeyShape::Flag,
            "Accept a repository that only one key can read. If that key is lost, the repository cannot be read.",
        ),
        key(
            "keeper",
            KeyShape::Path,
            "The file of a keeper's key, who forgets snapshots and changes keys instead of this host. Created if it does not exist; move it off this host.",
        )
        .example("\"keys/keeper.txt\""),
        key(
            "escrow",
            KeyShape::Reference,
            "Keep the key of a further keeper in the repository, encrypted to the recovery recipients and this passphrase: `${env:NAME}` or `file:PATH`. With both a new host can be appointed when this one is lost.",
        )
        .example("\"${env:REPRISE_ESCROW_PASSPHRASE}\""),
    ],
);

/// `sources.NAME`
pub(crate) static SOURCE: TableObject = TableObject {
    title: "a source",
    keys: &[
        key("volume", KeyShape::Object(&VOLUME), "Files and directories."),
        key("tfstate", KeyShape::Object(&TFSTATE), "A Terraform state."),
        key("command", KeyShape::Object(&COMMAND), "What a program writes to its standard output."),
        key("mysql", KeyShape::Object(&MYSQL), "Databases of a MySQL or MariaDB server."),
        key("hosts", KeyShape::List(&KeyShape::Name), "The hosts that store it: its name means their snapshots. Default: the host that has stored it first.")
            .example("[\"web1\"]"),
        key("repositories", KeyShape::List(&KeyShape::Name), "The repositories to store in. Default: the only one, when there is exactly one."),
        key("tags", KeyShape::Map(&KeyShape::Text), "Tags stored with each snapshot.").example("{\"env\": \"prod\"}"),
        key("retention", KeyShape::NameOr(&RETENTION), "A name from `retention`, or the rules themselves. Without it, nothing is ever forgotten."),
        key("schedule", KeyShape::Schedule(&SCHEDULE), "When a snapshot is due: a name from `schedules`, a cron expression, or a mapping. Without it, only `reprise run` takes them.")
            .example("\"nightly\""),
        key("fresh_within", KeyShape::Duration, "The promise that the newest good snapshot is not older than this.").example("\"26h\""),
        key("reaches_back", KeyShape::Duration, "The promise that the oldest snapshot is at least this old, once the source has been stored for so long.")
            .example("\"30d\""),
        key("shrink_alarm", KeyShape::Alarm, "Raise an alarm when the number of entries or bytes falls by more than this from one snapshot to the next. Default: 50%; `off` disables it.")
            .example("\"50%\""),
    ],
    exactly_one_of: &["volume", "tfstate", "command", "mysql"],
    at_least_one_of: &[],
    rejected: &[("cron", "write `schedule: \"0 2 * * *\"`")],
};

/// `sources.NAME.volume`
pub(crate) static VOLUME: TableObject = object(
    "`volume`",
    &[
        key(
            "path",
            KeyShape::Path,
            "The directory, relative to this file.",
        )
        .required(),
        key(
            "exclude",
            KeyShape::List(&KeyShape::Text),
            "What to leave out, in the syntax of .gitignore.",
        )
        .example("[\"workspace/\", \"*.tmp\"]"),
        key(
            "exclude_files",
            KeyShape::List(&KeyShape::Path),
            "Files with more such lines, relative to this file.",
        ),
        key(
            "one_file_system",
            KeyShape::Flag,
            "Do not enter other file systems that are mounted below. Default: false.",
        ),
    ],
);

/// `sources.NAME.tfstate`
pub(crate) static TFSTATE: TableObject = object(
    "`tfstate`",
    &[key(
        "path",
        KeyShape::Path,
        "The state file, relative to this file.",
    )
    .required()],
);

/// `sources.NAME.command`
pub(crate) static COMMAND: TableObject = object(
    "`command`",
    &[
        key("run", KeyShape::List(&KeyShape::Text), "The program and its arguments, one item each. No shell is used.")
            .required()
            .example("[\"pg_dump\", \"-Fc\", \"app\"]"),
        key("env", KeyShape::Map(&KeyShape::Secret), "Environment variables: `${env:NAME}`, `file:PATH`, or plain text for what is not secret.")
            .example("{\"PGPASSWORD\": \"${env:PGPASSWORD}\"}"),
        key("timeout", KeyShape::Duration, "Stop the program and fail after this long. Default: no limit.").example("\"2h\""),
    ],
);

/// `copies.NAME`
pub(crate) static COPY: TableObject = object(
    "a copy",
    &[
        key(
            "from",
            KeyShape::Name,
            "The repository whose snapshots are copied.",
        )
        .required()
        .example("\"main\""),
        key(
            "to",
            KeyShape::Name,
            "The repository they are copied to: another one.",
        )
        .required()
        .example("\"offsite\""),
        key(
            "schedule",
            KeyShape::Schedule(&SCHEDULE),
            "When it is due. Without it, `reprise run` makes it after each snapshot.",
        )
        .example("\"@daily\""),
        key(
            "hosts",
            KeyShape::List(&KeyShape::Name),
            "The hosts that make it. Default: whoever runs.",
        )
        .example("[\"safe\"]"),
    ],
);

/// `retention.NAME`, or `sources.NAME.retention`
pub(crate) static RETENTION: TableObject = TableObject {
    title: "a set of retention rules",
    keys: &[
        key(
            "last",
            KeyShape::Count,
            "Keep this many of the newest snapshots.",
        ),
        key(
            "hourly",
            KeyShape::Count,
            "Keep the last snapshot of each of this many hours that have one.",
        ),
        key(
            "daily",
            KeyShape::Count,
            "Keep the last snapshot of each of this many days that have one.",
        ),
        key(
            "weekly",
            KeyShape::Count,
            "Keep the last snapshot of each of this many weeks that have one.",
        ),
        key(
            "monthly",
            KeyShape::Count,
            "Keep the last snapshot of each of this many months that have one.",
        ),
        key(
            "yearly",
            KeyShape::Count,
            "Keep the last snapshot of each of this many years that have one.",
        ),
        key(
            "within",
            KeyShape::Duration,
            "Keep every snapshot younger than this.",
        )
        .example("\"14d\""),
        key(
            "point_in_time",
            KeyShape::Duration,
            "For a database server with `log_archive`: the recovery window. Keep the log of this time, and the snapshots that it needs.",
        )
        .example("\"7d\""),
        key(
            "keep_at_least",
            KeyShape::Count,
            "Never go below this many snapshots, whatever the other rules say.",
        ),
    ],
    exactly_one_of: &[],
    at_least_one_of: &[
        "last", "hourly", "daily", "weekly", "monthly", "yearly", "within",
    ],
    rejected: &[
        ("hours", "write `hourly: 24` for one snapshot of each of 24 hours, or `within: 24h` for all that are younger"),
        ("days", "write `daily: 7` for one snapshot of each of 7 days, or `within: 7d` for all that are younger"),
        ("weeks", "write `weekly: 4` for one snapshot of each of 4 weeks, or `within: 4w` for all that are younger"),
        ("months", "write `monthly: 12` for one snapshot of each of 12 months"),
        ("years", "write `yearly: 3` for one snapshot of each of 3 years"),
        ("keep", "write `last: 5` for the newest 5 snapshots, whatever their age"),
    ],
};
