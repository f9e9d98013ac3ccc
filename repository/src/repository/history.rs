//! What is stored of a source before a new snapshot of it: read in one listing.

use crate::error::{Error, Result};
use crate::format::snapshot::{Snapshot, Warning};
use crate::repository::snapshots::UnreadableRoot;
use crate::store::Repository;
use crate::text::RawText;

/// What a new snapshot of a source by this host continues.
#[derive(Debug)]
pub struct SourceHistory {
    /// This host's own series, in the order of [`Repository::snapshots_lossy`].
    pub own: Vec<Snapshot>,
    /// What is wrong with any new snapshot, whatever its content is: its name means another host, or snapshots of the
    /// source that this machine has seen are gone.
    pub alarms: Vec<Warning>,
}

impl Repository {
    /// What is stored of a source, as a new snapshot of it needs to know.
    ///
    /// # Errors
    /// When snapshots cannot be listed.
    pub fn source_history(&self, source: &str) -> Result<SourceHistory> {
        let (mut snapshots, errors) = self.snapshots_lossy()?;
        let mut alarms = self.binding_alarms(source, &snapshots)?;
        alarms.extend(withheld_alarms(source, &errors));
        let own = self.own_series();
        snapshots.retain(|one| {
            one.root.source == source && own.is_some_and(|own| self.series_signer(one) == own)
        });
        Ok(SourceHistory {
            own: snapshots,
            alarms: alarms.into_iter().map(as_alarm).collect(),
        })
    }
}

fn withheld_alarms(source: &str, errors: &[UnreadableRoot]) -> Vec<String> {
    let of_source = |(_, error): &&UnreadableRoot| matches!(error, Error::Withheld { source_name: Some(name), .. } if name == source);
    let withheld = errors.iter().filter(of_source);
    withheld.map(|(_, error)| error.to_string()).collect()
}

fn as_alarm(message: String) -> Warning {
    Warning {
        path: RawText::default(),
        message: format!("alarm: {message}"),
    }
}
