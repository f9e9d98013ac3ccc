//! Series: the snapshots of a source by one host. A name alone does not make a series, because two hosts may use the
//! same one: what one of them stores must neither replace nor continue what the other has stored.

use std::collections::BTreeMap;

use crate::crypto::signing::SignerId;
use crate::error::Result;
use crate::format::snapshot::Snapshot;
use crate::store::Repository;

/// The snapshots of one source, by the host that signed them.
pub type SourceSeries = BTreeMap<SignerId, Vec<Snapshot>>;

impl Repository {
    /// The signer whose series a snapshot belongs to.
    #[must_use]
    pub fn series_signer(&self, snapshot: &Snapshot) -> SignerId {
        snapshot.signer
    }

    /// Snapshots by their series: by source, then by signer. The order within a series is kept.
    #[must_use]
    pub fn group_by_series(&self, snapshots: Vec<Snapshot>) -> BTreeMap<String, SourceSeries> {
        let mut sources: BTreeMap<String, SourceSeries> = BTreeMap::new();
        for snapshot in snapshots {
            let series = sources.entry(snapshot.root.source.clone()).or_default();
            let signer = self.series_signer(&snapshot);
            series.entry(signer).or_default().push(snapshot);
        }
        sources
    }

    /// The snapshots of a source that this host has taken, in the order of [`Self::snapshots_lossy`].
    ///
    /// # Errors
    /// When snapshots cannot be listed.
    pub fn own_snapshots(&self, source: &str) -> Result<Vec<Snapshot>> {
        let Some(host) = &self.inner.host else {
            return Ok(Vec::new());
        };
        let own = host.signer.id();
        let (mut snapshots, _) = self.snapshots_lossy()?;
        snapshots.retain(|one| one.root.source == source && self.series_signer(one) == own);
        Ok(snapshots)
    }

    /// Names for the signers of one source that tell them apart: those of the hosts, with the beginning of the key
    /// where two hosts have the same one.
    #[must_use]
    pub fn series_names(&self, series: &SourceSeries) -> BTreeMap<SignerId, String> {
        let named: BTreeMap<SignerId, String> = series
            .keys()
            .map(|signer| (*signer, self.signer_name(signer)))
            .collect();
        let is_shared = |name: &String| named.values().filter(|other| *other == name).count() > 1;
        let name = |(signer, name): (&SignerId, &String)| {
            let distinct = match is_shared(name) {
                true => format!("{name} ({})", signer.short()),
                false => name.clone(),
            };
            (*signer, distinct)
        };
        named.iter().map(name).collect()
    }
}
