//! Where a file's chunks are in it, and whether a file has the expected content.

use std::fs::File;
use std::os::unix::fs::FileExt;

use reprise_repository::{ChunkId, Entry, RecipientClass, Secrets};

/// A part of a chunk and its offset in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkPart {
    /// First byte in the chunk.
    pub(super) chunk_offset: u32,
    /// First byte in the file.
    pub(super) file_offset: u64,
    /// How many bytes.
    pub(super) length: u32,
}

/// The parts of a chunk that begins at `content_offset` of a file's content. A chunk spans several extents of a file
/// with holes.
pub(super) fn locate_chunk_parts(
    entry: &Entry,
    content_offset: u64,
    length: u32,
) -> Vec<ChunkPart> {
    let Some(extents) = &entry.extents else {
        return vec![ChunkPart {
            chunk_offset: 0,
            file_offset: content_offset,
            length,
        }];
    };
    let (start, end) = (content_offset, content_offset + u64::from(length));
    let mut before = 0;
    let mut found = Vec::new();
    for (offset, extent_length) in extents {
        let (from, to) = (start.max(before), end.min(before + extent_length));
        if from < to {
            // Both differences are within one chunk, whose length is a u32.
            found.push(ChunkPart {
                chunk_offset: u32::try_from(from - start).unwrap_or(u32::MAX),
                file_offset: offset + (from - before),
                length: u32::try_from(to - from).unwrap_or(u32::MAX),
            });
        }
        before += extent_length;
    }
    found
}

/// Whether an open file has exactly this content: its size, and every chunk by its ID.
pub(super) fn has_expected_content(
    file: &File,
    entry: &Entry,
    chunks: &[(ChunkId, u32)],
    secrets: &Secrets,
    buffer: &mut Vec<u8>,
) -> std::io::Result<bool> {
    if file.metadata()?.len() != entry.size {
        return Ok(false);
    }
    let mut content_offset = 0;
    for (id, length) in chunks {
        buffer.resize(*length as usize, 0);
        for piece in locate_chunk_parts(entry, content_offset, *length) {
            let start = piece.chunk_offset as usize;
            file.read_exact_at(
                &mut buffer[start..start + piece.length as usize],
                piece.file_offset,
            )?;
        }
        if secrets.chunk_id(RecipientClass::Data, buffer) != *id {
            return Ok(false);
        }
        content_offset += u64::from(*length);
    }
    match &entry.extents {
        None => Ok(true),
        Some(extents) => holes_are_zero(file, entry.size, extents, buffer),
    }
}

fn holes_are_zero(
    file: &File,
    size: u64,
    extents: &[(u64, u64)],
    buffer: &mut Vec<u8>,
) -> std::io::Result<bool> {
    let ends = extents.iter().map(|(offset, _)| *offset).chain([size]);
    let starts = [0]
        .into_iter()
        .chain(extents.iter().map(|(offset, length)| offset + length));
    for (mut position, end) in starts.zip(ends) {
        // A real hole is skipped without reading it.
        while position < end {
            match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(position)) {
                Ok(data) if data < end => position = data,
                Ok(_) | Err(rustix::io::Errno::NXIO) => break,
                Err(_) => {}
            }
            let length = usize::try_from((end - position).min(64 << 10)).unwrap_or(64 << 10);
            buffer.resize(length, 0);
            file.read_exact_at(buffer, position)?;
            if buffer.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            position += length as u64;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reprise_repository::{EntryKind, RawText};

    proptest! {
        #[test]
        fn pieces_put_every_content_byte_in_its_place(
            gaps in prop::collection::vec((0_u64..50, 1_u64..50), 0..8),
            cuts in prop::collection::vec(1_u32..40, 1..30),
        ) {
            let (mut extents, mut end) = (Vec::new(), 0);
            for (gap, length) in gaps {
                extents.push((end + gap, length));
                end += gap + length;
            }
            // The slow, obvious model: the file offset of each content byte.
            let model: Vec<u64> = extents.iter().flat_map(|(offset, length)| *offset..offset + length).collect();
            let entry = Entry { size: end, extents: Some(extents), ..Entry::new(RawText::from("f"), EntryKind::File) };
            let (mut content_offset, mut places) = (0, Vec::new());
            for cut in cuts {
                let length = cut.min((model.len() as u64 - content_offset) as u32);
                for piece in locate_chunk_parts(&entry, content_offset, length) {
                    places.extend(piece.file_offset..piece.file_offset + u64::from(piece.length));
                }
                content_offset += u64::from(length);
            }
            prop_assert_eq!(&places[..], &model[..places.len()]);
            prop_assert_eq!(places.len() as u64, content_offset);
        }
    }
}
