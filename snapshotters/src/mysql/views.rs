//! The order in which views can be made: each after those that it uses.

use std::collections::HashMap;

use super::manifest::Code;
use super::sql::{qualified, quoted};

/// Puts a database's views into such an order. A name in a text may also be a column's; then the order is
/// only more careful than it must be.
pub(super) fn order(database: &str, views: &mut Vec<Code>) {
    let needs: HashMap<String, Vec<String>> = views
        .iter()
        .map(|view| (view.name.clone(), used(database, view, views)))
        .collect();
    let mut rank = HashMap::new();
    for view in views.iter() {
        visit(&view.name, &needs, &mut Vec::new(), &mut rank);
    }
    views.sort_by_key(|view| rank.get(&view.name).copied());
}

fn used(database: &str, view: &Code, views: &[Code]) -> Vec<String> {
    // What follows the view's own name.
    let text = view.sql.as_bytes();
    let own = quoted(&view.name);
    let start = memchr::memmem::find(text, own.as_bytes()).map_or(0, |at| at + own.len());
    let mentions = |other: &&Code| {
        let body = &text[start..];
        other.name != view.name
            && (contains(body, &qualified(database, &other.name))
                || contains(body, &format!(" {}", quoted(&other.name)))
                || contains(body, &format!("({}", quoted(&other.name))))
    };
    views
        .iter()
        .filter(mentions)
        .map(|other| other.name.clone())
        .collect()
}

fn contains(text: &[u8], part: &str) -> bool {
    memchr::memmem::find(text, part.as_bytes()).is_some()
}

fn visit(
    name: &str,
    needs: &HashMap<String, Vec<String>>,
    path: &mut Vec<String>,
    rank: &mut HashMap<String, usize>,
) {
    if rank.contains_key(name) || path.iter().any(|seen| seen == name) {
        return;
    }
    path.push(name.to_owned());
    for needed in needs.get(name).into_iter().flatten() {
        visit(needed, needs, path, rank);
    }
    path.pop();
    let next = rank.len();
    rank.entry(name.to_owned()).or_insert(next);
}

#[cfg(test)]
mod tests {
    use super::*;
    use reprise_repository::RawText;

    fn view(name: &str, sql: &str) -> Code {
        Code {
            name: name.to_owned(),
            kind: "VIEW".to_owned(),
            sql: RawText::from(sql),
            sql_mode: None,
            charset: String::new(),
            collation: String::new(),
            database_collation: None,
            time_zone: None,
            table: None,
            status: None,
        }
    }

    #[test]
    fn a_view_comes_after_those_it_uses_and_cycles_end() {
        let mut views = vec![
            view("a", "CREATE VIEW `a` AS select `b`.`x` from `b` join `t`"),
            view("b", "CREATE VIEW `b` AS select `x` from `db`.`c`"),
            view(
                "c",
                "CREATE VIEW `c` AS select 1 AS `x` from (`t` join `d`)",
            ),
            view("d", "CREATE VIEW `d` AS select 1 AS `a`"),
        ];
        order("db", &mut views);
        let names: Vec<&str> = views.iter().map(|view| view.name.as_str()).collect();
        assert_eq!(
            names.iter().position(|n| *n == "b") < names.iter().position(|n| *n == "a"),
            true
        );
        assert_eq!(
            names.iter().position(|n| *n == "c") < names.iter().position(|n| *n == "b"),
            true
        );
        assert_eq!(names.len(), 4);
    }
}
