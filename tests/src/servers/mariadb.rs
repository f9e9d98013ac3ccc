//! MariaDB from Debian.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::database::{CLIENT, Database, greets};
use super::process::{ReservedPort, ServerProcess, cache};
use tempfile::TempDir;

/// A server with a binary log and a data directory of its own.
#[derive(Debug)]
pub struct Mariadb {
    process: ServerProcess,
    port: ReservedPort,
    options: Vec<String>,
}

impl Mariadb {
    /// Starts one.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with further options, which win over those that every one has.
    #[must_use]
    pub fn start_with(options: &[&str]) -> Self {
        let port = ReservedPort::reserve();
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        let command = |directory: &Path| {
            initialise(directory);
            server(directory, port.number, &options)
        };
        Self {
            process: ServerProcess::start(command, || greets(port.number)),
            port,
            options,
        }
    }

    /// The socket at which it answers too.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        socket(self.process.directory())
    }
}

impl Database for Mariadb {
    fn port(&self) -> u16 {
        self.port.number
    }

    fn client(&self) -> Command {
        let mut client = Command::new("mariadb");
        client.args(CLIENT).arg("--user=root");
        client.arg("--socket").arg(self.socket());
        client
    }

    fn log(&self) -> String {
        self.process.log()
    }

    fn kill_server(&mut self) {
        self.process.kill();
    }

    fn restart(&mut self) {
        let port = self.port.number;
        let command = |directory: &Path| server(directory, port, &self.options);
        self.process.restart(command, || greets(port));
    }
}

/// Small files: every test writes new ones.
const SIZES: [&str; 2] = [
    "--innodb-log-file-size=16M",
    "--innodb-data-file-path=ibdata1:12M:autoextend",
];

/// Engines and plugins that are not built in.
const PLUGINS: [&str; 3] = [
    "--plugin-load-add=ha_archive",
    "--plugin-load-add=ha_blackhole",
    "--plugin-load-add=auth_ed25519",
];

/// No user for this machine's name, which is another one everywhere.
const USERS: &str =
    "DELETE FROM mysql.global_priv WHERE Host NOT IN ('localhost', '127.0.0.1', '::1');
DELETE FROM mysql.proxies_priv WHERE Host NOT IN ('localhost', '127.0.0.1', '::1');
";

/// Gives a new server the data of one that was initialised before: initialising takes seconds, and many tests start
/// one. What is kept depends on the server's version and on this file.
fn initialise(directory: &Path) {
    let kept = cache().join(format!("mariadb-{}", template_name()));
    if !kept.exists() {
        // Several tests may do this at once: each makes one of its own, and the last one renamed stays.
        let parent = cache();
        fs::create_dir_all(&parent).unwrap();
        let making = TempDir::with_prefix_in("mariadb-", &parent).unwrap();
        initialise_data(making.path());
        if fs::rename(making.path(), &kept).is_ok() {
            // It is not there any more under its first name.
            _ = making.keep();
        }
    }
    fs::create_dir(directory.join("temporary")).unwrap();
    let mut copy = Command::new("cp");
    copy.args(["--archive", "--sparse=always"])
        .arg(kept.join("data"))
        .arg(directory);
    assert!(copy.status().unwrap().success(), "{copy:?}");
}

/// What the initial data depend on, as a name.
fn template_name() -> String {
    let version = Command::new("mariadbd")
        .arg("--version")
        .output()
        .unwrap_or_else(|error| panic!("mariadb-server is needed (tests/run): {error}"));
    let mut hash = DefaultHasher::new();
    (version.stdout, SIZES, USERS, include_str!("mariadb.rs")).hash(&mut hash);
    format!("{:016x}", hash.finish())
}

fn initialise_data(directory: &Path) {
    let users = directory.join("users.sql");
    fs::write(&users, USERS).unwrap();
    fs::create_dir(directory.join("temporary")).unwrap();
    let mut install = Command::new("mariadb-install-db");
    install
        .args(["--no-defaults", "--user=root", "--skip-test-db"])
        .arg("--auth-root-authentication-method=normal")
        .arg(format!("--extra-file={}", users.display()))
        .args(directories(directory))
        .args(SIZES);
    let output = install
        .output()
        .unwrap_or_else(|error| panic!("mariadb-server is needed (tests/run): {error}"));
    let output_text = [output.stdout, output.stderr].concat();
    let output_text = String::from_utf8_lossy(&output_text);
    assert!(output.status.success(), "{install:?}: {output_text}");
}

fn server(directory: &Path, port: u16, options: &[String]) -> Command {
    let mut server = Command::new("mariadbd");
    server
        .args(["--no-defaults", "--user=root", "--skip-name-resolve"])
        .args(directories(directory))
        .arg("--socket")
        .arg(socket(directory))
        .args(["--bind-address=127.0.0.1", &format!("--port={port}")])
        .args(["--log-bin=binlog", "--server-id=2", "--binlog-format=ROW"])
        .args(["--local-infile=ON", "--innodb-buffer-pool-size=64M"])
        // What is written in the background may reach a file after the server was killed and another one was started.
        .arg("--innodb-use-native-aio=OFF")
        .args(SIZES)
        .args(PLUGINS)
        .args(options);
    server
}

/// One argument each: the script that initialises knows no other form. A server that starts empties the directory
/// of temporary tables, so that no two may share it.
fn directories(directory: &Path) -> [String; 2] {
    let directory = directory.display();
    [
        format!("--datadir={directory}/data"),
        format!("--tmpdir={directory}/temporary"),
    ]
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("socket")
}
