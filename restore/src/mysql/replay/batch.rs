//! Transactions of rows that are applied as one.

use reprise_snapshotters::mysql::binlog::Ended;

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
