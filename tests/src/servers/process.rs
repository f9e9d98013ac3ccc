//! A server as a child process.

use std::env;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio, id};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Even a loaded machine has any of the servers up long before.
pub(super) const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// A port that no other test takes while this exists.
#[derive(Debug)]
pub(super) struct ReservedPort {
    pub(super) number: u16,
    _claim: UnixListener,
}

impl ReservedPort {
    /// Ports below those that the kernel hands out, so that no outgoing connection occupies one before the
    /// server does. A name in the abstract namespace keeps it from other tests, and vanishes with the process.
    pub(super) fn reserve() -> Self {
        let first = id() as usize * 17;
        (0..10_000)
            .map(|step| u16::try_from(20_000 + (first + step) % 10_000).unwrap())
            .find_map(|number| {
                let claim = claim(number)?;
                TcpListener::bind(("127.0.0.1", number)).ok()?;
                Some(Self {
                    number,
                    _claim: claim,
                })
            })
            .unwrap_or_else(|| panic!("there is no free port"))
    }

    /// Whether a running test has reserved it.
    pub(super) fn is_claimed(number: u16) -> bool {
        claim(number).is_none()
    }
}

fn claim(number: u16) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("reprise-test-port-{number}"));
    UnixListener::bind_addr(&name.unwrap()).ok()
}

/// A running server, killed when dropped; its directory goes after it.
#[derive(Debug)]
pub(super) struct ServerProcess {
    child: Child,
    directory: TempDir,
}

impl ServerProcess {
    /// Starts what `command` makes for the new directory, and returns once `answers` holds.
    pub(super) fn start(
        command: impl FnOnce(&Path) -> Command,
        answers: impl FnMut() -> bool,
    ) -> Self {
        let directory = TempDir::with_prefix("reprise-server-").unwrap();
        let mut command = command(directory.path());
        let child = spawn(&mut command, directory.path());
        let mut process = Self { child, directory };
        process.wait(&command, answers);
        process
    }

    /// Starts what `command` makes for the same directory, in place of what ran there.
    pub(super) fn restart(
        &mut self,
        command: impl FnOnce(&Path) -> Command,
        answers: impl FnMut() -> bool,
    ) {
        self.kill();
        let mut command = command(self.directory());
        self.child = spawn(&mut command, self.directory());
        self.wait(&command, answers);
    }

    /// Ends it as a failing machine would.
    pub(super) fn kill(&mut self) {
        // It may have ended by itself.
        _ = self.child.kill();
        _ = self.child.wait();
    }

    /// Where it keeps everything.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn wait(&mut self, command: &Command, mut answers: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !answers() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{command:?} ended with {status}:\n{}", self.log());
            }
            if begin.elapsed() > WAIT_LIMIT {
                panic!("{command:?} does not answer:\n{}", self.log());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// What the server has printed.
    pub(super) fn log(&self) -> String {
        let log = fs::read(self.directory.path().join("log")).unwrap();
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What it says is added to the log in its directory.
fn spawn(command: &mut Command, directory: &Path) -> Child {
    let mut options = File::options();
    options.create(true).append(true);
    let log = options.open(directory.join("log")).unwrap();
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{:?} is needed (tests/run): {error}", command.get_program())
        })
}

/// A program that `tests/run` has put at `path` in its cache, or else one on the search path.
pub(super) fn program(path: &str) -> PathBuf {
    let cached = cache().join(path);
    if cached.exists() {
        return cached;
    }
    PathBuf::from(cached.file_name().unwrap())
}

/// Where `tests/run` keeps what is slow to make.
pub(super) fn cache() -> PathBuf {
    if let Some(cache) = env::var_os("REPRISE_TEST_CACHE") {
        return cache.into();
    }
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache");
    base.unwrap_or_else(home).join("reprise-tests")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_server_leaves_nothing() {
        let command = |_: &Path| {
            let mut command = Command::new("sleep");
            command.arg("1000");
            command
        };
        let process = ServerProcess::start(command, || true);
        let directory = process.directory.path().to_owned();
        let proc = PathBuf::from(format!("/proc/{}", process.child.id()));
        assert!(directory.exists() && proc.exists());
        drop(process);
        assert!(!directory.exists() && !proc.exists());
    }

    #[test]
    #[should_panic(expected = "what is wrong")]
    fn a_failed_start_shows_the_log() {
        let command = |_: &Path| {
            let mut command = Command::new("sh");
            command.args(["-c", "echo what is wrong; exit 1"]);
            command
        };
        ServerProcess::start(command, || false);
    }

    #[test]
    fn no_port_is_reserved_twice() {
        let ports = [ReservedPort::reserve(), ReservedPort::reserve()];
        assert_ne!(ports[0].number, ports[1].number);
    }
}
