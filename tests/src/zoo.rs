//! Databases with every kind of object, type and awkward name, for tests of fidelity.

use crate::servers::{Database, Mariadb, Mysql};

const COMMON: &str = include_str!("../zoo/common.sql");
const MYSQL: &str = include_str!("../zoo/mysql.sql");
const MARIADB: &str = include_str!("../zoo/mariadb.sql");

/// A server with its vendor's zoo in it.
pub trait Zoo: Database {
    /// The script that fills an empty server.
    fn zoo() -> String;

    /// Fills an empty server.
    fn load_zoo(&self) {
        self.execute(&Self::zoo());
    }
}

impl Zoo for Mysql {
    fn zoo() -> String {
        format!("{COMMON}\n{MYSQL}")
    }
}

impl Zoo for Mariadb {
    fn zoo() -> String {
        format!("{COMMON}\n{MARIADB}")
    }
}
