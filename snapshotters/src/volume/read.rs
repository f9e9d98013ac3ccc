//! Reading files: small ones by the workers, large and sparse ones as a stream.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::SystemTime;

use reprise_repository::{
    Chunker, Entry, EntryKind, LoadedFile, RawText, SnapshotItem, SnapshotWriter, Warning,
};
use rustix::fs::{OFlags, SeekFrom as RawSeek, Stat, fstat};
use rustix::io::Errno;

use super::metadata::{self, is_settled, stamp_from_stat, xattrs_of_file};
use crate::confined_directory::ConfinedDirectory;
use crate::error::Result;

/// How often a small file that changes while it is read is read again.
const ATTEMPTS_MAX: u32 = 3;

/// A file with more extents than this is stored without its last holes: the list must stay small.
const EXTENTS_MAX: usize = 65_536;

pub(super) fn path_warning(path: &[u8], message: impl Into<String>) -> Warning {
    Warning {
        path: RawText::new(path),
        message: message.into(),
    }
}

/// Names the reason why something cannot be read.
pub(super) fn unreadable_warning(path: &[u8], error: Errno) -> Warning {
    let message = match error {
        Errno::NOENT | Errno::NOTDIR => "vanished while the snapshot was taken".to_owned(),
        Errno::LOOP => "became a symbolic link while the snapshot was taken".to_owned(),
        error => format!("cannot be read: {}", std::io::Error::from(error)),
    };
    path_warning(path, message)
}

fn open_file(root: &ConfinedDirectory, path: &[u8]) -> std::result::Result<(File, Stat), Warning> {
    let fail = |error| unreadable_warning(path, error);
    let file = root.open_for_reading(path, OFlags::empty()).map_err(fail)?;
    let stat = fstat(&file).map_err(fail)?;
    if metadata::entry_kind(&stat) == Some(EntryKind::File) {
        Ok((file, stat))
    } else {
        Err(path_warning(path, "is no longer a regular file"))
    }
}

/// Reads a small file to the end of `buffer`; `size_max` limits how much of a growing file is read.
pub(super) fn load_small(
    root: &Arc<ConfinedDirectory>,
    path: &[u8],
    size_max: u64,
    buffer: &mut Vec<u8>,
) -> LoadedFile {
    let start = buffer.len();
    let mut attempt = 0;
    loop {
        attempt += 1;
        buffer.truncate(start);
        match read_small_once(root, path, size_max, buffer) {
            Ok(loaded) if loaded.warning.is_some() && attempt < ATTEMPTS_MAX => {}
            Ok(loaded) => return loaded,
            Err(warning) => {
                buffer.truncate(start);
                return LoadedFile {
                    entry: None,
                    stamp: None,
                    warning: Some(warning),
                };
            }
        }
    }
}

/// The time of the machine whose files are read: it is compared with the times of files, which no other clock sets.
#[expect(
    clippy::disallowed_methods,
    reason = "times of files are the machine's"
)]
fn machine_time() -> SystemTime {
    SystemTime::now()
}

fn read_small_once(
    root: &ConfinedDirectory,
    path: &[u8],
    size_max: u64,
    buffer: &mut Vec<u8>,
) -> std::result::Result<LoadedFile, Warning> {
    let began = machine_time();
    let (file, stat) = open_file(root, path)?;
    let mut entry = metadata::entry_from_stat(path, EntryKind::File, &stat);
    entry.xattrs = xattrs_of_file(&file).map_err(|error| unreadable_warning(path, error))?;
    let start = buffer.len();
    buffer.reserve(usize::try_from(entry.size.min(size_max)).unwrap_or(0) + 1);
    let read = (&file).take(size_max).read_to_end(buffer);
    read.map_err(|error| path_warning(path, format!("cannot be read: {error}")))?;
    entry.size = (buffer.len() - start) as u64;
    let after = fstat(&file).map_err(|error| unreadable_warning(path, error))?;
    let stamp = stamp_from_stat(&after);
    let changed =
        stamp != self::stamp_from_stat(&stat) || entry.size != metadata::file_size(&after);
    Ok(LoadedFile {
        entry: Some(entry),
        stamp: (!changed && is_settled(&stamp, began)).then_some(stamp),
        warning: changed.then(|| path_warning(path, "changed while it was read")),
    })
}

