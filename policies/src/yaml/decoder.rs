//! Reads the tree by the key table: typed values out, findings with positions into the report.
//!
//! Every method that returns `None` has reported why, so callers simply continue and find more.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use crate::schema::shape::TableObject;
use crate::values::names::{did_you_mean, is_name, join_names, quote};
use crate::values::units::{UnitError, parse_duration, parse_rate, parse_size};
use crate::yaml::document::{YamlMark, YamlNode, YamlValue};
use crate::yaml::report::{FindingReport, Severity};

/// The rule for names, for messages.
const NAME_ALPHABET: &str =
    "letters, digits, `.`, `_` and `-` (first a letter or digit, at most 64)";

/// A value in the tree, with its key and its path.
#[derive(Debug, Clone)]
pub(crate) struct Field<'n> {
    pub(crate) node: &'n YamlNode,
    pub(crate) key: Option<&'n YamlNode>,
    pub(crate) path: String,
}

impl<'n> Field<'n> {
    /// The position of the value; of the key, when the value is absent.
    pub(crate) fn mark(&self) -> YamlMark {
        match self.key {
            Some(key) if self.node.is_null() => key.mark,
            _ => self.node.mark,
        }
    }

    /// The position of the key, for errors about the object as a whole.
    pub(crate) fn key_mark(&self) -> YamlMark {
        self.key.map_or(self.node.mark, |key| key.mark)
    }

    fn child(&self, key: &'n YamlNode, node: &'n YamlNode) -> Self {
        let name = key.text().unwrap_or_default();
        let path = if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        };
        Self {
            node,
            key: Some(key),
            path,
        }
    }
}

/// A mapping that was checked against its table.
#[derive(Debug)]
pub(crate) struct Fields<'n> {
    pub(crate) whole: Field<'n>,
    object: &'static TableObject,
}

impl<'n> Fields<'n> {
    /// The value under a key of the table.
    pub(crate) fn get(&self, name: &str) -> Option<Field<'n>> {
        debug_assert!(
            self.object.key(name).is_some(),
            "{name} is missing in the table of {}",
            self.object.title
        );
        self.whole
            .node
            .entry(name)
            .map(|(key, node)| self.whole.child(key, node))
    }
}

/// The decoder of one file.
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    /// The directory that paths are relative to.
    pub(crate) base: &'a Path,
    pub(crate) report: FindingReport,
}

