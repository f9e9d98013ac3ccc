//! The one HTTP client: it counts, limits bandwidth, and gives up on stalled connections.
//!
//! Both vendors' libraries send through it, so that timeouts, certificates, limits and the rule that no
//! header is ever logged apply to all of them.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use super::bandwidth::BandwidthLimiter;
use super::options::RemoteOptions;
use super::traffic_counters::TrafficCounters;
use crate::backend::{BackendError, BackendResult};

/// Connect timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bodies are sent in frames of at most this many bytes, so that the limit and the stall timeout work.
const PIECE_BYTES: usize = 64 << 10;

type BoxError = Box<dyn StdError + Send + Sync>;

/// A request without a complete response.
#[derive(Debug, Clone)]
pub(super) struct TransportError {
    /// Whether the request cannot have reached the server.
    pub(super) never_sent: bool,
    /// Whether the server's certificate was rejected.
    pub(super) certificate_rejected: bool,
    source: Arc<dyn StdError + Send + Sync>,
}

impl fmt::Display for TransportError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.certificate_rejected {
            formatter.write_str("the server's certificate was rejected")
        } else if self.never_sent {
            formatter.write_str("cannot connect to the server")
        } else {
            formatter.write_str("the connection to the server was lost")
        }
    }
}

impl StdError for TransportError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.source.as_ref())
    }
}

impl TransportError {
    fn from_reqwest(error: reqwest::Error) -> Self {
        // A URL may contain a signature.
        let error = error.without_url();
        Self {
            never_sent: error.is_connect() || error.is_builder(),
            certificate_rejected: is_certificate_error(&error),
            source: Arc::new(error),
        }
    }

    fn from_stall(limit: Duration) -> Self {
        Self {
            never_sent: false,
            certificate_rejected: false,
            source: Arc::from(BoxError::from(format!(
                "no data was transferred for {} s",
                limit.as_secs()
            ))),
        }
    }
}

fn is_certificate_error(error: &dyn StdError) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if text.contains("certificate") || text.contains("UnknownIssuer") {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A complete response.
#[derive(Debug)]
pub(super) struct RawResponse {
    pub(super) status: u16,
    pub(super) headers: http::HeaderMap,
    pub(super) body: Bytes,
}

/// Sends requests to one destination.
#[derive(Debug, Clone)]
pub(super) struct NetworkClient {
    client: reqwest::Client,
    /// A request is aborted after this long without progress.
    stall_timeout: Duration,
    pub(super) counters: Arc<TrafficCounters>,
    upload: Arc<BandwidthLimiter>,
    download: Arc<BandwidthLimiter>,
}

impl NetworkClient {
    /// # Errors
    /// When the system has no certificates or no randomness.
    pub(super) fn new(
        stall_max: Duration,
        upload: Option<u64>,
        download: Option<u64>,
    ) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT.min(stall_max))
            .redirect(reqwest::redirect::Policy::none())
            .pool_idle_timeout(Duration::from_secs(20))
            .user_agent(concat!("reprise/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self {
            client,
            stall_timeout: stall_max,
            counters: Arc::default(),
            upload: Arc::new(BandwidthLimiter::new(upload)),
            download: Arc::new(BandwidthLimiter::new(download)),
        })
    }

    /// A client with the settings of a destination.
    pub(super) fn with_options(options: &RemoteOptions) -> BackendResult<Self> {
        Self::new(
            options.stall_timeout,
            options.limit_upload,
            options.limit_download,
        )
        .map_err(|error| BackendError::Io {
            operation: "start",
            key: "the network client".to_owned(),
            source: Box::new(error),
        })
    }

    /// Sends a request and reads the whole response.
    pub(super) async fn send<B>(
        &self,
        request: http::Request<B>,
    ) -> Result<RawResponse, TransportError>
    where
        B: Body<Data = Bytes> + Send + Sync + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        self.counters.count_request(request.method(), request.uri());
        let activity = Arc::new(ActivityMonitor::default());
        let request = request.map(|body| {
            reqwest::Body::wrap(MonitoredBody {
                body,
                rest: Bytes::new(),
                activity: Arc::clone(&activity),
                bandwidth: Arc::clone(&self.upload),
                pause: None,
                counters: Arc::clone(&self.counters),
            })
        });
        let request = reqwest::Request::try_from(request).map_err(TransportError::from_reqwest)?;
        let exchange = self.execute_request(request, &activity);
        tokio::select! {
            answer = exchange => answer,
            () = activity.wait_for_stall(self.stall_timeout) => Err(TransportError::from_stall(self.stall_timeout)),
        }
    }

    async fn execute_request(
        &self,
        request: reqwest::Request,
        activity: &ActivityMonitor,
    ) -> Result<RawResponse, TransportError> {
        let mut response = self
            .client
            .execute(request)
            .await
            .map_err(TransportError::from_reqwest)?;
        activity.record_activity();
        let expected = response.content_length().unwrap_or(0);
        let capacity = usize::try_from(expected).unwrap_or(0).min(128 << 20);
        let mut body = BytesMut::with_capacity(capacity);
        while let Some(piece) = response
            .chunk()
            .await
            .map_err(TransportError::from_reqwest)?
        {
            activity.record_activity();
            self.counters
                .received_bytes
                .fetch_add(piece.len() as u64, Ordering::Relaxed);
            let pause = self.download.reserve_bytes(piece.len());
            if !pause.is_zero() {
                activity.pause_for(pause).await;
            }
            body.extend_from_slice(&piece);
        }
        Ok(RawResponse {
            status: response.status().as_u16(),
            headers: std::mem::take(response.headers_mut()),
            body: body.freeze(),
        })
    }
}

