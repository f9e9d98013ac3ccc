//! What all parts of a verification share.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::error::{Error, Result};
use crate::format::names::id_from_key;
use crate::format::pack::{PackRecord, pack_key};
use crate::id::{ChunkId, ObjectId};
use crate::index::{Index, fragment_key};
use crate::read::reader::ContentReader;
use crate::records::quarantine::Quarantine;
use crate::records::sweeps::Sweeps;
use crate::repository::pack_descriptions::PackDescriptions;
use crate::store::finding::VerifyFinding;
use crate::store::{Repository, Store};
use crate::verify::VerifyReport;
use crate::verify::unreadable::{ErrorSorter, UnreadableKind};

pub(super) struct Verifier<'a> {
    pub(super) repository: &'a Repository,
    pub(super) inner: &'a Store,
    pub(super) index: Index,
    pub(super) reader: ContentReader,
    pub(super) sorter: ErrorSorter,
    pub(super) report: VerifyReport,
    /// A bad chunk's finding, by number.
    pub(super) bad_chunks: HashMap<ChunkId, usize>,
    /// Stored packs with their sizes.
    pub(super) stored_packs: BTreeMap<ObjectId, u64>,
    /// Packs that no fragment describes.
    pub(super) unindexed: Vec<PackRecord>,
    pub(super) descriptions: PackDescriptions,
    /// Fragments that describe a pack differently from the pack itself.
    pub(super) wrong_fragments: HashSet<ObjectId>,
    pub(super) quarantine: Quarantine,
}

impl<'a> Verifier<'a> {
    pub(super) fn new(repository: &'a Repository) -> Result<Self> {
        let inner = &repository.inner;
        let sorter = ErrorSorter {
            must_read_all: repository.has_permanent_identity(),
        };
        let mut report = VerifyReport {
            findings: repository.verify_keys()?,
            ..VerifyReport::default()
        };
        let quarantine = inner.read_quarantine()?;
        let (mut index, unreadable, said) =
            inner.load_index_uncached(&quarantine.fragment_ids())?;
        if !quarantine.is_empty() {
            report.notes.push(format!(
                "objects in quarantine: {}; `reprise verify --repair` lists those that still affect snapshots",
                quarantine.objects().len()
            ));
        }
        for (fragment, error) in &unreadable {
            let object = format!("index/{fragment}");
            sorter.add_error(&mut report, UnreadableKind::IndexFragments, &object, error);
        }
        let listed = inner.list_objects("packs")?;
        let mut stored = BTreeMap::new();
        for info in &listed {
            if let Some(id) = id_from_key(&info.key) {
                stored.insert(id, info.size_bytes);
            }
        }
        let mut adopted = Vec::new();
        for (key, record) in inner.read_unindexed_packs(&index, listed) {
            match record {
                Ok(record) => adopted.push(record),
                Err(error) => sorter.add_error(
                    &mut report,
                    UnreadableKind::PackDirectories,
                    key.as_str(),
                    &error,
                ),
            }
        }
        let condemned = Sweeps::read_lossy(inner)?.unusable_packs();
        note_unindexed_packs(&mut report, &adopted, &condemned);
        index.add_packs(&adopted)?;
        adopted.retain(|pack| !condemned.contains(&pack.pack));
        let reader = repository.content_reader()?;
        Ok(Self {
            repository,
            inner,
            index,
            reader,
            sorter,
            report,
            bad_chunks: HashMap::new(),
            stored_packs: stored,
            unindexed: adopted,
            descriptions: said,
            wrong_fragments: HashSet::new(),
            quarantine,
        })
    }

    /// Adds a problem of an object.
    pub(super) fn add_error(&mut self, kind: UnreadableKind, object: &str, error: &Error) {
        self.sorter.add_error(&mut self.report, kind, object, error);
    }

    /// Whether something is only encrypted to others. What seems to be missing may be where only others can look.
    pub(super) fn is_unreadable(&self, error: &Error) -> bool {
        let may_be_there =
            matches!(error, Error::Missing { .. }) && self.report.has_unreadable_index();
        may_be_there || self.sorter.is_unreadable(error)
    }

    /// Records a damaged pack. Which of its chunks have no other copy is determined when the report is made.
    pub(super) fn add_damaged_pack(&mut self, id: &ObjectId, reason: String) {
        let object = pack_key(id).to_string();
        self.report.findings.push(VerifyFinding {
            object,
            reason,
            affected_snapshots: Vec::new(),
        });
        self.stored_packs.remove(id);
    }

    /// Compares a pack's descriptions in fragments with its own.
    pub(super) fn compare_descriptions(&mut self, pack: &PackRecord) {
        for fragment in self.descriptions.contradicting_fragments(pack) {
            if self.wrong_fragments.insert(fragment) {
                self.report.findings.push(VerifyFinding {
                    object: fragment_key(&fragment).to_string(),
                    reason: format!(
                        "its description of {} does not match the pack itself: it is forged, or it was written by a faulty program",
                        pack_key(&pack.pack)
                    ),
                    affected_snapshots: Vec::new(),
                });
            }
        }
    }
}

fn note_unindexed_packs(
    report: &mut VerifyReport,
    adopted: &[PackRecord],
    condemned: &HashSet<ObjectId>,
) {
    let doomed = adopted.iter().filter(|pack| condemned.contains(&pack.pack));
    let doomed = doomed.count();
    if doomed > 0 {
        report.notes.push(format!(
            "packs that are not in the index and will be deleted by the next `reprise prune`: {doomed}"
        ));
    }
    if adopted.len() > doomed {
        report.notes.push(format!(
            "packs that are not in the index (left by an interrupted run or a lost index fragment): {}; the next snapshot adds them to the index",
            adopted.len() - doomed
        ));
    }
}