/// Stores a file of any size as a stream, with its holes. Returns whether an entry was created.
pub(super) fn stream_large(
    root: &ConfinedDirectory,
    path: &[u8],
    writer: &mut SnapshotWriter,
    chunker: &mut Chunker,
) -> Result<bool> {
    let began = machine_time();
    let opened = open_file(root, path).and_then(|(file, stat)| {
        let mut entry = metadata::entry_from_stat(path, EntryKind::File, &stat);
        entry.xattrs = xattrs_of_file(&file).map_err(|error| unreadable_warning(path, error))?;
        entry.extents =
            data_extents(&file, &stat).map_err(|error| unreadable_warning(path, error))?;
        Ok((file, stat, entry))
    });
    let (file, stat, mut entry) = match opened {
        Ok(opened) => opened,
        Err(warning) => {
            writer.add_item(SnapshotItem::Skipped { warning })?;
            return Ok(false);
        }
    };
    let mut content = FileContent::new(&file, entry.extents.as_deref());
    let bytes = match writer.add_stream(chunker, &mut content)? {
        Ok(bytes) => bytes,
        Err(error) => {
            let warning = path_warning(path, format!("cannot be read: {error}"));
            writer.add_item(SnapshotItem::AbandonedFile { warning })?;
            return Ok(false);
        }
    };
    let after = match fstat(&file) {
        Ok(after) => after,
        Err(error) => {
            writer.add_item(SnapshotItem::AbandonedFile {
                warning: unreadable_warning(path, error),
            })?;
            return Ok(false);
        }
    };
    finish_large(writer, &mut entry, bytes, (&stat, &after), began)
}

fn finish_large(
    writer: &mut SnapshotWriter,
    entry: &mut Entry,
    bytes: u64,
    (before, after): (&Stat, &Stat),
    began: SystemTime,
) -> Result<bool> {
    let path = entry.path.as_bytes().to_vec();
    let stamp = stamp_from_stat(after);
    let changed = stamp != self::stamp_from_stat(before) || bytes != entry.content_bytes();
    if changed && entry.extents.is_some() && bytes != entry.content_bytes() {
        // The extents no longer match the bytes: the content is not known.
        let warning = path_warning(&path, "shrank while it was read; it is not in the snapshot");
        writer.add_item(SnapshotItem::AbandonedFile { warning })?;
        return Ok(false);
    }
    if entry.extents.is_none() {
        entry.size = bytes;
    }
    let stamp = (!changed && is_settled(&stamp, began)).then_some(stamp);
    writer.add_item(SnapshotItem::Entry {
        entry: entry.clone(),
        chunks: Vec::new(),
        stamp,
    })?;
    if changed {
        writer.add_item(SnapshotItem::Skipped {
            warning: path_warning(&path, "changed while it was read"),
        })?;
    }
    Ok(true)
}

/// Whether fewer blocks are allocated than the size requires.
pub(super) fn may_have_holes(stat: &Stat) -> bool {
    u64::try_from(stat.st_blocks)
        .is_ok_and(|blocks| blocks.saturating_mul(512) < metadata::file_size(stat))
}

/// The data extents of a file with holes; `None` when there is no hole.
fn data_extents(file: &File, stat: &Stat) -> rustix::io::Result<Option<Vec<(u64, u64)>>> {
    if !may_have_holes(stat) {
        return Ok(None);
    }
    let size = metadata::file_size(stat);
    let mut found: Vec<(u64, u64)> = Vec::new();
    let mut position = 0;
    while position < size {
        let start = match rustix::fs::seek(file, RawSeek::Data(position)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            // This file system does not report holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return rewind_file(file, None),
            Err(error) => return Err(error),
        };
        if found.len() + 1 == EXTENTS_MAX {
            found.push((start, size - start));
            break;
        }
        let end = rustix::fs::seek(file, RawSeek::Hole(start))?.min(size);
        if start >= size || end <= start {
            break;
        }
        found.push((start, end - start));
        position = end;
    }
    let whole = found.len() == 1 && found[0] == (0, size);
    rewind_file(file, (!whole).then_some(found))
}

