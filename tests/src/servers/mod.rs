//! Real storage servers for the tests, each on free ports of 127.0.0.1 and in a temporary folder of its own,
//! killed and cleaned away when dropped.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod azurite;
mod garage;
pub(crate) mod http;
mod moto;
mod process;

pub use azurite::Azurite;
pub use garage::Garage;
pub use moto::Moto;

/// Sends one request to a server on this machine, as nobody in particular; returns status and body.
///
/// # Panics
/// When there is no answer.
#[must_use]
pub fn ask(port: u16, method: &str, path: &str) -> (u16, Vec<u8>) {
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
    use super::{Azurite, Garage, Moto, Storage, http};

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
}
