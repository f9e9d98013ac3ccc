//! Characters of texts from elsewhere that must not reach a terminal as they are.

/// Whether a character does something else than to appear: it moves the cursor, or reorders or hides its neighbours
/// (Unicode's bidirectional and zero-width formatting).
#[must_use]
pub fn changes_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_all_scripts_appear_and_what_steers_does_not() {
        assert!(
            !"Ärger in Zürich, שלום, 日本語 😀"
                .chars()
                .any(changes_terminal)
        );
        for c in "\u{1b}\n\u{9b}\u{200b}\u{200f}\u{2028}\u{202e}\u{2066}\u{feff}".chars() {
            assert!(changes_terminal(c), "{c:?}");
        }
    }
}
