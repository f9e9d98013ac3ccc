//! One connection of a writer, kept by the vendor's client: statements there, answers back.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::Flavour;

/// Marks the end of an answer.
const DONE: &str = "-- done --";

/// Errors of a server after which a step is tried again: deadlock, lock wait, whatever says that the connection or
/// the server is going or gone, and what a server says that is about to stand.
const PASSING: [&str; 13] = [
    "1040", "1047", "1053", "1077", "1080", "1205", "1213", "1317", "1927", "2002", "2003", "2006",
    "2013",
];

/// How the client is called.
#[derive(Debug, Clone)]
pub(super) struct Client {
    program: OsString,
    arguments: Vec<OsString>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The connection is gone: what was sent may have been done or not.
    Broken,
    /// The server has refused what it should have done.
    Refused(String),
}

impl Client {
    pub(super) fn of(command: &Command) -> Self {
        Self {
            program: command.get_program().to_owned(),
            arguments: command.get_args().map(OsString::from).collect(),
        }
    }

    /// Opens a connection that is the only one of its writer: whatever an earlier one had begun has ended, one way
    /// or the other.
    pub(super) fn open(&self, writer: u64, flavour: Flavour) -> Result<Line, Trouble> {
        let mut line = self.spawn();
        let name = lock_name(writer);
        let mut session =
            "SET SESSION time_zone = '+00:00', innodb_lock_wait_timeout = 30;\n".to_owned();
        if writer % 2 == 1 {
            session += "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;\n";
        }
        if flavour == Flavour::Mysql {
            session += "SET SESSION binlog_row_value_options = 'PARTIAL_JSON';\n";
        }
        let answer = line.ask(&format!("{session}SELECT GET_LOCK('{name}', 120);"))?;
        match answer.as_slice() {
            [one] if one == "1" => Ok(line),
            _ => Err(Trouble::Broken),
        }
    }

    /// What the server is busy with, for whoever wonders why nothing moves.
    pub(super) fn state(&self) -> String {
        let questions = "SHOW FULL PROCESSLIST; XA RECOVER; SHOW ENGINE INNODB STATUS;";
        match self.spawn().ask(questions) {
            Ok(lines) => lines.join("\n").replace("\\n", "\n"),
            Err(trouble) => format!("{trouble:?}"),
        }
    }

    fn spawn(&self) -> Line {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .args([
                "--batch",
                "--skip-column-names",
                "--unbuffered",
                "--skip-reconnect",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = BufReader::new(child.stdout.take().unwrap());
        Line {
            input: child.stdin.take(),
            output,
            child,
        }
    }
}

/// The lock that a writer's only connection holds.
pub(super) fn lock_name(writer: u64) -> String {
    format!("recorder {writer}")
}

/// An open connection, closed when dropped.
#[derive(Debug)]
pub(super) struct Line {
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    child: Child,
}

impl Line {
    /// Runs statements; the lines that they answer. The client ends at the first error.
    pub(super) fn ask(&mut self, statements: &str) -> Result<Vec<String>, Trouble> {
        match self.exchange(statements) {
            Ok(answer) => Ok(answer),
            Err(_) => Err(self.trouble()),
        }
    }

    fn exchange(&mut self, statements: &str) -> io::Result<Vec<String>> {
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_all(statements.as_bytes())?;
        writeln!(input, "\nSELECT '{DONE}';")?;
        input.flush()?;
        let mut answer = Vec::new();
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match line.trim_end_matches('\n') {
                DONE => return Ok(answer),
                text => answer.push(text.to_owned()),
            }
        }
    }

    fn trouble(&mut self) -> Trouble {
        self.input = None;
        let mut said = String::new();
        // Without words it has only broken.
        _ = self
            .child
            .stderr
            .take()
            .map(|mut error| error.read_to_string(&mut said));
        let mut errors = said.split("ERROR ").skip(1);
        match errors.find(|error| !PASSING.iter().any(|code| error.starts_with(code))) {
            Some(_) => Trouble::Refused(said),
            None => Trouble::Broken,
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // A client whose input ends leaves by itself, also from a container, where no signal reaches it.
        self.input = None;
        _ = self.child.wait();
    }
}
