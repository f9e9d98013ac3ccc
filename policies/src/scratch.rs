//! The server into which a drill restores, and what is asked of it afterwards.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value as Json;

use crate::check::scalar;
use crate::decoder::{Decoder, Field};
use crate::mysql::password;
use crate::mysql_url::url;
use crate::names::{did_you_mean, listed, quoted};
use crate::repository::path;
use crate::secret::SecretRef;
use crate::table_drill::{QUERY, REPLAYS, SERVER};

/// A server that exists for drills alone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScratchServer {
    /// `mysql://[USER@]HOST[:PORT]/`, never with a password.
    pub url: String,
    /// The password; never [`SecretRef::Literal`].
    pub password: Option<SecretRef>,
    /// An option file, absolute.
    pub defaults_file: Option<PathBuf>,
    /// What of the log is replayed.
    pub replay: LogReplay,
}

/// What of the log is replayed in a drill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogReplay {
    /// Nothing: the newest snapshot is restored.
    #[default]
    None,
    /// Everything that is archived.
    Latest,
    /// What leads from the snapshot before the newest one to exactly that one.
    Proof,
}

/// A question to the restored server.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Query {
    /// A statement that gives one value.
    pub sql: String,
    /// What it must be.
    pub expected: Expected,
}

/// What the answer to a query must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    /// This value: a number, a truth value, null or a text.
    Equals(Json),
    /// A number that is as large.
    AtLeast(u32),
    /// The time of the newest row, not older than this when the drill begins, if that is bounded.
    Newest(Option<Duration>),
}

/// Decodes `drills.NAME.server`.
pub(crate) fn server(decoder: &mut Decoder<'_>, field: Field<'_>) -> Option<ScratchServer> {
    let fields = decoder.object(field, &SERVER)?;
    let url = fields.get("url").and_then(|field| url(decoder, &field));
    let password = fields
        .get("password")
        .and_then(|field| password(decoder, &field));
    let defaults_file = fields
        .get("defaults_file")
        .and_then(|field| path(decoder, &field));
    let replay = match fields.get("replay") {
        Some(field) => replay(decoder, &field)?,
        None => LogReplay::None,
    };
    Some(ScratchServer {
        url: url?,
        password,
        defaults_file,
        replay,
    })
}

fn replay(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<LogReplay> {
    match decoder.text(field)? {
        "none" => Some(LogReplay::None),
        "latest" => Some(LogReplay::Latest),
        "proof" => Some(LogReplay::Proof),
        other => {
            let words = || REPLAYS.iter().copied();
            let message = format!("{} is none of {}", quoted(other), listed(words()));
            decoder.error_with(field, message, did_you_mean(other, words()));
            None
        }
    }
}

/// Decodes `drills.NAME.queries[]`.
pub(crate) fn query(decoder: &mut Decoder<'_>, field: Field<'_>) -> Option<Query> {
    let fields = decoder.object(field, &QUERY)?;
    let sql = fields.get("query").or_else(|| fields.get("newest"))?;
    let sql_text = decoder.text(&sql)?.to_owned();
    let newest = fields.get("newest").is_some();
    let equals = fields.get("equals");
    let at_least = fields.get("at_least");
    let within = fields.get("within");
    for field in [&equals, &at_least]
        .into_iter()
        .flatten()
        .filter(|_| newest)
    {
        decoder.error_at_key(field, "this key needs `query`, not `newest`", None);
    }
    for field in within.iter().filter(|_| !newest) {
        decoder.error_at_key(field, "this key needs `newest`, not `query`", None);
    }
    let expected = match (newest, equals, at_least) {
        (true, ..) => match within {
            Some(field) => Expected::Newest(Some(decoder.duration(&field)?)),
            None => Expected::Newest(None),
        },
        (false, Some(field), None) => Expected::Equals(scalar(decoder, &field)?),
        (false, None, Some(field)) => Expected::AtLeast(decoder.count(&field)?.get()),
        (false, ..) => {
            let message = "`query` needs either `equals` or `at_least` beside it";
            decoder.error_at_key(&sql, message, None);
            return None;
        }
    };
    Some(Query {
        sql: sql_text,
        expected,
    })
}
