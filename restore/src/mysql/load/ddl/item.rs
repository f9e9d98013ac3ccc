//! One item of a table definition: a column, a key or a constraint.

use crate::mysql::load::ddl::lexer::{SqlToken, SqlTokens, TokenKind};

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableItemKind {
    Column {
        auto_increment: bool,
    },
    Primary,
    Unique,
    Key,
    FullText,
    Spatial,
    ForeignKey,
    /// A check, a period, or anything unknown: it is never changed.
    Other,
}

/// An item and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableItem {
    /// As written, with the white space before it and without the comma after it.
    pub(crate) text: Vec<u8>,
    pub(crate) kind: TableItemKind,
    /// The column, or the first column of a key, in backticks; empty when it is an expression or something else.
    pub(crate) column: Vec<u8>,
}

impl TableItem {
    /// # Errors
    /// When a quote is not terminated.
    pub(crate) fn new(text: &[u8]) -> Result<Self, String> {
        let tokens = SqlTokens::new(text).collect::<Result<Vec<_>, _>>()?;
        let kind = classify_item(&tokens);
        let column = match kind {
            TableItemKind::Column { .. } => tokens.first(),
            TableItemKind::Primary | TableItemKind::Unique | TableItemKind::Key => {
                first_in_parentheses(&tokens)
            }
            _ => None,
        };
        let name = column.filter(|token| token.kind == TokenKind::Name);
        Ok(Self {
            text: text.to_vec(),
            kind,
            column: name.map(|token| token.text.to_vec()).unwrap_or_default(),
        })
    }

    /// Servers print items by rank, and those of one rank in the order they were added.
    pub(crate) fn rank(&self) -> u8 {
        match self.kind {
            TableItemKind::Column { .. } => 0,
            TableItemKind::Primary => 1,
            TableItemKind::Unique => 2,
            TableItemKind::Key | TableItemKind::Spatial => 3,
            TableItemKind::FullText => 4,
            TableItemKind::ForeignKey => 5,
            TableItemKind::Other => 6,
        }
    }

    /// A column without its collation where that is the table's default. MySQL would remember that it was named, and
    /// print the character set with it from then on.
    pub(crate) fn without_default_collation(&self, collation: Option<&[u8]>) -> Vec<u8> {
        self.default_collation_range(collation).map_or_else(
            || self.text.clone(),
            |range| [&self.text[..range.start], &self.text[range.end..]].concat(),
        )
    }

    /// The range that names the default, with the white space before it.
    fn default_collation_range(&self, collation: Option<&[u8]>) -> Option<std::ops::Range<usize>> {
        let TableItemKind::Column { .. } = self.kind else {
            return None;
        };
        let collation = collation?;
        let mut depth = 0_usize;
        let mut tokens = SqlTokens::new(&self.text).map_while(Result::ok).peekable();
        let mut end = 0;
        while let Some(token) = tokens.next() {
            match token.text {
                b"(" => depth += 1,
                b")" => depth = depth.saturating_sub(1),
                _ if depth > 0 => {}
                // The character set was named too, and stays named.
                _ if token.is_word("CHARACTER") || token.is_word("CHARSET") => return None,
                _ if token.is_word("COLLATE") => {
                    let name = tokens.next().filter(|name| name.text == collation)?;
                    return Some(end..name.end());
                }
                _ => {}
            }
            end = token.end();
        }
        None
    }

    /// The clause of `ALTER TABLE` that adds it.
    pub(crate) fn add_clause(&self) -> Vec<u8> {
        [b"ADD ", self.text.trim_ascii()].concat()
    }
}

fn classify_item(tokens: &[SqlToken<'_>]) -> TableItemKind {
    let begins = |words: &[&str]| {
        let found = tokens.iter().zip(words);
        tokens.len() >= words.len() && found.into_iter().all(|(token, word)| token.is_word(word))
    };
    match tokens {
        [first, ..] if first.kind == TokenKind::Name => TableItemKind::Column {
            auto_increment: tokens.iter().any(|token| token.is_word("AUTO_INCREMENT")),
        },
        [constraint, _, foreign, key, ..]
            if constraint.is_word("CONSTRAINT")
                && foreign.is_word("FOREIGN")
                && key.is_word("KEY") =>
        {
            TableItemKind::ForeignKey
        }
        _ if begins(&["FOREIGN", "KEY"]) => TableItemKind::ForeignKey,
        _ if begins(&["PRIMARY", "KEY"]) => TableItemKind::Primary,
        _ if begins(&["UNIQUE", "KEY"]) => TableItemKind::Unique,
        _ if begins(&["FULLTEXT", "KEY"]) => TableItemKind::FullText,
        _ if begins(&["SPATIAL", "KEY"]) => TableItemKind::Spatial,
        _ if begins(&["KEY"]) => TableItemKind::Key,
        _ => TableItemKind::Other,
    }
}

fn first_in_parentheses<'t, 'a>(tokens: &'t [SqlToken<'a>]) -> Option<&'t SqlToken<'a>> {
    let open = tokens.iter().position(|token| token.is_symbol(b'('))?;
    tokens.get(open + 1)
}
