//! What the tests need of a MySQL or MariaDB server, asked through the vendor's own client.

use std::fmt::Write as _;
use std::io::{Read, Seek, Write};
use std::net::TcpStream;
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::tempfile;

/// A row as text; nothing for NULL. Bytes that are not UTF-8 are replaced: ask for `HEX(…)`.
pub type Row = Vec<Option<String>>;

/// A server with a `root` that needs no password.
pub trait Database {
    /// Where it answers on 127.0.0.1.
    fn port(&self) -> u16;

    /// The vendor's client as root, reading statements from its input.
    fn client(&self) -> Command;

    /// What the server has printed.
    fn log(&self) -> String;

    /// Kills the server as a failing machine would; its data stay.
    fn kill_server(&mut self);

    /// Starts it again on the same data and port, and returns once it answers.
    fn restart(&mut self);

    /// Host and port, for a proxy to stand before it.
    fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// The table of what its threads do.
    fn threads(&self) -> &'static str {
        "information_schema.processlist"
    }

    /// The server's numbers of the threads that send somebody its log.
    fn log_senders(&self) -> Vec<String> {
        senders(self.query(&senders_of(self.threads(), "%")))
    }

    /// Of those, the ones that have sent everything and wait for more.
    fn idle_log_senders(&self) -> Vec<String> {
        senders(self.query(&senders_of(self.threads(), "%waiting for%")))
    }

    /// Its address for a user.
    fn url(&self, user: &str, password: &str) -> String {
        let (user, password) = (encoded(user), encoded(password));
        let colon = if password.is_empty() { "" } else { ":" };
        format!("mysql://{user}{colon}{password}@{}/", self.endpoint())
    }

    /// Its address for root.
    fn root_url(&self) -> String {
        self.url("root", "")
    }

    /// Runs statements.
    ///
    /// # Panics
    /// When one of them fails.
    fn execute(&self, script: &str) {
        if let Err(error) = self.try_execute(script) {
            panic!("{error}\nin: {}\n{}", shortened(script), self.log());
        }
    }

    /// Runs statements until one fails; the error is the client's.
    ///
    /// # Errors
    /// When one of them fails.
    fn try_execute(&self, script: &str) -> Result<(), String> {
        run(self.client(), script).map(drop)
    }

    /// The rows of all results of the statements.
    ///
    /// # Panics
    /// When one of them fails.
    fn query(&self, sql: &str) -> Vec<Row> {
        self.try_query(sql)
            .unwrap_or_else(|error| panic!("{error}\nin: {}", shortened(sql)))
    }

    /// The rows of all results of the statements; the error is the client's.
    ///
    /// # Errors
    /// When one of them fails.
    fn try_query(&self, sql: &str) -> Result<Vec<Row>, String> {
        // Only as XML a NULL differs from the text `NULL`.
        let mut client = self.client();
        client.arg("--xml");
        run(client, sql).map(|xml| rows(&xml))
    }

    /// The only value of the only row.
    ///
    /// # Panics
    /// When there is another number of them, or it is NULL.
    fn value(&self, sql: &str) -> String {
        match self.query(sql).as_slice() {
            [row] => match row.as_slice() {
                [Some(value)] => value.clone(),
                _ => panic!("{row:?}: {sql}"),
            },
            rows => panic!("{} rows: {sql}", rows.len()),
        }
    }
}

fn senders_of(threads: &str, state: &str) -> String {
    format!("SELECT id FROM {threads} WHERE command LIKE 'Binlog Dump%' AND state LIKE '{state}'")
}

fn senders(rows: Vec<Row>) -> Vec<String> {
    rows.into_iter().flatten().flatten().collect()
}

/// Options that make the client take a script as it is: nothing of it is rewritten or left out, and a value
/// may be long.
pub(super) const CLIENT: [&str; 6] = [
    "--no-defaults",
    "--binary-mode",
    "--comments",
    "--default-character-set=utf8mb4",
    "--local-infile=1",
    "--max-allowed-packet=1G",
];

/// Whether a server greets. Its port may be open long before, in a container always.
pub(super) fn greets(port: u16) -> bool {
    let greeting = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        let mut start = [0; 5];
        stream.read_exact(&mut start)?;
        // Four bytes of a packet's head; then the version of the protocol, where an error has 255.
        std::io::Result::Ok(start[4])
    };
    greeting().is_ok_and(|version| version == 10)
}

/// The script comes from a file, so that client and test never wait for each other.
fn run(mut client: Command, script: &str) -> Result<String, String> {
    let mut input = tempfile().unwrap();
    input.write_all(script.as_bytes()).unwrap();
    input.rewind().unwrap();
    let output = client.stdin(input).output();
    finished(
        &client,
        output.unwrap_or_else(|error| panic!("{client:?}: {error}")),
    )
}

fn finished(client: &Command, output: Output) -> Result<String, String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    match error.trim() {
        "" => Err(format!("{client:?}: {}", output.status)),
        error => Err(error.to_owned()),
    }
}

fn shortened(script: &str) -> String {
    let end = script.floor_char_boundary(2000);
    script[..end].to_owned()
}

/// The client escapes what XML demands, in names as in values.
fn rows(xml: &str) -> Vec<Row> {
    let bodies = xml.split("\n  <row>\n").skip(1);
    bodies
        .map(|body| {
            let body = body.split("\n  </row>\n").next().unwrap_or_default();
            body.split("\t<field name=\"").skip(1).map(field).collect()
        })
        .collect()
}

fn field(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('"').unwrap();
    let value = rest.strip_prefix('>')?;
    Some(decoded(value.split("</field>").next().unwrap_or_default()))
}

fn decoded(text: &str) -> String {
    // The ampersand last: it begins all others.
    [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&amp;", "&"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (code, sign)| {
        text.replace(code, sign)
    })
}

fn encoded(text: &str) -> String {
    let mut url = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                url.push(char::from(byte));
            }
            _ => write!(url, "%{byte:02X}").unwrap(),
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_null_and_signs() {
        let xml = "<?xml version=\"1.0\"?>\n\n<resultset statement=\"x\" xmlns:xsi=\"y\">\n  \
                   <row>\n\t<field name=\"a&quot;b\">&amp;lt;&lt;\n</field>\n\t\
                   <field name=\"n\" xsi:nil=\"true\" />\n\t<field name=\"e\"></field>\n  </row>\n</resultset>\n";
        let expected = vec![Some("&lt;<\n".to_owned()), None, Some(String::new())];
        assert_eq!(rows(xml), [expected]);
    }

    #[test]
    fn urls_take_any_name() {
        assert_eq!(encoded("o'neil@%/ü"), "o%27neil%40%25%2F%C3%BC");
    }
}
