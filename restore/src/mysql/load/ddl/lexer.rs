//! Splits SQL as servers print it into tokens, so that nothing inside quotes is ever taken for syntax.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// Letters, digits, `_`, `$` and everything that is not ASCII.
    Word,
    /// A name in backticks.
    Name,
    /// A string in single or double quotes. In the mode `ANSI_QUOTES` the latter is a name.
    Text,
    /// Any other single byte.
    Symbol,
}

/// A token and its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SqlToken<'a> {
    pub(crate) kind: TokenKind,
    /// The bytes as written, with quotes.
    pub(crate) text: &'a [u8],
    /// The offset of its first byte.
    pub(crate) start: usize,
}

impl SqlToken<'_> {
    /// The offset after its last byte.
    pub(crate) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// Whether it is this word, in any case.
    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.kind == TokenKind::Word && self.text.eq_ignore_ascii_case(word.as_bytes())
    }

    /// Whether it is this symbol.
    pub(crate) fn is_symbol(&self, symbol: u8) -> bool {
        self.kind == TokenKind::Symbol && self.text == [symbol]
    }
}

/// The tokens of a statement, without the white space between them.
///
/// Backslashes escape in strings (as without the mode `NO_BACKSLASH_ESCAPES`). Comments are no tokens of their own: the
/// content of one that begins with `/*!` is for servers, and servers print no others.
#[derive(Debug, Clone)]
pub(crate) struct SqlTokens<'a> {
    text: &'a [u8],
    offset: usize,
}

impl<'a> SqlTokens<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, offset: 0 }
    }

    fn skip_space(&mut self) {
        let rest = self.text.get(self.offset..).unwrap_or_default();
        let space = rest.iter().take_while(|byte| byte.is_ascii_whitespace());
        self.offset += space.count();
    }
}

impl<'a> Iterator for SqlTokens<'a> {
    type Item = Result<SqlToken<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        self.skip_space();
        let start = self.offset;
        let rest = self.text.get(start..)?;
        let (kind, length) = match *rest.first()? {
            quote @ (b'`' | b'\'' | b'"') => match quoted_length(rest, quote) {
                Some(length) if quote == b'`' => (TokenKind::Name, length),
                Some(length) => (TokenKind::Text, length),
                None => {
                    self.offset = self.text.len();
                    let message = format!("the quote at byte {start} is never closed");
                    return Some(Err(message));
                }
            },
            byte if is_word_byte(byte) => {
                let length = rest.iter().take_while(|byte| is_word_byte(**byte)).count();
                (TokenKind::Word, length)
            }
            _ => (TokenKind::Symbol, 1),
        };
        self.offset = start + length;
        let text = rest.get(..length).unwrap_or_default();
        Some(Ok(SqlToken { kind, text, start }))
    }
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || !byte.is_ascii()
}

/// The length of the quoted token at the beginning of `text`, with its quotes; `None` when it is not terminated.
fn quoted_length(text: &[u8], quote: u8) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'\\' if quote != b'`' => at += 2,
            byte if *byte == quote && text.get(at + 1) == Some(&quote) => at += 2,
            byte if *byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &[u8]) -> Vec<&[u8]> {
        SqlTokens::new(text)
            .map(|token| token.unwrap().text)
            .collect()
    }

    #[test]
    fn quotes_end_where_the_server_says() {
        let text = br#"a `b``,` 'it''s \', (' _utf8mb4'x\\',"y"")" /*!80023 Z */"#;
        let expected: [&[u8]; 14] = [
            b"a",
            b"`b``,`",
            br"'it''s \', ('",
            b"_utf8mb4",
            br"'x\\'",
            b",",
            br#""y"")""#,
            b"/",
            b"*",
            b"!",
            b"80023",
            b"Z",
            b"*",
            b"/",
        ];
        assert_eq!(tokens(text), expected);
    }

    #[test]
    fn a_backslash_means_nothing_in_a_name() {
        assert_eq!(tokens(br"`a\`,`b`"), [&br"`a\`"[..], b",", b"`b`"]);
    }

    #[test]
    fn a_quote_without_end_is_an_error_and_the_last_token() {
        for text in ["'a", "`a``", r"'a\'", "\"", r"'\"] {
            let found: Vec<_> = SqlTokens::new(text.as_bytes()).collect();
            assert!(matches!(found.as_slice(), [Err(_)]), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn tokens_and_space_are_the_whole_text(text: Vec<u8>) {
            let mut at = 0;
            for token in SqlTokens::new(&text) {
                let Ok(token) = token else { return Ok(()) };
                proptest::prop_assert!(text[at..token.start].iter().all(u8::is_ascii_whitespace));
                at = token.end();
            }
            proptest::prop_assert!(text[at..].iter().all(u8::is_ascii_whitespace));
        }
    }
}
