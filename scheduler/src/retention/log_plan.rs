//! What is forgotten of a log.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use reprise_mysql::log::StoredSegment;
use reprise_restore::mysql::RecoveryCatalog;
use serde::Serialize;

use crate::text::{format_bytes, format_count};

/// The oldest part of a log, to be forgotten.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct LogForgetPlan {
    /// The sequence of the first segment that is kept.
    pub before: u64,
    /// How many segments are forgotten.
    pub segments: usize,
    /// Their stored bytes.
    pub bytes: u64,
    /// The time that they cover, if known.
    pub seconds: Option<i64>,
}

impl LogForgetPlan {
    /// The segments of a log from one sequence until before another; `None`: there are none.
    pub(super) fn for_range(archive: &RecoveryCatalog, from: u64, before: u64) -> Option<Self> {
        let segments = archive.log().segments().iter();
        let forgotten = segments.filter(|segment| (from..before).contains(&segment.key.sequence));
        let forgotten: Vec<&StoredSegment> = forgotten.collect();
        (!forgotten.is_empty()).then(|| Self {
            before,
            segments: forgotten.len(),
            bytes: forgotten.iter().map(|segment| segment.key.size).sum(),
            seconds: covered_time(&forgotten).map(|span| span.num_seconds()),
        })
    }
}

/// The time that log segments cover, by their server's times or the storage's, whichever is longer.
fn covered_time(segments: &[&StoredSegment]) -> Option<TimeDelta> {
    let span = |times: Vec<DateTime<Utc>>| Some(*times.iter().max()? - *times.iter().min()?);
    let received = segments.iter().filter_map(|segment| segment.key.received);
    let reported = segments.iter().flat_map(|segment| {
        let (first, last) = segment.facts.times.unzip();
        [first, last, segment.facts.until]
    });
    let reported = reported.flatten().map(DateTime::from);
    span(received.collect()).max(span(reported.collect()))
}

impl fmt::Display for LogForgetPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}",
            format_count(self.segments, "log segment", "log segments"),
            format_bytes(self.bytes)
        )?;
        match self.seconds {
            Some(seconds) => write!(f, ", {} min)", seconds / 60),
            None => f.write_str(", of unknown duration)"),
        }
    }
}
