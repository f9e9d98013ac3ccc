//! The part of the key table that describes drills.

use super::schedule_keys::SCHEDULE;
use super::shape::{KeyShape, TableKey, TableObject, key, object};

/// The kinds of entry that a check can ask for.
pub(crate) const ENTRY_KINDS: &[&str] = &["file", "directory", "symlink"];

/// The words for which part of the log is replayed in a drill.
pub(crate) const REPLAY_MODES: &[&str] = &["none", "latest", "proof"];

/// `drills.NAME`
pub(crate) static DRILL: TableObject = object(
    "a drill",
    &[
        key(
            "source",
            KeyShape::Name,
            "The source whose newest snapshot is restored.",
        )
        .required(),
        key(
            "repository",
            KeyShape::Name,
            "The repository to restore from. Default: the source's, when it has exactly one.",
        ),
        key(
            "snapshot_first",
            KeyShape::Flag,
            "Take a snapshot of the source before restoring. Default: false.",
        ),
        key(
            "identity",
            KeyShape::Reference,
            "The identity file for reading, instead of the repository's.",
        )
        .example("\"file:keys/recovery-1.txt\""),
        key(
            "paths",
            KeyShape::List(&KeyShape::Text),
            "Only these paths, or what these patterns match, and what is below them, are restored and compared; patterns follow the rules of `exclude`. Default: everything.",
        )
        .example("[\"jobs/*/config.xml\", \"secrets\"]"),
        key(
            "server",
            KeyShape::Object(&SERVER),
            "The empty server into which a database server is restored, and from which everything is removed afterwards. Without it its files are restored and compared.",
        ),
        key(
            "queries",
            KeyShape::List(&KeyShape::Object(&QUERY)),
            "What must be true of the restored databases.",
        ),
        key(
            "checks",
            KeyShape::List(&KeyShape::Object(&CHECK)),
            "What must be true of the restored files.",
        ),
        key(
            "schedule",
            KeyShape::Schedule(&SCHEDULE),
            "When it is due. Without it, only `reprise drill` runs it.",
        )
        .example("\"@daily\""),
        key(
            "hosts",
            KeyShape::List(&KeyShape::Name),
            "The hosts that run it. Default: whoever runs.",
        )
        .example("[\"lab\"]"),
        key(
            "budget",
            KeyShape::Object(&BUDGET),
            "How long the restore may take and how old the data may be.",
        ),
    ],
);

/// `drills.NAME.server`
pub(crate) static SERVER: TableObject = object(
    "`server`",
    &[
        key("url", KeyShape::MysqlUrl, "`mysql://[USER@]HOST[:PORT]/`, without a password: a server that is used only for drills. One with databases of its own is refused.")
            .required()
            .example("\"mysql://root@127.0.0.1:3399/\""),
        key("password", KeyShape::Reference, "`${env:NAME}`, or `file:PATH` for a file that holds the password alone.")
            .example("\"${env:SCRATCH_PASSWORD}\""),
        key("defaults_file", KeyShape::Path, "An option file of MySQL, relative to this file.")
            .example("\"/root/scratch.cnf\""),
        key("replay", KeyShape::Word(REPLAY_MODES), "How much of the log is replayed: `none`, `latest` (everything archived), or `proof`: from the second newest snapshot to exactly the newest one, with which every table is then compared. Default: none.")
            .example("\"proof\""),
    ],
);

/// `drills.NAME.queries[]`
pub(crate) static QUERY: TableObject = TableObject {
    title: "a query",
    keys: QUERY_KEYS,
    exactly_one_of: &["query", "newest"],
    at_least_one_of: &[],
    rejected: &[],
};

static QUERY_KEYS: &[TableKey] = &[
    key(
        "query",
        KeyShape::Text,
        "A statement that gives one value. `equals` or `at_least` says what it must be.",
    )
    .example("\"SELECT COUNT(*) FROM shop.orders\""),
    key("equals", KeyShape::Scalar, "What the value must be.").example("3"),
    key(
        "at_least",
        KeyShape::Count,
        "How large the number must be, at least.",
    )
    .example("1000"),
    key(
        "newest",
        KeyShape::Text,
        "A statement that gives the time (UTC) of the newest row. Its age is reported.",
    )
    .example("\"SELECT MAX(created) FROM shop.orders\""),
    key(
        "within",
        KeyShape::Duration,
        "How old the newest row may be when the drill begins.",
    )
    .example("\"15m\""),
];

/// `drills.NAME.checks[]`
pub(crate) static CHECK: TableObject = TableObject {
    title: "a check",
    keys: CHECK_KEYS,
    exactly_one_of: &[],
    at_least_one_of: EXPECTATIONS,
    rejected: &[(
        "json",
        "the key for a value in a JSON file is `json_pointer`, with a pointer like `/serial`",
    )],
};

/// The keys of a check that expect something.
const EXPECTATIONS: &[&str] = &[
    "exists",
    "kind",
    "contains",
    "matches",
    "count_at_least",
    "mode",
    "size_at_least",
    "sha256",
    "json_pointer",
];

static CHECK_KEYS: &[TableKey] = &[
    key("path", KeyShape::Text, "The entry, relative to what was restored. May be a glob: `*` does not match `/`, `**` does. The expectations must hold for every entry that matches, and at least one entry must match.")
        .required()
        .example("\"jobs/*/config.xml\""),
    key("exists", KeyShape::Flag, "Whether the entry must be there. `false` stands alone."),
    key("kind", KeyShape::Word(ENTRY_KINDS), "What the entry must be."),
    key("contains", KeyShape::Text, "Text that the file must contain."),
    key("matches", KeyShape::Text, "A regular expression that must match in the file. `^` and `$` are the ends of a line.")
        .example("\"^done$\""),
    key("count_at_least", KeyShape::Count, "How many entries must match `path`, at least."),
    key("mode", KeyShape::Mode, "The entry's permission bits, in octal.").example("\"0600\""),
    key("size_at_least", KeyShape::Size, "The size of the file, at least.").example("\"10MiB\""),
    key("sha256", KeyShape::Hex64, "The SHA-256 of the file: 64 hexadecimal digits."),
    key("json_pointer", KeyShape::Text, "A place in a JSON file, as in RFC 6901. `equals` is its expected value.")
        .example("\"/serial\""),
    key("equals", KeyShape::Scalar, "The expected value at `json_pointer`.").example("3"),
];

/// `drills.NAME.budget`
pub(crate) static BUDGET: TableObject = TableObject {
    title: "`budget`",
    keys: &[
        key(
            "recovery_time",
            KeyShape::Duration,
            "How long the restore may take.",
        )
        .example("\"5m\""),
        key(
            "data_loss",
            KeyShape::Duration,
            "How old the restored data may be.",
        )
        .example("\"26h\""),
    ],
    exactly_one_of: &[],
    at_least_one_of: &["recovery_time", "data_loss"],
    rejected: &[],
};
