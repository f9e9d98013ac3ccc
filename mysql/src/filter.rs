//! Which databases and tables a snapshot includes.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobMatcher};

/// Databases of the server itself.
pub const SYSTEM_DATABASES: [&str; 4] =
    ["information_schema", "mysql", "performance_schema", "sys"];

/// Name patterns; `*` and `?` mean what they do in a shell.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    databases: Vec<NamePattern<GlobMatcher>>,
    exclude_databases: Vec<NamePattern<GlobMatcher>>,
    tables: Vec<NamePattern<(GlobMatcher, GlobMatcher)>>,
    exclude_tables: Vec<NamePattern<(GlobMatcher, GlobMatcher)>>,
    /// Only these tables, where given.
    exact_tables: BTreeSet<(String, String)>,
}

/// A pattern as given, and its meaning.
#[derive(Debug, Clone)]
struct NamePattern<T> {
    text: String,
    matcher: T,
}

impl<T> NamePattern<T> {
    fn is_name(&self) -> bool {
        !self.text.contains(['*', '?'])
    }
}

impl Filter {
    /// Empty lists include everything and exclude nothing. Patterns of tables are `database.table`.
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
            databases: parse_patterns(databases, parse_glob)?,
            exclude_databases: parse_patterns(exclude_databases, parse_glob)?,
            tables: parse_patterns(tables, parse_table_pattern)?,
            exclude_tables: parse_patterns(exclude_tables, parse_table_pattern)?,
            exact_tables: BTreeSet::new(),
        })
    }

    /// Only these tables, each with its database, by their names.
    #[must_use]
    pub fn for_tables(tables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            exact_tables: tables.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Whether databases are selected by their names alone.
    pub fn selects_databases_by_name(&self) -> bool {
        let named = !self.databases.is_empty() && self.databases.iter().all(NamePattern::is_name);
        named || !self.exact_tables.is_empty()
    }

    /// Whether tables are selected by their names alone.
    pub fn selects_tables_by_name(&self) -> bool {
        let named = !self.tables.is_empty() && self.tables.iter().all(NamePattern::is_name);
        named || !self.exact_tables.is_empty()
    }

    /// The patterns that none of these databases matches.
    pub fn unmatched_databases(&self, names: &[String]) -> Vec<String> {
        let without = |pattern: &&NamePattern<GlobMatcher>| {
            !names.iter().any(|name| pattern.matcher.is_match(name))
        };
        let unmatched = self.databases.iter().filter(without);
        unmatched.map(|pattern| pattern.text.clone()).collect()
    }

    /// The patterns that none of these tables matches.
    pub fn unmatched_tables(&self, names: &[(&str, &str)]) -> Vec<String> {
        let unmatched = self.tables.iter().filter(|pattern| {
            !names
                .iter()
                .any(|(database, table)| table_pattern_matches(pattern, database, table))
        });
        unmatched.map(|pattern| pattern.text.clone()).collect()
    }

    /// Whether a database is included.
    #[must_use]
    pub fn includes_database(&self, name: &str) -> bool {
        !SYSTEM_DATABASES.contains(&name.to_ascii_lowercase().as_str())
            && (self.databases.is_empty() || any_pattern_matches(&self.databases, name))
            && !any_pattern_matches(&self.exclude_databases, name)
            && (self.exact_tables.is_empty()
                || self
                    .exact_tables
                    .iter()
                    .any(|(database, _)| database == name))
    }

    /// Whether a table or view of an included database is included too.
    #[must_use]
    pub fn includes_table(&self, database: &str, table: &str) -> bool {
        let matches = |pattern: &NamePattern<_>| table_pattern_matches(pattern, database, table);
        (self.tables.is_empty() || self.tables.iter().any(matches))
            && !self.exclude_tables.iter().any(matches)
            && (self.exact_tables.is_empty()
                || self
                    .exact_tables
                    .contains(&(database.to_owned(), table.to_owned())))
    }

    /// The requested database patterns.
    pub fn database_patterns(&self) -> Vec<String> {
        let texts = self.databases.iter().map(|pattern| &pattern.text);
        texts.cloned().collect()
    }
}

fn any_pattern_matches(patterns: &[NamePattern<GlobMatcher>], name: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| pattern.matcher.is_match(name))
}

fn table_pattern_matches(
    pattern: &NamePattern<(GlobMatcher, GlobMatcher)>,
    database: &str,
    table: &str,
) -> bool {
    let (databases, tables) = &pattern.matcher;
    databases.is_match(database) && tables.is_match(table)
}

fn parse_patterns<T>(
    texts: &[String],
    one: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<NamePattern<T>>, (String, String)> {
    let parsed = |text: &String| match one(text) {
        Ok(matcher) => Ok(NamePattern {
            text: text.clone(),
            matcher,
        }),
        Err(reason) => Err((text.clone(), reason)),
    };
    texts.iter().map(parsed).collect()
}

fn parse_glob(text: &str) -> Result<GlobMatcher, String> {
    if text.is_empty() {
        return Err("the pattern is empty".to_owned());
    }
    // Only `*` and `?` are special: brackets and braces may be in names.
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

fn parse_table_pattern(text: &str) -> Result<(GlobMatcher, GlobMatcher), String> {
    let (database, table) = text
        .split_once('.')
        .ok_or("the pattern must name database and table, as in `shop.orders_*`")?;
    Ok((parse_glob(database)?, parse_glob(table)?))
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
        assert!(all.includes_database("app") && all.includes_table("app", "x"));
        assert!(!all.includes_database("mysql") && !all.includes_database("INFORMATION_SCHEMA"));
    }

    #[test]
    fn what_is_left_out_wins() {
        let some = filter([
            &["shop_*", "app"],
            &["shop_test"],
            &["app.*", "shop_?.o*"],
            &["app.cache_*"],
        ]);
        assert!(
            some.includes_database("shop_a")
                && !some.includes_database("shop_test")
                && !some.includes_database("other")
        );
        assert!(some.includes_table("app", "users") && !some.includes_table("app", "cache_1"));
        assert!(some.includes_table("shop_a", "orders") && !some.includes_table("shop_a", "items"));
    }

    #[test]
    fn patterns_without_a_match_are_known() {
        let some = filter([&["app", "shop_*"], &[], &["app.users", "app.o*"], &[]]);
        assert_eq!(some.unmatched_databases(&["app".to_owned()]), ["shop_*"]);
        assert_eq!(some.unmatched_tables(&[("app", "users")]), ["app.o*"]);
        assert!(
            !some.selects_databases_by_name()
                && filter([&["a"], &[], &[], &[]]).selects_databases_by_name()
        );
    }

    #[test]
    fn single_tables_are_taken_by_their_names() {
        let only = Filter::for_tables([("a*[b]".to_owned(), "t?".to_owned())]);
        assert!(only.includes_database("a*[b]") && only.includes_table("a*[b]", "t?"));
        assert!(!only.includes_database("axb") && !only.includes_table("a*[b]", "tx"));
    }

    #[test]
    fn a_wrong_pattern_is_named() {
        let error = Filter::new(&["a".into(), String::new()], &[], &[], &[]).unwrap_err();
        assert_eq!(error.0, "");
        assert!(filter([&["a[b]{c}\\*"], &[], &[], &[]]).includes_database("a[b]{c}\\d"));
        assert!(Filter::new(&[], &[], &["orders".into()], &[]).is_err());
    }
}
