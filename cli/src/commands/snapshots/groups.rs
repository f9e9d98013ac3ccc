//! Lists of snapshots by source and host.

use std::collections::BTreeMap;

use clap::ValueEnum;
use reprise_repository::{Repository, Snapshot};
use serde_json::{Value, json};

use crate::output;

/// By what snapshots are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GroupKey {
    /// The source's name.
    Source,
    /// The host that has stored them.
    Host,
}

impl GroupKey {
    fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Host => "host",
        }
    }
}

/// Snapshots that have the same source, the same host, or both.
#[derive(Debug)]
pub(crate) struct SnapshotGroup {
    /// What they have in common.
    keys: Vec<(GroupKey, String)>,
    /// Oldest first.
    pub(crate) snapshots: Vec<Snapshot>,
}

impl SnapshotGroup {
    pub(crate) fn title(&self) -> String {
        let keys = self.keys.iter();
        let keys: Vec<_> = keys
            .map(|(key, value)| format!("{} {value}", key.name()))
            .collect();
        let count = output::format_count(self.snapshots.len(), "snapshot", "snapshots");
        format!("{}: {count}", keys.join(", "))
    }

    pub(crate) fn as_json(&self, listed: Vec<Value>) -> Value {
        let mut group = json!({"snapshots": listed});
        for (key, value) in &self.keys {
            group[key.name()] = json!(value);
        }
        group
    }
}

/// Puts snapshots together, in the order of what they have in common.
pub(crate) fn group_snapshots(
    repository: &Repository,
    snapshots: &[Snapshot],
    keys: &[GroupKey],
) -> Vec<SnapshotGroup> {
    let signers: Vec<_> = snapshots
        .iter()
        .map(|one| repository.series_signer(one))
        .collect();
    let hosts = repository.series_names(&signers);
    let mut groups: BTreeMap<Vec<String>, Vec<Snapshot>> = BTreeMap::new();
    for (snapshot, signer) in snapshots.iter().zip(&signers) {
        let value = |key: &GroupKey| match key {
            GroupKey::Source => snapshot.root.source.clone(),
            GroupKey::Host => hosts.get(signer).cloned().unwrap_or_default(),
        };
        let group = groups.entry(keys.iter().map(value).collect()).or_default();
        group.push(snapshot.clone());
    }
    let group = |(values, snapshots)| SnapshotGroup {
        keys: keys.iter().copied().zip::<Vec<String>>(values).collect(),
        snapshots,
    };
    groups.into_iter().map(group).collect()
}

/// Keeps the newest ones of each series. `snapshots` are in order, oldest first.
pub(crate) fn keep_newest(repository: &Repository, snapshots: &mut Vec<Snapshot>, count: u32) {
    let mut seen = BTreeMap::new();
    let mut is_kept = |snapshot: &Snapshot| {
        let series = (
            snapshot.root.source.clone(),
            repository.series_signer(snapshot),
        );
        let seen: &mut u32 = seen.entry(series).or_default();
        *seen += 1;
        *seen <= count
    };
    let mut kept: Vec<bool> = snapshots.iter().rev().map(&mut is_kept).collect();
    snapshots.retain(|_| kept.pop().unwrap_or(true));
}
