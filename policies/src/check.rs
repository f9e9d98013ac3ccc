//! A check in a drill: what must be true of restored entries.

use globset::GlobBuilder;
use regex::RegexBuilder;
use serde_json::Value as Json;

use crate::decoder::{Decoder, Field, Fields};
use crate::document::Value;
use crate::names::{did_you_mean, listed, quoted};
use crate::repository::hex64;
use crate::table_drill::{CHECK, KINDS};

/// A compiled expression may not take more than this: a policy is not trusted to be harmless.
const REGEX_BYTES_MAX: usize = 1024 * 1024;

/// What must be true of the entries at a path. Every expectation must hold for every entry that matches the path, and
/// at least one entry must match (unless the check is that none does).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Check {
    /// A path or a glob, relative to what was restored, without `..`. In a glob `*` does not match `/`.
    pub path: String,
    /// At least one.
    pub expectations: Vec<Expectation>,
}

/// One thing that must be true.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Expectation {
    /// The entry is there, or is not. When it must not be there, this is the only expectation.
    Exists(bool),
    /// The entry is of this kind.
    Kind(EntryKind),
    /// The file contains this text.
    Contains(String),
    /// This regular expression (in multi-line mode) matches in the file.
    Matches(String),
    /// At least this many entries match the path.
    CountAtLeast(u32),
    /// The permission bits.
    Mode(u32),
    /// The size of the file in bytes, at least.
    SizeAtLeast(u64),
    /// The SHA-256 of the file.
    Sha256([u8; 32]),
    /// The file is JSON, and this value stands at this place.
    Json {
        /// The place, as in RFC 6901.
        pointer: String,
        /// A number, a truth value, null or a text.
        equals: Json,
    },
}

/// The kinds of entry that a check can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
}

/// Decodes `drills.NAME.checks[]`.
pub(crate) fn decode(decoder: &mut Decoder<'_>, field: Field<'_>) -> Option<Check> {
    let fields = decoder.object(field, &CHECK)?;
    let path = fields
        .get("path")
        .and_then(|field| check_path(decoder, &field));
    let expectations = expectations(decoder, &fields);
    if expectations.len() > 1
        && expectations.contains(&Expectation::Exists(false))
        && let Some(field) = fields.get("exists")
    {
        decoder.error(
            &field,
            "`exists: false` cannot be combined with other expectations",
        );
    }
    Some(Check {
        path: path?,
        expectations,
    })
}

fn expectations(decoder: &mut Decoder<'_>, fields: &Fields<'_>) -> Vec<Expectation> {
    let found = [
        fields
            .get("exists")
            .and_then(|field| decoder.flag(&field))
            .map(Expectation::Exists),
        fields
            .get("kind")
            .and_then(|field| kind(decoder, &field))
            .map(Expectation::Kind),
        fields
            .get("contains")
            .and_then(|field| decoder.text(&field))
            .map(|text| Expectation::Contains(text.to_owned())),
        fields
            .get("matches")
            .and_then(|field| expression(decoder, &field))
            .map(Expectation::Matches),
        fields
            .get("count_at_least")
            .and_then(|field| decoder.count(&field))
            .map(|n| Expectation::CountAtLeast(n.get())),
        fields
            .get("mode")
            .and_then(|field| mode(decoder, &field))
            .map(Expectation::Mode),
        fields
            .get("size_at_least")
            .and_then(|field| decoder.size(&field))
            .map(Expectation::SizeAtLeast),
        fields
            .get("sha256")
            .and_then(|field| hex64(decoder, &field))
            .map(Expectation::Sha256),
        json(decoder, fields),
    ];
    found.into_iter().flatten().collect()
}

