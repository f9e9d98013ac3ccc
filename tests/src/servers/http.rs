//! As much of HTTP/1.1 as the tests need.

use std::io::{self, BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A server that says nothing for so long has failed.
const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// The response to a request.
#[derive(Debug)]
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Sends one request to a server on this machine.
pub(crate) fn request(
    port: u16,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> io::Result<HttpResponse> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(WAIT_LIMIT))?;
    let mut head = Head {
        start: format!("{method} {path} HTTP/1.1"),
        fields: vec![format!("Host: 127.0.0.1:{port}")],
    };
    head.set("Connection", "close");
    head.set("Content-Length", &body.len().to_string());
    for (name, value) in fields {
        head.set(name, value);
    }
    (&stream).write_all(&[&head.bytes(), body].concat())?;
    let mut reader = BufReader::new(stream);
    let head = Head::read_final(&mut reader)?;
    let body = Body::read(&mut reader, head.response_framing(method)?)?;
    Ok(HttpResponse {
        status: head.status()?,
        body: body.content,
    })
}

/// The first line and the header fields of a message, as they came.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) fields: Vec<String>,
}

impl Head {
    /// Nothing when the other side has closed the connection.
    pub(crate) fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return match lines.is_empty() {
                    true => Ok(None),
                    false => Err(ErrorKind::UnexpectedEof.into()),
                };
            }
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                break;
            }
            lines.push(line.to_owned());
        }
        if lines.is_empty() {
            return Err(invalid("an empty head"));
        }
        let start = lines.remove(0);
        Ok(Some(Self {
            start,
            fields: lines,
        }))
    }

    /// The head of a response, past those that only ask to go on.
    pub(crate) fn read_final(reader: &mut impl BufRead) -> io::Result<Self> {
        loop {
            let head = Self::read(reader)?.ok_or(ErrorKind::UnexpectedEof)?;
            if head.status()? >= 200 {
                return Ok(head);
            }
        }
    }

    pub(crate) fn status(&self) -> io::Result<u16> {
        let status = self.start.split(' ').nth(1);
        status
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| invalid(&self.start))
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let split = self.fields.iter().filter_map(|line| line.split_once(':'));
        split
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .next()
    }

    pub(crate) fn has(&self, name: &str, value: &str) -> bool {
        self.field(name)
            .is_some_and(|found| found.eq_ignore_ascii_case(value))
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.fields.retain(|line| {
            let key = line.split_once(':').map(|(key, _)| key);
            !key.is_some_and(|key| key.eq_ignore_ascii_case(name))
        });
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.fields.push(format!("{name}: {value}"));
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let lines = self.fields.iter().map(|line| format!("{line}\r\n"));
        format!("{}\r\n{}\r\n", self.start, lines.collect::<String>()).into_bytes()
    }

    pub(crate) fn request_framing(&self) -> io::Result<Framing> {
        Ok(self.framing()?.unwrap_or(Framing::Length(0)))
    }

    pub(crate) fn response_framing(&self, method: &str) -> io::Result<Framing> {
        if method == "HEAD" || matches!(self.status()?, 204 | 304) {
            return Ok(Framing::Length(0));
        }
        Ok(self.framing()?.unwrap_or(Framing::UntilClose))
    }

    fn framing(&self) -> io::Result<Option<Framing>> {
        if self.has("Transfer-Encoding", "chunked") {
            return Ok(Some(Framing::Chunked));
        }
        let length = self.field("Content-Length").map(str::parse).transpose();
        Ok(length
            .map_err(|_| invalid("Content-Length"))?
            .map(Framing::Length))
    }
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// The body of a message.
#[derive(Debug, Default)]
pub(crate) struct Body {
    /// What it says.
    pub(crate) content: Vec<u8>,
    /// As it came, if that is more than what it says.
    chunks: Option<Vec<u8>>,
}

impl Body {
    pub(crate) fn read(reader: &mut impl BufRead, framing: Framing) -> io::Result<Self> {
        let mut body = Self::default();
        match framing {
            Framing::Length(length) => exactly(reader, length, &mut body.content)?,
            Framing::UntilClose => _ = reader.read_to_end(&mut body.content)?,
            Framing::Chunked => {
                let mut chunks = Vec::new();
                body.read_chunks(reader, &mut chunks)?;
                body.chunks = Some(chunks);
            }
        }
        Ok(body)
    }

    /// The body as it came.
    pub(crate) fn raw(&self) -> &[u8] {
        self.chunks.as_ref().unwrap_or(&self.content)
    }

    fn read_chunks(&mut self, reader: &mut impl BufRead, raw: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let line = line(reader, raw)?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(digits, 16).map_err(|_| invalid("a chunk's size"))?;
            if size == 0 {
                break;
            }
            let begin = raw.len();
            exactly(reader, size, raw)?;
            self.content.extend_from_slice(&raw[begin..]);
            exactly(reader, 2, raw)?;
        }
        // Trailers, up to an empty line.
        while !line(reader, raw)?.trim().is_empty() {}
        Ok(())
    }
}

fn exactly(reader: &mut impl BufRead, length: u64, into: &mut Vec<u8>) -> io::Result<()> {
    match reader.take(length).read_to_end(into)? as u64 == length {
        true => Ok(()),
        false => Err(ErrorKind::UnexpectedEof.into()),
    }
}

fn line(reader: &mut impl BufRead, raw: &mut Vec<u8>) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    raw.extend_from_slice(line.as_bytes());
    Ok(line)
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}
