//! Reads the tree by the table of keys: typed values out, findings with places into the report.
//!
//! Every method that returns `None` has reported why, so callers simply go on and find more.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use crate::document::{Mark, Node, Value};
use crate::names::{did_you_mean, is_name, listed, quoted};
use crate::report::{Report, Severity};
use crate::table::Object;
use crate::units::{UnitError, parse_duration, parse_rate, parse_size};

/// A value in the tree, with the key it stands under and its path.
#[derive(Debug, Clone)]
pub(crate) struct Field<'n> {
    pub(crate) node: &'n Node,
    pub(crate) key: Option<&'n Node>,
    pub(crate) path: String,
}

impl<'n> Field<'n> {
    /// The place of the value; of the key, when the value is not there to be pointed at.
    pub(crate) fn mark(&self) -> Mark {
        match self.key {
            Some(key) if self.node.is_null() => key.mark,
            _ => self.node.mark,
        }
    }

    /// The place of the key, for what is about the thing as a whole.
    pub(crate) fn key_mark(&self) -> Mark {
        self.key.map_or(self.node.mark, |key| key.mark)
    }

    fn child(&self, key: &'n Node, node: &'n Node) -> Self {
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

/// A mapping that was compared with its table.
#[derive(Debug)]
pub(crate) struct Fields<'n> {
    pub(crate) whole: Field<'n>,
    object: &'static Object,
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
    /// The folder that paths are relative to.
    pub(crate) base: &'a Path,
    pub(crate) report: Report,
}

impl Decoder<'_> {
    /// Reports an error at a value.
    pub(crate) fn error(&mut self, field: &Field<'_>, message: impl Into<String>) {
        self.error_with(field, message, None);
    }

