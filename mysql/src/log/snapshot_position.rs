//! The position of a snapshot in the log.

use reprise_repository::Snapshot;
use serde_json::Value;

use crate::binlog::FILE_START;
use crate::log::segment_facts::{BinlogPosition, ExecutedSet};

/// The position from which a snapshot needs the log.
pub fn first_needed_position(snapshot: &Snapshot) -> Option<BinlogPosition> {
    log_start_position(snapshot).or_else(|| snapshot_binlog_position(snapshot))
}

/// The position from which a snapshot's log is kept: so early that prepared (XA) transactions that were open at the
/// snapshot are in it as a whole.
#[must_use]
pub(super) fn log_start_position(snapshot: &Snapshot) -> Option<BinlogPosition> {
    let from = snapshot.root.facts.get("log_from");
    let fact = |name: &str| from.and_then(|from| from.get(name)).cloned();
    position_from_facts(snapshot, fact("gtid"), fact("file"), fact("position"))
}

/// The consistent state of a snapshot as a binary log position; `None` when the snapshot does not state it.
#[must_use]
pub fn snapshot_binlog_position(snapshot: &Snapshot) -> Option<BinlogPosition> {
    let fact = |name: &str| snapshot.root.facts.get(name).cloned();
    position_from_facts(
        snapshot,
        fact("gtid"),
        fact("binary_log_file"),
        fact("binary_log_position"),
    )
}

/// Whether a snapshot's position in the log is exact. Where it is not, transactions may be missing or applied twice.
#[must_use]
pub fn has_exact_position(snapshot: &Snapshot) -> bool {
    snapshot.root.facts.get("coordinates_exact") != Some(&Value::Bool(false))
}

fn position_from_facts(
    snapshot: &Snapshot,
    gtid: Option<Value>,
    file: Option<Value>,
    position: Option<Value>,
) -> Option<BinlogPosition> {
    if !has_exact_position(snapshot) {
        return None;
    }
    let flavour = snapshot.root.facts.get("flavour");
    let text = |value: &Option<Value>| value.as_ref()?.as_str().map(str::to_owned);
    let coverage = match (text(&gtid), flavour.and_then(Value::as_str)) {
        (Some(gtid), Some("mariadb")) => ExecutedSet::Mariadb(gtid.parse().ok()?),
        (Some(gtid), _) => ExecutedSet::Mysql(gtid.parse().ok()?),
        (None, _) => ExecutedSet::Unnumbered,
    };
    let file = text(&file);
    let position = position.as_ref().and_then(Value::as_u64);
    if coverage == ExecutedSet::Unnumbered && (file.is_none() || position.is_none()) {
        return None;
    }
    Some(BinlogPosition {
        coverage,
        file,
        position: position.unwrap_or(FILE_START),
    })
}
