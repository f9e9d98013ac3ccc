//! Which databases and tables a snapshot takes.

use globset::{GlobBuilder, GlobMatcher};

use super::manifest::Database;

/// Databases of the server itself.
pub const SYSTEM_DATABASES: [&str; 4] =
    ["information_schema", "mysql", "performance_schema", "sys"];

/// Patterns of names; `*` and `?` mean what they do in a shell.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    databases: Vec<(String, GlobMatcher)>,
    exclude_databases: Vec<GlobMatcher>,
    tables: Vec<(String, (GlobMatcher, GlobMatcher))>,
    exclude_tables: Vec<(GlobMatcher, GlobMatcher)>,
}

impl Filter {
    /// Empty lists mean everything, and nothing to leave out. Patterns of tables are `database.table`.
    ///
    /// # Errors
    /// The pattern, and what is wrong with it.
    pub fn new(
        databases: &[String],
        exclude_databases: &[String],
        tables: &[String],
        exclude_tables: &[String],
    ) -> Result<Self, (String, String)> {
        Ok(Self {
            databases: all(databases, |text| Ok((text.to_owned(), glob(text)?)))?,
            exclude_databases: all(exclude_databases, glob)?,
            tables: all(tables, |text| Ok((text.to_owned(), pair(text)?)))?,
            exclude_tables: all(exclude_tables, pair)?,
        })
    }

    /// Whether a database is taken.
    #[must_use]
    pub fn database(&self, name: &str) -> bool {
        !SYSTEM_DATABASES.contains(&name.to_ascii_lowercase().as_str())
            && (self.databases.is_empty()
                || self.databases.iter().any(|(_, glob)| glob.is_match(name)))
            && !self
                .exclude_databases
                .iter()
                .any(|glob| glob.is_match(name))
    }

    /// Whether a table or view of a database that is taken is taken too.
    #[must_use]
    pub fn table(&self, database: &str, table: &str) -> bool {
        (self.tables.is_empty()
            || self
                .tables
                .iter()
                .any(|(_, pair)| covers(pair, database, table)))
            && !self
                .exclude_tables
                .iter()
                .any(|pair| covers(pair, database, table))
    }

    /// Whether single databases were asked for.
    #[must_use]
    pub fn is_explicit(&self) -> bool {
        !self.databases.is_empty()
    }

    /// The patterns that ask for something that is not there, most likely mistyped.
    pub(super) fn unmatched(&self, found: &[Database]) -> Vec<String> {
        let databases = self
            .databases
            .iter()
            .filter(|(_, glob)| !found.iter().any(|database| glob.is_match(&database.name)));
        let holds = |database: &Database, pair: &(GlobMatcher, GlobMatcher)| {
            let tables = database.tables.iter().map(|table| &table.name);
            let views = database.views.iter().map(|view| &view.name);
            let sequences = database.sequences.iter().map(|sequence| &sequence.name);
            tables
                .chain(views)
                .chain(sequences)
                .any(|name| covers(pair, &database.name, name))
        };
        let tables = self
            .tables
            .iter()
            .filter(|(_, pair)| !found.iter().any(|database| holds(database, pair)));
        let databases = databases.map(|(text, _)| format!("no database matches `{text}`"));
        databases
            .chain(tables.map(|(text, _)| format!("no table or view matches `{text}`")))
            .collect()
    }
}

fn covers((databases, tables): &(GlobMatcher, GlobMatcher), database: &str, table: &str) -> bool {
    databases.is_match(database) && tables.is_match(table)
}

fn all<T>(
    texts: &[String],
    one: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, (String, String)> {
    let parsed = |text: &String| one(text).map_err(|reason| (text.clone(), reason));
    texts.iter().map(parsed).collect()
}

fn glob(text: &str) -> Result<GlobMatcher, String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    // Nothing but `*` and `?` is special: brackets and braces may be in names.
    let pattern: String = text
        .split_inclusive(['*', '?'])
        .map(|part| match part.strip_suffix(['*', '?']) {
            Some(plain) => globset::escape(plain) + &part[plain.len()..],
            None => globset::escape(part),
        })
        .collect();
    GlobBuilder::new(&pattern)
        .literal_separator(false)
        .backslash_escape(false)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|error| error.kind().to_string())
}

fn pair(text: &str) -> Result<(GlobMatcher, GlobMatcher), String> {
    let (database, table) = text
        .split_once('.')
        .ok_or("it needs a database before a dot, as in `shop.orders_*`")?;
    Ok((glob(database)?, glob(table)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(parts: [&[&str]; 4]) -> Filter {
        let [a, b, c, d] =
            parts.map(|part| part.iter().map(ToString::to_string).collect::<Vec<_>>());
        Filter::new(&a, &b, &c, &d).unwrap()
    }

    #[test]
    fn everything_but_the_servers_own_databases_is_taken() {
        let all = filter([&[], &[], &[], &[]]);
        assert!(all.database("app") && all.table("app", "x"));
        assert!(!all.database("mysql") && !all.database("INFORMATION_SCHEMA"));
    }

    #[test]
    fn what_is_left_out_wins() {
        let some = filter([
            &["shop_*", "app"],
            &["shop_test"],
            &["app.*", "shop_?.o*"],
            &["app.cache_*"],
        ]);
        assert!(some.database("shop_a") && !some.database("shop_test") && !some.database("other"));
        assert!(some.table("app", "users") && !some.table("app", "cache_1"));
        assert!(some.table("shop_a", "orders") && !some.table("shop_a", "items"));
    }

    #[test]
    fn a_wrong_pattern_is_named() {
        let error = Filter::new(&["a".into(), String::new()], &[], &[], &[]).unwrap_err();
        assert_eq!(error.0, "");
        assert!(filter([&["a[b]{c}\\*"], &[], &[], &[]]).database("a[b]{c}\\d"));
        assert!(Filter::new(&[], &[], &["orders".into()], &[]).is_err());
    }
}