    /// Reports an error at a value, with advice.
    pub(crate) fn error_with(
        &mut self,
        field: &Field<'_>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.report.add(
            Severity::Error,
            field.mark(),
            &field.path,
            message.into(),
            help,
        );
    }

    /// Reports an error about the whole of a thing, at its key.
    pub(crate) fn error_at_key(
        &mut self,
        field: &Field<'_>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.report.add(
            Severity::Error,
            field.key_mark(),
            &field.path,
            message.into(),
            help,
        );
    }

    fn expected<T>(&mut self, field: &Field<'_>, what: &str) -> Option<T> {
        self.error(
            field,
            format!("expected {what}, found {}", field.node.describe()),
        );
        None
    }

    /// A mapping with the keys of `object`.
    pub(crate) fn object<'n>(
        &mut self,
        field: Field<'n>,
        object: &'static Object,
    ) -> Option<Fields<'n>> {
        let Value::Map(entries) = &field.node.value else {
            return self.expected(&field, "a mapping");
        };
        for (key, _) in entries {
            self.known_key(&field, key, object);
        }
        self.required_keys(&field, object);
        Some(Fields {
            whole: field,
            object,
        })
    }

    fn known_key(&mut self, parent: &Field<'_>, key: &Node, object: &'static Object) {
        let Some(name) = key.text() else {
            return self.report.add(
                Severity::Error,
                key.mark,
                &parent.path,
                "a key must be text".to_owned(),
                None,
            );
        };
        // Merge keys were already refused when the tree was built.
        if object.key(name).is_some() || name == "<<" {
            return;
        }
        let path = parent.child(key, key).path;
        if let Some((_, reason)) = object.refused.iter().find(|(refused, _)| *refused == name) {
            return self
                .report
                .add(Severity::Error, key.mark, &path, (*reason).to_owned(), None);
        }
        let help = did_you_mean(name, object.names())
            .unwrap_or_else(|| format!("{} has the keys {}", object.title, listed(object.names())));
        let message = format!("unknown key {} in {}", quoted(name), object.title);
        self.report
            .add(Severity::Error, key.mark, &path, message, Some(help));
    }

    fn required_keys(&mut self, field: &Field<'_>, object: &'static Object) {
        let has = |name: &str| field.node.entry(name).is_some();
        for key in object
            .keys
            .iter()
            .filter(|key| key.required && !has(key.name))
        {
            let help = Some(format!("`{}`: {}", key.name, key.about));
            self.error_at_key(
                field,
                format!("{} needs the key `{}`", object.title, key.name),
                help,
            );
        }
        let one_of = object.exactly_one_of;
        let chosen: Vec<&str> = one_of.iter().copied().filter(|name| has(name)).collect();
        // A refused kind was already reported; asking for another one as well would only confuse.
        let refused = object.refused.iter().any(|(name, _)| has(name));
        if chosen.len() != usize::from(!one_of.is_empty()) && !(refused && chosen.is_empty()) {
            let found = if chosen.is_empty() {
                "none".to_owned()
            } else {
                listed(chosen)
            };
            let one_of = listed(one_of.iter().copied());
            self.error_at_key(
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
            let any_of = listed(any_of.iter().copied());
            self.error_at_key(
                field,
                format!("{} needs at least one of {any_of}", object.title),
                None,
            );
        }
    }

    /// The entries of a mapping whose keys are names chosen by the author.
    pub(crate) fn entries<'n>(&mut self, field: &Field<'n>) -> Vec<(String, Field<'n>)> {
        self.entries_named(
            field,
            is_name,
            "letters, digits, `.`, `_` and `-` (first a letter or digit, at most 64)",
        )
    }

    /// The same, with another rule for names.
    pub(crate) fn entries_named<'n>(
        &mut self,
        field: &Field<'n>,
        rule: impl Fn(&str) -> bool,
        alphabet: &str,
    ) -> Vec<(String, Field<'n>)> {
        let Value::Map(entries) = &field.node.value else {
            self.expected::<()>(field, "a mapping");
            return Vec::new();
        };
        let mut result: Vec<(String, Field<'n>)> = Vec::with_capacity(entries.len());
        for (key, node) in entries {
            match key.text() {
                Some("<<") => {}
                Some(name) if rule(name) => result.push((name.to_owned(), field.child(key, node))),
                Some(name) => {
                    let message = format!("{} is not a name; names have {alphabet}", quoted(name));
                    self.report
                        .add(Severity::Error, key.mark, &field.path, message, None);
                }
                None => self.report.add(
                    Severity::Error,
                    key.mark,
                    &field.path,
                    "a key must be text".to_owned(),
                    None,
                ),
            }
        }
        result
    }

    /// The items of a list with at least one item.
    pub(crate) fn items<'n>(&mut self, field: &Field<'n>) -> Option<Vec<Field<'n>>> {
        let Value::List(items) = &field.node.value else {
            return self.expected(field, "a list");
        };
        if items.is_empty() {
            self.error(field, "the list is empty; remove the key or add an item");
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

    /// The items of a list, each decoded; those that fail are reported and left out.
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

    /// A single value as text, not empty.
    pub(crate) fn text<'n>(&mut self, field: &Field<'n>) -> Option<&'n str> {
        match field.node.text() {
            Some("") => {
                self.error(field, "the text is empty");
                None
            }
            Some(text) if text.contains('\0') => {
                self.error(field, "the text contains a NUL character");
                None
            }
            Some(text) => Some(text),
            None => self.expected(field, "text"),
        }
    }

    /// The name of a thing.
    pub(crate) fn name(&mut self, field: &Field<'_>) -> Option<String> {
        let text = self.text(field)?;
        if is_name(text) {
            return Some(text.to_owned());
        }
        let rule =
            "names have letters, digits, `.`, `_` and `-` (first a letter or digit, at most 64)";
        self.error(field, format!("{} is not a name; {rule}", quoted(text)));
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
            _ => format!("this policy defines {}", listed(names())),
        });
        self.error_with(
            field,
            format!("there is no {what} named {}", quoted(text)),
            Some(help),
        );
        None
    }

    /// `true` or `false`, unquoted.
    pub(crate) fn flag(&mut self, field: &Field<'_>) -> Option<bool> {
        match &field.node.value {
            Value::Scalar { text, plain: true } if text == "true" => Some(true),
            Value::Scalar { text, plain: true } if text == "false" => Some(false),
            Value::Scalar { text, .. } if !field.node.is_null() => {
                self.error(
                    field,
                    format!("expected `true` or `false`, found {}", quoted(text)),
                );
                None
            }
            _ => self.expected(field, "`true` or `false`"),
        }
    }

    /// A whole number from 1.
    pub(crate) fn count(&mut self, field: &Field<'_>) -> Option<NonZeroU32> {
        self.count_to(field, u32::MAX)
    }

    /// A whole number from 1 to `max`.
    pub(crate) fn count_to(&mut self, field: &Field<'_>, max: u32) -> Option<NonZeroU32> {
        let text = self.text(field)?;
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = if digits { text.parse().ok() } else { None };
        let number = number.filter(|number: &NonZeroU32| number.get() <= max);
        if number.is_none() {
            let help = (text == "0").then(|| "leave the key out instead".to_owned());
            self.error_with(
                field,
                format!(
                    "expected a whole number from 1 to {max}, found {}",
                    quoted(text)
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
                self.error_with(field, error.to_string(), help);
                None
            }
        }
    }

    /// A number of bytes.
    pub(crate) fn size(&mut self, field: &Field<'_>) -> Option<u64> {
        match parse_size(self.text(field)?) {
            Ok(size) => Some(size),
            Err(error) => {
                self.error(field, error.to_string());
                None
            }
        }
    }

    /// A duration that is not zero.
    pub(crate) fn duration(&mut self, field: &Field<'_>) -> Option<Duration> {
        match parse_duration(self.text(field)?) {
            Ok(Duration::ZERO) => {
                self.error_with(
                    field,
                    "the duration must not be zero",
                    Some("leave the key out instead".into()),
                );
                None
            }
            Ok(duration) => Some(duration),
            Err(error) => {
                self.error(field, error.to_string());
                None
            }
        }
    }
}
