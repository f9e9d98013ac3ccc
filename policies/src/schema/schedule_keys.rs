//! The key table of schedules and of a repository's maintenance.

use super::shape::{KeyShape, TableObject, key, object};

/// The words for what happens to a slot that is due while an earlier one runs.
pub(crate) const OVERLAP_RULES: &[&str] = &["skip", "queue"];

/// The words for what happens to missed slots.
pub(crate) const CATCH_UPS: &[&str] = &["one", "none"];

/// More retries than this would go on until the next day.
pub(crate) const RETRIES_MAX: u32 = 20;

/// `schedules.NAME`, or a `schedule` that is written where it is used.
pub(crate) static SCHEDULE: TableObject = TableObject {
    title: "a schedule",
    keys: &[
        key("cron", KeyShape::Cron, "When it is due: minute, hour, day of the month, month, day of the week; or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.")
            .example("\"0 2 * * *\""),
        key("every", KeyShape::Duration, "It is due each time that so much time has passed, counted from 1970-01-01 00:00 UTC. At least a minute.")
            .example("\"6h\""),
        key("time_zone", KeyShape::Text, "The IANA time zone whose clocks `cron` and `window` mean. Default: the policy's.")
            .example("\"Europe/Paris\""),
        key("jitter", KeyShape::Duration, "Each job starts at its own time within this after the slot, always the same one, so that not all start at once.")
            .example("\"20m\""),
        key("start_within", KeyShape::Duration, "A slot that has not started within this time is missed. Default: until the next slot; 1h with `catch_up: none`.")
            .example("\"4h\""),
        key("timeout", KeyShape::Duration, "A run that takes longer is ended, and has failed. Default: 24h.").example("\"6h\""),
        key("overlap", KeyShape::Word(OVERLAP_RULES), "What happens to a slot that is due while an earlier run is under way: `skip`, or `queue`, where the last one waits. Default: skip."),
        key("catch_up", KeyShape::Word(CATCH_UPS), "What happens to slots that were missed: the last `one` is run late, or `none`. Default: one."),
        key("retries", KeyShape::CountTo(RETRIES_MAX), "How often a failed run is tried again, after 1, 5, 25 and then each 60 minutes. Default: never.")
            .example("3"),
        key("window", KeyShape::Window, "The time of day at which runs may start; what is due outside of it waits.")
            .example("\"22:00-06:00\""),
    ],
    exactly_one_of: &["cron", "every"],
    at_least_one_of: &[],
    rejected: &[("timezone", "the key is `time_zone`"), ("at", "write `cron: \"0 2 * * *\"` for 02:00 each day")],
};

/// `maintenance.REPOSITORY`
pub(crate) static MAINTENANCE: TableObject = TableObject {
    title: "the maintenance of a repository",
    keys: &[
        key(
            "hosts",
            KeyShape::List(&KeyShape::Name),
            "The hosts that do it. Default: whoever runs.",
        )
        .example("[\"safe\"]"),
        key(
            "forget",
            KeyShape::Schedule(&SCHEDULE),
            "When snapshots that no rule keeps are forgotten.",
        )
        .example("\"@daily\""),
        key(
            "prune",
            KeyShape::Schedule(&SCHEDULE),
            "When what nothing needs is deleted.",
        )
        .example("\"@weekly\""),
        key(
            "verify",
            KeyShape::Schedule(&SCHEDULE),
            "When it is verified that everything is there.",
        )
        .example("\"@daily\""),
        key(
            "read_data",
            KeyShape::Object(&READ_DATA),
            "When a part of the data is read and verified.",
        ),
        key(
            "locks",
            KeyShape::Schedule(&SCHEDULE),
            "When locks of what is still needed are extended.",
        )
        .example("\"@daily\""),
    ],
    exactly_one_of: &[],
    at_least_one_of: &["forget", "prune", "verify", "read_data", "locks"],
    rejected: &[],
};

/// `maintenance.REPOSITORY.read_data`
pub(crate) static READ_DATA: TableObject = object(
    "`read_data`",
    &[
        key(
            "share",
            KeyShape::Share,
            "How much of the data is read each time, in turn. Default: 5%.",
        )
        .example("\"5%\""),
        key("schedule", KeyShape::Schedule(&SCHEDULE), "When.")
            .required()
            .example("\"@daily\""),
    ],
);
