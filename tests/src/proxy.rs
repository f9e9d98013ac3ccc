//! A proxy that stands between the program under test and a real server, and injures some of their exchanges
//! as networks, overloaded servers and bad memory do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{self, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::servers::http::{Body, Framing, Head};

/// A slow answer is this many pieces of four bytes, each after a pause, and then the rest.
const SLOW_PIECES: usize = 16;
const SLOW_PAUSE: Duration = Duration::from_millis(50);

/// What can happen to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Both connections close in the middle of the request's body.
    CutRequest,
    /// The connection closes in the middle of the answer's body.
    CutResponse,
    /// The server is not asked, and an internal error is the answer.
    Status500,
    /// The server is not asked, and the answer is to slow down, for no or one second.
    Status503,
    /// The server is not asked, and there is no answer until the client closes.
    Hang,
    /// The answer trickles for most of a second.
    Slow,
    /// The server does it and answers, but the client gets a closed connection.
    LostAck,
    /// The connection closes before as many bytes have come as the answer's length says.
    TruncatedResponse,
    /// The end of the body is missing, and the answer's length says nothing of it.
    ShortenedResponse,
    /// One bit of the answer's body is wrong.
    BitFlip,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::CutRequest,
        Self::CutResponse,
        Self::Status500,
        Self::Status503,
        Self::Hang,
        Self::Slow,
        Self::LostAck,
        Self::TruncatedResponse,
        Self::ShortenedResponse,
        Self::BitFlip,
    ];

    /// Whether it needs an answer with a body.
    fn injures_body(self) -> bool {
        matches!(
            self,
            Self::CutResponse | Self::TruncatedResponse | Self::ShortenedResponse | Self::BitFlip
        )
    }

    /// Whether it can happen to such a request at all. Only the answer tells whether it really has a body.
    fn fits(self, head: &Head, has_body: bool) -> bool {
        match self {
            Self::CutRequest => has_body,
            _ => !(self.injures_body() && method(head) == "HEAD"),
        }
    }
}

/// Which requests suffer what.
#[derive(Debug, Clone)]
pub struct Faults {
    /// How many of a hundred requests.
    pub percent: u8,
    /// What happens to them: one of these that fits the request, each as often as another.
    pub kinds: Vec<Kind>,
    /// The choice depends on this and on the number of the request alone.
    pub seed: u64,
}

/// The proxy. It takes no new connection once dropped.
#[derive(Debug)]
pub struct FaultProxy {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl FaultProxy {
    /// Starts one on a free port of 127.0.0.1.
    #[must_use]
    pub fn start(target: SocketAddr, faults: Faults) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            target,
            faults,
            stopped: AtomicBool::new(false),
            seen: Mutex::default(),
        });
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self {
            port,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How often each kind has happened.
    #[must_use]
    pub fn injected(&self) -> BTreeMap<Kind, u64> {
        self.shared.seen().injected.clone()
    }

    /// How many requests have come.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.seen().log.len() as u64
    }

    /// Method and path of each request, in the order they came.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.shared.seen().log.clone()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which sees that it is over.
        _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        _ = self.acceptor.take().map(JoinHandle::join);
    }
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    faults: Faults,
    stopped: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    log: Vec<String>,
    injected: BTreeMap<Kind, u64>,
}

/// A fault to come, and a random number for its particulars.
#[derive(Clone, Copy)]
struct Fault {
    kind: Kind,
    random: u64,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request and draws what happens to it.
    fn draw(&self, head: &Head, has_body: bool) -> Option<Fault> {
        let number = {
            let mut seen = self.seen();
            let mut words = head.start.split(' ');
            let (method, path) = (words.next(), words.next());
            let line = [method.unwrap_or_default(), path.unwrap_or_default()].join(" ");
            seen.log.push(line);
            seen.log.len() as u64
        };
        let share = mix(self.faults.seed ^ mix(number));
        if share % 100 >= u64::from(self.faults.percent) {
            return None;
        }
        let kinds = self.faults.kinds.iter().copied();
        let fitting: Vec<Kind> = kinds.filter(|kind| kind.fits(head, has_body)).collect();
        let choice = mix(share);
        let kind = *fitting.get(below(choice, fitting.len()))?;
        Some(Fault {
            kind,
            random: mix(choice),
        })
    }

