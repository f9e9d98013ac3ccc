//! The order in which views can be made: each after those that it uses.

use super::manifest::{Code, Database};
use super::sql::{qualified, quoted};

/// A view with the name of its database.
type Place<'a> = (&'a str, &'a Code);

/// Puts a database's views into such an order. A name in a text may also be a column's; then the order is
/// only more careful than it must be.
pub(super) fn order(database: &str, views: &mut Vec<Code>) {
    let places: Vec<Place<'_>> = views.iter().map(|view| (database, view)).collect();
    let sorted: Vec<Code> = sequence(&places)
        .into_iter()
        .filter_map(|n| places.get(n))
        .map(|(_, view)| (*view).clone())
        .collect();
    *views = sorted;
}

/// The views of all databases in such an order: they may use each other across databases.
pub(super) fn everywhere(databases: &[Database]) -> Vec<(&Database, &Code)> {
    let views: Vec<(&Database, &Code)> = databases
        .iter()
        .flat_map(|database| database.views.iter().map(move |view| (database, view)))
        .collect();
    let places: Vec<Place<'_>> = views
        .iter()
        .map(|(database, view)| (database.name.as_str(), *view))
        .collect();
    let sequence = sequence(&places).into_iter();
    sequence.filter_map(|n| views.get(n).copied()).collect()
}

/// The places' indices in such an order.
fn sequence(places: &[Place<'_>]) -> Vec<usize> {
    let needs: Vec<Vec<usize>> = places.iter().map(|place| used(place, places)).collect();
    let (mut path, mut sorted) = (Vec::new(), Vec::new());
    for n in 0..places.len() {
        visit(n, &needs, &mut path, &mut sorted);
    }
    sorted
}

fn used((database, view): &Place<'_>, places: &[Place<'_>]) -> Vec<usize> {
    // What follows the view's own name.
    let text = view.sql.as_bytes();
    let own = quoted(&view.name);
    let start = memchr::memmem::find(text, own.as_bytes()).map_or(0, |at| at + own.len());
    let body = &text[start..];
    let mentions = |(of, other): &Place<'_>| {
        let name = quoted(&other.name);
        (of, &other.name) != (database, &view.name)
            && (contains(body, &qualified(of, &other.name))
                || (of == database
                    && (contains(body, &format!(" {name}"))
                        || contains(body, &format!("({name}")))))
    };
    let places = places.iter().enumerate();
    places
        .filter(|(_, place)| mentions(place))
        .map(|(n, _)| n)
        .collect()
}

fn contains(text: &[u8], part: &str) -> bool {
    memchr::memmem::find(text, part.as_bytes()).is_some()
}

fn visit(n: usize, needs: &[Vec<usize>], path: &mut Vec<usize>, sorted: &mut Vec<usize>) {
    if sorted.contains(&n) || path.contains(&n) {
        return;
    }
    path.push(n);
    for needed in needs.get(n).into_iter().flatten() {
        visit(*needed, needs, path, sorted);
    }
    path.pop();
    sorted.push(n);
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
        order("db", &mut views);
        let names: Vec<&str> = views.iter().map(|view| view.name.as_str()).collect();
        let place = |name| names.iter().position(|other| *other == name);
        assert!(
            place("b") < place("a") && place("c") < place("b"),
            "{names:?}"
        );
        assert_eq!(names.len(), 4);
    }
}
