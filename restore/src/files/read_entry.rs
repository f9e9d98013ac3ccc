//! Writes the content of one entry to a stream, without restoring it.

use std::io::Write;

use reprise_repository::{
    ChunkId, ContentReader, Entry, EntryKind, Progress, RawText, Repository, Snapshot,
};

use crate::error::{Error, Result};
use crate::files::content::locate_chunk_parts;
use crate::files::path_selection::PathSelection;

/// Zeros are written in blocks of this many bytes.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Writes a file's content as reading the file would give it: holes as zeros, a hard link as its file. That all of it is
/// stored is checked before the first byte, and every chunk before it is written. Returns the number of bytes.
///
/// # Errors
/// [`Error::NoSuchPath`]; [`Error::NotFile`]; [`Error::ContentIncomplete`] and [`Error::Output`] say how much was written.
pub fn write_entry_content(
    repository: &Repository,
    snapshot: &Snapshot,
    path: &RawText,
    output: &mut dyn Write,
    progress: &Progress,
) -> Result<u64> {
    repository.require_data_identity()?;
    let reader = repository.content_reader()?;
    let (entry, chunks) = find_file(&reader, snapshot, path, progress)?;
    let name = format!("`{}`", entry.path.display());
    let mut content_bytes = 0;
    for id in &chunks {
        content_bytes += u64::from(reader.chunk_length(id, &name)?);
    }
    if content_bytes != entry.content_bytes() {
        return Err(Error::Repository(reprise_repository::Error::Damaged {
            object: name,
            reason: "its stored parts do not add up to its size".to_owned(),
        }));
    }
    let mut writer = ContentWriter {
        entry: &entry,
        output,
        written: 0,
    };
    let mut content_offset = 0;
    let mut stream = reader.stream_content(chunks, name);
    loop {
        progress.check_cancelled()?;
        let chunk = stream
            .next_chunk()
            .map_err(|source| Error::ContentIncomplete {
                path: entry.path.display(),
                written: writer.written,
                size: entry.size,
                source: Box::new(source),
            })?;
        let Some(chunk) = chunk else { break };
        writer.write_chunk(&chunk, content_offset)?;
        content_offset += chunk.len() as u64;
    }
    writer.finish()
}

/// Finds the entry that has the content.
fn find_file(
    reader: &ContentReader,
    snapshot: &Snapshot,
    path: &RawText,
    progress: &Progress,
) -> Result<(Entry, Vec<ChunkId>)> {
    let wanted = PathSelection::clean_path(path);
    let (entry, chunks) = find_entry(reader, snapshot, &wanted, progress)?;
    let (entry, chunks) = match &entry.target {
        Some(first) if entry.kind == EntryKind::Hardlink => {
            find_entry(reader, snapshot, first, progress)?
        }
        _ => (entry, chunks),
    };
    if entry.kind == EntryKind::File {
        return Ok((entry, chunks));
    }
    let shown = entry.path.display();
    let target = entry.target.as_ref().map(RawText::display);
    let (kind, hint) = match entry.kind {
        EntryKind::Directory => (
            "directory",
            "list it with `reprise ls`, or restore it with `reprise restore`".to_owned(),
        ),
        EntryKind::Symlink => (
            "symbolic link",
            format!("it points to `{}`", target.unwrap_or_default()),
        ),
        EntryKind::File
        | EntryKind::Hardlink
        | EntryKind::Fifo
        | EntryKind::CharDevice
        | EntryKind::BlockDevice
        | EntryKind::Socket => (
            "special file",
            "it has no stored content; restore it with `reprise restore`".to_owned(),
        ),
    };
    Err(Error::NotFile {
        path: shown,
        kind,
        hint,
    })
}

fn find_entry(
    reader: &ContentReader,
    snapshot: &Snapshot,
    wanted: &RawText,
    progress: &Progress,
) -> Result<(Entry, Vec<ChunkId>)> {
    let mut entries = reader.snapshot_reader(snapshot).entries();
    while let Some((entry, chunks)) = entries.next_entry()? {
        if entry.path == *wanted {
            return Ok((entry, chunks));
        }
        progress.check_cancelled()?;
    }
    Err(Error::NoSuchPath {
        wanted: wanted.display(),
        snapshot: snapshot.id.short(),
    })
}

struct ContentWriter<'a> {
    entry: &'a Entry,
    output: &'a mut dyn Write,
    written: u64,
}

impl ContentWriter<'_> {
    fn write_chunk(&mut self, chunk: &[u8], content_offset: u64) -> Result<()> {
        let length = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        for part in locate_chunk_parts(self.entry, content_offset, length) {
            self.fill_hole(part.file_offset)?;
            let start = part.chunk_offset as usize;
            self.write_bytes(&chunk[start..start + part.length as usize])?;
        }
        Ok(())
    }

    fn fill_hole(&mut self, end: u64) -> Result<()> {
        while self.written < end {
            let length = (end - self.written).min(ZEROS.len() as u64);
            let length = usize::try_from(length).unwrap_or(ZEROS.len());
            self.write_bytes(&ZEROS[..length])?;
        }
        Ok(())
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.output.write_all(bytes);
        written.map_err(|source| self.output_error(source))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn finish(mut self) -> Result<u64> {
        self.fill_hole(self.entry.size)?;
        let flushed = self.output.flush();
        flushed.map_err(|source| self.output_error(source))?;
        Ok(self.written)
    }

    fn output_error(&self, source: std::io::Error) -> Error {
        Error::Output {
            path: self.entry.path.display(),
            written: self.written,
            size: self.entry.size,
            source,
        }
    }
}
