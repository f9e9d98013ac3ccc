//! The order in which views can be created: each after those that it uses.

use reprise_mysql::sql::{qualify_name, quote_name};
use reprise_mysql::{MysqlDatabase, MysqlStoredObject};

/// A view with the name of its database.
type ViewRef<'a> = (&'a str, &'a MysqlStoredObject);

/// Sorts a database's views into such an order. A name in a text may also be a column's; then the order is
/// only stricter than necessary.
pub(crate) fn sort_views(database: &str, views: &mut Vec<MysqlStoredObject>) {
    let places: Vec<ViewRef<'_>> = views.iter().map(|view| (database, view)).collect();
    let sorted: Vec<MysqlStoredObject> = dependency_order(&places)
        .into_iter()
        .filter_map(|n| places.get(n))
        .map(|(_, view)| (*view).clone())
        .collect();
    *views = sorted;
}

/// The views of all databases in such an order: they may use each other across databases.
pub(crate) fn sort_all_views(
    databases: &[MysqlDatabase],
) -> Vec<(&MysqlDatabase, &MysqlStoredObject)> {
    let views: Vec<(&MysqlDatabase, &MysqlStoredObject)> = databases
        .iter()
        .flat_map(|database| database.views.iter().map(move |view| (database, view)))
        .collect();
    let places: Vec<ViewRef<'_>> = views
        .iter()
        .map(|(database, view)| (database.name.as_str(), *view))
        .collect();
    let sequence = dependency_order(&places).into_iter();
    sequence.filter_map(|n| views.get(n).copied()).collect()
}

/// The indices of the views in such an order.
fn dependency_order(places: &[ViewRef<'_>]) -> Vec<usize> {
    let needs: Vec<Vec<usize>> = places
        .iter()
        .map(|place| used_views(place, places))
        .collect();
    let (mut path, mut sorted) = (Vec::new(), Vec::new());
    for n in 0..places.len() {
        visit_view(n, &needs, &mut path, &mut sorted);
    }
    sorted
}

fn used_views((database, view): &ViewRef<'_>, places: &[ViewRef<'_>]) -> Vec<usize> {
    // The text after the view's own name.
    let text = view.sql.as_bytes();
    let own = quote_name(&view.name);
    let start = memchr::memmem::find(text, own.as_bytes()).map_or(0, |at| at + own.len());
    let body = &text[start..];
    let mentions = |(of, other): &ViewRef<'_>| {
        let name = quote_name(&other.name);
        (of, &other.name) != (database, &view.name)
            && (contains_text(body, &qualify_name(of, &other.name))
                || (of == database
                    && (contains_text(body, &format!(" {name}"))
                        || contains_text(body, &format!("({name}")))))
    };
    let places = places.iter().enumerate();
    places
        .filter(|(_, place)| mentions(place))
        .map(|(n, _)| n)
        .collect()
}

fn contains_text(text: &[u8], part: &str) -> bool {
    memchr::memmem::find(text, part.as_bytes()).is_some()
}

fn visit_view(n: usize, needs: &[Vec<usize>], path: &mut Vec<usize>, sorted: &mut Vec<usize>) {
    if sorted.contains(&n) || path.contains(&n) {
        return;
    }
    path.push(n);
    for needed in needs.get(n).into_iter().flatten() {
        visit_view(*needed, needs, path, sorted);
    }
    path.pop();
    sorted.push(n);
}

#[cfg(test)]
mod tests {
    use super::*;
    use reprise_repository::RawText;

    fn view(name: &str, sql: &str) -> MysqlStoredObject {
        MysqlStoredObject {
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
            broken: false,
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
        sort_views("db", &mut views);
        let names: Vec<&str> = views.iter().map(|view| view.name.as_str()).collect();
        let place = |name| names.iter().position(|other| *other == name);
        assert!(
            place("b") < place("a") && place("c") < place("b"),
            "{names:?}"
        );
        assert_eq!(names.len(), 4);
    }
}