/// Tracks the last progress.
#[derive(Debug)]
struct ActivityMonitor {
    /// Milliseconds since monitoring began.
    last_activity_ms: AtomicU64,
}

impl Default for ActivityMonitor {
    fn default() -> Self {
        Self {
            last_activity_ms: AtomicU64::new(now_millis()),
        }
    }
}

fn now_millis() -> u64 {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    let elapsed = BEGIN.get_or_init(Instant::now).elapsed();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

impl ActivityMonitor {
    fn record_activity(&self) {
        self.last_activity_ms.store(now_millis(), Ordering::Relaxed);
    }

    /// An intended wait is no stall.
    fn expect_pause(&self, pause: Duration) {
        let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.last_activity_ms
            .store(now_millis().saturating_add(pause), Ordering::Relaxed);
    }

    async fn pause_for(&self, pause: Duration) {
        self.expect_pause(pause);
        tokio::time::sleep(pause).await;
    }

    /// Completes when there was no progress for `limit`.
    async fn wait_for_stall(&self, limit: Duration) {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        loop {
            let end = self
                .last_activity_ms
                .load(Ordering::Relaxed)
                .saturating_add(limit);
            let now = now_millis();
            if now >= end {
                return;
            }
            tokio::time::sleep(Duration::from_millis(end - now)).await;
        }
    }
}

/// A body that is sent in frames, at most as fast as allowed, and that reports its progress.
struct MonitoredBody<B> {
    body: B,
    /// The unsent rest of the last frame.
    rest: Bytes,
    activity: Arc<ActivityMonitor>,
    bandwidth: Arc<BandwidthLimiter>,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
    counters: Arc<TrafficCounters>,
}

impl<B> MonitoredBody<B> {
    fn take_piece(&mut self) -> Bytes {
        let piece = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        self.activity.record_activity();
        self.counters
            .sent_bytes
            .fetch_add(piece.len() as u64, Ordering::Relaxed);
        let pause = self.bandwidth.reserve_bytes(piece.len());
        if !pause.is_zero() {
            self.activity.expect_pause(pause);
            self.pause = Some(Box::pin(tokio::time::sleep(pause)));
        }
        piece
    }
}

impl<B> Body for MonitoredBody<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(pause) = &mut self.pause {
            std::task::ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        loop {
            if !self.rest.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(self.take_piece()))));
            }
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let body = self.body.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(body.lower() + rest);
        hint
    }
}

/// A body of several parts that are sent one after the other without being joined.
#[derive(Debug, Clone)]
pub(super) struct PartsBody {
    parts: std::collections::VecDeque<Bytes>,
    length: u64,
}

impl PartsBody {
    pub(super) fn new(parts: &[Bytes]) -> Self {
        let parts: std::collections::VecDeque<Bytes> = parts
            .iter()
            .filter(|part| !part.is_empty())
            .cloned()
            .collect();
        let length = parts.iter().map(|part| part.len() as u64).sum();
        Self { parts, length }
    }
}

impl Body for PartsBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let part = self.parts.pop_front();
        if let Some(part) = &part {
            self.length -= part.len() as u64;
        }
        Poll::Ready(part.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
