//! A program's standard output as a source. A program that exits with an error leaves no snapshot.

mod empty_output;
pub mod environment;
mod supervisor;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use reprise_repository::{
    CommittedSnapshot, Entry, FileTime, RawText, Repository, SnapshotItem, SnapshotSummary,
    SnapshotWriter, SourceKind,
};
use serde_json::json;

use self::empty_output::{EXAMINED_BYTES_MAX, describe_empty_output};
use self::supervisor::{ProgramStopReason, ProgramSupervisor};
use crate::error::{Error, Result};
use crate::run::{RunContext, source_warning};

/// The name of the one entry.
pub const OUTPUT_NAME: &str = "output";

/// How much of a failed program's standard error is shown, in bytes.
const STDERR_TAIL_BYTES: usize = 4096;

/// A longer line of standard error is shown in pieces, so that it needs no more memory.
const STDERR_LINE_BYTES_MAX: u64 = 64 << 10;

/// A program to run.
#[derive(Debug, Clone)]
pub struct CommandSource {
    /// The program and its arguments. No shell is involved.
    pub argv: Vec<OsString>,
    /// Variables added to its environment. Values may be secret and are never shown.
    pub env: BTreeMap<String, String>,
    /// Variables removed from its environment, besides [`environment::CREDENTIAL_VARIABLES`].
    pub env_removed: BTreeSet<String>,
    /// Where it runs; `None`: the current directory.
    pub directory: Option<PathBuf>,
    /// After this time it is stopped and counts as failed.
    pub timeout: Option<Duration>,
}

/// Runs a program and stores what it writes.
///
/// # Errors
/// [`Error::ProgramNotStarted`], [`Error::CommandFailed`], or errors of storing.
pub fn snapshot_output(
    repository: &Repository,
    source: &CommandSource,
    run: &RunContext,
) -> Result<CommittedSnapshot> {
    let program = source
        .argv
        .first()
        .map(|arg| arg.to_string_lossy().into_owned())
        .unwrap_or_default();
    let (parent, options) = run.prepare_snapshot(repository, SourceKind::Command)?;
    let started = options.started;
    let mut writer = repository.begin_snapshot(options, Arc::clone(&run.progress), None)?;
    let output = store_output(repository, source, &program, run, &mut writer)?;
    let bytes = output.bytes;
    let mtime = FileTime(started.timestamp(), started.timestamp_subsec_nanos());
    let entry = Entry {
        size: bytes,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        ..Entry::generated_file(OUTPUT_NAME, mtime)
    };
    writer.add_item(SnapshotItem::Entry {
        entry,
        chunks: Vec::new(),
        stamp: None,
    })?;
    let committed = writer.finish(|counts, _| {
        let mut warnings = run.shrink_alarms(parent.as_ref(), counts);
        if let Some(what) = output.emptiness {
            warnings.push(source_warning(format!(
                "alarm: `{program}` succeeded but wrote {what}"
            )));
        }
        let facts = BTreeMap::from([
            ("exit_code".to_owned(), json!(0)),
            ("bytes".to_owned(), json!(bytes)),
            ("content_id".to_owned(), json!(output.content_id)),
        ]);
        let location = RawText::from(format_argv(source).as_str());
        Ok(SnapshotSummary {
            data_time: started,
            finished: (run.clock)(),
            facts,
            location,
            warnings,
        })
    })?;
    Ok(committed)
}

/// What a program wrote.
struct StoredOutput {
    bytes: u64,
    /// Its keyed hash.
    content_id: String,
    /// What it is, if it holds nothing.
    emptiness: Option<&'static str>,
}

