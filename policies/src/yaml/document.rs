//! YAML text to a tree in which every node knows its position.
//!
//! The tree is bounded: the file's size, its depth and its number of nodes (aliases counted as often as they are
//! used) have limits, so a hostile file causes an error and does not exhaust memory.

use std::collections::{BTreeMap, HashMap};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use crate::values::names::quote;

/// The largest policy file that is read. Real ones are a few KiB; this leaves two orders of magnitude.
pub(crate) const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// The deepest nesting. The policy grammar itself needs 7 levels.
const DEPTH_MAX: usize = 64;
/// The most nodes, aliases expanded. A policy with a thousand sources needs about 20,000.
const NODES_MAX: usize = 100_000;

/// A range in the text: lines and columns count from 1, columns in characters, the end is exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct YamlMark {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) end_line: usize,
    pub(crate) end_column: usize,
}

impl YamlMark {
    /// One character wide.
    pub(crate) fn at_point(line: usize, column: usize) -> Self {
        Self {
            line,
            column,
            end_line: line,
            end_column: column + 1,
        }
    }

    fn from_span(span: &Span) -> Self {
        Self {
            line: span.start.line(),
            column: span.start.col() + 1,
            end_line: span.end.line(),
            end_column: span.end.col() + 1,
        }
    }
}

/// A value and its position.
#[derive(Debug, Clone)]
pub(crate) struct YamlNode {
    pub(crate) mark: YamlMark,
    pub(crate) value: YamlValue,
}

/// The three shapes of YAML.
#[derive(Debug, Clone)]
pub(crate) enum YamlValue {
    /// `plain` is true for unquoted text, which may mean a number, a Boolean or null.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<YamlNode>),
    Map(Vec<(YamlNode, YamlNode)>),
}

impl YamlNode {
    /// The text of a scalar that is not null.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            YamlValue::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// Nothing was written, or `~`, or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, YamlValue::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null"))
    }

    /// The key and value nodes under a name.
    pub(crate) fn entry(&self, name: &str) -> Option<(&YamlNode, &YamlNode)> {
        let YamlValue::Map(entries) = &self.value else {
            return None;
        };
        entries
            .iter()
            .find(|(key, _)| key.text() == Some(name))
            .map(|(key, value)| (key, value))
    }

    /// The kind of node, for an error message.
    pub(crate) fn describe(&self) -> &'static str {
        match &self.value {
            _ if self.is_null() => "nothing",
            YamlValue::Scalar { .. } => "a single value",
            YamlValue::List(_) => "a list",
            YamlValue::Map(_) => "a mapping",
        }
    }

    /// Number of nodes and height.
    fn count_and_height(&self) -> (usize, usize) {
        let children: Vec<(usize, usize)> = match &self.value {
            YamlValue::Scalar { .. } => return (1, 1),
            YamlValue::List(items) => items.iter().map(YamlNode::count_and_height).collect(),
            YamlValue::Map(entries) => entries
                .iter()
                .flat_map(|(key, value)| [key.count_and_height(), value.count_and_height()])
                .collect(),
        };
        let nodes = children.iter().map(|child| child.0).sum::<usize>();
        let height = children.iter().map(|child| child.1).max().unwrap_or(0);
        (nodes + 1, height + 1)
    }
}

/// A YAML syntax error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct YamlFault {
    pub(crate) mark: YamlMark,
    pub(crate) message: String,
}

/// A parsed file. `faults` can be ignored (a key given twice), so decoding continues and finds more.
#[derive(Debug)]
pub(crate) struct YamlDocument {
    pub(crate) root: YamlNode,
    pub(crate) faults: Vec<YamlFault>,
}

/// Parses one YAML document.
pub(crate) fn parse_yaml(text: &str) -> Result<YamlDocument, YamlFault> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the file is larger than {} KiB", TEXT_BYTES_MAX / 1024);
        return Err(YamlFault {
            mark: YamlMark::at_point(1, 1),
            message,
        });
    }
    let mut builder = TreeBuilder::default();
    for item in Parser::new_from_str(text) {
        let (event, span) = item.map_err(|error| syntax_fault(&error))?;
        builder.handle_event(event, YamlMark::from_span(&span))?;
    }
    let TreeBuilder { root, faults, .. } = builder;
    match root {
        Some(root) if !root.is_null() => Ok(YamlDocument { root, faults }),
        _ => Err(YamlFault {
            mark: YamlMark::at_point(1, 1),
            message: "the file is empty".to_owned(),
        }),
    }
}

