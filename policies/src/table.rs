//! The table of keys: the one place that says which keys a policy file has and what each is for.
//!
//! The decoder refuses every key that is not here, and the schema for editors is printed from here.

use crate::table_drill;
use crate::table_mysql::MYSQL;

/// A lock for longer than a century is a slip, and in compliance mode nobody can take it back.
pub(crate) const IMMUTABLE_DAYS_MAX: u32 = 36_500;

/// The words for how firmly stored objects are locked.
pub(crate) const LOCK_MODES: &[&str] = &["governance", "compliance"];

/// What may stand at a place.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// Any single value, taken as text, not empty.
    Text,
    /// A name of a thing defined in this file or outside.
    Name,
    Path,
    /// A single value, or a reference to a secret.
    Secret,
    /// `file:PATH` or `${env:NAME}`.
    Reference,
    Url,
    /// The URL of a database server.
    MysqlUrl,
    /// `DATABASE.TABLE`, each with wildcards.
    TablePattern,
    Flag,
    /// A whole number from 1.
    Count,
    /// A whole number from 1 to this one.
    CountTo(u32),
    Duration,
    Size,
    /// A size in each second, not zero.
    Rate,
    /// A percentage from 1% to 99%, or `off`.
    Alarm,
    Version,
    Hex64,
    Mode,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Any single value, with its type: number, truth value, null or text.
    Scalar,
    /// A list with at least one item.
    List(&'static Shape),
    /// A mapping with keys of the author's choice.
    Map(&'static Shape),
    Object(&'static Object),
    /// A name of an object of this kind defined elsewhere, or the object itself.
    NameOr(&'static Object),
}

/// A mapping with known keys.
#[derive(Debug)]
pub(crate) struct Object {
    /// What it is called in messages, with its article.
    pub(crate) title: &'static str,
    pub(crate) keys: &'static [Key],
    /// Exactly one of these keys must be there.
    pub(crate) exactly_one_of: &'static [&'static str],
    /// At least one of these keys must be there.
    pub(crate) at_least_one_of: &'static [&'static str],
    /// Keys that are understood and refused, each with the reason.
    pub(crate) refused: &'static [(&'static str, &'static str)],
}

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) shape: Shape,
    pub(crate) required: bool,
    /// A value as JSON text, for the schema.
    pub(crate) example: Option<&'static str>,
}

pub(crate) const fn key(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key {
        name,
        about,
        shape,
        required: false,
        example: None,
    }
}

impl Key {
    pub(crate) const fn required(self) -> Self {
        Self {
            required: true,
            ..self
        }
    }

    pub(crate) const fn example(self, json: &'static str) -> Self {
        Self {
            example: Some(json),
            ..self
        }
    }
}

pub(crate) const fn object(title: &'static str, keys: &'static [Key]) -> Object {
    Object {
        title,
        keys,
        exactly_one_of: &[],
        at_least_one_of: &[],
        refused: &[],
    }
}

impl Object {
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.keys.iter().map(|key| key.name)
    }
}

/// The whole file.
pub(crate) static POLICY: Object = object(
    "a policy",
    &[
        key("version", Shape::Version, "The version of the policy format. This version of reprise supports version 1.").required(),
        key("name", Shape::Name, "The policy's name, as in `reprise run NAME/SOURCE`. Default: the file's name without its ending.")
            .example("\"prod\""),
        key("time_zone", Shape::Text, "The IANA time zone in which days, weeks and months begin. Default: UTC.")
            .example("\"Europe/Paris\""),
        key("repositories", Shape::Map(&Shape::Object(&REPOSITORY)), "Where snapshots are kept, by name.").required(),
        key("sources", Shape::Map(&Shape::Object(&SOURCE)), "What to protect, by name.").required(),
        key("copies", Shape::Map(&Shape::Object(&COPY)), "What is copied from one repository to another, by name."),
        key("retention", Shape::Map(&Shape::Object(&RETENTION)), "Rules for how long snapshots are kept, by name."),
        key("drills", Shape::Map(&Shape::Object(&table_drill::DRILL)), "Restore rehearsals, by name."),
    ],
);

/// `repositories.NAME`
pub(crate) static REPOSITORY: Object = object(
    "a repository",
    &[
        key("url", Shape::Url, "A path (relative to this file), `file:///path`, `s3://bucket/prefix` or `azure://account/container/prefix`.")
            .required()
            .example("\"s3://backups/prod\""),
        key("recipients", Shape::List(&Shape::Text), "Age or SSH public keys that can read the repository once it is created.")
            .example("[\"ssh-ed25519 AAAA...\"]"),
        key("signers", Shape::List(&Shape::Hex64), "Public keys (64 hexadecimal digits) whose signatures are trusted. Without this, the first ones seen are."),
        key("identity", Shape::Reference, "The identity file with which drills read: `file:PATH`, or `${env:NAME}` for a variable that holds the path.")
            .example("\"file:keys/recovery.txt\""),
        key("create", Shape::Object(&CREATE), "Create the repository on first use when it is missing."),
        key("immutable_days", Shape::CountTo(IMMUTABLE_DAYS_MAX), "Every stored object is locked against deletion for this many days. Not for local directories.")
            .example("30"),
        key("lock_mode", Shape::Word(LOCK_MODES), "Who may lift a lock early: `governance` lets those with a special right, `compliance` nobody at all. Default: compliance."),
        key("storage_class", Shape::Text, "The S3 storage class or Azure access tier of packs. It must be one that can be read immediately.")
            .example("\"STANDARD_IA\""),
        key("path_style", Shape::Flag, "S3 only: the bucket is named in the path of requests, not in the host's name."),
        key("limit_upload", Shape::Rate, "Upload at most this much per second. Default: no limit.").example("\"10MiB\""),
        key("limit_download", Shape::Rate, "Download at most this much per second. Default: no limit.").example("\"50MiB/s\""),
        key("retry_for", Shape::Duration, "How long a failing request is retried before giving up.").example("\"15m\""),
        key("failure_domain", Shape::Text, "What the repository would be lost with. Default: this host for a local directory, the bucket for S3, the storage account for Azure.")
            .example("\"paris\""),
    ],
);

