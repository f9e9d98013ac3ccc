//! Transactions of rows that are applied as one, or one after the other by the same session.

use reprise_snapshotters::mysql::binlog::Ended;

use super::target::About;

/// So many transactions at most become one.
const TRANSACTIONS_MAX: usize = 1000;

/// One of them.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) ended: Ended,
    /// Where it ends in the batch.
    pub(super) end: usize,
}

/// Rows of several transactions.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) members: Vec<Member>,
}

impl Batch {
    /// Whether rows of this length still go in.
    pub(super) fn takes(&self, length: usize, limit: usize) -> bool {
        self.members.len() < TRANSACTIONS_MAX && self.bytes.len() + length <= limit
    }

    /// Adds a transaction.
    pub(super) fn add(&mut self, ended: Ended, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let end = self.bytes.len();
        self.members.push(Member { ended, end });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The rows of each transaction.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&Ended, &[u8])> {
        let begins = std::iter::once(0).chain(self.members.iter().map(|member| member.end));
        self.members.iter().zip(begins).map(|(member, begin)| {
            let rows = self.bytes.get(begin..member.end).unwrap_or_default();
            (&member.ended, rows)
        })
    }
}

/// So many transactions at most, and bytes of rows, go to one session at once.
const RUN_MAX: usize = 32;
const RUN_BYTES_MAX: usize = 1 << 20;

/// Transactions that one session applies one after the other, each under its number.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) members: Vec<(About, Vec<u8>)>,
    bytes: usize,
}

impl Run {
    /// Whether rows of this length still go in.
    pub(super) fn takes(&self, length: usize) -> bool {
        self.members.is_empty()
            || (self.members.len() < RUN_MAX && self.bytes + length <= RUN_BYTES_MAX)
    }

    /// Adds a transaction.
    pub(super) fn add(&mut self, about: About, rows: Vec<u8>) {
        self.bytes += rows.len();
        self.members.push((about, rows));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Its first place in the order of commits, and the last one that must be there before. What its
    /// members need of each other comes by their order.
    pub(super) fn places(&self) -> (u64, u64) {
        let starts = || {
            self.members
                .iter()
                .filter_map(|(about, _)| about.start.as_ref())
        };
        let first = starts().map(|start| start.place).min().unwrap_or(0);
        let before = starts().map(|start| start.last_committed);
        let after = before.map(|place| match place < first {
            true => place,
            false => first.saturating_sub(1),
        });
        (first, after.max().unwrap_or(0))
    }
}