fn syntax_fault(error: &ScanError) -> YamlFault {
    let place = error.marker();
    YamlFault {
        mark: YamlMark::at_point(place.line().max(1), place.col() + 1),
        message: format!(
            "this is not valid YAML: {}",
            explain_scan_error(error.info())
        ),
    }
}

/// The parser's message, except for those that only its author understands.
fn explain_scan_error(info: &str) -> &str {
    if info.starts_with("simple key expect") {
        return "expected `:` after the key before this position";
    }
    info
}

/// An unfinished list or mapping. A mapping's keys and values alternate in `items`.
#[derive(Debug)]
struct OpenCollection {
    mark: YamlMark,
    anchor: usize,
    is_map: bool,
    items: Vec<YamlNode>,
}

/// Builds the tree with its own stack, so that depth in the file is not depth in the program.
#[derive(Debug, Default)]
struct TreeBuilder {
    open: Vec<OpenCollection>,
    anchors: BTreeMap<usize, YamlNode>,
    nodes: usize,
    documents: usize,
    root: Option<YamlNode>,
    faults: Vec<YamlFault>,
}

impl TreeBuilder {
    fn handle_event(&mut self, event: Event<'_>, mark: YamlMark) -> Result<(), YamlFault> {
        match event {
            Event::DocumentStart(_) => self.start_document(mark),
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), mark)?;
                let plain = style == ScalarStyle::Plain;
                self.finish_node(
                    YamlNode {
                        mark,
                        value: YamlValue::Scalar {
                            text: text.into_owned(),
                            plain,
                        },
                    },
                    anchor,
                )
            }
            Event::SequenceStart(anchor, tag) => {
                self.open_collection(mark, anchor, false, tag.is_some())
            }
            Event::MappingStart(anchor, tag) => {
                self.open_collection(mark, anchor, true, tag.is_some())
            }
            Event::SequenceEnd | Event::MappingEnd => self.close_collection(),
            Event::Alias(anchor) => self.resolve_alias(anchor, mark),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn start_document(&mut self, mark: YamlMark) -> Result<(), YamlFault> {
        self.documents += 1;
        if self.documents > 1 {
            return fail_at(
                mark,
                "a second YAML document begins here; a policy file holds one",
            );
        }
        Ok(())
    }

    fn refuse_tag(&self, tagged: bool, mark: YamlMark) -> Result<(), YamlFault> {
        if tagged {
            return fail_at(
                mark,
                "YAML tags (`!name`) are not supported; quote a value that must stay text",
            );
        }
        Ok(())
    }

    fn open_collection(
        &mut self,
        mark: YamlMark,
        anchor: usize,
        is_map: bool,
        tagged: bool,
    ) -> Result<(), YamlFault> {
        self.refuse_tag(tagged, mark)?;
        if self.open.len() >= DEPTH_MAX {
            return fail_at(mark, &format!("nested deeper than {DEPTH_MAX} levels"));
        }
        self.open.push(OpenCollection {
            mark,
            anchor,
            is_map,
            items: Vec::new(),
        });
        Ok(())
    }

    fn close_collection(&mut self) -> Result<(), YamlFault> {
        let Some(OpenCollection {
            mark,
            anchor,
            is_map,
            items,
        }) = self.open.pop()
        else {
            return Ok(());
        };
        let value = if is_map {
            YamlValue::Map(self.pair_entries(items))
        } else {
            YamlValue::List(items)
        };
        self.finish_node(YamlNode { mark, value }, anchor)
    }

    fn pair_entries(&mut self, items: Vec<YamlNode>) -> Vec<(YamlNode, YamlNode)> {
        let mut entries = Vec::with_capacity(items.len() / 2);
        let mut items = items.into_iter();
        let mut first_lines: HashMap<String, usize> = HashMap::new();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            self.check_key(&key, &mut first_lines);
            entries.push((key, value));
        }
        entries
    }

    fn check_key(&mut self, key: &YamlNode, first_lines: &mut HashMap<String, usize>) {
        let YamlValue::Scalar { text, plain } = &key.value else {
            return;
        };
        if *plain && text == "<<" {
            let message = "merge keys (`<<`) are not supported; write the keys out".to_owned();
            self.faults.push(YamlFault {
                mark: key.mark,
                message,
            });
        } else if let Some(line) = first_lines.get(text) {
            let message = format!("the key {} was already given on line {line}", quote(text));
            self.faults.push(YamlFault {
                mark: key.mark,
                message,
            });
        } else {
            first_lines.insert(text.clone(), key.mark.line);
        }
    }

    fn resolve_alias(&mut self, anchor: usize, mark: YamlMark) -> Result<(), YamlFault> {
        let Some(target) = self.anchors.get(&anchor) else {
            return fail_at(mark, "this alias refers to a value that contains it");
        };
        // Copied before it is counted: one copy too many is bounded, since the original was counted.
        let copy = target.clone();
        let (nodes, height) = copy.count_and_height();
        if self.open.len() + height > DEPTH_MAX {
            return fail_at(mark, &format!("nested deeper than {DEPTH_MAX} levels"));
        }
        self.count_nodes(nodes, mark)?;
        self.attach_node(copy);
        Ok(())
    }

    fn finish_node(&mut self, node: YamlNode, anchor: usize) -> Result<(), YamlFault> {
        self.count_nodes(1, node.mark)?;
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.attach_node(node);
        Ok(())
    }

    fn attach_node(&mut self, node: YamlNode) {
        match self.open.last_mut() {
            Some(parent) => parent.items.push(node),
            None => self.root = Some(node),
        }
    }

    fn count_nodes(&mut self, nodes: usize, mark: YamlMark) -> Result<(), YamlFault> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX {
            return fail_at(
                mark,
                &format!(
                    "more than {NODES_MAX} values (aliases counted as often as they are used)"
                ),
            );
        }
        Ok(())
    }
}