/// `repositories.NAME.create`
pub(crate) static CREATE: Object = object(
    "`create`",
    &[
        key(
            "generate_identities",
            Shape::List(&Shape::Path),
            "Files in which new recovery identities are written. Move them off this host.",
        )
        .example("[\"keys/recovery-1.txt\", \"keys/recovery-2.txt\"]"),
        key(
            "single_recipient",
            Shape::Flag,
            "Accept a repository that only one key can read. If that key is lost, the repository cannot be read.",
        ),
    ],
);

/// `sources.NAME`
pub(crate) static SOURCE: Object = Object {
    title: "a source",
    keys: &[
        key("volume", Shape::Object(&VOLUME), "Files and directories."),
        key("tfstate", Shape::Object(&TFSTATE), "A Terraform state."),
        key("command", Shape::Object(&COMMAND), "What a program writes to its standard output."),
        key("mysql", Shape::Object(&MYSQL), "Databases of a MySQL or MariaDB server."),
        key("repositories", Shape::List(&Shape::Name), "The repositories to store in. Default: the only one, when there is exactly one."),
        key("tags", Shape::Map(&Shape::Text), "Tags stored with each snapshot.").example("{\"env\": \"prod\"}"),
        key("retention", Shape::NameOr(&RETENTION), "A name from `retention`, or the rules themselves. Without it, nothing is ever forgotten."),
        key("shrink_alarm", Shape::Alarm, "Raise an alarm when the number of entries or bytes falls by more than this from one snapshot to the next. Default: 50%; `off` disables it.")
            .example("\"50%\""),
    ],
    exactly_one_of: &["volume", "tfstate", "command", "mysql"],
    at_least_one_of: &[],
    refused: &[],
};

/// `sources.NAME.volume`
pub(crate) static VOLUME: Object = object(
    "`volume`",
    &[
        key("path", Shape::Path, "The directory, relative to this file.").required(),
        key(
            "exclude",
            Shape::List(&Shape::Text),
            "What to leave out, in the syntax of .gitignore.",
        )
        .example("[\"workspace/\", \"*.tmp\"]"),
        key(
            "exclude_files",
            Shape::List(&Shape::Path),
            "Files with more such lines, relative to this file.",
        ),
        key(
            "one_file_system",
            Shape::Flag,
            "Do not enter other file systems that are mounted below. Default: false.",
        ),
    ],
);

/// `sources.NAME.tfstate`
pub(crate) static TFSTATE: Object = object(
    "`tfstate`",
    &[key(
        "path",
        Shape::Path,
        "The state file, relative to this file.",
    )
    .required()],
);

/// `sources.NAME.command`
pub(crate) static COMMAND: Object = object(
    "`command`",
    &[
        key("run", Shape::List(&Shape::Text), "The program and its arguments, one item each. No shell is used.")
            .required()
            .example("[\"pg_dump\", \"-Fc\", \"app\"]"),
        key("env", Shape::Map(&Shape::Secret), "Environment variables: `${env:NAME}`, `file:PATH`, or plain text for what is not secret.")
            .example("{\"PGPASSWORD\": \"${env:PGPASSWORD}\"}"),
        key("timeout", Shape::Duration, "Stop the program and fail after this long. Default: no limit.").example("\"2h\""),
    ],
);

/// `copies.NAME`
pub(crate) static COPY: Object = object(
    "a copy",
    &[
        key(
            "from",
            Shape::Name,
            "The repository whose snapshots are copied.",
        )
        .required()
        .example("\"main\""),
        key(
            "to",
            Shape::Name,
            "The repository they are copied to: another one.",
        )
        .required()
        .example("\"offsite\""),
    ],
);

/// `retention.NAME`, or `sources.NAME.retention`
pub(crate) static RETENTION: Object = Object {
    title: "a set of retention rules",
    keys: &[
        key(
            "last",
            Shape::Count,
            "Keep this many of the newest snapshots.",
        ),
        key(
            "hourly",
            Shape::Count,
            "Keep the last snapshot of each of this many hours that have one.",
        ),
        key(
            "daily",
            Shape::Count,
            "Keep the last snapshot of each of this many days that have one.",
        ),
        key(
            "weekly",
            Shape::Count,
            "Keep the last snapshot of each of this many weeks that have one.",
        ),
        key(
            "monthly",
            Shape::Count,
            "Keep the last snapshot of each of this many months that have one.",
        ),
        key(
            "yearly",
            Shape::Count,
            "Keep the last snapshot of each of this many years that have one.",
        ),
        key(
            "within",
            Shape::Duration,
            "Keep every snapshot younger than this.",
        )
        .example("\"14d\""),
        key(
            "point_in_time",
            Shape::Duration,
            "For a database server with `log_archive`: the recovery window. Keep the log of this time, and the snapshots that it needs.",
        )
        .example("\"7d\""),
        key(
            "keep_at_least",
            Shape::Count,
            "Never go below this many snapshots, whatever the other rules say.",
        ),
    ],
    exactly_one_of: &[],
    at_least_one_of: &[
        "last", "hourly", "daily", "weekly", "monthly", "yearly", "within",
    ],
    refused: &[],
};
