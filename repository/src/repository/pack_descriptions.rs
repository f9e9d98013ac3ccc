//! What index fragments say of packs, for comparison with what the packs say of themselves.
//!
//! A fragment is trusted for its signature alone. One written by a compromised host may give a wrong location of a
//! chunk, or another size of a good pack: then the fragment is wrong, and not the pack.

use std::collections::{BTreeSet, HashMap};

use crate::format::pack::PackRecord;
use crate::id::ObjectId;

/// For each pack, its descriptions and the fragments that contain them.
#[derive(Debug, Default)]
pub(crate) struct PackDescriptions {
    by_pack: HashMap<ObjectId, Vec<(ObjectId, ObjectId)>>,
}

fn hash_pack_record(pack: &PackRecord) -> ObjectId {
    // Writing numbers and texts as JSON cannot fail.
    ObjectId::from_content(&serde_json::to_vec(pack).unwrap_or_default())
}

impl PackDescriptions {
    /// Adds the descriptions of a fragment.
    pub(crate) fn add_fragment(&mut self, fragment: &ObjectId, packs: &[PackRecord]) {
        for pack in packs {
            let said = self.by_pack.entry(pack.pack).or_default();
            let entry = (*fragment, hash_pack_record(pack));
            if !said.contains(&entry) {
                said.push(entry);
            }
        }
    }

    /// Whether fragments describe a pack differently.
    pub(crate) fn has_conflict(&self, pack: &ObjectId) -> bool {
        let said = self.by_pack.get(pack).map_or(&[][..], Vec::as_slice);
        said.iter().any(|(_, digest)| *digest != said[0].1)
    }

    /// The fragments that describe a pack differently from the pack itself.
    pub(crate) fn contradicting_fragments(&self, pack: &PackRecord) -> BTreeSet<ObjectId> {
        let right = hash_pack_record(pack);
        let said = self.by_pack.get(&pack.pack).into_iter().flatten();
        let wrong = said.filter(|(_, digest)| *digest != right);
        wrong.map(|(fragment, _)| *fragment).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pack_itself_says_which_fragment_is_wrong() {
        let pack = |size| PackRecord {
            pack: ObjectId::from_content(b"pack"),
            size,
            segments: Vec::new(),
        };
        let (good, bad) = (
            ObjectId::from_content(b"good"),
            ObjectId::from_content(b"bad"),
        );
        let mut said = PackDescriptions::default();
        said.add_fragment(&good, &[pack(10), pack(10)]);
        assert!(!said.has_conflict(&ObjectId::from_content(b"pack")));
        said.add_fragment(&bad, &[pack(11)]);
        assert!(said.has_conflict(&ObjectId::from_content(b"pack")));
        assert_eq!(
            said.contradicting_fragments(&pack(10)),
            BTreeSet::from([bad])
        );
        assert!(said.contradicting_fragments(&pack(12)).len() == 2);
    }
}
