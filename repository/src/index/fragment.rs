//! Index fragments as they are stored: a signed record of JSON lines, one per pack.

use crate::backend::ObjectKey;
use crate::error::Error;
use crate::format::pack::PackRecord;
use crate::id::ObjectId;

/// A fragment is closed when it describes this many chunks. Reading one back takes about 150 bytes per chunk.
pub(crate) const FRAGMENT_CHUNKS_MAX: usize = 250_000;

/// The key of an index fragment.
pub(crate) fn fragment_key(id: &ObjectId) -> ObjectKey {
    ObjectKey::from_trusted(format!("index/{id}"))
}

/// A fragment's content.
pub(crate) fn write_fragment(packs: &[PackRecord]) -> Result<Vec<u8>, Error> {
    let mut lines = Vec::new();
    for pack in packs {
        serde_json::to_writer(&mut lines, pack)
            .map_err(|e| Error::Internal(format!("writing an index fragment: {e}")))?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// Parses a fragment's content.
pub(crate) fn parse_fragment(content: &[u8], plain_max: usize) -> Result<Vec<PackRecord>, String> {
    let mut packs = Vec::new();
    for line in content
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
    {
        let pack: PackRecord = serde_json::from_slice(line).map_err(|e| e.to_string())?;
        pack.check_sizes(plain_max)?;
        packs.push(pack);
    }
    Ok(packs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::encryption::RecipientClass;
    use crate::format::segment::{ChunkInSegment, SegmentRecord};
    use crate::id::ChunkId;
    use proptest::prelude::*;

    fn pack() -> PackRecord {
        let chunks = vec![
            ChunkInSegment(ChunkId::from_bytes([1; 32]), 10),
            ChunkInSegment(ChunkId::from_bytes([1; 32]), 5),
        ];
        let hash = ObjectId::from_content(b"");
        let segment = SegmentRecord {
            class: RecipientClass::Data,
            offset: 0,
            length: 9,
            plain: 15,
            hash,
            chunks,
            recipients: None,
        };
        PackRecord {
            pack: ObjectId::from_content(b"p"),
            size: 100,
            segments: vec![segment],
        }
    }

    #[test]
    fn a_fragment_survives() {
        let packs = vec![pack(), pack()];
        assert_eq!(
            parse_fragment(&write_fragment(&packs).unwrap(), 100).unwrap(),
            packs
        );
    }

    #[test]
    fn absurd_numbers_are_refused() {
        let bad: [fn(&mut PackRecord); 5] = [
            |p| p.size = 8,
            |p| p.segments[0].plain = 16,
            |p| p.segments[0].offset = 1,
            |p| p.segments[0].length = u32::MAX,
            |p| p.segments[0].chunks[0].1 = u32::MAX,
        ];
        for change in bad {
            let mut pack = pack();
            change(&mut pack);
            assert!(parse_fragment(&write_fragment(&[pack]).unwrap(), 100).is_err());
        }
    }

    proptest! {
        #[test]
        fn parsing_any_content_never_panics(content: Vec<u8>) {
            let _ = parse_fragment(&content, 1 << 20).is_ok();
        }
    }
}
