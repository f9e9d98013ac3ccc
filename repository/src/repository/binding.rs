//! Which series a source's name means.
//!
//! A keeper's record of a host counts more than what policies say of it, and that more than first use: a name belongs to
//! the host whose snapshot of it the storage received first. What other hosts store under the name is never taken for
//! what the name means; it is named instead.

use std::collections::BTreeSet;
use std::fmt;

use crate::crypto::signing::SignerId;
use crate::error::{Error, Result};
use crate::format::snapshot::Snapshot;
use crate::store::{MeantHosts, Repository};

/// The fewest digits of a signer that mean one.
const PREFIX_MIN: usize = 4;

/// Snapshots under a name that means another host.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ForeignSeries {
    /// The source's name.
    pub source: String,
    /// The name of the host that stored them.
    pub host: String,
    /// The signer of their series.
    pub signer: SignerId,
    /// How many there are.
    pub snapshots: usize,
    /// The names of the hosts that the source's name means.
    pub meant: Vec<String>,
}

impl fmt::Display for ForeignSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            source,
            host,
            snapshots,
            ..
        } = self;
        let count = match snapshots {
            1 => "1 snapshot".to_owned(),
            count => format!("{count} snapshots"),
        };
        write!(
            f,
            "{host} has stored {count} as `{source}`, a name that means {}: never taken for it, and kept; `--host` chooses them",
            self.meant.join(" and ")
        )
    }
}

impl Repository {
    /// The same repository, with what policies and the command line say of hosts.
    #[must_use]
    pub fn with_meant_hosts(mut self, hosts: MeantHosts) -> Self {
        self.meant = hosts.into();
        self
    }

    /// The same repository, in which the name of a source means one host; `None` changes nothing.
    #[must_use]
    pub fn with_chosen_host(mut self, host: Option<&str>) -> Self {
        if let Some(host) = host {
            let mut meant = MeantHosts::clone(&self.meant);
            meant.chosen = Some(host.to_owned());
            self.meant = meant.into();
        }
        self
    }

    /// Whether the command line chooses a host.
    #[must_use]
    pub fn has_chosen_host(&self) -> bool {
        self.meant.chosen.is_some()
    }

    /// Refuses a snapshot that is named by its ID beside a host that has not stored it.
    pub(crate) fn require_chosen_host(&self, snapshot: &Snapshot) -> Result<()> {
        let Some(chosen) = &self.meant.chosen else {
            return Ok(());
        };
        let series = self.series_signer(snapshot);
        if self.host_series(chosen)?.contains(&series) {
            return Ok(());
        }
        let owner = self.series_names([&series]).into_values();
        Err(Error::NoSnapshot {
            name: format!("{} of host {chosen}", snapshot.id.short()),
            hint: format!(
                "{} has stored it: leave out --host",
                owner.collect::<String>()
            ),
        })
    }

    /// The signers of hosts with a name, or with a signer that begins like this.
    ///
    /// # Errors
    /// [`Error::NoHost`].
    pub fn find_hosts(&self, text: &str) -> Result<BTreeSet<SignerId>> {
        let known = self.inner.trust.signers();
        let named: BTreeSet<SignerId> = known
            .iter()
            .filter(|signer| signer.name == text)
            .map(|signer| signer.key)
            .collect();
        let begins = |key: &SignerId| text.len() >= PREFIX_MIN && key.to_string().starts_with(text);
        let found = match named.is_empty() {
            true => known.iter().map(|one| one.key).filter(begins).collect(),
            false => named,
        };
        if found.is_empty() {
            let mut known: Vec<String> = known.into_iter().map(|signer| signer.name).collect();
            known.sort();
            known.dedup();
            return Err(Error::NoHost {
                name: text.to_owned(),
                known,
            });
        }
        Ok(found)
    }

    /// The series of hosts with a name, or with a signer that begins like this.
    ///
    /// # Errors
    /// [`Error::NoHost`].
    pub fn host_series(&self, text: &str) -> Result<BTreeSet<SignerId>> {
        let trust = &self.inner.trust;
        let found = self.find_hosts(text)?;
        Ok(found.iter().map(|key| trust.series_signer(key)).collect())
    }