    fn count(&self, kind: Kind) {
        *self.seen().injected.entry(kind).or_default() += 1;
    }
}

/// One step of `SplitMix64`.
fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// A number less than the limit, or 0.
fn below(random: u64, limit: usize) -> usize {
    usize::try_from(random % (limit as u64).max(1)).unwrap()
}

fn method(head: &Head) -> &str {
    head.start.split(' ').next().unwrap_or_default()
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let shared = Arc::clone(shared);
        let serve = move || -> io::Result<()> {
            let mut connection = Connection::new(client?, &shared)?;
            while connection.exchange()? {}
            Ok(())
        };
        // Either side may go away at any time: a closed connection tells the other.
        thread::spawn(move || _ = serve());
    }
}

/// A client's connection. Each request goes over a connection of its own to the server, so that the server
/// never closes an idle one under a request.
struct Connection<'a> {
    shared: &'a Shared,
    client: TcpStream,
    reader: BufReader<TcpStream>,
}

/// A server's answer.
struct Answer {
    head: Head,
    body: Body,
    /// Whether the connection can serve another request.
    reusable: bool,
}

impl<'a> Connection<'a> {
    fn new(client: TcpStream, shared: &'a Shared) -> io::Result<Self> {
        client.set_nodelay(true)?;
        Ok(Self {
            shared,
            reader: BufReader::new(client.try_clone()?),
            client,
        })
    }

