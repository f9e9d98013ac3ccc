//! Series: the snapshots of a source by one host. A name alone does not make a series, because two hosts may use the
//! same one: what one of them stores must neither replace nor continue what the other has stored.

use std::collections::BTreeMap;

use crate::crypto::signing::SignerId;
use crate::format::snapshot::Snapshot;
use crate::store::Repository;

/// The snapshots of one source, by the host that signed them.
pub type SourceSeries = BTreeMap<SignerId, Vec<Snapshot>>;

impl Repository {
    /// The signer whose series a snapshot belongs to: the first of those that continue each other.
    #[must_use]
    pub fn series_signer(&self, snapshot: &Snapshot) -> SignerId {
        self.inner.trust.series_signer(&snapshot.signer)
    }

    /// The series to which this host adds; `None` without keys.
    pub(crate) fn own_series(&self) -> Option<SignerId> {
        let host = self.inner.host.as_ref()?;
        Some(self.inner.trust.series_signer(&host.signer.id()))
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

    /// Names that tell the series of one source apart: those of the hosts, with the beginning of the key where two hosts
    /// have the same one.
    #[must_use]
    pub fn series_names<'a>(
        &self,
        signers: impl IntoIterator<Item = &'a SignerId>,
    ) -> BTreeMap<SignerId, String> {
        let signers = signers.into_iter();
        let named: BTreeMap<SignerId, String> = signers
            .map(|signer| (*signer, self.series_name(signer)))
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

    /// The name of the host that continues a series now: as a keeper has recorded it, else as policies declare it.
    fn series_name(&self, series: &SignerId) -> String {
        let trust = &self.inner.trust;
        let members = trust.signers().into_iter();
        let mut members = members.filter(|known| trust.series_signer(&known.key) == *series);
        let newest = members.next_back().map(|known| known.name);
        let declared = || {
            let mut hosts = self.meant.declared.iter();
            let named = hosts.find(|(_, keys)| keys.contains(series));
            named.map(|(name, _)| name.clone())
        };
        newest
            .or_else(declared)
            .unwrap_or_else(|| series.to_string())
    }
}
