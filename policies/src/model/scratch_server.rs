//! The server into which a drill restores, and the queries to run on it afterwards.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value as Json;

use crate::model::check::decode_scalar;
use crate::model::mysql::decode_password;
use crate::model::mysql_url::decode_mysql_url;
use crate::model::repository::decode_path;
use crate::schema::drill_keys::{QUERY, REPLAY_MODES, SERVER};
use crate::values::names::{did_you_mean, join_names, quote};
use crate::values::secret::SecretRef;
use crate::yaml::decoder::{Decoder, Field};

/// A server dedicated to drills.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScratchServer {
    /// `mysql://[USER@]HOST[:PORT]/`, never with a password.
    pub url: String,
    /// The password; never [`SecretRef::Literal`].
    pub password: Option<SecretRef>,
    /// An option file, absolute.
    pub defaults_file: Option<PathBuf>,
    /// Which part of the log is replayed.
    pub replay: LogReplay,
}

/// Which part of the log is replayed in a drill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogReplay {
    /// Nothing: the newest snapshot is restored.
    #[default]
    None,
    /// Everything that is archived.
    Latest,
    /// From the snapshot before the newest one to exactly the newest one.
    Proof,
}

/// A query to the restored server.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DrillQuery {
    /// A statement that returns one value.
    pub sql: String,
    /// The expected result.
    pub expected: ExpectedValue,
}

/// The expected result of a query.
#[derive(Debug, Clone, PartialEq)]
pub enum ExpectedValue {
    /// This value: a number, a Boolean, null or a text.
    Equals(Json),
    /// A number of at least this value.
    AtLeast(u32),
    /// The time of the newest row; if bounded, no older than this when the drill starts.
    Newest(Option<Duration>),
}

/// Decodes `drills.NAME.server`.
pub(crate) fn decode_server(decoder: &mut Decoder<'_>, field: Field<'_>) -> Option<ScratchServer> {
    let fields = decoder.object(field, &SERVER)?;
    let url = decoder.value(&fields, "url", decode_mysql_url);
    let password = decoder.value(&fields, "password", decode_password);
    let defaults_file = decoder.value(&fields, "defaults_file", decode_path);
    let replay = match fields.get("replay") {
        Some(field) => decode_replay(decoder, &field)?,
        None => LogReplay::None,
    };
    Some(ScratchServer {
        url: url?,
        password,
        defaults_file,
        replay,
    })
}

fn decode_replay(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<LogReplay> {
    match decoder.text(field)? {
        "none" => Some(LogReplay::None),
        "latest" => Some(LogReplay::Latest),
        "proof" => Some(LogReplay::Proof),
        other => {
            let words = || REPLAY_MODES.iter().copied();
            let message = format!("{} is none of {}", quote(other), join_names(words()));
            decoder.report_error_with_help(field, message, did_you_mean(other, words()));
            None
        }
    }
}

/// Decodes `drills.NAME.queries[]`.
pub(crate) fn decode_query(decoder: &mut Decoder<'_>, field: Field<'_>) -> Option<DrillQuery> {
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
        decoder.report_error_at_key(field, "this key needs `query`, not `newest`", None);
    }
    for field in within.iter().filter(|_| !newest) {
        decoder.report_error_at_key(field, "this key needs `newest`, not `query`", None);
    }
    let expected = match (newest, equals, at_least) {
        (true, ..) => match within {
            Some(field) => ExpectedValue::Newest(Some(decoder.duration(&field)?)),
            None => ExpectedValue::Newest(None),
        },
        (false, Some(field), None) => ExpectedValue::Equals(decode_scalar(decoder, &field)?),
        (false, None, Some(field)) => ExpectedValue::AtLeast(decoder.count(&field)?.get()),
        (false, ..) => {
            let message = "`query` needs either `equals` or `at_least` beside it";
            decoder.report_error_at_key(&sql, message, None);
            return None;
        }
    };
    Some(DrillQuery {
        sql: sql_text,
        expected,
    })
}