impl Decoder<'_> {
    fn report_error_at_mark(
        &mut self,
        mark: YamlMark,
        path: &str,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.report
            .add_finding(Severity::Error, mark, path, message.into(), help);
    }

    /// Reports an error at a value.
    pub(crate) fn report_error(&mut self, field: &Field<'_>, message: impl Into<String>) {
        self.report_error_with_help(field, message, None);
    }

    /// Reports an error at a value, with a hint.
    pub(crate) fn report_error_with_help(
        &mut self,
        field: &Field<'_>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.report_error_at_mark(field.mark(), &field.path, message, help);
    }

    /// Reports an error about a whole object, at its key.
    pub(crate) fn report_error_at_key(
        &mut self,
        field: &Field<'_>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.report_error_at_mark(field.key_mark(), &field.path, message, help);
    }

    fn report_unexpected<T>(&mut self, field: &Field<'_>, what: &str) -> Option<T> {
        self.report_error(
            field,
            format!("expected {what}, found {}", field.node.describe()),
        );
        None
    }

    /// A mapping with the keys of `object`.
    pub(crate) fn object<'n>(
        &mut self,
        field: Field<'n>,
        object: &'static TableObject,
    ) -> Option<Fields<'n>> {
        let YamlValue::Map(entries) = &field.node.value else {
            return self.report_unexpected(&field, "a mapping");
        };
        for (key, _) in entries {
            self.check_key(&field, key, object);
        }
        self.check_required_keys(&field, object);
        Some(Fields {
            whole: field,
            object,
        })
    }

    fn check_key(&mut self, parent: &Field<'_>, key: &YamlNode, object: &'static TableObject) {
        let Some(name) = self.key_text(parent, key) else {
            return;
        };
        if object.key(name).is_some() {
            return;
        }
        let path = parent.child(key, key).path;
        if let Some((_, reason)) = object.rejected.iter().find(|(refused, _)| *refused == name) {
            return self.report_error_at_mark(key.mark, &path, *reason, None);
        }
        let help = did_you_mean(name, object.names()).unwrap_or_else(|| {
            format!(
                "{} has the keys {}",
                object.title,
                join_names(object.names())
            )
        });
        let message = format!("unknown key {} in {}", quote(name), object.title);
        self.report_error_at_mark(key.mark, &path, message, Some(help));
    }

    /// The text of a key. Merge keys have none: they were already rejected when the tree was built.
    fn key_text<'n>(&mut self, parent: &Field<'_>, key: &'n YamlNode) -> Option<&'n str> {
        let name = key.text();
        if name.is_none() {
            self.report_error_at_mark(key.mark, &parent.path, "a key must be text", None);
        }
        name.filter(|name| *name != "<<")
    }

    fn check_required_keys(&mut self, field: &Field<'_>, object: &'static TableObject) {
        let has = |name: &str| field.node.entry(name).is_some();
        for key in object
            .keys
            .iter()
            .filter(|key| key.required && !has(key.name))
        {
            let help = Some(format!("`{}`: {}", key.name, key.description));
            self.report_error_at_key(
                field,
                format!("{} needs the key `{}`", object.title, key.name),
                help,
            );
        }
        let one_of = object.exactly_one_of;
        let chosen: Vec<&str> = one_of.iter().copied().filter(|name| has(name)).collect();
        // A rejected kind was already reported; asking for another one as well would only confuse.
        let refused = object.rejected.iter().any(|(name, _)| has(name));
        if chosen.len() != usize::from(!one_of.is_empty()) && !(refused && chosen.is_empty()) {
            let found = if chosen.is_empty() {
                "none".to_owned()
            } else {
                join_names(chosen)
            };
            let one_of = join_names(one_of.iter().copied());
            self.report_error_at_key(
                field,
                format!(
                    "{} needs exactly one of {one_of}; found {found}",
                    object.title
                ),
                None,
            );
        }
        let any_of = object.at_least_one_of;
        if !any_of.is_empty() && !any_of.iter().any(|name| has(name)) && !refused {
            let any_of = join_names(any_of.iter().copied());
            self.report_error_at_key(
                field,
                format!("{} needs at least one of {any_of}", object.title),
                None,
            );
        }
    }

    /// The entries of a mapping whose keys are names chosen by the author.
    pub(crate) fn entries<'n>(&mut self, field: &Field<'n>) -> Vec<(String, Field<'n>)> {
        self.entries_named(field, is_name, NAME_ALPHABET)
    }

    /// The same, with another rule for names.
    pub(crate) fn entries_named<'n>(
        &mut self,
        field: &Field<'n>,
        rule: impl Fn(&str) -> bool,
        alphabet: &str,
    ) -> Vec<(String, Field<'n>)> {
        let YamlValue::Map(entries) = &field.node.value else {
            self.report_unexpected::<()>(field, "a mapping");
            return Vec::new();
        };
        let mut result: Vec<(String, Field<'n>)> = Vec::with_capacity(entries.len());
        for (key, node) in entries {
            let Some(name) = self.key_text(field, key) else {
                continue;
            };
            if rule(name) {
                result.push((name.to_owned(), field.child(key, node)));
            } else {
                let message = format!("{} is not a name; names have {alphabet}", quote(name));
                self.report_error_at_mark(key.mark, &field.path, message, None);
            }
        }
        result
    }

    /// The items of a list with at least one item.
    pub(crate) fn items<'n>(&mut self, field: &Field<'n>) -> Option<Vec<Field<'n>>> {
        let YamlValue::List(items) = &field.node.value else {
            return self.report_unexpected(field, "a list");
        };
        if items.is_empty() {
            self.report_error(field, "the list is empty; remove the key or add an item");
            return None;
        }
        let path = |index: usize| format!("{}[{index}]", field.path);
        Some(
            items
                .iter()
                .enumerate()
                .map(|(index, node)| Field {
                    node,
                    key: None,
                    path: path(index),
                })
                .collect(),
        )
    }

    /// The items of a list, each decoded; those that fail are reported and omitted.
    pub(crate) fn list<T>(
        &mut self,
        field: Option<Field<'_>>,
        mut decode: impl FnMut(&mut Self, &Field<'_>) -> Option<T>,
    ) -> Vec<T> {
        let items = field
            .and_then(|field| self.items(&field))
            .unwrap_or_default();
        items.iter().filter_map(|item| decode(self, item)).collect()
    }

    /// The value under a key, if the key is there.
    pub(crate) fn value<T>(
        &mut self,
        fields: &Fields<'_>,
        key: &str,
        decode: impl FnOnce(&mut Self, &Field<'_>) -> Option<T>,
    ) -> Option<T> {
        fields.get(key).and_then(|field| decode(self, &field))
    }

    /// A single value as text, not empty.
    pub(crate) fn text<'n>(&mut self, field: &Field<'n>) -> Option<&'n str> {
        match field.node.text() {
            Some("") => {
                self.report_error(field, "the text is empty");
                None
            }
            Some(text) if text.contains('\0') => {
                self.report_error(field, "the text contains a NUL character");
                None
            }
            Some(text) => Some(text),
            None => self.report_unexpected(field, "text"),
        }
    }

    /// The name of an object.
    pub(crate) fn name(&mut self, field: &Field<'_>) -> Option<String> {
        let text = self.text(field)?;
        if is_name(text) {
            return Some(text.to_owned());
        }
        let message = format!("{} is not a name; names have {NAME_ALPHABET}", quote(text));
        self.report_error(field, message);
        None
    }

    /// The name of something that must be among `known`.
    pub(crate) fn reference(
        &mut self,
        field: &Field<'_>,
        what: &str,
        known: &[String],
    ) -> Option<String> {
        let text = self.text(field)?;
        if known.iter().any(|name| name == text) {
            return Some(text.to_owned());
        }
        let names = || known.iter().map(String::as_str);
        let help = did_you_mean(text, names()).unwrap_or_else(|| match known {
            [] => format!("this policy defines no {what}"),
            _ => format!("this policy defines {}", join_names(names())),
        });
        self.report_error_with_help(
            field,
            format!("there is no {what} named {}", quote(text)),
            Some(help),
        );
        None
    }

    /// A list of names of things that must be among `known`, each once.
    pub(crate) fn references(
        &mut self,
        field: Option<Field<'_>>,
        what: &str,
        known: &[String],
    ) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let items = field.and_then(|field| self.items(&field));
        for item in items.unwrap_or_default() {
            let Some(name) = self.reference(&item, what, known) else {
                continue;
            };
            if names.contains(&name) {
                self.report_error(&item, format!("the {what} `{name}` is listed twice"));
            }
            names.push(name);
        }
        names
    }

    /// The same, owned.
    pub(crate) fn owned_text(&mut self, field: &Field<'_>) -> Option<String> {
        self.text(field).map(str::to_owned)
    }

    /// One of `words`, each of which `meaning` knows. `noun` names what they are, in full and in short: `TLS mode`, `mode`.
    pub(crate) fn word<T>(
        &mut self,
        field: &Field<'_>,
        (noun, short): (&str, &str),
        words: &'static [&'static str],
        meaning: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(field)?;
        let found = meaning(text);
        if found.is_none() {
            let known = || words.iter().copied();
            let message = format!(
                "{} is not a {noun}; the {short}s are {}",
                quote(text),
                join_names(known())
            );
            self.report_error_with_help(field, message, did_you_mean(text, known()));
        }
        found
    }

    /// `true` or `false`, unquoted.
    pub(crate) fn flag(&mut self, field: &Field<'_>) -> Option<bool> {
        match &field.node.value {
            YamlValue::Scalar { text, plain: true } if text == "true" => Some(true),
            YamlValue::Scalar { text, plain: true } if text == "false" => Some(false),
            YamlValue::Scalar { text, .. } if !field.node.is_null() => {
                self.report_error(
                    field,
                    format!("expected `true` or `false`, found {}", quote(text)),
                );
                None
            }
            _ => self.report_unexpected(field, "`true` or `false`"),
        }
    }

    /// A whole number from 1.
    pub(crate) fn count(&mut self, field: &Field<'_>) -> Option<NonZeroU32> {
        self.count_up_to(field, u32::MAX)
    }

    /// A whole number from 1 to `max`.
    pub(crate) fn count_up_to(&mut self, field: &Field<'_>, max: u32) -> Option<NonZeroU32> {
        let text = self.text(field)?;
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = if digits { text.parse().ok() } else { None };
        let number = number.filter(|number: &NonZeroU32| number.get() <= max);
        if number.is_none() {
            let help = (text == "0").then(|| "leave the key out instead".to_owned());
            self.report_error_with_help(
                field,
                format!(
                    "expected a whole number from 1 to {max}, found {}",
                    quote(text)
                ),
                help,
            );
        }
        number
    }

    /// Bytes per second, not zero.
    pub(crate) fn rate(&mut self, field: &Field<'_>) -> Option<u64> {
        match parse_rate(self.text(field)?) {
            Ok(rate) => Some(rate),
            Err(error) => {
                let zero = matches!(error, UnitError::Zero { .. });
                let help = zero.then(|| "leave the key out for no limit".to_owned());
                self.report_error_with_help(field, error.to_string(), help);
                None
            }
        }
    }

    /// A number of bytes.
    pub(crate) fn size(&mut self, field: &Field<'_>) -> Option<u64> {
        match parse_size(self.text(field)?) {
            Ok(size) => Some(size),
            Err(error) => {
                self.report_error(field, error.to_string());
                None
            }
        }
    }

    /// A duration that is not zero.
    pub(crate) fn duration(&mut self, field: &Field<'_>) -> Option<Duration> {
        match parse_duration(self.text(field)?) {
            Ok(Duration::ZERO) => {
                self.report_error_with_help(
                    field,
                    "the duration must not be zero",
                    Some("leave the key out instead".into()),
                );
                None
            }
            Ok(duration) => Some(duration),
            Err(error) => {
                self.report_error(field, error.to_string());
                None
            }
        }
    }
}
