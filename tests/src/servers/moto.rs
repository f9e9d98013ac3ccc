//! Moto, an S3 server that knows Object Lock. It checks no signature, and permissions only when it is told to.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use super::process::{ReservedPort, ServerProcess, program};
use super::{S3Access, Storage, http};

/// With permissions, Moto checks signatures, and is wrong about every listing whose prefix has a slash.
const NO_SIGNATURES: &str = "
import moto.iam.access_control as control
control.IAMRequestBase.check_signature = lambda request: None
";

/// A server that keeps everything in memory.
#[derive(Debug)]
pub struct Moto {
    process: ServerProcess,
    port: ReservedPort,
}

impl Moto {
    /// Starts one.
    #[must_use]
    pub fn start() -> Self {
        let port = ReservedPort::reserve();
        let command = |directory: &Path| {
            std::fs::write(directory.join("sitecustomize.py"), NO_SIGNATURES).unwrap();
            let mut command = Command::new(program("python/bin/moto_server"));
            command
                .args(["-H", "127.0.0.1", "-p", &port.number.to_string()])
                .env("PYTHONPATH", directory)
                .current_dir(directory);
            command
        };
        // Nothing but the port is asked for: the first request loads every module of the S3 part.
        let answers = || TcpStream::connect(("127.0.0.1", port.number)).is_ok();
        Self {
            process: ServerProcess::start(command, answers),
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

    /// Makes a user with a policy; the variables with which the program under test is that user. Conditions are
    /// unknown to Moto: a statement that denies something under one must not be in the policy.
    #[must_use]
    pub fn new_user(&self, name: &str, policy: &str) -> Vec<(String, String)> {
        self.manage(&format!("Action=CreateUser&UserName={name}"));
        let policy = encoded(policy);
        self.manage(&format!(
            "Action=PutUserPolicy&UserName={name}&PolicyName=it&PolicyDocument={policy}"
        ));
        let made = self.manage(&format!("Action=CreateAccessKey&UserName={name}"));
        let value = |tag: &str| {
            let (_, rest) = made.split_once(&format!("<{tag}>")).unwrap();
            rest.split_once('<').unwrap().0.to_owned()
        };
        let access = S3Access {
            key: value("AccessKeyId"),
            secret: value("SecretAccessKey"),
            ..self.s3()
        };
        access.envs()
    }

    /// From now on policies count: who has none may do nothing.
    pub fn enforce_permissions(&self) {
        let answer = http::request(self.port(), "POST", "/moto-api/reset-auth", &[], b"0");
        assert_eq!(answer.unwrap().status, 200);
    }

    /// Asks the part of Moto that knows users.
    fn manage(&self, form: &str) -> String {
        let scope = "Credential=test/20260101/us-east-1/iam/aws4_request";
        let signed = format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=none");
        let fields = [
            ("Authorization", signed.as_str()),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        let form = format!("{form}&Version=2010-05-08");
        let answer = http::request(self.port(), "POST", "/", &fields, form.as_bytes()).unwrap();
        let text = String::from_utf8(answer.body).unwrap();
        assert_eq!(answer.status, 200, "{text}");
        text
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

/// Text as a form's value.
fn encoded(text: &str) -> String {
    let bytes = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    bytes.collect()
}
