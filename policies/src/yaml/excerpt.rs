//! The line of a file that an error is about, with a caret below the position and secrets masked.

use std::fmt;

use crate::values::names::make_printable;
use crate::values::secret::is_secret_name;
use crate::yaml::document::YamlMark;

/// Longer lines are shown around the position only.
const SHOWN_CHARACTERS_MAX: usize = 120;

/// A line with a caret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    line: usize,
    text: String,
    /// Characters before the caret.
    indent: usize,
    carets: usize,
}

impl Excerpt {
    /// Cuts the excerpt at `mark` out of the text; `None` beyond its end.
    pub(crate) fn new(text: &str, mark: YamlMark, secrets: &[YamlMark]) -> Option<Self> {
        let full = text.lines().nth(mark.line.checked_sub(1)?)?;
        let shown: Vec<char> = mask_secrets(full, mark.line, secrets)
            .chars()
            .map(make_printable)
            .collect();
        let start = mark.column.saturating_sub(1).min(shown.len());
        let end = if mark.end_line == mark.line {
            mark.end_column.saturating_sub(1)
        } else {
            shown.len()
        };
        let end = end.min(shown.len());
        let left = if start < SHOWN_CHARACTERS_MAX * 2 / 3 {
            0
        } else {
            start - SHOWN_CHARACTERS_MAX / 3
        };
        let text: String = shown.iter().skip(left).take(SHOWN_CHARACTERS_MAX).collect();
        let indent = start - left;
        let room = SHOWN_CHARACTERS_MAX - indent;
        let carets = end.saturating_sub(start).clamp(1, room);
        Some(Self {
            line: mark.line,
            text: text.trim_end().to_owned(),
            indent,
            carets,
        })
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        writeln!(formatter, "  {number} | {}", self.text)?;
        write!(
            formatter,
            "  {:gutter$} | {:indent$}",
            "",
            "",
            gutter = number.len(),
            indent = self.indent
        )?;
        write!(formatter, "{}", "^".repeat(self.carets))
    }
}

/// Masks the rest of the line from where a secret begins. Masking too much costs a little context; too little
/// would put a password into a log.
fn mask_secrets(line: &str, number: usize, secrets: &[YamlMark]) -> String {
    let from = secrets
        .iter()
        .filter(|mark| (mark.line..=mark.end_line).contains(&number))
        .map(|mark| {
            if mark.line == number {
                mark.column.saturating_sub(1)
            } else {
                0
            }
        });
    let Some(first) = from.chain(find_probable_secret(line)).min() else {
        return line.to_owned();
    };
    let kept: String = line.chars().take(first).collect();
    format!("{kept}***")
}

/// Where the value after a word that looks like a secret's name begins. For lines that could not be parsed.
fn find_probable_secret(line: &str) -> Option<usize> {
    let mut before = String::new();
    for (index, character) in line.chars().enumerate() {
        if character == ':' && word_before(&before).is_some_and(is_secret_name) {
            let rest: String = line.chars().skip(index + 1).collect();
            let value = rest.trim_start();
            let is_reference = value.starts_with("${env:")
                || value.trim_start_matches(['"', '\'']).starts_with("${env:");
            return (!is_reference && !value.is_empty()).then_some(index + 2);
        }
        before.push(character);
    }
    None
}

fn word_before(text: &str) -> Option<&str> {
    // Only uppercase names, as of environment variables: `path: secrets/master.key` is no secret.
    let word = text
        .trim_end_matches(['"', '\'', ' '])
        .rsplit([' ', '{', ',', '"', '\''])
        .next()?;
    (!word.is_empty()
        && word
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
    .then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, mark: YamlMark, secrets: &[YamlMark]) -> String {
        Excerpt::new(text, mark, secrets).unwrap().to_string()
    }

    #[test]
    fn the_caret_stands_under_the_place() {
        let mark = YamlMark {
            line: 2,
            column: 3,
            end_line: 2,
            end_column: 9,
        };
        assert_eq!(
            shown("a:\n  exlude: é\n", mark, &[]),
            "  2 |   exlude: é\n    |   ^^^^^^"
        );
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let text = format!("{}here{}", "x".repeat(1000), "y".repeat(1000));
        let mark = YamlMark {
            line: 1,
            column: 1001,
            end_line: 1,
            end_column: 1005,
        };
        let text = shown(&text, mark, &[]);
        let (line, carets) = text.split_once('\n').unwrap();
        assert!(line.chars().count() < 140);
        assert_eq!(line.find("here"), carets.find("^^^^"));
    }

    #[test]
    fn a_known_secret_is_blotted_out_on_every_line_it_covers() {
        let secret = YamlMark {
            line: 1,
            column: 4,
            end_line: 2,
            end_column: 3,
        };
        assert_eq!(
            shown("a: hunter2\n  hunter2", YamlMark::at_point(1, 1), &[secret]),
            "  1 | a: ***\n    | ^"
        );
        assert_eq!(
            shown("a: hunter2\n  hunter2", YamlMark::at_point(2, 1), &[secret]),
            "  2 | ***\n    | ^"
        );
    }

    #[test]
    fn a_probable_secret_is_blotted_out_of_a_line_that_cannot_be_parsed() {
        assert_eq!(
            shown("{PGPASSWORD: hunter2 ]", YamlMark::at_point(1, 2), &[]),
            "  1 | {PGPASSWORD: ***\n    |  ^"
        );
        assert_eq!(
            shown("{PGPASSWORD: \"${env:X}\" ]", YamlMark::at_point(1, 2), &[])
                .lines()
                .next(),
            Some("  1 | {PGPASSWORD: \"${env:X}\" ]")
        );
        assert_eq!(
            shown("key: hello", YamlMark::at_point(1, 1), &[])
                .lines()
                .next(),
            Some("  1 | key: hello")
        );
    }
}