    /// The series that the name of a source means, of these snapshots; none if nobody has used it yet.
    ///
    /// # Errors
    /// When the host that the command line chooses is unknown.
    pub fn bound_series(&self, source: &str, snapshots: &[Snapshot]) -> Result<BTreeSet<SignerId>> {
        if let Some(chosen) = &self.meant.chosen {
            let series = self.host_series(chosen)?;
            return match series.len() {
                1 => Ok(series),
                _ => Err(Error::AmbiguousHost {
                    name: chosen.clone(),
                    hosts: series.iter().map(SignerId::to_string).collect(),
                }),
            };
        }
        if let Some(hosts) = self.meant.by_source.get(source) {
            return Ok(hosts
                .iter()
                .flat_map(|name| self.series_of_named_host(name))
                .collect());
        }
        let kept = snapshots.iter();
        let first = kept
            .filter(|one| one.root.source == source && !one.forgotten)
            .min_by_key(|one| (one.received.unwrap_or(one.root.data_time), one.id));
        Ok(first
            .map(|one| self.series_signer(one))
            .into_iter()
            .collect())
    }

    /// The series of a host of the policies: as a keeper has recorded it, else as the policies declare it.
    fn series_of_named_host(&self, name: &str) -> BTreeSet<SignerId> {
        let trust = &self.inner.trust;
        let recorded = trust.signers().into_iter();
        let recorded = recorded.filter(|signer| signer.name == name);
        let recorded: BTreeSet<SignerId> = recorded.map(|signer| signer.key).collect();
        let declared = self.meant.declared.get(name);
        let keys = match recorded.is_empty() {
            true => declared.cloned().unwrap_or_default(),
            false => recorded,
        };
        keys.iter().map(|key| trust.series_signer(key)).collect()
    }

    /// Where the policies contradict a keeper's record of a host.
    #[must_use]
    pub fn host_disagreements(&self) -> Vec<String> {
        let known = self.inner.trust.signers();
        let recorded = |name: &str| -> BTreeSet<SignerId> {
            let named = known.iter().filter(|signer| signer.name == name);
            named.map(|signer| signer.key).collect()
        };
        let contradicts = |(name, declared): (&String, &BTreeSet<SignerId>)| {
            let recorded = recorded(name);
            let other = declared.iter().find(|key| !recorded.contains(*key))?;
            let keeper = recorded.first()?;
            Some(format!(
                "the policies say that the signer of host {name} is {}, but a keeper has recorded {} in {}: the record counts",
                other.short(),
                keeper.short(),
                self.location()
            ))
        };
        self.meant.declared.iter().filter_map(contradicts).collect()
    }

    /// The snapshots that the name of a source means, in the order of [`Self::snapshots_lossy`].
    ///
    /// # Errors
    /// When snapshots cannot be listed, or the chosen host is unknown.
    pub fn bound_snapshots(&self, source: &str) -> Result<Vec<Snapshot>> {
        let (mut snapshots, _) = self.snapshots_lossy()?;
        let bound = self.bound_series(source, &snapshots)?;
        snapshots
            .retain(|one| one.root.source == source && bound.contains(&self.series_signer(one)));
        Ok(snapshots)
    }