/// Runs the program and stores what it writes.
fn store_output(
    repository: &Repository,
    source: &CommandSource,
    program: &str,
    run: &RunContext,
    writer: &mut SnapshotWriter,
) -> Result<StoredOutput> {
    let mut child = start_program(source, program)?;
    let watch = ProgramSupervisor::start(&child, source.timeout, Arc::clone(&run.progress));
    let stderr = child.stderr.take().map(|stderr| {
        let stderr = watch.pipe_reader(stderr);
        std::thread::spawn(move || forward_stderr(stderr))
    });
    let streamed = store_stdout(writer, repository, &watch, &mut child);
    if streamed.is_err() {
        watch.stop_program();
    }
    let status = child.wait();
    let ending = watch.join();
    let stderr_tail = stderr
        .and_then(|thread| thread.join().ok())
        .unwrap_or_default();
    let output = streamed?;
    if ending == Some(ProgramStopReason::Interrupted) {
        return Err(reprise_repository::Error::Interrupted.into());
    }
    let status = status.map_err(|source| Error::ProgramNotStarted {
        program: program.to_owned(),
        source,
    })?;
    if ending == Some(ProgramStopReason::TimedOut) || !status.success() {
        let how = if ending == Some(ProgramStopReason::TimedOut) {
            "ran longer than its timeout".to_owned()
        } else {
            describe_exit(status)
        };
        return Err(Error::CommandFailed {
            program: program.to_owned(),
            outcome: how,
            stderr_tail,
        });
    }
    Ok(output)
}

fn format_argv(source: &CommandSource) -> String {
    source
        .argv
        .iter()
        .map(|arg| arg.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn start_program(source: &CommandSource, program: &str) -> Result<Child> {
    let mut command = Command::new(source.argv.first().map_or("".as_ref(), OsString::as_os_str));
    environment::remove_credentials(&mut command);
    for name in &source.env_removed {
        command.env_remove(name);
    }
    command
        .args(source.argv.iter().skip(1))
        .envs(&source.env)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A process group of its own, so that it can be stopped with everything it starts.
        .process_group(0);
    if let Some(folder) = &source.directory {
        command.current_dir(folder);
    }
    command.spawn().map_err(|source| Error::ProgramNotStarted {
        program: program.to_owned(),
        source,
    })
}

/// Stores standard output.
fn store_stdout(
    writer: &mut SnapshotWriter,
    repository: &Repository,
    watch: &ProgramSupervisor,
    child: &mut Child,
) -> Result<StoredOutput> {
    let Some(stdout) = child.stdout.take() else {
        return Err(reprise_repository::Error::Internal(
            "standard output is not a pipe".to_owned(),
        )
        .into());
    };
    let mut hashed = HashingReader {
        inner: watch.pipe_reader(stdout),
        hasher: repository.secrets().keyed_hasher(),
        beginning: Vec::new(),
    };
    let mut chunker = writer.content_chunker();
    let bytes = writer
        .add_stream(&mut chunker, &mut hashed)?
        .map_err(|source| Error::Unreadable {
            path: PathBuf::from("the program's standard output"),
            source,
        })?;
    let is_whole = bytes == hashed.beginning.len() as u64;
    Ok(StoredOutput {
        bytes,
        content_id: hashed.hasher.finalize().to_hex().to_string(),
        emptiness: is_whole
            .then(|| describe_empty_output(&hashed.beginning))
            .flatten(),
    })
}

struct HashingReader<R> {
    inner: R,
    hasher: blake3::Hasher,
    /// The first [`EXAMINED_BYTES_MAX`] bytes.
    beginning: Vec<u8>,
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..got]);
        let room = EXAMINED_BYTES_MAX - self.beginning.len();
        self.beginning.extend_from_slice(&buffer[..got.min(room)]);
        Ok(got)
    }
}

/// Shows a program's standard error line by line as it arrives, and keeps its end.
fn forward_stderr(stderr: impl Read) -> String {
    let mut stderr = BufReader::new(stderr).take(0);
    let mut tail = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        stderr.set_limit(STDERR_LINE_BYTES_MAX);
        match stderr.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {
                let text = RawText::new(line.trim_ascii_end()).display();
                // A closed terminal must not end the backup.
                drop(writeln!(std::io::stderr(), "{text}"));
                tail.extend_from_slice(&line);
                let excess = tail.len().saturating_sub(STDERR_TAIL_BYTES);
                tail.drain(..excess);
            }
        }
    }
    String::from_utf8_lossy(&tail).trim_end().to_owned()
}

fn describe_exit(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended for an unknown reason".to_owned(),
    }
}
