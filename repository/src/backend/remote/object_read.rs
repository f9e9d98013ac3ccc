//! Reads as the backend contract requires, over the requests of each vendor.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use super::attempt::{AttemptError, corrupt_response};
use super::retry::Retrier;
use super::split;
use crate::backend::{BackendError, BackendResult};

/// Objects are always smaller than this, in bytes; a range beyond it is rejected without a request.
const OBJECT_BYTES_MAX: u64 = 5 << 40;

/// Bytes fetched per request to compare a stored object with the expected content.
const COMPARE_BYTES: u64 = 8 << 20;

/// Delay before a stored object that differs is compared again.
const COMPARE_PAUSES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
];

/// Delay before an object that is not found is requested once more.
const NOT_FOUND_PAUSE: Duration = Duration::from_millis(200);

/// The requests that reading needs.
pub(super) trait ObjectRequests {
    /// Retries them.
    fn retrier(&self) -> &Retrier;

    /// One attempt to read an object, whole or a range. A range that reaches beyond its end is rejected.
    async fn get_once(&self, key: &str, range: Option<Range<u64>>) -> Result<Bytes, AttemptError>;

    /// An object's size.
    async fn size_of(&self, key: &str) -> BackendResult<u64>;
}

/// Reads an object, whole or exactly a range of it.
pub(super) async fn read_object(
    from: &impl ObjectRequests,
    key: &str,
    range: Option<Range<u64>>,
) -> BackendResult<Bytes> {
    let get_as_is = async |range: Option<Range<u64>>| {
        let attempt = || from.get_once(key, range.clone());
        from.retrier().run_with_retries("read", key, attempt).await
    };
    let get = async |range: Option<Range<u64>>| match get_as_is(range.clone()).await {
        // Behind some caches and gateways, what was just stored is not there at first.
        Err(BackendError::NotFound { .. }) => {
            tokio::time::sleep(NOT_FOUND_PAUSE).await;
            get_as_is(range).await
        }
        result => result,
    };
    let Some(asked) = range else {
        return get(None).await;
    };
    if asked.start < asked.end && asked.end <= OBJECT_BYTES_MAX {
        match get(Some(asked.clone())).await {
            Err(BackendError::Rejected { .. }) => {}
            result => return result,
        }
    }
    // The server refused the range, or no request was worth it: check the object's real size.
    let size_bytes = from.size_of(key).await?;
    if asked.start > asked.end || asked.end > size_bytes {
        return Err(BackendError::OutOfRange {
            key: key.to_owned(),
            size_bytes,
            start: asked.start,
            end: asked.end,
        });
    }
    if asked.is_empty() {
        return Ok(Bytes::new());
    }
    get(Some(asked)).await
}

/// Whether the stored object has exactly these bytes.
///
/// Our own earlier attempt may still be in progress, and the response may be corrupt, so a "no" is checked
/// again.
pub(super) async fn has_content(
    from: &impl ObjectRequests,
    key: &str,
    parts: &[Bytes],
) -> BackendResult<bool> {
    for pause in COMPARE_PAUSES {
        if has_content_now(from, key, parts).await? {
            return Ok(true);
        }
        tokio::time::sleep(pause).await;
    }
    has_content_now(from, key, parts).await
}

async fn has_content_now(
    from: &impl ObjectRequests,
    key: &str,
    parts: &[Bytes],
) -> BackendResult<bool> {
    let size = split::total_bytes(parts);
    if from.size_of(key).await? != size {
        return Ok(false);
    }
    let mut position = 0;
    while position < size {
        let end = (position + COMPARE_BYTES).min(size);
        let bytes = read_object(from, key, Some(position..end)).await?;
        if !split::matches_at(parts, position, &bytes) {
            return Ok(false);
        }
        position = end;
    }
    Ok(true)
}

/// Whether a response that was to hold a range has all of the object: it names no range, or its body is as long as the object.
pub(super) fn is_whole_object(content_range: Option<&str>, body: &Bytes) -> bool {
    let Some(named) = content_range else {
        return true;
    };
    let size = named
        .rsplit_once('/')
        .and_then(|(_, size)| size.parse().ok());
    size == Some(body.len())
}

/// The requested range of a body that is the whole object, of a server that ignores ranges.
pub(super) fn cut_range(
    body: Bytes,
    announced: Option<u64>,
    range: &Range<u64>,
    key: &str,
) -> Result<Bytes, AttemptError> {
    let body = check_body_length(body, announced, None, key)?;
    let bounds = usize::try_from(range.start)
        .ok()
        .zip(usize::try_from(range.end).ok());
    match bounds {
        Some((start, end)) if end <= body.len() => Ok(body.slice(start..end)),
        _ => Err(range_beyond_end(key)),
    }
}

/// Makes the caller request the object's real size.
fn range_beyond_end(key: &str) -> AttemptError {
    AttemptError::Permanent(BackendError::Rejected {
        operation: "read",
        key: key.to_owned(),
        source: "the range extends beyond the end of the object".into(),
    })
}

/// Checks that a body is what its response announces and what was requested.
pub(super) fn check_body_length(
    body: Bytes,
    announced: Option<u64>,
    wanted: Option<u64>,
    key: &str,
) -> Result<Bytes, AttemptError> {
    let length = body.len() as u64;
    if announced.is_some_and(|announced| announced != length) {
        return Err(corrupt_response(
            "the response is shorter than its Content-Length",
        ));
    }
    match wanted {
        Some(wanted) if length < wanted => Err(range_beyond_end(key)),
        Some(wanted) if length > wanted => Err(corrupt_response(
            "the response is longer than the requested range: the server, or a proxy before it, does not support ranges",
        )),
        _ => Ok(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_that_ignores_the_range_is_told_by_its_length() {
        let body = Bytes::from_static(b"0123456789");
        for (named, is_whole) in [
            (None, true),
            (Some("bytes 2-5/10"), true),
            (Some("bytes 2-11/20"), false),
            (Some("bytes 2-11/*"), false),
        ] {
            assert_eq!(is_whole_object(named, &body), is_whole, "{named:?}");
        }
        let part = cut_range(body.clone(), Some(10), &(2..5), "k").map_err(|_| "refused");
        assert_eq!(part, Ok(body.slice(2..5)));
    }
}
