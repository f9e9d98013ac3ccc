//! How much a backend has transferred.

/// How much was sent and received, and in how many requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Traffic {
    /// Requests that store: PUT and POST.
    pub writes: u64,
    /// Requests that read an object or its size: GET and HEAD.
    pub reads: u64,
    /// Requests that list.
    pub lists: u64,
    /// Requests that delete.
    pub deletes: u64,
    /// Retried requests; they are in the other counts too.
    pub retries: u64,
    /// Bytes of bodies sent.
    pub sent_bytes: u64,
    /// Bytes of bodies received.
    pub received_bytes: u64,
}
