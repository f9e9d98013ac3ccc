//! Row transactions that are applied as one, or one after the other by the same session.

use reprise_mysql::binlog::LoggedTransaction;

use crate::mysql::replay::transaction_context::TransactionContext;

/// The maximum number of transactions that become one.
const TRANSACTIONS_MAX: usize = 1000;

/// One of them.
#[derive(Debug)]
pub(crate) struct BatchMember {
    pub(crate) ended: LoggedTransaction,
    /// Where it ends in the batch.
    pub(crate) end: usize,
}

/// Rows of several transactions.
#[derive(Debug, Default)]
pub(crate) struct MergedBatch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) members: Vec<BatchMember>,
}

impl MergedBatch {
    /// Whether rows of this length still fit.
    pub(crate) fn has_room_for(&self, length: usize, limit: usize) -> bool {
        self.members.len() < TRANSACTIONS_MAX && self.bytes.len() + length <= limit
    }

    /// Adds a transaction.
    pub(crate) fn add(&mut self, ended: LoggedTransaction, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let end = self.bytes.len();
        self.members.push(BatchMember { ended, end });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The rows of each transaction.
    pub(crate) fn transactions(&self) -> impl Iterator<Item = (&LoggedTransaction, &[u8])> {
        let begins = std::iter::once(0).chain(self.members.iter().map(|member| member.end));
        self.members.iter().zip(begins).map(|(member, begin)| {
            let rows = self.bytes.get(begin..member.end).unwrap_or_default();
            (&member.ended, rows)
        })
    }
}

/// The maximum number of transactions, and of bytes of rows, that one session gets at once.
const GTID_BATCH_MAX: usize = 32;
const GTID_BATCH_BYTES_MAX: usize = 1 << 20;

/// The maximum number where other sessions wait for this one: the more, the longer they wait (`tests/bench/log`: 2 to 4
/// were the fastest of 1 to 32).
const PARALLEL_GTID_BATCH_MAX: usize = 4;

/// Transactions that one session applies one after the other, each under its GTID.
#[derive(Debug, Default)]
pub(crate) struct GtidBatch {
    pub(crate) members: Vec<(TransactionContext, Vec<u8>)>,
    bytes: usize,
}

impl GtidBatch {
    /// Whether rows of this length still fit. `beside`: others are applied at the same time.
    pub(crate) fn has_room_for(&self, length: usize, beside: bool) -> bool {
        let most = if beside {
            PARALLEL_GTID_BATCH_MAX
        } else {
            GTID_BATCH_MAX
        };
        self.members.is_empty()
            || (self.members.len() < most && self.bytes + length <= GTID_BATCH_BYTES_MAX)
    }

    /// Adds a transaction.
    pub(crate) fn add(&mut self, about: TransactionContext, rows: Vec<u8>) {
        self.bytes += rows.len();
        self.members.push((about, rows));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The sequence numbers of its members; `None` when one has none.
    pub(crate) fn sequence_numbers(&self) -> Option<Vec<u64>> {
        let places = self
            .members
            .iter()
            .map(|(about, _)| about.sequence_number());
        places.map(|place| (place > 0).then_some(place)).collect()
    }
}
