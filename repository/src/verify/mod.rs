//! Verification: is everything stored, is it what was stored, and if not, what is affected?
//!
//! `structure` looks whether everything is there, `pack_contents` reads it, `entries` reads entry lists, `impacts` tells what is affected, `logs`
//! verifies archived logs; `unreadable` is what only others can read; `verifier` is what they share, `options` and `report` are what a user gives and gets; `repair`
//! repairs: the index from packs, objects from a copy, the rest is quarantined.

mod entries;
mod impacts;
pub(crate) mod logs;
mod options;
mod pack_contents;
pub(crate) mod repair;
mod report;
mod structure;
mod unreadable;
mod verifier;

pub use options::{DataSubset, VerifyDepth, VerifyOptions};
pub(crate) use report::DetailedVerifyReport;
pub use report::VerifyReport;
pub use unreadable::{UnreadableKind, UnreadableObjects};

use std::collections::BTreeMap;

use crate::crypto::envelope::RecordKind;
use crate::error::{Error, Result};
use crate::format::names::{id_from_key, is_log_segment};
use crate::format::snapshot::Snapshot;
use crate::id::ObjectId;
use crate::progress::Progress;
use crate::records::leases;
use crate::records::quarantine;
use crate::records::record_set::{RecordAuthor, RefusedRecord};
use crate::records::replaced_packs;
use crate::records::sweeps;
use crate::store::Repository;
use crate::verify::verifier::Verifier;

impl Repository {
    /// Verifies the repository.
    ///
    /// # Errors
    /// When verification is impossible: an identity is missing, the backend does not respond. What is wrong with the
    /// contents is in the report instead.
    pub fn verify(&self, options: &VerifyOptions, progress: &Progress) -> Result<VerifyReport> {
        if let VerifyDepth::ReadData(_) = options.depth {
            self.require_data_identity()?;
        }
        Ok(self.verify_detailed(options, None, progress)?.report)
    }

    /// As [`Self::verify`], with more details. `damaged` are packs that are known to be damaged; without them, the
    /// quarantine is trusted for packs that are not read.
    pub(crate) fn verify_detailed(
        &self,
        options: &VerifyOptions,
        damaged: Option<&BTreeMap<ObjectId, String>>,
        progress: &Progress,
    ) -> Result<DetailedVerifyReport> {
        let mut verifier = Verifier::new(self)?;
        let known = match (damaged, options.depth) {
            (Some(damaged), _) => damaged.clone(),
            (None, VerifyDepth::ReadData(DataSubset::All)) => BTreeMap::new(),
            (None, _) => verifier.quarantine.damaged_packs(),
        };
        let damaged = &known;
        let snapshots = verifier.load_snapshots(&options.snapshots)?;
        let needed = verifier.check_structure(&snapshots, damaged, progress)?;
        if let VerifyDepth::ReadData(share) = options.depth {
            let only = (!options.snapshots.is_empty()).then_some(&needed);
            verifier.read_data(share, only, progress)?;
        }
        verifier.drop_wrong_fragments(&needed)?;
        verifier.check_entry_lists(&snapshots, progress)?;
        if options.snapshots.is_empty() {
            verifier.verify_logs(options.depth, progress)?;
            verifier.report_foreign_names()?;
        }
        verifier.into_detailed_report(&snapshots)
    }
}

impl Verifier<'_> {
    fn verify_logs(&mut self, depth: VerifyDepth, progress: &Progress) -> Result<()> {
        let share = match depth {
            VerifyDepth::Structure => None,
            VerifyDepth::ReadData(share) => Some(share),
        };
        logs::LogVerifier {
            repository: self.repository,
            sorter: self.sorter,
            report: &mut self.report,
        }
        .verify_all_logs(share, progress)
    }

    /// Names that no object of this repository has. In other directories their readers report them.
    fn report_foreign_names(&mut self) -> Result<()> {
        let index = self.inner.list_objects("index")?.into_iter();
        let index = index.filter(|info| id_from_key(&info.key).is_none());
        let logs = self.inner.list_objects("logs")?.into_iter();
        let logs = logs.filter(|info| !is_log_segment(&info.key));
        for info in index.chain(logs) {
            let reason = "its name is not an object ID; the object is ignored";
            let error = Error::damaged_object(&info.key, reason);
            let finding = self.sorter.finding(info.key.as_str(), &error);
            self.report.findings.push(finding);
        }
        Ok(())
    }

    /// The snapshots to check; unreadable roots are findings.
    fn load_snapshots(&mut self, chosen: &[Snapshot]) -> Result<Vec<Snapshot>> {
        if !chosen.is_empty() {
            return Ok(chosen.to_vec());
        }
        let (snapshots, errors) = self.repository.snapshots_uncached()?;
        for (key, error) in errors {
            self.add_error(UnreadableKind::Snapshots, key.as_str(), &error);
        }
        for refused in self.repository.read_tombstones()?.refused() {
            let object = refused.object.as_str();
            self.add_error(UnreadableKind::Records, object, &refused.error);
        }
        self.check_run_records()?;
        Ok(snapshots)
    }

    /// Leases and sweeps that are invalid and ignored: damaged or forged.
    fn check_run_records(&mut self) -> Result<()> {
        let backend = self.inner.backend.as_ref();
        for (kind, directory) in [
            (RecordKind::Lease, leases::DIRECTORY),
            (RecordKind::Sweep, sweeps::DIRECTORY),
            (RecordKind::Quarantine, quarantine::DIRECTORY),
            (RecordKind::Replaced, replaced_packs::DIRECTORY),
        ] {
            let records = self
                .inner
                .read_records::<serde::de::IgnoredAny>(backend, kind, directory)?;
            let is_note = |found: &&RefusedRecord| {
                kind == RecordKind::Sweep && found.author == RecordAuthor::WriterAlone
            };
            let notes = records.refused.iter().filter(is_note).map(|found| {
                format!(
                    "{} is ignored: a writer signed it, and only keepers announce what a prune deletes; a prune deletes it \
                     after seven days",
                    found.info.key
                )
            });
            self.report.notes.extend(notes);
            let refused = records.refused.iter().filter(|found| !is_note(found));
            let refused = refused.filter(|found| found.is_finding());
            for found in refused {
                let object = found.info.key.as_str();
                self.add_error(UnreadableKind::Records, object, &found.error);
            }
        }
        Ok(())
    }
}
