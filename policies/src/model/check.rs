//! A check in a drill: an assertion about restored entries.

use globset::GlobBuilder;
use regex::RegexBuilder;
use serde_json::Value as Json;

use crate::model::repository::decode_hex64;
use crate::schema::drill_keys::{CHECK, ENTRY_KINDS};
use crate::values::names::quote;
use crate::yaml::decoder::{Decoder, Field, Fields};
use crate::yaml::document::YamlValue;

/// The most memory of a compiled expression: a policy is not trusted to be harmless.
const REGEX_BYTES_MAX: usize = 1024 * 1024;

/// An assertion about the entries at a path. Every expectation must hold for every entry that matches the path, and
/// at least one entry must match (unless the check is that none does).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DrillCheck {
    /// A path or a glob, relative to the restored directory, without `..`. In a glob `*` does not match `/`.
    pub path: String,
    /// At least one.
    pub expectations: Vec<Expectation>,
}

/// One expectation.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Expectation {
    /// Whether the entry exists. When it must not, this is the only expectation.
    Exists(bool),
    /// The entry is of this kind.
    Kind(CheckedEntryKind),
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
    /// The file is JSON, and has this value at this pointer.
    Json {
        /// The JSON pointer (RFC 6901).
        pointer: String,
        /// A number, a Boolean, null or a text.
        equals: Json,
    },
}

/// The kinds of entry that a check can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckedEntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
}

/// Decodes `drills.NAME.checks[]`.
pub(crate) fn decode(decoder: &mut Decoder<'_>, field: Field<'_>) -> Option<DrillCheck> {
    let fields = decoder.object(field, &CHECK)?;
    let path = decoder.value(&fields, "path", decode_check_path);
    let expectations = decode_expectations(decoder, &fields);
    if expectations.len() > 1
        && expectations.contains(&Expectation::Exists(false))
        && let Some(field) = fields.get("exists")
    {
        decoder.report_error(
            &field,
            "`exists: false` cannot be combined with other expectations",
        );
    }
    Some(DrillCheck {
        path: path?,
        expectations,
    })
}

fn decode_expectations(decoder: &mut Decoder<'_>, fields: &Fields<'_>) -> Vec<Expectation> {
    let found = [
        decoder
            .value(fields, "exists", Decoder::flag)
            .map(Expectation::Exists),
        decoder
            .value(fields, "kind", decode_kind)
            .map(Expectation::Kind),
        decoder
            .value(fields, "contains", Decoder::owned_text)
            .map(Expectation::Contains),
        decoder
            .value(fields, "matches", decode_regex)
            .map(Expectation::Matches),
        decoder
            .value(fields, "count_at_least", Decoder::count)
            .map(|n| Expectation::CountAtLeast(n.get())),
        decoder
            .value(fields, "mode", decode_mode)
            .map(Expectation::Mode),
        decoder
            .value(fields, "size_at_least", Decoder::size)
            .map(Expectation::SizeAtLeast),
        decoder
            .value(fields, "sha256", decode_hex64)
            .map(Expectation::Sha256),
        decode_json_expectation(decoder, fields),
    ];
    found.into_iter().flatten().collect()
}

fn decode_check_path(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<String> {
    let text = decoder.text(field)?;
    if text.starts_with('/') || text.split('/').any(|part| part == "..") {
        decoder.report_error(
            field,
            "the path is relative to what was restored, without `..`",
        );
        return None;
    }
    if let Err(error) = GlobBuilder::new(text).literal_separator(true).build() {
        decoder.report_error(
            field,
            format!("{} is not a valid glob: {}", quote(text), error.kind()),
        );
        return None;
    }
    Some(text.to_owned())
}

fn decode_kind(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<CheckedEntryKind> {
    decoder.word(field, ("kind of entry", "kind"), ENTRY_KINDS, |word| {
        Some(match word {
            "file" => CheckedEntryKind::File,
            "directory" => CheckedEntryKind::Directory,
            "symlink" => CheckedEntryKind::Symlink,
            _ => return None,
        })
    })
}

fn decode_regex(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<String> {
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
        decoder.report_error(
            field,
            format!(
                "{} is not a valid regular expression: {reason}",
                quote(text)
            ),
        );
        return None;
    }
    Some(text.to_owned())
}

fn decode_mode(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<u32> {
    let text = decoder.text(field)?;
    let octal =
        (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = if octal {
        u32::from_str_radix(text, 8).ok()
    } else {
        None
    };
    if mode.is_none() {
        decoder.report_error(
            field,
            format!(
                "{} is not a mode; write three or four octal digits, like \"0600\"",
                quote(text)
            ),
        );
    }
    mode
}

/// `json_pointer` and `equals` are only valid together.
fn decode_json_expectation(decoder: &mut Decoder<'_>, fields: &Fields<'_>) -> Option<Expectation> {
    let pointer_field = fields.get("json_pointer");
    let equals_field = fields.get("equals");
    let pointer = pointer_field
        .as_ref()
        .and_then(|field| decode_json_pointer(decoder, field));
    let equals = equals_field
        .as_ref()
        .and_then(|field| decode_scalar(decoder, field));
    match (pointer_field, equals_field) {
        (Some(field), None) => {
            decoder.report_error_at_key(&field, "`json_pointer` needs `equals` beside it", None)
        }
        (None, Some(field)) => {
            decoder.report_error_at_key(&field, "`equals` needs `json_pointer` beside it", None)
        }
        _ => {}
    }
    Some(Expectation::Json {
        pointer: pointer?,
        equals: equals?,
    })
}

fn decode_json_pointer(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<String> {
    let text = decoder.text(field)?;
    let mut after_tilde = text.split('~').skip(1);
    if text.starts_with('/') && after_tilde.all(|rest| rest.starts_with(['0', '1'])) {
        return Some(text.to_owned());
    }
    let guess = format!(
        "/{}",
        text.trim_start_matches(['.', '$', '/']).replace('.', "/")
    );
    let help = (!text.contains('~')).then(|| format!("did you mean {}?", quote(&guess)));
    decoder.report_error_with_help(
        field,
        format!("{} is not a JSON pointer", quote(text)),
        help,
    );
    None
}

/// A single value with its type.
pub(crate) fn decode_scalar(decoder: &mut Decoder<'_>, field: &Field<'_>) -> Option<Json> {
    let YamlValue::Scalar { text, plain } = &field.node.value else {
        decoder.report_error(
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
