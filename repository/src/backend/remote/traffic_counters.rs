//! Counts requests and bytes while they are transferred.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::backend::Traffic;

/// How much was sent and received so far.
#[derive(Debug, Default)]
pub(super) struct TrafficCounters {
    writes: AtomicU64,
    reads: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) sent_bytes: AtomicU64,
    pub(super) received_bytes: AtomicU64,
}

impl TrafficCounters {
    pub(super) fn traffic(&self) -> Traffic {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            writes: get(&self.writes),
            reads: get(&self.reads),
            lists: get(&self.lists),
            deletes: get(&self.deletes),
            retries: get(&self.retries),
            sent_bytes: get(&self.sent_bytes),
            received_bytes: get(&self.received_bytes),
        }
    }

    pub(super) fn count_request(&self, method: &http::Method, uri: &http::Uri) {
        let query = uri.query().unwrap_or_default();
        let lists = query.split('&').any(|pair| {
            pair.starts_with("list-type=") || pair == "comp=list" || pair == "versions"
        });
        let counter = match *method {
            http::Method::DELETE => &self.deletes,
            http::Method::GET if lists => &self.lists,
            http::Method::GET | http::Method::HEAD => &self.reads,
            _ => &self.writes,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
