//! Reading references: the IDs in each chunk of a reference stream, once, however many snapshots have it.

use std::collections::HashSet;

use crate::crypto::encryption::RecipientClass;
use crate::error::{Error, Result};
use crate::format::snapshot::{Snapshot, StreamRecord};
use crate::id::{ChunkId, are_hex_digits, hex_digit_value};
use crate::read::reader::ContentReader;

/// A line of references: an ID in hexadecimal and the end of the line.
const LINE_BYTES: usize = 65;

/// How many chunks are read one after the other, as neighbours share a segment: about 4 MiB.
const BATCH_CHUNKS: usize = 16;

/// Chunks of the references of one snapshot that no snapshot before it has.
#[derive(Debug)]
pub(super) struct ReferenceBatch {
    /// The number of the snapshot.
    pub(super) snapshot: usize,
    chunks: Vec<ChunkId>,
    name: String,
}

/// The content of a chunk of references.
#[derive(Debug)]
pub(super) struct ReferenceLines {
    pub(super) id: ChunkId,
    /// What comes before the first end of a line.
    pub(super) head: Vec<u8>,
    /// What follows the last one; `None` when there is no such end and `head` is everything.
    pub(super) tail: Option<Vec<u8>>,
    /// The [`crate::index::leading_bits`] bits of the ID of each whole line between these.
    pub(super) leading_bits: Vec<u64>,
    bytes: Vec<u8>,
    name: String,
}

/// The name of the references of snapshots.
pub(super) fn describe_references(snapshot: &Snapshot) -> String {
    format!("the reference list of snapshot {}", snapshot.id)
}

/// What is to be read of the references of some snapshots, each chunk once and none that is `known`.
pub(super) fn batch_unread_references(
    snapshots: &[&Snapshot],
    known: impl Fn(&ChunkId) -> bool,
) -> Vec<ReferenceBatch> {
    let (mut portions, mut listed) = (Vec::new(), HashSet::new());
    for (number, snapshot) in snapshots.iter().enumerate() {
        let chunks = snapshot.root.references.chunks.iter();
        let unread = chunks.filter(|id| !known(id) && listed.insert(**id));
        let unread: Vec<ChunkId> = unread.copied().collect();
        let name = describe_references(snapshot);
        portions.extend(unread.chunks(BATCH_CHUNKS).map(|chunks| ReferenceBatch {
            snapshot: number,
            chunks: chunks.to_vec(),
            name: name.clone(),
        }));
    }
    portions
}

impl ReferenceBatch {
    /// Reads it.
    ///
    /// # Errors
    /// When a chunk cannot be read, or holds anything but IDs: then what the snapshot needs is unknown.
    pub(super) fn read(&self, reader: &ContentReader) -> Result<Vec<ReferenceLines>> {
        let record = StreamRecord {
            chunks: self.chunks.clone(),
            bytes: 0,
        };
        let mut stream = reader.open_stream(&record, RecipientClass::Catalog, self.name.clone());
        let mut read = Vec::with_capacity(self.chunks.len());
        for id in &self.chunks {
            if let Some(bytes) = stream.next_chunk()? {
                read.push(ReferenceLines::parse(*id, bytes, &self.name)?);
            }
        }
        Ok(read)
    }
}

impl ReferenceLines {
    fn parse(id: ChunkId, bytes: Vec<u8>, name: &str) -> Result<Self> {
        let end = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b'\n');
        let (head, rest) = match end(&bytes) {
            Some(length) => (&bytes[..length], Some(&bytes[length + 1..])),
            None => (bytes.as_slice(), None),
        };
        let whole = rest.unwrap_or_default();
        let (whole, tail) = whole.split_at(whole.len() / LINE_BYTES * LINE_BYTES);
        let leading = whole.chunks(LINE_BYTES).map(parse_leading_bits);
        let leading: Option<Vec<u64>> = leading.collect();
        match leading {
            Some(leading) if end(tail).is_none() => Ok(Self {
                id,
                head: head.to_vec(),
                tail: rest.map(|_| tail.to_vec()),
                leading_bits: leading,
                bytes,
                name: name.to_owned(),
            }),
            _ => Err(invalid_line_error(name)),
        }
    }

    /// The ID in a whole line, by its number.
    pub(super) fn chunk_id_at(&self, number: usize) -> Result<ChunkId> {
        let start = self.head.len() + 1 + number * LINE_BYTES;
        let line = self.bytes.get(start..start + LINE_BYTES - 1);
        parse_chunk_id(line.unwrap_or_default(), &self.name)
    }
}

pub(super) fn damage_error(name: &str, reason: &str) -> Error {
    Error::Damaged {
        object: name.to_owned(),
        reason: reason.to_owned(),
    }
}

fn invalid_line_error(name: &str) -> Error {
    damage_error(name, "a line is not a chunk ID")
}

/// The ID in a line without its end.
pub(super) fn parse_chunk_id(line: &[u8], name: &str) -> Result<ChunkId> {
    let text = std::str::from_utf8(line).ok();
    let id = text.and_then(|text| text.parse().ok());
    id.ok_or_else(|| invalid_line_error(name))
}

/// The leading bits of the ID in a line, without the rest of it; `None` when it is not an ID.
fn parse_leading_bits(line: &[u8]) -> Option<u64> {
    let (b'\n', digits) = line.split_last()? else {
        return None;
    };
    let first = digits.get(..16)?.iter();
    let leading = first.fold(0, |leading, b| {
        leading << 4 | u64::from(hex_digit_value(*b))
    });
    (line.len() == LINE_BYTES && are_hex_digits(digits)).then_some(leading)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::leading_bits;
    use proptest::prelude::*;

    fn id(n: u32) -> ChunkId {
        ChunkId::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes())
    }

    #[test]
    fn the_beginning_of_a_line_is_that_of_its_id_and_only_ids_have_one() {
        for n in 0..1000 {
            let line = format!("{}\n", id(n));
            assert_eq!(
                parse_leading_bits(line.as_bytes()),
                Some(leading_bits(&id(n)))
            );
        }
        let id = "0123456789abcdef".repeat(4);
        for bad in [
            String::new(),
            "\n".to_owned(),
            id.clone(),
            format!("{id} \n"),
            format!("{}\n", &id[1..]),
            format!("{}\n", id.to_uppercase()),
            format!("{}g\n", &id[1..]),
            format!("{}\n\n", &id[1..]),
        ] {
            assert_eq!(parse_leading_bits(bad.as_bytes()), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn wherever_a_stream_is_cut_nothing_of_it_is_lost(count in 1_u32..40, cuts in prop::collection::vec(0_usize..2600, 0..6)) {
            let text: String = (0..count).map(|n| format!("{}\n", id(n))).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let (mut ids, mut line) = (Vec::new(), Vec::new());
            for part in cuts.windows(2) {
                let lines = ReferenceLines::parse(id(0), text.as_bytes()[part[0]..part[1]].to_vec(), "x").unwrap();
                line.extend_from_slice(&lines.head);
                if let Some(tail) = &lines.tail {
                    ids.push(parse_chunk_id(&line, "x").unwrap());
                    line.clone_from(tail);
                }
                for (n, begins) in lines.leading_bits.iter().enumerate() {
                    ids.push(lines.chunk_id_at(n).unwrap());
                    prop_assert_eq!(*begins, leading_bits(&ids[ids.len() - 1]));
                }
            }
            prop_assert!(line.is_empty());
            prop_assert_eq!(ids, (0..count).map(id).collect::<Vec<_>>());
        }
    }
}
