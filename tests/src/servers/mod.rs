//! Real servers for the tests, to store at and to take snapshots of: each on free ports of 127.0.0.1 and in a
//! temporary directory or container of its own, killed and cleaned away when dropped.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod azurite;
mod database;
mod description;
mod garage;
pub(crate) mod http;
mod impostor;
mod mariadb;
mod moto;
mod mysql;
mod process;

pub use azurite::Azurite;
pub use database::{Database, Row};
pub use description::{ServerDescription, describe, differences};
pub use garage::Garage;
pub use impostor::{Impostor, Trick};
pub use mariadb::Mariadb;
pub use moto::Moto;
pub use mysql::Mysql;

/// Sends one request to a server on this machine, as nobody in particular; returns status and body.
///
/// # Panics
/// When there is no answer.
#[must_use]
pub fn request_anonymously(port: u16, method: &str, path: &str) -> (u16, Vec<u8>) {
    let answer = http::request(port, method, path, &[], b"").unwrap();
    (answer.status, answer.body)
}

/// What the tests need of a server that keeps repositories.
pub trait Storage {
    /// Where it answers.
    fn port(&self) -> u16;

    /// The variables with which the program under test reaches it at another port, such as a proxy's.
    fn envs_through(&self, port: u16) -> Vec<(String, String)>;

    /// The address of a repository.
    fn url(&self, bucket: &str, prefix: &str) -> String;

    /// Makes an empty bucket, which Azure calls a container.
    fn new_bucket(&self, name: &str);

    /// The variables with which the program under test reaches it.
    fn envs(&self) -> Vec<(String, String)> {
        self.envs_through(self.port())
    }

    /// Host and port, for a proxy to stand before it.
    fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }
}

/// How to reach a server that speaks S3.
#[derive(Debug, Clone)]
pub struct S3Access {
    /// Where it answers, without a bucket.
    pub endpoint: String,
    /// The public half of the key.
    pub key: String,
    /// The secret half of the key.
    pub secret: String,
    /// What requests are signed for.
    pub region: String,
}

impl S3Access {
    /// The variables that every S3 client understands. There is no metadata service to wait for.
    #[must_use]
    pub fn envs(&self) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT_URL", self.endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", &self.key),
            ("AWS_SECRET_ACCESS_KEY", &self.secret),
            ("AWS_REGION", &self.region),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::process::Command;

    use super::{Azurite, Database, Garage, Mariadb, Moto, Mysql, Storage, http};

    /// No server lets a stranger in, so that a refusal is an answer too.
    fn status(server: &impl Storage, path: &str) -> u16 {
        http::request(server.port(), "GET", path, &[], b"")
            .unwrap()
            .status
    }

    #[test]
    fn garage_starts_and_makes_buckets() {
        let garage = Garage::start();
        garage.new_bucket("first");
        garage.new_bucket("second");
        assert_eq!(status(&garage, "/first"), 403);
        assert_eq!(garage.url("first", "a/b"), "s3://first/a/b");
    }

    #[test]
    fn moto_starts_and_locks_a_bucket() {
        let moto = Moto::start();
        moto.new_bucket("plain");
        moto.new_locked_bucket("locked");
        assert_eq!(status(&moto, "/plain?object-lock"), 404);
        assert_eq!(status(&moto, "/locked?object-lock"), 200);
    }

    #[test]
    fn azurite_starts_and_makes_containers() {
        let azurite = Azurite::start();
        azurite.new_container("first");
        assert_eq!(
            status(&azurite, "/devstoreaccount1/first?restype=container"),
            403
        );
        assert_eq!(
            azurite.url("first", "p"),
            "azure://devstoreaccount1/first/p"
        );
    }

    /// Values come back as they went in, a failure is told, and a killed server comes back with its data.
    fn serves(server: &mut impl Database) {
        assert_eq!(server.value("SELECT CURRENT_USER() LIKE 'root@%'"), "1");
        server.execute(
            "CREATE DATABASE `a b`; CREATE TABLE `a b`.`<ü>` (t TEXT CHARACTER SET utf8mb4);",
        );
        server.execute("INSERT INTO `a b`.`<ü>` VALUES ('NULL'), (NULL), ('&lt;\n\t😀');");
        let rows = server.query("SELECT t, HEX(t) FROM `a b`.`<ü>`");
        let row = |text: &str, hex: &str| vec![Some(text.to_owned()), Some(hex.to_owned())];
        assert_eq!(rows[0], row("NULL", "4E554C4C"));
        assert_eq!(rows[1], [None, None]);
        assert_eq!(rows[2], row("&lt;\n\t😀", "266C743B0A09F09F9880"));
        let error = server.try_execute("SELECT 1;\nSELECT nothing").unwrap_err();
        assert!(error.contains("ERROR 1054"), "{error}");
        server.kill_server();
        assert!(server.try_query("SELECT 1").is_err());
        server.restart();
        assert_eq!(server.value("SELECT COUNT(*) FROM `a b`.`<ü>`"), "3");
    }

    #[test]
    fn mysql_serves() {
        let mut mysql = Mysql::start_with(&["--sort-buffer-size=1M"]);
        serves(&mut mysql);
        assert_eq!(mysql.value("SELECT @@sort_buffer_size"), "1048576");
        assert!(TcpStream::connect((mysql.address(), 3306)).is_ok());
        assert_eq!(
            mysql.url("o'neil", "a b"),
            format!("mysql://o%27neil:a%20b@127.0.0.1:{}/", mysql.port())
        );
    }

    #[test]
    fn a_dropped_mysql_leaves_nothing() {
        let mysql = Mysql::start();
        let container = mysql.container().to_owned();
        let exists = || {
            let mut inspect = Command::new("docker");
            inspect
                .args(["inspect", &container])
                .output()
                .unwrap()
                .status
                .success()
        };
        assert!(exists());
        drop(mysql);
        assert!(!exists());
    }

    #[test]
    fn mariadb_serves() {
        let mut mariadb = Mariadb::start_with(&["--sort-buffer-size=1M"]);
        serves(&mut mariadb);
        assert_eq!(mariadb.value("SELECT @@sort_buffer_size"), "1048576");
        assert!(mariadb.socket().exists());
        assert_eq!(
            mariadb.root_url(),
            format!("mysql://root@127.0.0.1:{}/", mariadb.port())
        );
    }
}