    /// Serves one request; false when the connection is over.
    fn exchange(&mut self) -> io::Result<bool> {
        let Some(head) = Head::read(&mut self.reader)? else {
            return Ok(false);
        };
        let framing = head.request_framing()?;
        let fault = self.shared.draw(&head, framing != Framing::Length(0));
        if head.has("Expect", "100-continue") {
            self.client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if fault.is_some_and(|fault| fault.kind == Kind::CutRequest) {
            return self.cut_request(&head, framing);
        }
        let body = Body::read(&mut self.reader, framing)?;
        let Some(fault) = fault else {
            let answer = self.forward(&head, &body)?;
            return self.pass(&answer);
        };
        match fault.kind {
            Kind::Status500 | Kind::Status503 => self.refuse(&head, fault),
            Kind::Hang => self.hang(),
            kind => {
                let answer = self.forward(&head, &body)?;
                if kind.injures_body() && answer.body.content.is_empty() {
                    return self.pass(&answer);
                }
                self.shared.count(kind);
                self.injure(answer, fault)
            }
        }
    }

    fn forward(&self, head: &Head, body: &Body) -> io::Result<Answer> {
        let mut server = self.send(head, body.raw())?;
        let answer = Head::read_final(&mut server)?;
        let framing = answer.answer_framing(method(head))?;
        let modern = head.start.ends_with("/1.1") && answer.start.starts_with("HTTP/1.1");
        let closing = head.has("Connection", "close") || answer.has("Connection", "close");
        Ok(Answer {
            body: Body::read(&mut server, framing)?,
            head: answer,
            reusable: modern && !closing && framing != Framing::UntilClose,
        })
    }

    fn send(&self, head: &Head, body: &[u8]) -> io::Result<BufReader<TcpStream>> {
        let mut server = TcpStream::connect(self.shared.target)?;
        server.set_nodelay(true)?;
        server.write_all(&head.bytes())?;
        // A server may refuse a request by its head and close; its answer is there all the same.
        _ = server.write_all(body);
        Ok(BufReader::new(server))
    }

    fn pass(&mut self, answer: &Answer) -> io::Result<bool> {
        self.client.write_all(&answer.head.bytes())?;
        self.client.write_all(answer.body.raw())?;
        Ok(answer.reusable)
    }

    fn cut_request(&mut self, head: &Head, framing: Framing) -> io::Result<bool> {
        self.shared.count(Kind::CutRequest);
        let half = match framing {
            Framing::Length(length) => Framing::Length(length / 2),
            // It is not known before its end.
            unknown => unknown,
        };
        let body = Body::read(&mut self.reader, half)?;
        let raw = match half {
            Framing::Length(_) => body.raw(),
            _ => &body.raw()[..body.raw().len() / 2],
        };
        self.send(head, raw)?;
        Ok(false)
    }

    fn refuse(&mut self, head: &Head, fault: Fault) -> io::Result<bool> {
        self.shared.count(fault.kind);
        let (line, retry, code) = match fault.kind {
            Kind::Status503 => {
                let retry = format!("Retry-After: {}\r\n", fault.random % 2);
                ("503 Service Unavailable", retry, "SlowDown")
            }
            _ => ("500 Internal Server Error", String::new(), "InternalError"),
        };
        let body = format!("<Error><Code>{code}</Code><Message>injected</Message></Error>");
        let length = body.len();
        let mut text = format!(
            "HTTP/1.1 {line}\r\n{retry}Content-Type: application/xml\r\nContent-Length: {length}\r\n\r\n"
        );
        if method(head) != "HEAD" {
            text.push_str(&body);
        }
        self.client.write_all(text.as_bytes())?;
        Ok(!head.has("Connection", "close"))
    }

    fn hang(&mut self) -> io::Result<bool> {
        self.shared.count(Kind::Hang);
        io::copy(&mut self.reader, &mut io::sink())?;
        Ok(false)
    }

    fn injure(&mut self, mut answer: Answer, fault: Fault) -> io::Result<bool> {
        let length = answer.body.content.len();
        let part = below(fault.random, length);
        match fault.kind {
            Kind::LostAck => Ok(false),
            Kind::Slow => self.trickle(&answer),
            Kind::CutResponse => {
                let raw = answer.body.raw();
                self.client.write_all(&answer.head.bytes())?;
                self.client.write_all(&raw[..raw.len() / 2])?;
                Ok(false)
            }
            Kind::TruncatedResponse => {
                self.send_sized(&mut answer.head, length, &answer.body.content[..part])?;
                Ok(false)
            }
            Kind::ShortenedResponse => {
                self.send_sized(&mut answer.head, part, &answer.body.content[..part])?;
                Ok(answer.reusable)
            }
            _ => {
                answer.body.content[part] ^= 1 << (fault.random >> 61);
                self.send_sized(&mut answer.head, length, &answer.body.content)?;
                Ok(answer.reusable)
            }
        }
    }

    /// Sends an answer with that length, whether or not it is true, and not in chunks.
    fn send_sized(&mut self, head: &mut Head, length: usize, body: &[u8]) -> io::Result<()> {
        head.remove("Transfer-Encoding");
        head.set("Content-Length", &length.to_string());
        self.client.write_all(&head.bytes())?;
        self.client.write_all(body)
    }

    fn trickle(&mut self, answer: &Answer) -> io::Result<bool> {
        let whole = [&answer.head.bytes(), answer.body.raw()].concat();
        let (slow, rest) = whole.split_at(whole.len().min(4 * SLOW_PIECES));
        for piece in slow.chunks(4) {
            thread::sleep(SLOW_PAUSE);
            self.client.write_all(piece)?;
        }
        self.client.write_all(rest)?;
        Ok(answer.reusable)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::Shutdown;
    use std::time::Instant;

    use super::*;

    const BODY: &str = "a body with some bytes to be injured";

    /// A server that answers with the request's body, in chunks at `/chunked` and until the end of the
    /// connection at `/close`, and keeps the bodies that came whole.
    struct Echo {
        address: SocketAddr,
        whole: Arc<Mutex<Vec<usize>>>,
    }

    impl Echo {
        fn start() -> Self {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let address = listener.local_addr().unwrap();
            let whole = Arc::<Mutex<Vec<usize>>>::default();
            let seen = Arc::clone(&whole);
            thread::spawn(move || {
                for client in listener.incoming() {
                    let seen = Arc::clone(&seen);
                    thread::spawn(move || echo(client.unwrap(), &seen));
                }
            });
            Self { address, whole }
        }

        fn behind(&self, percent: u8, kinds: &[Kind]) -> FaultProxy {
            let kinds = kinds.to_vec();
            let faults = Faults {
                percent,
                kinds,
                seed: 7,
            };
            FaultProxy::start(self.address, faults)
        }
    }

    fn echo(client: TcpStream, seen: &Mutex<Vec<usize>>) -> io::Result<()> {
        let mut reader = BufReader::new(client.try_clone()?);
        let mut client = client;
        while let Some(head) = Head::read(&mut reader)? {
            if head.start.contains(" /refused ") {
                return client.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
            }
            if head.has("Expect", "100-continue") {
                client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            let body = Body::read(&mut reader, head.request_framing()?)?.content;
            seen.lock().unwrap().push(body.len());
            let length = body.len();
            let text = match head.start.split(' ').nth(1).unwrap() {
                "/chunked" => format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n"),
                "/close" => "\r\n".to_owned(),
                _ => format!("Content-Length: {length}\r\n\r\n"),
            };
            client.write_all(format!("HTTP/1.1 200 OK\r\n{text}").as_bytes())?;
            match text.contains("chunked") {
                true => client.write_all(&[&body, &b"\r\n0\r\n\r\n"[..]].concat())?,
                false if method(&head) != "HEAD" => client.write_all(&body)?,
                false => {}
            }
            if text == "\r\n" {
                break;
            }
        }
        Ok(())
    }

    /// Everything that comes back for a request with `BODY`.
    fn put(proxy: &FaultProxy, path: &str) -> String {
        let length = BODY.len();
        let text = format!(
            "PUT {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{BODY}"
        );
        talk(proxy, text.as_bytes())
    }

    fn talk(proxy: &FaultProxy, request: &[u8]) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        // A reset connection is a closed one.
        _ = stream.read_to_end(&mut answer);
        // A flipped byte may not be UTF-8: each becomes the character of its number.
        answer.into_iter().map(char::from).collect()
    }

    fn body(answer: &str) -> &str {
        answer.split_once("\r\n\r\n").unwrap().1
    }

    /// The answer to one request that suffers that.
    fn injured(kind: Kind) -> (String, Vec<usize>) {
        let echo = Echo::start();
        let proxy = echo.behind(100, &[kind]);
        let answer = put(&proxy, "/x");
        assert_eq!(proxy.injected(), BTreeMap::from([(kind, 1)]));
        assert_eq!(proxy.log(), ["PUT /x"]);
        let whole = echo.whole.lock().unwrap().clone();
        (answer, whole)
    }

    #[test]
    fn everything_passes_without_faults() {
        let echo = Echo::start();
        let proxy = echo.behind(0, &Kind::ALL);
        let large: Vec<u8> = (0..5_u32 << 20).map(|n| n.to_le_bytes()[1]).collect();
        let head = format!(
            "PUT /x HTTP/1.1\r\nX-Odd:value \r\nContent-Length: {}\r\n\r\n",
            large.len()
        );
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        for _ in 0..2 {
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&large).unwrap();
            let head = Head::read(&mut reader).unwrap().unwrap();
            let framing = head.answer_framing("PUT").unwrap();
            assert!(Body::read(&mut reader, framing).unwrap().content == large);
        }
        assert_eq!(proxy.requests(), 2);
        assert!(proxy.injected().is_empty());
    }

    #[test]
    fn every_framing_passes() {
        let echo = Echo::start();
        let proxy = echo.behind(0, &[]);
        let length = BODY.len();
        let chunks = format!("{length:x}\r\n{BODY}\r\n0\r\n\r\n");
        assert_eq!(body(&put(&proxy, "/chunked")), chunks);
        assert_eq!(body(&put(&proxy, "/close")), BODY);
        let request = "PUT /x HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(
            body(&talk(&proxy, format!("{request}{chunks}").as_bytes())),
            BODY
        );
        let request = "HEAD /x HTTP/1.1\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc";
        let answer = talk(&proxy, request.as_bytes());
        assert_eq!(answer, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
        let request = "PUT /x HTTP/1.1\r\nConnection: close\r\nExpect: 100-continue\r\n\
                       Content-Length: 3\r\n\r\nabc";
        let answer = talk(&proxy, request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"));
        assert!(answer.ends_with("abc"));
    }

    #[test]
    fn a_refusal_before_the_body_passes() {
        let echo = Echo::start();
        let proxy = echo.behind(0, &[]);
        let length = 5 << 20;
        let head = format!(
            "PUT /refused HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        let answer = talk(&proxy, &[head.as_bytes(), &vec![0; length]].concat());
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer:?}");
    }

    #[test]
    fn a_cut_request_is_never_whole() {
        let (answer, whole) = injured(Kind::CutRequest);
        assert_eq!((answer.as_str(), whole), ("", vec![]));
    }

    #[test]
    fn a_lost_acknowledgement_is_of_something_done() {
        let (answer, whole) = injured(Kind::LostAck);
        assert_eq!((answer.as_str(), whole), ("", vec![BODY.len()]));
    }

    #[test]
    fn a_cut_answer_ends_in_its_middle() {
        let (answer, _) = injured(Kind::CutResponse);
        assert!(answer.contains(&format!("Content-Length: {}\r\n", BODY.len())));
        assert_eq!(body(&answer), &BODY[..BODY.len() / 2]);
    }

    #[test]
    fn a_truncated_answer_contradicts_its_length() {
        let (answer, _) = injured(Kind::TruncatedResponse);
        assert!(answer.contains(&format!("Content-Length: {}\r\n", BODY.len())));
        assert!(body(&answer).len() < BODY.len() && BODY.starts_with(body(&answer)));
    }

    #[test]
    fn a_shortened_answer_agrees_with_its_length() {
        let (answer, _) = injured(Kind::ShortenedResponse);
        let length = body(&answer).len();
        assert!(answer.contains(&format!("Content-Length: {length}\r\n")));
        assert!(length < BODY.len() && BODY.starts_with(body(&answer)));
    }

    #[test]
    fn one_bit_flips_in_chunks_too() {
        let echo = Echo::start();
        let proxy = echo.behind(100, &[Kind::BitFlip]);
        for path in ["/x", "/chunked", "/close"] {
            let answer = put(&proxy, path);
            let pairs = body(&answer).chars().zip(BODY.chars());
            let wrong: u32 = pairs
                .map(|(a, b)| (u32::from(a) ^ u32::from(b)).count_ones())
                .sum();
            assert_eq!((wrong, body(&answer).chars().count()), (1, BODY.len()));
            assert!(answer.contains(&format!("Content-Length: {}\r\n", BODY.len())));
        }
        assert_eq!(proxy.injected(), BTreeMap::from([(Kind::BitFlip, 3)]));
    }

    #[test]
    fn errors_do_not_reach_the_server() {
        let (answer, whole) = injured(Kind::Status500);
        assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("InternalError"));
        assert!(whole.is_empty());
        let (answer, whole) = injured(Kind::Status503);
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("SlowDown"));
        assert!(answer.contains("Retry-After: 0\r\n") || answer.contains("Retry-After: 1\r\n"));
        assert!(whole.is_empty());
    }

