//! What the key table is made of: a key, its type, and a mapping with known keys.

/// The type of a value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum KeyShape {
    /// Any single value, taken as text, not empty.
    Text,
    /// A name of an object defined in this file or outside.
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
    /// A size per second, not zero.
    Rate,
    /// A percentage from 1% to 99%, or `off`.
    Alarm,
    Version,
    Hex64,
    Mode,
    /// A cron expression of five fields, or a nickname.
    Cron,
    /// A time of day, from one time to another.
    Window,
    /// A percentage from 1% to 100%.
    Share,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Any single value, with its type: number, Boolean, null or text.
    Scalar,
    /// A list with at least one item.
    List(&'static KeyShape),
    /// A mapping with keys of the author's choice.
    Map(&'static KeyShape),
    Object(&'static TableObject),
    /// A name of an object of this kind defined elsewhere, or the object itself.
    NameOr(&'static TableObject),
    /// A name of a schedule, a cron expression, or a schedule itself.
    Schedule(&'static TableObject),
}

/// A mapping with known keys.
#[derive(Debug)]
pub(crate) struct TableObject {
    /// Its name in messages, with its article.
    pub(crate) title: &'static str,
    pub(crate) keys: &'static [TableKey],
    /// Exactly one of these keys must be there.
    pub(crate) exactly_one_of: &'static [&'static str],
    /// At least one of these keys must be there.
    pub(crate) at_least_one_of: &'static [&'static str],
    /// Keys that are recognized and rejected, each with the reason.
    pub(crate) rejected: &'static [(&'static str, &'static str)],
}

/// One key.
#[derive(Debug)]
pub(crate) struct TableKey {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) shape: KeyShape,
    pub(crate) required: bool,
    /// A value as JSON text, for the schema.
    pub(crate) example: Option<&'static str>,
}

pub(crate) const fn key(name: &'static str, shape: KeyShape, about: &'static str) -> TableKey {
    TableKey {
        name,
        description: about,
        shape,
        required: false,
        example: None,
    }
}

impl TableKey {
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

pub(crate) const fn object(title: &'static str, keys: &'static [TableKey]) -> TableObject {
    TableObject {
        title,
        keys,
        exactly_one_of: &[],
        at_least_one_of: &[],
        rejected: &[],
    }
}

impl TableObject {
    /// Also recognizes keys that it rejects, each with the reason.
    pub(crate) const fn rejecting(self, rejected: &'static [(&'static str, &'static str)]) -> Self {
        Self { rejected, ..self }
    }

    pub(crate) fn key(&self, name: &str) -> Option<&'static TableKey> {
        self.keys.iter().find(|key| key.name == name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.keys.iter().map(|key| key.name)
    }
}
