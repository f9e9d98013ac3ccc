//! Names: which are valid, how they are shown, and which known name is nearest to a mistyped one.

use reprise_location::changes_terminal;

/// The longest name of a policy, a source, a repository, a drill or a tag.
const NAME_CHARACTERS_MAX: usize = 64;
/// A longer mistyped word is not compared: nobody mistypes that much, and the comparison is quadratic.
const COMPARED_CHARACTERS_MAX: usize = 80;

/// The rule for names as a regular expression, for the schema.
pub(crate) const NAME_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$";

/// Names end up in object keys, file names and metrics labels, so they are kept plain.
pub(crate) fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.len() <= NAME_CHARACTERS_MAX
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// The known name that was probably meant.
#[must_use]
pub fn nearest_name<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.chars().count() > COMPARED_CHARACTERS_MAX {
        return None;
    }
    let lower = word.to_lowercase();
    // A third of the letters may be wrong; a shorter word must be nearly right, or every word is near every other.
    let distance_max = (lower.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| {
            (
                strsim::damerau_levenshtein(&lower, &name.to_lowercase()),
                name,
            )
        })
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The help line for [`nearest_name`].
pub(crate) fn did_you_mean<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest_name(word, known).map(|name| format!("did you mean `{name}`?"))
}

/// Text from a file in backquotes, made safe for a terminal and short enough for a message.
pub(crate) fn quote(text: &str) -> String {
    const SHOWN_MAX: usize = 60;
    let mut shown: String = text.chars().take(SHOWN_MAX).map(make_printable).collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// Replaces terminal control characters.
pub(crate) fn make_printable(character: char) -> char {
    match character {
        '\t' => ' ',
        _ if changes_terminal(character) => '\u{fffd}',
        _ => character,
    }
}

/// `a`, `b` and `c`, for messages.
pub(crate) fn join_names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        None => "none".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_words() {
        for good in ["a", "prod-1", "0.x_y", &"a".repeat(64)] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            "-a",
            ".hidden",
            "a/b",
            "a b",
            "é",
            "a\n",
            &"a".repeat(65),
        ] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_nearest_name_is_near() {
        let known = ["exclude", "exclude_files", "path"];
        assert_eq!(nearest_name("exlude", known), Some("exclude"));
        assert_eq!(nearest_name("PATH", known), Some("path"));
        assert_eq!(nearest_name("url", known), None);
    }

    #[test]
    fn shown_text_cannot_steer_a_terminal() {
        assert_eq!(quote("a\u{1b}[31mb"), "`a\u{fffd}[31mb`");
        assert_eq!(quote(&"x".repeat(100)).chars().count(), 63);
    }

    #[test]
    fn lists_read_as_sentences() {
        assert_eq!(join_names([]), "none");
        assert_eq!(join_names(["a"]), "`a`");
        assert_eq!(join_names(["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
