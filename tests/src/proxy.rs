//! A proxy that stands between the program under test and a real server, and injects faults into some of their exchanges
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

/// A slow response is this many chunks of four bytes, each after a pause, and then the rest.
const SLOW_CHUNKS: usize = 16;
const SLOW_PAUSE: Duration = Duration::from_millis(50);

/// What can happen to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// Both connections close in the middle of the request's body.
    CutRequest,
    /// The connection closes in the middle of the response's body.
    CutResponse,
    /// The server is not asked, and an internal error is the response.
    Status500,
    /// The server is not asked, and the response is to slow down, for no or one second.
    Status503,
    /// The server is not asked, and there is no response until the client closes.
    Hang,
    /// The response comes slowly for most of a second.
    Slow,
    /// The server does it and responds, but the client gets a closed connection.
    LostAck,
    /// The connection closes before as many bytes have come as the response's length says.
    TruncatedResponse,
    /// The end of the body is missing, and the response's length says nothing of it.
    ShortenedResponse,
    /// One bit of the response's body is wrong.
    BitFlip,
    /// A condition on an upload is something that the server does not implement.
    ConditionsUnknown,
    /// The server sends the whole object, whatever range is asked for.
    RangesIgnored,
    /// A stored object is not found by the first request of its kind.
    NotThereYet,
}

impl FaultKind {
    /// Every kind of fault that comes and goes; the others are what some servers always do.
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

    /// Whether it needs a response with a body.
    fn damages_body(self) -> bool {
        matches!(
            self,
            Self::CutResponse | Self::TruncatedResponse | Self::ShortenedResponse | Self::BitFlip
        )
    }

    /// Whether it can happen to such a request at all. Only the response tells whether it really has a body.
    fn fits(self, head: &Head, has_body: bool) -> bool {
        match self {
            Self::CutRequest => has_body,
            Self::ConditionsUnknown => head.field("If-None-Match").is_some(),
            Self::RangesIgnored => head.field("Range").is_some(),
            Self::NotThereYet => {
                matches!(method(head), "GET" | "HEAD") && head.start.contains("/packs/")
            }
            _ => !(self.damages_body() && method(head) == "HEAD"),
        }
    }
}

/// Which requests meet which fault.
#[derive(Debug, Clone)]
pub struct Faults {
    /// How many of a hundred requests.
    pub percent: u8,
    /// What happens to them: one of these that fits the request, each as often as another.
    pub kinds: Vec<FaultKind>,
    /// The choice depends on this and on the number of the request alone.
    pub seed: u64,
}

/// The proxy. It takes no new connection once dropped.
#[derive(Debug)]
pub struct FaultProxy {
    port: u16,
    shared: Arc<ProxyState>,
    acceptor: Option<JoinHandle<()>>,
}

impl FaultProxy {
    /// Starts one on a free port of 127.0.0.1.
    #[must_use]
    pub fn start(target: SocketAddr, faults: Faults) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(ProxyState {
            target,
            faults,
            stopped: AtomicBool::new(false),
            requests: Mutex::default(),
        });
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept_connections(&listener, &shared)
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
    pub fn injected(&self) -> BTreeMap<FaultKind, u64> {
        self.shared.request_log().injected.clone()
    }

    /// How many requests have come.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.request_log().log.len() as u64
    }

    /// Method and path of each request, in the order they came.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.shared.request_log().log.clone()
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
struct ProxyState {
    target: SocketAddr,
    faults: Faults,
    stopped: AtomicBool,
    requests: Mutex<RequestLog>,
}

#[derive(Debug, Default)]
struct RequestLog {
    log: Vec<String>,
    injected: BTreeMap<FaultKind, u64>,
}

/// A fault to come, and a random number for its particulars.
#[derive(Clone, Copy)]
struct DrawnFault {
    kind: FaultKind,
    random: u64,
}

impl ProxyState {
    fn request_log(&self) -> MutexGuard<'_, RequestLog> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request and draws what happens to it.
    fn draw_fault(&self, head: &Head, has_body: bool) -> Option<DrawnFault> {
        let (number, is_first) = {
            let mut seen = self.request_log();
            let mut words = head.start.split(' ');
            let (method, path) = (words.next(), words.next());
            let line = [method.unwrap_or_default(), path.unwrap_or_default()].join(" ");
            let is_first = !seen.log.contains(&line);
            seen.log.push(line);
            (seen.log.len() as u64, is_first)
        };
        let share = mix_bits(self.faults.seed ^ mix_bits(number));
        if share % 100 >= u64::from(self.faults.percent) {
            return None;
        }
        let kinds = self.faults.kinds.iter().copied();
        let fits = |kind: &FaultKind| {
            kind.fits(head, has_body) && (is_first || *kind != FaultKind::NotThereYet)
        };
        let fitting: Vec<FaultKind> = kinds.filter(fits).collect();
        let choice = mix_bits(share);
        let kind = *fitting.get(limit_random(choice, fitting.len()))?;
        Some(DrawnFault {
            kind,
            random: mix_bits(choice),
        })
    }

