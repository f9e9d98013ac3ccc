//! A host in a directory: keys, cache, recovery identities, a repository, and the real binary to drive them.

#![allow(
    dead_code,
    clippy::allow_attributes,
    clippy::panic,
    reason = "each test program uses a part of this, and a test fails by panicking"
)]

pub(crate) mod archived;
pub(crate) mod databases;
pub(crate) mod mysql;
pub(crate) mod past;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub(crate) use reprise_repository::testing::incompressible_bytes;
use serde_json::Value;
use tempfile::TempDir;

/// The binary under test: `REPRISE_BIN`, or the one beside the tests.
pub(crate) fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("REPRISE_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("reprise");
    assert!(
        path.is_file(),
        "{} is missing: build it, or use tests/run",
        path.display()
    );
    path
}

/// What makes a program believe in another date and time zone, where `tests/run --dates` has set it.
fn clock_variables() -> impl Iterator<Item = (&'static str, std::ffi::OsString)> {
    let names = ["LD_PRELOAD", "REPRISE_TEST_CLOCK_OFFSET", "TZ"];
    let set = |name| std::env::var_os(name).map(|value| (name, value));
    names.into_iter().filter_map(set)
}

pub(crate) struct Sandbox {
    directory: TempDir,
    /// Where the repository is, if it is not a directory beside the rest.
    url: Option<String>,
    /// Further variables, credentials for instance.
    envs: Vec<(String, String)>,
}

/// What a run of the binary printed and returned.
#[derive(Debug)]
pub(crate) struct RunOutput {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
pub(crate) fn ran(command: &mut Command) -> RunOutput {
    RunOutput::from(&command.output().unwrap())
}

impl RunOutput {
    pub(crate) fn from(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Demands an exit code.
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Demands words on standard error.
    pub(crate) fn says(self, words: &str) -> Self {
        assert!(
            self.stderr.contains(words),
            "{words:?} is not in: {}",
            self.stderr
        );
        self
    }

    /// The last line of standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(self.stdout.lines().last().unwrap()).unwrap()
    }
}

impl Sandbox {
    /// A host without a repository.
    pub(crate) fn bare() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            url: None,
            envs: Vec::new(),
        }
    }

    /// A host whose repository is somewhere else, with the variables that lead there.
    pub(crate) fn at(url: &str, envs: Vec<(String, String)>) -> Self {
        Self {
            url: Some(url.to_owned()),
            envs,
            ..Self::bare()
        }
    }

    /// Replaces the further variables.
    pub(crate) fn set_envs(&mut self, envs: Vec<(String, String)>) {
        self.envs = envs;
    }

    /// The further variables.
    pub(crate) fn envs(&self) -> Vec<(String, String)> {
        self.envs.clone()
    }

    /// A host with a repository and two recovery identities.
    pub(crate) fn new() -> Self {
        let sandbox = Self::bare();
        sandbox.init().exits(0);
        sandbox
    }

    /// Makes the repository with two recovery identities.
    pub(crate) fn init(&self) -> RunOutput {
        let (one, two) = (self.path("id1"), self.path("id2"));
        let args = [
            OsStr::new("init"),
            "--generate-identity".as_ref(),
            one.as_ref(),
            "--generate-identity".as_ref(),
            two.as_ref(),
        ];
        self.run(args)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn repository(&self) -> std::ffi::OsString {
        match &self.url {
            Some(url) => url.into(),
            None => self.path("repository").into(),
        }
    }

    /// The binary with this host's environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.path("home"))
            .env("TZ", "UTC")
            .env("REPRISE_CONFIG_DIR", self.path("config"))
            .env("REPRISE_CACHE_DIR", self.path("cache"))
            .env("REPRISE_REPOSITORY", self.repository())
            .envs(clock_variables())
            .envs(self.envs.iter().map(|(name, value)| (name, value)))
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> RunOutput {
        RunOutput::from(&self.command().args(args).output().unwrap())
    }

    /// A command of this host, when its clock says this time of UTC. Times of files stay as the disk has them.
    pub(crate) fn at_time(&self, command: &Command, time: &str) -> Command {
        let own_clock = clock_variables().map(|(name, _)| OsStr::new(name));
        let own_clock: Vec<&OsStr> = own_clock.collect();
        let envs = command.get_envs();
        let envs = envs.filter_map(|(name, value)| Some((name, value?)));
        let mut faked = Command::new("faketime");
        faked
            .arg(time)
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear()
            .envs(envs.filter(|(name, _)| !own_clock.contains(name)))
            .env("TZ", "UTC")
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        faked
    }

    /// As [`Self::command`], with the first recovery identity.
    pub(crate) fn recovering(&self) -> Command {
        let mut command = self.command();
        command.env("REPRISE_IDENTITY", self.path("id1"));
        command
    }

    /// As [`Self::run`], with the first recovery identity.
    pub(crate) fn recover<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> RunOutput {
        RunOutput::from(&self.recovering().args(args).output().unwrap())
    }

    /// Takes a snapshot of a directory.
    pub(crate) fn snapshot(&self, tree: &Path, source: &str) -> RunOutput {
        self.run([
            OsStr::new("--json"),
            "snapshot".as_ref(),
            "volume".as_ref(),
            tree.as_ref(),
            "--source".as_ref(),
            source.as_ref(),
        ])
    }

    /// Restores a source into a new directory.
    pub(crate) fn restore(&self, source: &str, name: &str) -> PathBuf {
        let target = self.path(name);
        let args = [
            OsStr::new("restore"),
            source.as_ref(),
            "--to".as_ref(),
            target.as_ref(),
            "--verify".as_ref(),
        ];
        self.recover(args).exits(0);
        target
    }

    /// The binary on another host, with keys of its own.
    pub(crate) fn on_second_host(&self) -> Command {
        let mut command = self.command();
        command
            .env("REPRISE_CONFIG_DIR", self.path("second"))
            .env("REPRISE_CACHE_DIR", self.path("second-cache"));
        command
    }

    /// Adds the other host to the repository, as `web2`. Its public keys are in `web2.keys` then.
    pub(crate) fn add_second_host(&self) {
        let public = ran(self.on_second_host().args(["key", "show"]))
            .exits(0)
            .stdout;
        std::fs::write(self.path("web2.keys"), public).unwrap();
        let args = ["key", "add", "--host", "web2.keys", "--name", "web2"];
        self.run(args).exits(0);
    }

    /// The stored objects of a directory of the repository.
    pub(crate) fn objects(&self, directory: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut directories = vec![self.path("repository").join(directory)];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(&directory)
                .into_iter()
                .flatten()
                .flatten()
            {
                let path = entry.path();
                if path.is_dir() {
                    directories.push(path)
                } else {
                    found.push(path)
                }
            }
        }
        found
    }
}

