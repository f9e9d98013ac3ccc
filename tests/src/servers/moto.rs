//! Moto, an S3 server that knows Object Lock and checks no signature.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use super::process::{Port, Process, program};
use super::{S3Access, Storage, http};

/// A server that keeps everything in memory.
#[derive(Debug)]
pub struct Moto {
    process: Process,
    port: Port,
}

impl Moto {
    /// Starts one.
    #[must_use]
    pub fn start() -> Self {
        let port = Port::reserve();
        let command = |folder: &Path| {
            let mut command = Command::new(program("python/bin/moto_server"));
            command
                .args(["-H", "127.0.0.1", "-p", &port.number.to_string()])
                .current_dir(folder);
            command
        };
        // Nothing but the port is asked for: the first request loads every module of the S3 part.
        let answers = || TcpStream::connect(("127.0.0.1", port.number)).is_ok();
        Self {
            process: Process::start(command, answers),
            port,
        }
    }

    /// How to reach it.
    #[must_use]
    pub fn s3(&self) -> S3Access {
        s3(self.port())
    }

    /// Makes a bucket with versions and Object Lock.
    pub fn new_locked_bucket(&self, name: &str) {
        self.make(name, &[("x-amz-bucket-object-lock-enabled", "true")]);
    }

    /// Moto takes what is not signed, as a request for S3.
    fn make(&self, name: &str, fields: &[(&str, &str)]) {
        let answer = http::request(self.port(), "PUT", &format!("/{name}"), fields, b"").unwrap();
        if answer.status != 200 {
            let text = String::from_utf8_lossy(&answer.body);
            let log = self.process.log();
            panic!("bucket {name}: {} {text}\n{log}", answer.status);
        }
    }
}

impl Storage for Moto {
    fn port(&self) -> u16 {
        self.port.number
    }

    fn envs_through(&self, port: u16) -> Vec<(String, String)> {
        s3(port).envs()
    }

    fn url(&self, bucket: &str, prefix: &str) -> String {
        format!("s3://{bucket}/{prefix}")
    }

    fn new_bucket(&self, name: &str) {
        self.make(name, &[]);
    }
}

fn s3(port: u16) -> S3Access {
    S3Access {
        endpoint: format!("http://127.0.0.1:{port}"),
        key: "test".to_owned(),
        secret: "test".to_owned(),
        region: "us-east-1".to_owned(),
    }
}