fn rewind_file<T>(file: &File, value: T) -> rustix::io::Result<T> {
    rustix::fs::seek(file, RawSeek::Start(0)).map(|_| value)
}

/// A file's data without its holes.
struct FileContent<'a> {
    file: &'a File,
    extents: Option<std::iter::Copied<std::slice::Iter<'a, (u64, u64)>>>,
    remaining: u64,
}

impl<'a> FileContent<'a> {
    fn new(file: &'a File, extents: Option<&'a [(u64, u64)]>) -> Self {
        let remaining = if extents.is_some() { 0 } else { u64::MAX };
        Self {
            file,
            extents: extents.map(|extents| extents.iter().copied()),
            remaining,
        }
    }
}

impl Read for FileContent<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.remaining == 0 {
            match self.extents.as_mut().and_then(Iterator::next) {
                None => return Ok(0),
                Some((offset, length)) => {
                    self.file.seek(SeekFrom::Start(offset))?;
                    self.remaining = length;
                }
            }
        }
        let limit = usize::try_from(self.remaining)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let got = self.file.read(&mut buffer[..limit])?;
        if self.extents.is_some() {
            if got == 0 {
                // The file shrank; what follows would be misplaced.
                self.extents = Some([].iter().copied());
                self.remaining = 0;
            }
            self.remaining -= got as u64;
        }
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(directory: &tempfile::TempDir, path: &str) -> (LoadedFile, Vec<u8>) {
        let root = Arc::new(ConfinedDirectory::open(directory.path()).unwrap());
        let mut buffer = b"before".to_vec();
        let loaded = load_small(&root, path.as_bytes(), 1 << 20, &mut buffer);
        (loaded, buffer)
    }

    #[test]
    fn a_file_that_vanished_is_named_and_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let (loaded, buffer) = load(&directory, "gone");
        assert!(loaded.entry.is_none());
        assert!(
            loaded
                .warning
                .unwrap()
                .to_string()
                .contains("gone: vanished")
        );
        assert_eq!(buffer, b"before");
    }

    #[test]
    fn a_file_that_became_a_link_or_fifo_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("secret"), b"secret").unwrap();
        std::os::unix::fs::symlink("secret", directory.path().join("link")).unwrap();
        std::os::unix::fs::symlink(".", directory.path().join("directory")).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(
            rustix::fs::CWD,
            directory.path().join("fifo"),
            kind,
            mode,
            0,
        )
        .unwrap();
        for path in ["link", "directory/secret", "fifo"] {
            let (loaded, buffer) = load(&directory, path);
            assert!(loaded.entry.is_none() && loaded.warning.is_some(), "{path}");
            assert_eq!(buffer, b"before", "{path}");
        }
    }

    #[test]
    fn a_file_larger_than_allowed_is_cut_and_reported() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("grown"), vec![7; (1 << 20) + 5]).unwrap();
        let (loaded, buffer) = load(&directory, "grown");
        assert_eq!(buffer.len(), 6 + (1 << 20));
        assert!(
            loaded
                .warning
                .unwrap()
                .message
                .contains("changed while it was read")
        );
        assert!(loaded.stamp.is_none());
    }

    #[test]
    fn a_file_that_settled_is_kept_with_its_stamp() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("plain");
        std::fs::write(&path, b"content").unwrap();
        let (loaded, buffer) = load(&directory, "plain");
        assert_eq!(buffer, b"beforecontent");
        assert!(loaded.warning.is_none());
        assert_eq!(loaded.entry.unwrap().size, 7);
    }
}