fn check_path(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<String> {
    let text = decoder.text(field)?;
    if text.starts_with('/') || text.split('/').any(|part| part == "..") {
        decoder.error(
            field,
            "the path is relative to what was restored, without `..`",
        );
        return None;
    }
    if let Err(error) = GlobBuilder::new(text).literal_separator(true).build() {
        decoder.error(
            field,
            format!("{} is not a valid glob: {}", quoted(text), error.kind()),
        );
        return None;
    }
    Some(text.to_owned())
}

fn kind(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<EntryKind> {
    let text = decoder.text(field)?;
    match text {
        "file" => Some(EntryKind::File),
        "directory" => Some(EntryKind::Directory),
        "symlink" => Some(EntryKind::Symlink),
        _ => {
            let help = did_you_mean(text, KINDS.iter().copied());
            let kinds = listed(KINDS.iter().copied());
            decoder.error_with(
                field,
                format!(
                    "{} is not a kind of entry; the kinds are {kinds}",
                    quoted(text)
                ),
                help,
            );
            None
        }
    }
}

fn expression(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<String> {
    let text = decoder.text(field)?;
    let compiled = RegexBuilder::new(text)
        .multi_line(true)
        .size_limit(REGEX_BYTES_MAX)
        .build();
    if let Err(error) = compiled {
        // The expression's own report spans several lines; its last one says what is wrong.
        let full = error.to_string();
        let reason = full
            .lines()
            .last()
            .unwrap_or_default()
            .trim_start_matches("error: ");
        decoder.error(
            field,
            format!(
                "{} is not a valid regular expression: {reason}",
                quoted(text)
            ),
        );
        return None;
    }
    Some(text.to_owned())
}

fn mode(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<u32> {
    let text = decoder.text(field)?;
    let octal =
        (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = if octal {
        u32::from_str_radix(text, 8).ok()
    } else {
        None
    };
    if mode.is_none() {
        decoder.error(
            field,
            format!(
                "{} is not a mode; write three or four octal digits, like \"0600\"",
                quoted(text)
            ),
        );
    }
    mode
}

/// `json_pointer` and `equals` make sense only together.
fn json(decoder: &mut Decoder<'_>, fields: &Fields<'_>) -> Option<Expectation> {
    let pointer_field = fields.get("json_pointer");
    let equals_field = fields.get("equals");
    let pointer = pointer_field
        .as_ref()
        .and_then(|field| json_pointer(decoder, field));
    let equals = equals_field
        .as_ref()
        .and_then(|field| scalar(decoder, field));
    match (pointer_field, equals_field) {
        (Some(field), None) => {
            decoder.error_at_key(&field, "`json_pointer` needs `equals` beside it", None)
        }
        (None, Some(field)) => {
            decoder.error_at_key(&field, "`equals` needs `json_pointer` beside it", None)
        }
        _ => {}
    }
    Some(Expectation::Json {
        pointer: pointer?,
        equals: equals?,
    })
}

fn json_pointer(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<String> {
    let text = decoder.text(field)?;
    let mut after_tilde = text.split('~').skip(1);
    if text.starts_with('/') && after_tilde.all(|rest| rest.starts_with(['0', '1'])) {
        return Some(text.to_owned());
    }
    let guess = format!(
        "/{}",
        text.trim_start_matches(['.', '$', '/']).replace('.', "/")
    );
    let help = (!text.contains('~')).then(|| format!("did you mean {}?", quoted(&guess)));
    decoder.error_with(
        field,
        format!("{} is not a JSON pointer", quoted(text)),
        help,
    );
    None
}

/// A single value with its type.
pub(crate) fn scalar(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<Json> {
    let Value::Scalar { text, plain } = &field.node.value else {
        decoder.error(
            field,
            format!("expected a single value, found {}", field.node.describe()),
        );
        return None;
    };
    if !plain {
        return Some(Json::from(text.as_str()));
    }
    Some(match text.as_str() {
        _ if field.node.is_null() => Json::Null,
        "true" => Json::Bool(true),
        "false" => Json::Bool(false),
        // A plain value that JSON reads as a number is one; anything else is text, as in YAML.
        _ => serde_json::from_str::<serde_json::Number>(text)
            .map_or_else(|_| Json::from(text.as_str()), Json::Number),
    })
}