fn fail_at(mark: YamlMark, message: &str) -> Result<(), YamlFault> {
    Err(YamlFault {
        mark,
        message: message.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (usize, usize, String) {
        let fault = parse_yaml(text).unwrap_err();
        (fault.mark.line, fault.mark.column, fault.message)
    }

    #[test]
    fn columns_count_characters_from_one_even_after_multibyte_text() {
        let document = parse_yaml("\"ключ €\": {é: x, b: y}\n").unwrap();
        let (key, value) = document.root.entry("ключ €").unwrap();
        assert_eq!(
            (key.mark.line, key.mark.column, key.mark.end_column),
            (1, 1, 9)
        );
        let (b, y) = value.entry("b").unwrap();
        assert_eq!((b.mark.column, y.mark.column), (18, 21));
    }

    #[test]
    fn an_alias_is_a_copy_that_keeps_the_place_of_the_original() {
        let document = parse_yaml("a: &x [1, 2]\nb: *x\n").unwrap();
        let (_, copy) = document.root.entry("b").unwrap();
        assert_eq!(copy.mark.line, 1);
        assert!(matches!(&copy.value, YamlValue::List(items) if items.len() == 2));
    }

    #[test]
    fn an_alias_bomb_is_an_error() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let below = format!("*a{}", level - 1);
            text.push_str(&format!(
                "a{level}: &a{level} [{}]\n",
                vec![below; 10].join(", ")
            ));
        }
        assert!(refused(&text).2.starts_with("more than 100000 values"));
    }

    #[test]
    fn depth_is_limited() {
        let (line, column, message) = refused(&"[".repeat(100));
        assert_eq!(
            (line, column, message.as_str()),
            (1, 65, "nested deeper than 64 levels")
        );
    }

    #[test]
    fn a_large_file_is_refused() {
        assert_eq!(
            refused(&"#".repeat(TEXT_BYTES_MAX + 1)).2,
            "the file is larger than 1024 KiB"
        );
    }

    #[test]
    fn what_yaml_can_do_and_a_policy_must_not_is_refused_by_name() {
        assert_eq!(refused("a: 1\n---\nb: 2\n").0, 2);
        assert_eq!(
            refused("a: !secret x\n").2,
            "YAML tags (`!name`) are not supported; quote a value that must stay text"
        );
        assert_eq!(refused("").2, "the file is empty");
        assert_eq!(refused("# only a comment\n").2, "the file is empty");
    }

    #[test]
    fn a_key_given_twice_is_found_at_its_second_place() {
        let document = parse_yaml("a: 1\nb: {c: 1, c: 2}\na: 3\n").unwrap();
        let places: Vec<_> = document
            .faults
            .iter()
            .map(|fault| (fault.mark.line, fault.mark.column))
            .collect();
        assert_eq!(places, [(2, 11), (3, 1)]);
        assert_eq!(
            document.faults[1].message,
            "the key `a` was already given on line 1"
        );
    }
}