    fn count_fault(&self, kind: FaultKind) {
        *self.request_log().injected.entry(kind).or_default() += 1;
    }
}

/// One step of `SplitMix64`.
fn mix_bits(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// A number less than the limit, or 0.
fn limit_random(random: u64, limit: usize) -> usize {
    usize::try_from(random % (limit as u64).max(1)).unwrap()
}

fn method(head: &Head) -> &str {
    head.start.split(' ').next().unwrap_or_default()
}

fn accept_connections(listener: &TcpListener, shared: &Arc<ProxyState>) {
    for client in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let shared = Arc::clone(shared);
        let serve = move || -> io::Result<()> {
            let mut connection = ProxiedConnection::new(client?, &shared)?;
            while connection.exchange()? {}
            Ok(())
        };
        // Either side may go away at any time: a closed connection tells the other.
        thread::spawn(move || _ = serve());
    }
}

/// A client's connection. Each request goes over a connection of its own to the server, so that the server
/// never closes an idle one under a request.
struct ProxiedConnection<'a> {
    shared: &'a ProxyState,
    client: TcpStream,
    reader: BufReader<TcpStream>,
}

/// A server's response.
struct ServerResponse {
    head: Head,
    body: Body,
    /// Whether the connection can serve another request.
    reusable: bool,
}