    #[test]
    fn a_hanging_request_ends_with_its_client() {
        let echo = Echo::start();
        let proxy = echo.behind(100, &[Kind::Hang]);
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
        stream.write_all(b"GET /x HTTP/1.1\r\n\r\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.is_empty() && echo.whole.lock().unwrap().is_empty());
        assert_eq!(proxy.injected(), BTreeMap::from([(Kind::Hang, 1)]));
    }

    #[test]
    fn a_slow_answer_is_whole() {
        let begin = Instant::now();
        let (answer, _) = injured(Kind::Slow);
        assert_eq!(body(&answer), BODY);
        assert!(begin.elapsed() >= SLOW_PAUSE * 10);
    }

    #[test]
    fn faults_that_need_a_body_leave_other_requests_alone() {
        let echo = Echo::start();
        let proxy = echo.behind(100, &[Kind::BitFlip, Kind::CutRequest]);
        for method in ["HEAD", "GET"] {
            let request = format!("{method} /x HTTP/1.1\r\nConnection: close\r\n\r\n");
            assert!(talk(&proxy, request.as_bytes()).starts_with("HTTP/1.1 200 "));
        }
        assert!(proxy.injected().is_empty());
    }

    #[test]
    fn the_share_is_kept_and_the_choice_repeats() {
        let run = || {
            let echo = Echo::start();
            let proxy = echo.behind(30, &[Kind::Status500, Kind::LostAck]);
            let answers: Vec<String> = (0..200).map(|_| put(&proxy, "/x")).collect();
            (answers, proxy.injected())
        };
        let (answers, injected) = run();
        assert_eq!((answers, injected.clone()), run());
        assert!((40..80).contains(&injected.values().sum::<u64>()));
        assert_eq!(injected.len(), 2);
    }

    #[test]
    fn a_dropped_proxy_accepts_nothing() {
        let proxy = Echo::start().behind(0, &[]);
        let port = proxy.port();
        drop(proxy);
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    }
}
