//! Garage, an S3 server that checks signatures and checksums.

use std::fmt::Write;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::process::{ReservedPort, ServerProcess, program};
use super::{S3Access, Storage, http};

/// A server of one node with one key.
#[derive(Debug)]
pub struct Garage {
    process: ServerProcess,
    s3: ReservedPort,
    admin: Admin,
    _rpc: ReservedPort,
    key: String,
    secret: String,
}

#[derive(Debug)]
struct Admin {
    port: ReservedPort,
    token: String,
}

impl Garage {
    /// Starts one.
    #[must_use]
    pub fn start() -> Self {
        let s3 = ReservedPort::reserve();
        let rpc = ReservedPort::reserve();
        let admin = Admin {
            port: ReservedPort::reserve(),
            token: random_hex(32),
        };
        let key = format!("GK{}", random_hex(12));
        let secret = random_hex(32);
        let command = |directory: &Path| {
            let config = directory.join("garage.toml");
            fs::write(&config, configuration(directory, &s3, &rpc, &admin)).unwrap();
            let mut command = Command::new(program("bin/garage"));
            command
                .arg("-c")
                .arg(config)
                .args(["server", "--single-node", "--default-access-key"])
                .env("GARAGE_DEFAULT_ACCESS_KEY", &key)
                .env("GARAGE_DEFAULT_SECRET_KEY", &secret);
            command
        };
        let answers = || {
            let health = admin.call("GET", "GetClusterHealth", &json!({}));
            health.is_ok_and(|health| health["status"] == "healthy") && listens(&s3)
        };
        Self {
            process: ServerProcess::start(command, answers),
            s3,
            admin,
            _rpc: rpc,
            key,
            secret,
        }
    }

    /// How to reach it.
    #[must_use]
    pub fn s3(&self) -> S3Access {
        self.s3_through(self.port())
    }

    fn s3_through(&self, port: u16) -> S3Access {
        S3Access {
            endpoint: format!("http://127.0.0.1:{port}"),
            key: self.key.clone(),
            secret: self.secret.clone(),
            region: "garage".to_owned(),
        }
    }

    /// Takes the permission to write to a bucket away.
    pub fn forbid_writing(&self, name: &str) {
        let path = format!("GetBucketInfo?globalAlias={name}");
        let bucket = self.admin.call("GET", &path, &json!({})).unwrap();
        self.call(
            "DenyBucketKey",
            &json!({
                "bucketId": bucket["id"],
                "accessKeyId": self.key,
                "permissions": { "read": false, "write": true, "owner": true },
            }),
        );
    }

    fn call(&self, endpoint: &str, arguments: &Value) -> Value {
        self.admin
            .call("POST", endpoint, arguments)
            .unwrap_or_else(|error| panic!("{endpoint}: {error}\n{}", self.process.log()))
    }
}

impl Storage for Garage {
    fn port(&self) -> u16 {
        self.s3.number
    }

    fn envs_through(&self, port: u16) -> Vec<(String, String)> {
        self.s3_through(port).envs()
    }

    fn url(&self, bucket: &str, prefix: &str) -> String {
        format!("s3://{bucket}/{prefix}")
    }

    fn new_bucket(&self, name: &str) {
        let bucket = self.call("CreateBucket", &json!({ "globalAlias": name }));
        self.call(
            "AllowBucketKey",
            &json!({
                "bucketId": bucket["id"],
                "accessKeyId": self.key,
                "permissions": { "read": true, "write": true, "owner": true },
            }),
        );
    }
}

impl Admin {
    /// The token proves that it is this server that answers.
    fn call(&self, method: &str, endpoint: &str, arguments: &Value) -> Result<Value, String> {
        let path = format!("/v2/{endpoint}");
        let token = format!("Bearer {}", self.token);
        let fields = [("Authorization", token.as_str())];
        let body = arguments.to_string();
        let answer = http::request(self.port.number, method, &path, &fields, body.as_bytes())
            .map_err(|error| error.to_string())?;
        match answer.status {
            200 => serde_json::from_slice(&answer.body).map_err(|error| error.to_string()),
            status => Err(format!(
                "{status} {}",
                String::from_utf8_lossy(&answer.body)
            )),
        }
    }
}

/// The ports open one after the other.
fn listens(port: &ReservedPort) -> bool {
    http::request(port.number, "GET", "/", &[], b"").is_ok()
}

fn configuration(directory: &Path, s3: &ReservedPort, rpc: &ReservedPort, admin: &Admin) -> String {
    let (s3, rpc, token) = (s3.number, rpc.number, &admin.token);
    let directory = directory.display();
    let rpc_secret = random_hex(32);
    let admin = admin.port.number;
    format!(
        r#"
metadata_dir = "{directory}/meta"
data_dir = "{directory}/data"
db_engine = "lmdb"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:{rpc}"
rpc_public_addr = "127.0.0.1:{rpc}"
rpc_secret = "{rpc_secret}"

[s3_api]
s3_region = "garage"
api_bind_addr = "127.0.0.1:{s3}"

[admin]
api_bind_addr = "127.0.0.1:{admin}"
admin_token = "{token}"
"#
    )
}

fn random_hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    let mut source = File::open("/dev/urandom").unwrap();
    source.read_exact(&mut random).unwrap();
    let mut hex = String::new();
    for byte in random {
        write!(hex, "{byte:02x}").unwrap();
    }
    hex
}
