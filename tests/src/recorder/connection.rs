//! One connection of a writer, kept by the vendor's client: statements in, rows out.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::ServerFlavour;

/// Marks the end of a result.
const DONE: &str = "-- done --";

/// Errors of a server after which a step is tried again: deadlock, lock wait timeout, lost connections, and a server that
/// shuts down or starts.
const TRANSIENT_ERRORS: [&str; 13] = [
    "1040", "1047", "1053", "1077", "1080", "1205", "1213", "1317", "1927", "2002", "2003", "2006",
    "2013",
];

/// How the client is called.
#[derive(Debug, Clone)]
pub(super) struct ClientCommand {
    program: OsString,
    arguments: Vec<OsString>,
}

/// Why there is no result.
#[derive(Debug)]
pub(super) enum QueryError {
    /// The connection was lost: what was sent may have been done or not.
    ConnectionLost,
    /// The server has rejected what it should have done.
    Rejected(String),
}

impl ClientCommand {
    pub(super) fn of(command: &Command) -> Self {
        Self {
            program: command.get_program().to_owned(),
            arguments: command.get_args().map(OsString::from).collect(),
        }
    }

    /// Opens a connection that is the only one of its writer: whatever an earlier one had begun has ended, one way
    /// or the other.
    pub(super) fn open(
        &self,
        writer: u64,
        flavour: ServerFlavour,
    ) -> Result<ClientConnection, QueryError> {
        let mut connection = self.spawn();
        let name = lock_name(writer);
        let mut session =
            "SET SESSION time_zone = '+00:00', innodb_lock_wait_timeout = 30;\n".to_owned();
        if writer % 2 == 1 {
            session += "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;\n";
        }
        if flavour == ServerFlavour::Mysql {
            session += "SET SESSION binlog_row_value_options = 'PARTIAL_JSON';\n";
        }
        let lines = connection.ask(&format!("{session}SELECT GET_LOCK('{name}', 120);"))?;
        match lines.as_slice() {
            [one] if one == "1" => Ok(connection),
            _ => Err(QueryError::ConnectionLost),
        }
    }

    /// What the server is busy with, for the message when nothing moves.
    pub(super) fn state(&self) -> String {
        let queries = "SHOW FULL PROCESSLIST; XA RECOVER; SHOW ENGINE INNODB STATUS;";
        match self.spawn().ask(queries) {
            Ok(lines) => lines.join("\n").replace("\\n", "\n"),
            Err(error) => format!("{error:?}"),
        }
    }

    fn spawn(&self) -> ClientConnection {
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
        ClientConnection {
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
pub(super) struct ClientConnection {
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    child: Child,
}

impl ClientConnection {
    /// Runs statements; the lines of their results. The client ends at the first error.
    pub(super) fn ask(&mut self, statements: &str) -> Result<Vec<String>, QueryError> {
        match self.exchange(statements) {
            Ok(lines) => Ok(lines),
            Err(_) => Err(self.classify_failure()),
        }
    }

    fn exchange(&mut self, statements: &str) -> io::Result<Vec<String>> {
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_all(statements.as_bytes())?;
        writeln!(input, "\nSELECT '{DONE}';")?;
        input.flush()?;
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match line.trim_end_matches('\n') {
                DONE => return Ok(lines),
                text => lines.push(text.to_owned()),
            }
        }
    }

    fn classify_failure(&mut self) -> QueryError {
        self.input = None;
        let mut stderr = String::new();
        // Without a message the connection was only lost.
        _ = self
            .child
            .stderr
            .take()
            .map(|mut error| error.read_to_string(&mut stderr));
        let mut errors = stderr.split("ERROR ").skip(1);
        match errors.find(|error| !TRANSIENT_ERRORS.iter().any(|code| error.starts_with(code))) {
            Some(_) => QueryError::Rejected(stderr),
            None => QueryError::ConnectionLost,
        }
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        // A client whose input ends leaves by itself, also from a container, where no signal reaches it.
        self.input = None;
        _ = self.child.wait();
    }
}
