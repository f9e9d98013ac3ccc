//! MySQL from Debian, in a container of the image that `tests/run` builds.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use super::database::{CLIENT, Database, greets};
use super::process::{ReservedPort, WAIT_LIMIT};

const IMAGE: &str = "reprise-test-mysql";

/// Holds the port whose claim says that the test which owns the container still runs.
const LABEL: &str = "reprise-test-port";

/// A server in a container, removed when dropped. Those of tests that were killed go when the next one starts.
#[derive(Debug)]
pub struct Mysql {
    container: String,
    port: ReservedPort,
    /// Holds the number of the server's process, in whose namespaces the client runs: the engine takes far longer. A
    /// client that is started again after a restart of the server finds the new one there.
    process: NamedTempFile,
}

impl Mysql {
    /// Starts one with a binary log and GTIDs.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with further options, which win over those that every one has.
    #[must_use]
    pub fn start_with(options: &[&str]) -> Self {
        remove_abandoned();
        let port = ReservedPort::reserve();
        let mut server = Self {
            container: format!("reprise-test-{}", port.number),
            port,
            process: NamedTempFile::with_prefix("reprise-server-").unwrap(),
        };
        let number = server.port.number;
        let mut run = docker(&["run", "--detach", "--pull=never"]);
        run.args(["--name", &server.container])
            .args(["--label", &format!("{LABEL}={number}")])
            .args(["--publish", &format!("127.0.0.1:{number}:3306")])
            .args([
                IMAGE,
                "--no-defaults",
                "--user=mysql",
                "--skip-name-resolve",
            ])
            .args(["--mysqlx=OFF", "--local-infile=ON", "--secure-file-priv="])
            .args(["--log-bin=binlog", "--server-id=1", "--gtid-mode=ON"])
            .args(["--enforce-gtid-consistency=ON", "--performance-schema=ON"])
            .args([
                "--innodb-buffer-pool-size=64M",
                "--innodb-redo-log-capacity=32M",
            ])
            .args(options);
        stdout_of(run);
        server.wait();
        server
    }

    /// The container's name.
    #[must_use]
    pub fn container(&self) -> &str {
        &self.container
    }

    /// The container's own address, where it answers at port 3306.
    #[must_use]
    pub fn address(&self) -> String {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        stdout_of(docker(&["inspect", "--format", format, &self.container]))
    }

    fn wait(&mut self) {
        let begin = Instant::now();
        let mut looked_at = begin;
        while !greets(self.port()) {
            // Asking the engine costs as much as a start: it is not done each time.
            if looked_at.elapsed() > Duration::from_secs(1) {
                looked_at = Instant::now();
                assert!(
                    self.is_running() && begin.elapsed() < WAIT_LIMIT,
                    "{} does not answer:\n{}",
                    self.container,
                    self.log()
                );
            }
            thread::sleep(Duration::from_millis(20));
        }
        let process = ["inspect", "--format", "{{.State.Pid}}", &self.container];
        fs::write(self.process.path(), stdout_of(docker(&process))).unwrap();
    }

    fn is_running(&self) -> bool {
        let state = ["inspect", "--format", "{{.State.Running}}", &self.container];
        stdout_of(docker(&state)) == "true"
    }
}

impl Database for Mysql {
    /// The other one of that name cannot tell statements in all characters, and fails.
    fn threads(&self) -> &'static str {
        "performance_schema.processlist"
    }

    fn port(&self) -> u16 {
        self.port.number
    }

    fn client(&self) -> Command {
        let enter = r#"exec nsenter --target "$(cat "$0")" --mount --net -- mysql "$@""#;
        let mut client = Command::new("sh");
        client
            .args(["-c", enter])
            .arg(self.process.path())
            .args(CLIENT)
            .arg("--user=root");
        client
    }

    fn log(&self) -> String {
        // The server writes to standard error.
        let output = docker(&["logs", &self.container]).output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn kill_server(&mut self) {
        stdout_of(docker(&["kill", &self.container]));
    }

    fn restart(&mut self) {
        stdout_of(docker(&["start", &self.container]));
        self.wait();
    }
}

impl Drop for Mysql {
    fn drop(&mut self) {
        // Nothing can be done about a failure here; the next start tries again.
        let mut remove = docker(&["rm", "--force", "--volumes", &self.container]);
        _ = remove.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// An owner keeps the claim on its port as long as the container lives.
fn remove_abandoned() {
    let (filter, format) = (
        format!("label={LABEL}"),
        format!("{{{{.ID}}}} {{{{.Label \"{LABEL}\"}}}}"),
    );
    let list = docker(&["ps", "--all", "--filter", &filter, "--format", &format]);
    for line in stdout_of(list).lines() {
        let (id, port) = line.split_once(' ').unwrap();
        if !ReservedPort::is_claimed(port.parse().unwrap()) {
            // Another test may be removing it right now.
            _ = docker(&["rm", "--force", "--volumes", id])
                .output()
                .unwrap();
        }
    }
}

fn docker(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments);
    command
}

/// What a command has printed, once it has succeeded.
fn stdout_of(mut command: Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("docker is needed (tests/run): {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_test_left_is_removed() {
        // No test reserves this port, and a container that was never started is one too.
        let label = format!("{LABEL}=1");
        let id = stdout_of(docker(&["create", "--label", &label, IMAGE]));
        remove_abandoned();
        // Another test that starts a server may have been quicker, and not done yet.
        let exists = || docker(&["inspect", &id]).output().unwrap().status.success();
        let begin = Instant::now();
        while exists() {
            assert!(begin.elapsed() < WAIT_LIMIT, "{id} stays");
            thread::sleep(Duration::from_millis(10));
        }
    }
}
