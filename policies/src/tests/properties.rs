//! No text makes the parser panic, and every error points into the file.

use proptest::prelude::*;
use proptest::sample::Index;

use super::example::example;
use super::parse;

fn holds(text: &str) {
    let Err(errors) = parse(text) else { return };
    // A position may be just after the last line: that is where something is missing.
    let lines = text.split('\n').count() + 1;
    for error in &errors {
        assert!(error.line <= lines, "{error}");
        assert_eq!(error.line == 0, error.column == 0, "{error}");
        assert!(
            error.to_string().starts_with("/policies/test.yaml:"),
            "{error}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_is_an_error_and_no_panic(text in any::<String>()) {
        holds(&text);
    }

    #[test]
    fn text_made_of_yaml_is_an_error_and_no_panic(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "version: 1\n", "sources:", "\n", "  ", "- ", "{", "}", "[", "]", ": ", ",", "&a ", "*a", "!t ", "|\n",
                ">-\n", "'", "\"", "é", "#", "? ", "---\n", "%TAG ! x\n", "\t", "<<", "a", "~", "\r\n", "\u{feff}", "\\",
            ]),
            0..40,
        )
    ) {
        holds(&parts.concat());
    }

    #[test]
    fn a_mutated_example_is_good_or_an_error(
        edits in prop::collection::vec(
            (any::<Index>(), 0_usize..12, prop::sample::select(vec!["", " ", "\n", ":", "{", "]", "x", "é", "0", "\"", "- "])),
            1..6,
        )
    ) {
        let mut text: Vec<char> = std::fs::read_to_string(example()).unwrap().chars().collect();
        for (at, removed, added) in edits {
            let start = at.index(text.len());
            let end = (start + removed).min(text.len());
            text.splice(start..end, added.chars());
        }
        holds(&text.into_iter().collect::<String>());
    }
}