    /// The snapshots that the name of a source means, oldest first; none if nobody has used it.
    ///
    /// # Errors
    /// [`Error::SeveralHosts`] when it means several hosts and none is chosen; [`Error::NoSnapshot`] when only others
    /// have used the name.
    pub(crate) fn snapshots_of_one_host<'a>(
        &self,
        source: &str,
        snapshots: &'a [Snapshot],
    ) -> Result<Vec<&'a Snapshot>> {
        let kept = |one: &&Snapshot| one.root.source == source && !one.forgotten;
        let named: Vec<&Snapshot> = snapshots.iter().filter(kept).collect();
        if named.is_empty() {
            return Ok(named);
        }
        let bound = self.bound_series(source, snapshots)?;
        let is_bound = |one: &&Snapshot| bound.contains(&self.series_signer(one));
        let meant: Vec<&Snapshot> = named.iter().copied().filter(is_bound).collect();
        let series: BTreeSet<SignerId> = meant.iter().map(|one| self.series_signer(one)).collect();
        if series.len() > 1 {
            return Err(Error::SeveralHosts {
                source_name: source.to_owned(),
                hosts: self.series_names(&series).into_values().collect(),
            });
        }
        if meant.is_empty() {
            return Err(Error::NoSnapshot {
                name: source.to_owned(),
                hint: self.describe_other_hosts(&named),
            });
        }
        Ok(meant)
    }

    fn describe_other_hosts(&self, named: &[&Snapshot]) -> String {
        let others: BTreeSet<SignerId> = named.iter().map(|one| self.series_signer(one)).collect();
        let others: Vec<String> = self.series_names(&others).into_values().collect();
        format!(
            "the host that is meant has stored none, but {} has: choose with --host",
            others.join(" and ")
        )
    }

    /// What hosts have stored under names that mean others.
    ///
    /// # Errors
    /// As for [`Self::bound_series`].
    pub fn foreign_series(&self, snapshots: &[Snapshot]) -> Result<Vec<ForeignSeries>> {
        let kept: Vec<Snapshot> = snapshots
            .iter()
            .filter(|one| !one.forgotten)
            .cloned()
            .collect();
        let mut found = Vec::new();
        // A choice of this command does not change whom a name means.
        let unchosen = self.clone().with_meant_hosts(MeantHosts {
            chosen: None,
            ..MeantHosts::clone(&self.meant)
        });
        for (source, series) in self.group_by_series(kept) {
            let bound = unchosen.bound_series(&source, snapshots)?;
            let names = self.series_names(series.keys().chain(&bound));
            let name = |signer: &SignerId| names.get(signer).cloned().unwrap_or_default();
            let others = series.iter().filter(|(signer, _)| !bound.contains(signer));
            found.extend(others.map(|(signer, snapshots)| ForeignSeries {
                source: source.clone(),
                host: name(signer),
                signer: *signer,
                snapshots: snapshots.len(),
                meant: bound.iter().map(name).collect(),
            }));
        }
        Ok(found)
    }

    /// Whether nobody but one host can have stored a source, and nobody else is meant.
    fn has_one_host(&self, source: &str) -> bool {
        self.inner.trust.has_one_writer() && !self.meant.by_source.contains_key(source)
    }

    /// As [`Self::foreign_series`], of one source or all of them, of the snapshots as they are stored now.
    ///
    /// # Errors
    /// When snapshots cannot be listed.
    pub fn find_foreign_series(&self, source: Option<&str>) -> Result<Vec<ForeignSeries>> {
        let one_host = match source {
            Some(source) => self.has_one_host(source),
            None => self.inner.trust.has_one_writer() && self.meant.by_source.is_empty(),
        };
        if one_host {
            return Ok(Vec::new());
        }
        let (snapshots, _) = self.snapshots_lossy()?;
        let mut found = self.foreign_series(&snapshots)?;
        found.retain(|one| source.is_none_or(|source| one.source == source));
        Ok(found)
    }

    /// What is wrong with any snapshot of a source by this host, as far as names are concerned.
    pub(super) fn binding_alarms(
        &self,
        source: &str,
        snapshots: &[Snapshot],
    ) -> Result<Vec<String>> {
        let mut alarms = self.host_disagreements();
        if self.has_one_host(source) {
            return Ok(alarms);
        }
        let bound = self.bound_series(source, snapshots)?;
        let own = self.own_series();
        if !bound.is_empty() && !own.is_some_and(|own| bound.contains(&own)) {
            let names: Vec<String> = self.series_names(&bound).into_values().collect();
            let owner = names.join(" and ");
            alarms.push(format!(
                "the name `{source}` means {owner}, so this snapshot of another host is not restored by that name: give it \
                 another name (--source), name both hosts in the policy (`hosts: [{owner}, …]` at the source), or, if this \
                 host takes the place of {owner}, run `reprise key add --host KEYS --replaces {owner}` with a keeper's key"
            ));
        }
        Ok(alarms)
    }
}
