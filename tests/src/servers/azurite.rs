//! Azurite, the emulator of Azure's blob storage.

use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::process::{ReservedPort, ServerProcess, program};
use super::{Storage, http};

/// The account that every emulator has, and its key, which is public.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Any version and any date serve: the emulator checks neither.
const VERSION: &str = "2021-12-02";
const DATE: &str = "Mon, 01 Jan 2024 00:00:00 GMT";

/// A server with the emulator's account.
#[derive(Debug)]
pub struct Azurite {
    process: ServerProcess,
    port: ReservedPort,
}

impl Azurite {
    /// Starts one.
    #[must_use]
    pub fn start() -> Self {
        let port = ReservedPort::reserve();
        let command = |directory: &Path| {
            let path = "azurite/node_modules/.bin/azurite-blob";
            let mut command = Command::new(program(path));
            command
                .args(["--blobHost", "127.0.0.1", "--blobPort"])
                .arg(port.number.to_string())
                .arg("--location")
                .arg(directory)
                .args(["--skipApiVersionCheck", "--silent", "--disableTelemetry"]);
            command
        };
        let answers = || http::request(port.number, "GET", "/", &[], b"").is_ok();
        Self {
            process: ServerProcess::start(command, answers),
            port,
        }
    }

    /// Makes an empty container.
    pub fn new_container(&self, name: &str) {
        let path = format!("/{ACCOUNT}/{name}");
        let authorization = format!("SharedKey {ACCOUNT}:{}", signature(&path));
        let fields = [
            ("Authorization", authorization.as_str()),
            ("x-ms-date", DATE),
            ("x-ms-version", VERSION),
        ];
        let target = format!("{path}?restype=container");
        let answer = http::request(self.port(), "PUT", &target, &fields, b"").unwrap();
        if answer.status != 201 {
            let text = String::from_utf8_lossy(&answer.body);
            let log = self.process.log();
            panic!("container {name}: {} {text}\n{log}", answer.status);
        }
    }
}

impl Storage for Azurite {
    fn port(&self) -> u16 {
        self.port.number
    }

    fn envs_through(&self, port: u16) -> Vec<(String, String)> {
        let value = format!(
            "DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};\
             BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT}"
        );
        vec![("AZURE_STORAGE_CONNECTION_STRING".to_owned(), value)]
    }

    fn url(&self, bucket: &str, prefix: &str) -> String {
        format!("azure://{ACCOUNT}/{bucket}/{prefix}")
    }

    fn new_bucket(&self, name: &str) {
        self.new_container(name);
    }
}

/// Signs the making of a container: the verb, eleven standard fields without a value, the fields of Azure, and
/// the resource, in which an emulator's path repeats the account.
fn signature(path: &str) -> String {
    let fields = format!("x-ms-date:{DATE}\nx-ms-version:{VERSION}\n");
    let resource = format!("/{ACCOUNT}{path}\nrestype:container");
    let text = format!("PUT\n{}{fields}{resource}", "\n".repeat(11));
    let key = BASE64_STANDARD.decode(KEY).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(text.as_bytes());
    BASE64_STANDARD.encode(mac.finalize().into_bytes())
}