/// Begins a run that is going to be stopped.
pub(crate) fn begin<S: AsRef<OsStr>>(
    mut command: Command,
    args: impl IntoIterator<Item = S>,
) -> Child {
    command
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// As [`begin`], for a run of whose end [`end`] tells.
pub(crate) fn begin_captured<S: AsRef<OsStr>>(
    mut command: Command,
    args: impl IntoIterator<Item = S>,
) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.args(args).spawn().unwrap()
}

/// Waits for a run that was begun to be heard. What it says until then must be little.
pub(crate) fn end(child: Child) -> RunOutput {
    RunOutput::from(&child.wait_with_output().unwrap())
}

/// Asks a run to stop, as a person at the keyboard does.
pub(crate) fn interrupt(child: &Child) {
    signal(child, rustix::process::Signal::INT);
}

/// A file system of its own in memory, unmounted when dropped.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(crate) fn mount(directory: PathBuf, size: &str) -> Self {
        std::fs::create_dir(&directory).unwrap();
        let size = format!("size={size}");
        let args = ["-t", "tmpfs", "-o", &size, "none"].map(OsStr::new);
        sh("mount", &[&args[..], &[directory.as_os_str()]].concat());
        Self(directory)
    }

    /// Makes room.
    pub(crate) fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        sh("mount", &["-o".as_ref(), options.as_ref(), self.0.as_ref()]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A server may still have files open there.
        sh("umount", &["--lazy".as_ref(), self.0.as_ref()]);
    }
}

/// How long a child goes on between two looks: as long as a look takes, but at least and at most so long.
const STEP_MIN: Duration = Duration::from_millis(3);
const STEP_MAX: Duration = Duration::from_millis(50);

/// Waits until something is so, or the child has ended. Whether it became so. The child stands still while it is looked,
/// so that on a loaded machine, where looks are slow, it does not get past what is waited for.
pub(crate) fn wait_for(child: &mut Child, mut so: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(300) {
        let look = Instant::now();
        signal(child, rustix::process::Signal::STOP);
        let is_so = so();
        signal(child, rustix::process::Signal::CONT);
        if is_so {
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return so();
        }
        std::thread::sleep(look.elapsed().clamp(STEP_MIN, STEP_MAX));
    }
    panic!("nothing happened within five minutes");
}

/// To a child that was not waited for yet, whether or not it has ended.
pub(crate) fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Kills a child, whether or not it has ended.
pub(crate) fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Fails unless two trees are equal in every way that rsync knows.
pub(crate) fn assert_same_trees(a: &Path, b: &Path) {
    let output = Command::new("rsync")
        .args([
            "-naHAXi",
            "--checksum",
            "--delete",
            "--devices",
            "--specials",
        ])
        .arg(format!("{}/", a.display()))
        .arg(format!("{}/", b.display()))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "",
        "{} and {} differ",
        a.display(),
        b.display()
    );
}

/// Some hundred small files and a few large ones.
pub(crate) fn make_tree(directory: &Path, large_bytes: usize) {
    for n in 0..300_usize {
        let inside = directory.join(format!("d{}", n % 7));
        std::fs::create_dir_all(&inside).unwrap();
        std::fs::write(
            inside.join(format!("f{n}")),
            incompressible_bytes(n * 37, n as u64),
        )
        .unwrap();
    }
    for n in 0..3 {
        std::fs::write(
            directory.join(format!("large{n}")),
            incompressible_bytes(large_bytes, 900 + n),
        )
        .unwrap();
    }
}

/// Runs a program that must succeed.
pub(crate) fn sh(program: &str, args: &[&OsStr]) {
    let status = Command::new(program).args(args).status().unwrap();
    assert!(status.success(), "{program} {args:?}");
}

/// A policy that demands locks of a repository at a URL.
pub(crate) fn locked_policy(sandbox: &Sandbox, url: &str, days: u32) {
    let recipients: Vec<String> = (1..3)
        .map(|n| {
            let text = std::fs::read_to_string(sandbox.path(&format!("id{n}"))).unwrap();
            let line = text.lines().find_map(|l| l.strip_prefix("# public key: "));
            line.unwrap().to_owned()
        })
        .collect();
    let policy = format!(
        "version: 1\nname: p\nrepositories:\n  main: {{url: '{url}', immutable_days: {days}, recipients: [{}]}}\n\
        sources:\n  tree: {{volume: {{path: tree}}, repositories: [main]}}\n",
        recipients.join(", ")
    );
    std::fs::write(sandbox.path("p.yaml"), policy).unwrap();
}
