//! Parses the output of `SHOW CREATE TABLE`, so that rows can be loaded before the table gets its keys.
//!
//! Loading rows into a table without secondary keys is several times faster, and a key that is built over all rows at
//! once is smaller. When everything is added, the server prints the original definition, byte for byte: therefore keys
//! are added in their order, and what a server would put elsewhere stays where it is.

mod item;
mod lexer;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::mysql::load::ddl::item::{TableItem, TableItemKind};

pub(crate) use crate::mysql::load::ddl::lexer::{SqlToken, SqlTokens, TokenKind};

/// A parsed table definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableDefinition {
    /// Everything up to and including the opening parenthesis.
    head: Vec<u8>,
    /// The range of the table's name in `head`.
    name: Range<usize>,
    items: Vec<TableItem>,
    /// The white space before the closing parenthesis, and everything from there.
    tail: Vec<u8>,
    engine: Option<String>,
    /// The default collation, if it is named.
    collation: Option<Vec<u8>>,
    /// MariaDB keeps the history of rows; what may be altered in such a table depends on the session.
    versioned: bool,
}

/// Parses the output of `SHOW CREATE TABLE`, which need not be UTF-8.
///
/// It must have been printed without the modes `ANSI_QUOTES` and `NO_BACKSLASH_ESCAPES`.
///
/// # Errors
/// Names what was expected when the text is no table definition or is incomplete.
pub(crate) fn parse_create_table(create_table: &[u8]) -> Result<TableDefinition, String> {
    let mut tokens = SqlTokens::new(create_table);
    let (name, open) = read_head(&mut tokens)?;
    let (ranges, close) = item_ranges(&mut tokens, open)?;
    let options = tokens.collect::<Result<Vec<_>, _>>()?;
    let bytes = |range: Range<usize>| create_table.get(range).unwrap_or_default();
    let items = ranges
        .into_iter()
        .map(|range| TableItem::new(bytes(range)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(TableDefinition {
        head: bytes(0..open).to_vec(),
        name,
        versioned: is_versioned(&options),
        engine: find_engine(&options),
        collation: find_collation(&options),
        items,
        tail: bytes(close..create_table.len()).to_vec(),
    })
}

/// Reads `CREATE TABLE NAME (`. Returns the range of the name and the offset after the parenthesis.
fn read_head(tokens: &mut SqlTokens<'_>) -> Result<(Range<usize>, usize), String> {
    let mut next = |what: &str| {
        let missing = || format!("a table definition ends where {what} is expected");
        tokens.next().unwrap_or_else(|| Err(missing()))
    };
    for word in ["CREATE", "TABLE"] {
        if !next(word)?.is_word(word) {
            return Err(format!("{word} is expected in a table definition"));
        }
    }
    let first = next("a name")?;
    if first.kind != TokenKind::Name {
        return Err("the table's name is expected in backticks".to_owned());
    }
    let mut name = first.start..first.end();
    let mut token = next("(")?;
    if token.is_symbol(b'.') {
        name.end = next("a name")?.end();
        token = next("(")?;
    }
    if !token.is_symbol(b'(') {
        return Err("( is expected after the table's name".to_owned());
    }
    Ok((name, token.end()))
}

/// Finds the items between the outermost parentheses, of which the first is before `open`. Returns their ranges, and
/// the offset where the tail begins.
fn item_ranges(
    tokens: &mut SqlTokens<'_>,
    open: usize,
) -> Result<(Vec<Range<usize>>, usize), String> {
    let (mut ranges, mut start, mut end, mut depth) = (Vec::new(), open, open, 0_usize);
    for token in tokens {
        let token = token?;
        match token.text {
            b"(" => depth += 1,
            b")" if depth == 0 => {
                ranges.push(start..end);
                return Ok((ranges, end));
            }
            b")" => depth -= 1,
            b"," if depth == 0 => {
                ranges.push(start..token.start);
                start = token.end();
            }
            _ => {}
        }
        end = token.end();
    }
    Err("the parenthesis after the table's name is never closed".to_owned())
}

/// The first `ENGINE=NAME`: later ones may be the engines of partitions.
fn find_engine(options: &[SqlToken<'_>]) -> Option<String> {
    let found = options.windows(3).find_map(|window| match window {
        [word, equals, engine] if word.is_word("ENGINE") && equals.is_symbol(b'=') => Some(engine),
        _ => None,
    })?;
    let name = String::from_utf8_lossy(found.text);
    Some(name.trim_matches(['`', '\'', '"']).to_owned())
}

/// The first `COLLATE=NAME`.
fn find_collation(options: &[SqlToken<'_>]) -> Option<Vec<u8>> {
    options.windows(3).find_map(|window| match window {
        [word, equals, name] if word.is_word("COLLATE") && equals.is_symbol(b'=') => {
            Some(name.text.to_vec())
        }
        _ => None,
    })
}

fn is_versioned(options: &[SqlToken<'_>]) -> bool {
    options.windows(3).any(|window| {
        let words = ["WITH", "SYSTEM", "VERSIONING"];
        window
            .iter()
            .zip(words)
            .all(|(token, word)| token.is_word(word))
    })
}

impl TableDefinition {
    /// The same table as `database`.`table`.
    ///
    /// References of its foreign keys stay unchanged: a name without a database is one in the table's own.
    pub(crate) fn renamed_to(mut self, database: &str, table: &str) -> Self {
        let name = format!("{}.{}", quote_name(database), quote_name(table));
        let end = self.name.start + name.len();
        self.head.splice(self.name.clone(), name.into_bytes());
        self.name.end = end;
        self
    }

    /// The storage engine as written, for example `InnoDB`.
    #[cfg(test)]
    pub(crate) fn engine(&self) -> Option<String> {
        self.engine.clone()
    }

    /// The statement that creates the table before its rows: without the keys that are added afterwards, and without
    /// foreign keys. It is the original when it has neither, except for collations that are the table's default.
    pub(crate) fn before_rows(&self) -> Vec<u8> {
        let deferred = self.deferred_keys();
        let stays = |index: &usize| {
            !deferred.contains(index)
                && self.items.get(*index).map(|item| item.kind) != Some(TableItemKind::ForeignKey)
        };
        let collation = self.collation.as_deref();
        let kept: Vec<Vec<u8>> = (0..self.items.len())
            .filter(stays)
            .filter_map(|index| self.items.get(index))
            .map(|item| item.without_default_collation(collation))
            .collect();
        [self.head.as_slice(), &kept.join(&b","[..]), &self.tail].concat()
    }

    /// The keys to add after the rows. Each inner list is for one `ALTER TABLE`, to be run in this order, and holds
    /// clauses like ``ADD KEY `a` (`b`)``: adjacent ordinary and unique keys together, which reads the table once,
    /// every full-text and spatial key alone, as servers build only one of these at a time.
    pub(crate) fn keys_after_rows(&self) -> Vec<Vec<Vec<u8>>> {
        let mut groups: Vec<Vec<Vec<u8>>> = Vec::new();
        let mut open = false;
        for item in self
            .deferred_keys()
            .into_iter()
            .filter_map(|index| self.items.get(index))
        {
            let alone = matches!(item.kind, TableItemKind::FullText | TableItemKind::Spatial);
            match groups.last_mut() {
                Some(group) if open && !alone => group.push(item.add_clause()),
                _ => groups.push(vec![item.add_clause()]),
            }
            open = !alone;
        }
        groups
    }

    /// The foreign keys to add when all tables have their rows and keys: clauses like
    /// ``ADD CONSTRAINT `f` FOREIGN KEY (`a`) REFERENCES `t` (`b`)``.
    pub(crate) fn foreign_keys(&self) -> Vec<Vec<u8>> {
        let foreign = |item: &&TableItem| item.kind == TableItemKind::ForeignKey;
        self.items
            .iter()
            .filter(foreign)
            .map(TableItem::add_clause)
            .collect()
    }

    /// The indices of the keys that are added after the rows, ascending.
    fn deferred_keys(&self) -> Vec<usize> {
        let mut deferred: Vec<usize> = self
            .items
            .iter()
            .enumerate()
            .filter(|(_, item)| self.can_be_deferred(item))
            .map(|(index, _)| index)
            .collect();
        if let Some(needed) = self.auto_increment_key() {
            // An added key is placed after the existing ones of its rank, so the ones before it cannot wait.
            let rank = |index: usize| self.items.get(index).map(TableItem::rank);
            deferred.retain(|index| *index > needed || rank(*index) != rank(needed));
        }
        deferred
    }

    /// Only InnoDB builds keys of filled tables faster. Without a primary key a unique one may become the clustered
    /// index, so adding it would rewrite the table.
    fn can_be_deferred(&self, item: &TableItem) -> bool {
        let innodb = self
            .engine
            .as_ref()
            .is_some_and(|engine| engine.eq_ignore_ascii_case("InnoDB"));
        let has_primary = || {
            self.items
                .iter()
                .any(|item| item.kind == TableItemKind::Primary)
        };
        innodb
            && !self.versioned
            && match item.kind {
                TableItemKind::Unique => has_primary(),
                TableItemKind::Key | TableItemKind::FullText | TableItemKind::Spatial => true,
                _ => false,
            }
    }

    /// An `AUTO_INCREMENT` column must be the first one of a key. The index of the first key that could wait but for
    /// that.
    fn auto_increment_key(&self) -> Option<usize> {
        let counting = TableItemKind::Column {
            auto_increment: true,
        };
        let column = self.items.iter().find(|item| item.kind == counting)?;
        let serves = |item: &TableItem| {
            item.column == column.column
                && matches!(
                    item.kind,
                    TableItemKind::Primary | TableItemKind::Unique | TableItemKind::Key
                )
        };
        if self
            .items
            .iter()
            .any(|item| serves(item) && !self.can_be_deferred(item))
        {
            return None;
        }
        self.items.iter().position(serves)
    }
}

/// A name in backticks, with backticks in it doubled.
pub(crate) fn quote_name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