impl<'a> ProxiedConnection<'a> {
    fn new(client: TcpStream, shared: &'a ProxyState) -> io::Result<Self> {
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
        let fault = self.shared.draw_fault(&head, framing != Framing::Length(0));
        if head.has("Expect", "100-continue") {
            self.client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if fault.is_some_and(|fault| fault.kind == FaultKind::CutRequest) {
            return self.cut_request(&head, framing);
        }
        let body = Body::read(&mut self.reader, framing)?;
        let Some(fault) = fault else {
            let response = self.forward_request(&head, &body)?;
            return self.pass_response(&response);
        };
        match fault.kind {
            FaultKind::Status500
            | FaultKind::Status503
            | FaultKind::ConditionsUnknown
            | FaultKind::NotThereYet => self.send_error(&head, fault),
            FaultKind::RangesIgnored => {
                self.shared.count_fault(fault.kind);
                let mut whole = head.clone();
                whole.remove("Range");
                let response = self.forward_request(&whole, &body)?;
                self.pass_response(&response)
            }
            FaultKind::Hang => self.hang(),
            kind => {
                let response = self.forward_request(&head, &body)?;
                if kind.damages_body() && response.body.content.is_empty() {
                    return self.pass_response(&response);
                }
                self.shared.count_fault(kind);
                self.inject(response, fault)
            }
        }
    }

    fn forward_request(&self, head: &Head, body: &Body) -> io::Result<ServerResponse> {
        let mut server = self.send_request(head, body.raw())?;
        let response = Head::read_final(&mut server)?;
        let framing = response.response_framing(method(head))?;
        let modern = head.start.ends_with("/1.1") && response.start.starts_with("HTTP/1.1");
        let closing = head.has("Connection", "close") || response.has("Connection", "close");
        Ok(ServerResponse {
            body: Body::read(&mut server, framing)?,
            head: response,
            reusable: modern && !closing && framing != Framing::UntilClose,
        })
    }

    fn send_request(&self, head: &Head, body: &[u8]) -> io::Result<BufReader<TcpStream>> {
        let mut server = TcpStream::connect(self.shared.target)?;
        server.set_nodelay(true)?;
        server.write_all(&head.bytes())?;
        // A server may refuse a request by its head and close; its response is there all the same.
        _ = server.write_all(body);
        Ok(BufReader::new(server))
    }

    fn pass_response(&mut self, response: &ServerResponse) -> io::Result<bool> {
        self.client.write_all(&response.head.bytes())?;
        self.client.write_all(response.body.raw())?;
        Ok(response.reusable)
    }

    fn cut_request(&mut self, head: &Head, framing: Framing) -> io::Result<bool> {
        self.shared.count_fault(FaultKind::CutRequest);
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
        self.send_request(head, raw)?;
        Ok(false)
    }

    fn send_error(&mut self, head: &Head, fault: DrawnFault) -> io::Result<bool> {
        self.shared.count_fault(fault.kind);
        let (line, retry, code) = match fault.kind {
            FaultKind::Status503 => {
                let retry = format!("Retry-After: {}\r\n", fault.random % 2);
                ("503 Service Unavailable", retry, "SlowDown")
            }
            FaultKind::ConditionsUnknown => {
                ("501 Not Implemented", String::new(), "NotImplemented")
            }
            FaultKind::NotThereYet => ("404 Not Found", String::new(), "NoSuchKey"),
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
        self.shared.count_fault(FaultKind::Hang);
        io::copy(&mut self.reader, &mut io::sink())?;
        Ok(false)
    }

    fn inject(&mut self, mut response: ServerResponse, fault: DrawnFault) -> io::Result<bool> {
        let length = response.body.content.len();
        let part = limit_random(fault.random, length);
        match fault.kind {
            FaultKind::LostAck => Ok(false),
            FaultKind::Slow => self.send_slowly(&response),
            FaultKind::CutResponse => {
                let raw = response.body.raw();
                self.client.write_all(&response.head.bytes())?;
                self.client.write_all(&raw[..raw.len() / 2])?;
                Ok(false)
            }
            FaultKind::TruncatedResponse => {
                self.send_sized(&mut response.head, length, &response.body.content[..part])?;
                Ok(false)
            }
            FaultKind::ShortenedResponse => {
                self.send_sized(&mut response.head, part, &response.body.content[..part])?;
                Ok(response.reusable)
            }
            _ => {
                response.body.content[part] ^= 1 << (fault.random >> 61);
                self.send_sized(&mut response.head, length, &response.body.content)?;
                Ok(response.reusable)
            }
        }
    }

    /// Sends a response with that length, whether or not it is true, and not in chunks.
    fn send_sized(&mut self, head: &mut Head, length: usize, body: &[u8]) -> io::Result<()> {
        head.remove("Transfer-Encoding");
        head.set("Content-Length", &length.to_string());
        self.client.write_all(&head.bytes())?;
        self.client.write_all(body)
    }

    fn send_slowly(&mut self, response: &ServerResponse) -> io::Result<bool> {
        let whole = [&response.head.bytes(), response.body.raw()].concat();
        let (slow, rest) = whole.split_at(whole.len().min(4 * SLOW_CHUNKS));
        for chunk in slow.chunks(4) {
            thread::sleep(SLOW_PAUSE);
            self.client.write_all(chunk)?;
        }
        self.client.write_all(rest)?;
        Ok(response.reusable)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::Shutdown;
    use std::time::Instant;

    use super::*;

    const BODY: &str = "a body with some bytes to be damaged";

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

        fn behind(&self, percent: u8, kinds: &[FaultKind]) -> FaultProxy {
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
        send_raw(proxy, text.as_bytes())
    }

    fn send_raw(proxy: &FaultProxy, request: &[u8]) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
        stream.write_all(request).unwrap();
        let mut response = Vec::new();
        // A reset connection is a closed one.
        _ = stream.read_to_end(&mut response);
        // A flipped byte may not be UTF-8: each becomes the character of its number.
        response.into_iter().map(char::from).collect()
    }

    fn body(response: &str) -> &str {
        response.split_once("\r\n\r\n").unwrap().1
    }

    /// The response to one request that meets that fault.
    fn response_with_fault(kind: FaultKind) -> (String, Vec<usize>) {
        let echo = Echo::start();
        let proxy = echo.behind(100, &[kind]);
        let response = put(&proxy, "/x");
        assert_eq!(proxy.injected(), BTreeMap::from([(kind, 1)]));
        assert_eq!(proxy.log(), ["PUT /x"]);
        let whole = echo.whole.lock().unwrap().clone();
        (response, whole)
    }

    #[test]
    fn everything_passes_without_faults() {
        let echo = Echo::start();
        let proxy = echo.behind(0, &FaultKind::ALL);
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
            let framing = head.response_framing("PUT").unwrap();
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
            body(&send_raw(&proxy, format!("{request}{chunks}").as_bytes())),
            BODY
        );
        let request = "HEAD /x HTTP/1.1\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc";
        let response = send_raw(&proxy, request.as_bytes());
        assert_eq!(response, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
        let request = "PUT /x HTTP/1.1\r\nConnection: close\r\nExpect: 100-continue\r\n\
                       Content-Length: 3\r\n\r\nabc";
        let response = send_raw(&proxy, request.as_bytes());
        assert!(response.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"));
        assert!(response.ends_with("abc"));
    }

    #[test]
    fn a_refusal_before_the_body_passes() {
        let echo = Echo::start();
        let proxy = echo.behind(0, &[]);
        let length = 5 << 20;
        let head = format!(
            "PUT /refused HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        let response = send_raw(&proxy, &[head.as_bytes(), &vec![0; length]].concat());
        assert!(response.starts_with("HTTP/1.1 403 "), "{response:?}");
    }

    #[test]
    fn a_cut_request_is_never_whole() {
        let (response, whole) = response_with_fault(FaultKind::CutRequest);
        assert_eq!((response.as_str(), whole), ("", vec![]));
    }

    #[test]
    fn a_lost_acknowledgement_is_of_something_done() {
        let (response, whole) = response_with_fault(FaultKind::LostAck);
        assert_eq!((response.as_str(), whole), ("", vec![BODY.len()]));
    }

    #[test]
    fn a_cut_response_ends_in_its_middle() {
        let (response, _) = response_with_fault(FaultKind::CutResponse);
        assert!(response.contains(&format!("Content-Length: {}\r\n", BODY.len())));
        assert_eq!(body(&response), &BODY[..BODY.len() / 2]);
    }

    #[test]
    fn a_truncated_response_contradicts_its_length() {
        let (response, _) = response_with_fault(FaultKind::TruncatedResponse);
        assert!(response.contains(&format!("Content-Length: {}\r\n", BODY.len())));
        assert!(body(&response).len() < BODY.len() && BODY.starts_with(body(&response)));
    }

    #[test]
    fn a_shortened_response_agrees_with_its_length() {
        let (response, _) = response_with_fault(FaultKind::ShortenedResponse);
        let length = body(&response).len();
        assert!(response.contains(&format!("Content-Length: {length}\r\n")));
        assert!(length < BODY.len() && BODY.starts_with(body(&response)));
    }

    #[test]
    fn one_bit_flips_in_chunks_too() {
        let echo = Echo::start();
        let proxy = echo.behind(100, &[FaultKind::BitFlip]);
        for path in ["/x", "/chunked", "/close"] {
            let response = put(&proxy, path);
            let pairs = body(&response).chars().zip(BODY.chars());
            let wrong: u32 = pairs
                .map(|(a, b)| (u32::from(a) ^ u32::from(b)).count_ones())
                .sum();
            assert_eq!((wrong, body(&response).chars().count()), (1, BODY.len()));
            assert!(response.contains(&format!("Content-Length: {}\r\n", BODY.len())));
        }
        assert_eq!(proxy.injected(), BTreeMap::from([(FaultKind::BitFlip, 3)]));
    }

    #[test]
    fn errors_do_not_reach_the_server() {
        let (response, whole) = response_with_fault(FaultKind::Status500);
        assert!(response.starts_with("HTTP/1.1 500 ") && response.contains("InternalError"));
        assert!(whole.is_empty());
        let (response, whole) = response_with_fault(FaultKind::Status503);
        assert!(response.starts_with("HTTP/1.1 503 ") && response.contains("SlowDown"));
        assert!(response.contains("Retry-After: 0\r\n") || response.contains("Retry-After: 1\r\n"));
        assert!(whole.is_empty());
    }

    #[test]
    fn a_hanging_request_ends_with_its_client() {
        let echo = Echo::start();
        let proxy = echo.behind(100, &[FaultKind::Hang]);
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
        stream.write_all(b"GET /x HTTP/1.1\r\n\r\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut response = Vec::new();
        stream.read_to_end(&mut response).unwrap();
        assert!(response.is_empty() && echo.whole.lock().unwrap().is_empty());
        assert_eq!(proxy.injected(), BTreeMap::from([(FaultKind::Hang, 1)]));
    }

    #[test]
    fn a_slow_response_is_whole() {
        let begin = Instant::now();
        let (response, _) = response_with_fault(FaultKind::Slow);
        assert_eq!(body(&response), BODY);
        assert!(begin.elapsed() >= SLOW_PAUSE * 10);
    }

    #[test]
    fn faults_that_need_a_body_leave_other_requests_alone() {
        let echo = Echo::start();
        let proxy = echo.behind(100, &[FaultKind::BitFlip, FaultKind::CutRequest]);
        for method in ["HEAD", "GET"] {
            let request = format!("{method} /x HTTP/1.1\r\nConnection: close\r\n\r\n");
            assert!(send_raw(&proxy, request.as_bytes()).starts_with("HTTP/1.1 200 "));
        }
        assert!(proxy.injected().is_empty());
    }

    #[test]
    fn the_share_is_kept_and_the_choice_repeats() {
        let run = || {
            let echo = Echo::start();
            let proxy = echo.behind(30, &[FaultKind::Status500, FaultKind::LostAck]);
            let responses: Vec<String> = (0..200).map(|_| put(&proxy, "/x")).collect();
            (responses, proxy.injected())
        };
        let (responses, injected) = run();
        assert_eq!((responses, injected.clone()), run());
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
