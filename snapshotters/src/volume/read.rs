//! Reading files: small ones by the workers, large and sparse ones as a stream.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::SystemTime;

use reprise_repository::{
    Chunker, Entry, EntryKind, LoadedFile, RawText, Remark, SnapshotItem, SnapshotWriter, Warning,
};
use rustix::fs::{OFlags, SeekFrom as RawSeek, Stat, fstat};
use rustix::io::Errno;

use super::flags::flags_of_file;
use super::metadata::{self, is_settled, stamp_from_stat};
use super::xattrs::{ReadXattrs, xattrs_of_file};
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

/// What is said of something that was listed, and no longer existed when it was read.
const VANISHED: &str = "vanished between listing and reading: deleted or renamed meanwhile";

/// This many vanished entries are what a source that is in use is like; more are an alarm, if they are also more than
/// one in [`VANISHED_SHARE`].
const VANISHED_MIN: u64 = 10;
const VANISHED_SHARE: u64 = 20;

/// Names the reason why something cannot be read. What vanished was deleted: a note. Anything else is missing.
pub(super) fn unreadable_remark(path: &[u8], error: Errno) -> Remark {
    let message = match error {
        Errno::NOENT | Errno::NOTDIR => return Remark::Note(path_warning(path, VANISHED)),
        Errno::LOOP => "became a symbolic link while the snapshot was taken".to_owned(),
        error => format!("cannot be read: {}", std::io::Error::from(error)),
    };
    Remark::Warning(path_warning(path, message))
}

/// An alarm when so much vanished that it was not only a file in use here and there.
pub(super) fn vanished_alarm(entries: u64, notes: &[Warning]) -> Option<Warning> {
    let vanished = notes.iter().filter(|note| note.message == VANISHED).count() as u64;
    let many = vanished >= VANISHED_MIN && vanished * VANISHED_SHARE > entries + vanished;
    many.then(|| {
        path_warning(
            b"",
            format!(
                "alarm: {vanished} of {} entries vanished while the snapshot was taken",
                entries + vanished
            ),
        )
    })
}

fn open_file(root: &ConfinedDirectory, path: &[u8]) -> std::result::Result<(File, Stat), Remark> {
    let fail = |error| unreadable_remark(path, error);
    let file = root.open_for_reading(path, OFlags::empty()).map_err(fail)?;
    let stat = fstat(&file).map_err(fail)?;
    if metadata::entry_kind(&stat) == Some(EntryKind::File) {
        Ok((file, stat))
    } else {
        let warning = path_warning(path, "is no longer a regular file");
        Err(Remark::Warning(warning))
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
            Ok((_, Stability::Changed)) if attempt < ATTEMPTS_MAX => {}
            Ok((loaded, _)) => return loaded,
            Err(remark) => {
                buffer.truncate(start);
                return LoadedFile {
                    entry: None,
                    stamp: None,
                    remarks: vec![remark],
                };
            }
        }
    }
}

/// Whether a file stayed the same while it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stability {
    Unchanged,
    Changed,
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
) -> std::result::Result<(LoadedFile, Stability), Remark> {
    let began = machine_time();
    let (file, stat) = open_file(root, path)?;
    let mut entry = metadata::entry_from_stat(path, EntryKind::File, &stat);
    let mut remarks = add_xattrs(&mut entry, xattrs_of_file(&file));
    entry.flags = flags_of_file(&file);
    let start = buffer.len();
    buffer.reserve(usize::try_from(entry.size.min(size_max)).unwrap_or(0) + 1);
    let read = (&file).take(size_max).read_to_end(buffer);
    read.map_err(|error| Remark::Warning(path_warning(path, format!("cannot be read: {error}"))))?;
    entry.size = (buffer.len() - start) as u64;
    let after = fstat(&file).map_err(|error| unreadable_remark(path, error))?;
    let stamp = stamp_from_stat(&after);
    let changed =
        stamp != self::stamp_from_stat(&stat) || entry.size != metadata::file_size(&after);
    if changed {
        remarks.push(Remark::Warning(path_warning(
            path,
            "changed while it was read",
        )));
    }
    let loaded = LoadedFile {
        entry: Some(entry),
        stamp: (!changed && is_settled(&stamp, began)).then_some(stamp),
        remarks,
    };
    let stability = if changed {
        Stability::Changed
    } else {
        Stability::Unchanged
    };
    Ok((loaded, stability))
}

/// Gives an entry its attributes; those that cannot be read are named.
pub(super) fn add_xattrs(entry: &mut Entry, read: ReadXattrs) -> Vec<Remark> {
    entry.xattrs = read.xattrs;
    let named = read.problems.into_iter().map(|problem| Warning {
        path: entry.path.clone(),
        message: format!("is stored without {problem}"),
    });
    named.map(Remark::Warning).collect()
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
        let remarks = add_xattrs(&mut entry, xattrs_of_file(&file));
        entry.flags = flags_of_file(&file);
        entry.extents =
            data_extents(&file, &stat).map_err(|error| unreadable_remark(path, error))?;
        Ok((file, stat, entry, remarks))
    });
    let (file, stat, mut entry, remarks) = match opened {
        Ok(opened) => opened,
        Err(remark) => {
            writer.add_item(SnapshotItem::Remark(remark))?;
            return Ok(false);
        }
    };
    let complete = remarks.is_empty();
    for remark in remarks {
        writer.add_item(SnapshotItem::Remark(remark))?;
    }
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
            let warning = path_warning(path, format!("cannot be read: {error}"));
            writer.add_item(SnapshotItem::AbandonedFile { warning })?;
            return Ok(false);
        }
    };
    let settled = complete && is_settled(&stamp_from_stat(&after), began);
    finish_large(writer, &mut entry, bytes, (&stat, &after), settled)
}

fn finish_large(
    writer: &mut SnapshotWriter,
    entry: &mut Entry,
    bytes: u64,
    (before, after): (&Stat, &Stat),
    settled: bool,
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
    let stamp = (!changed && settled).then_some(stamp);
    writer.add_item(SnapshotItem::Entry {
        entry: entry.clone(),
        chunks: Vec::new(),
        stamp,
    })?;
    if changed {
        let warning = path_warning(&path, "changed while it was read");
        writer.add_item(SnapshotItem::Remark(Remark::Warning(warning)))?;
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

    #[test]
    fn many_vanished_entries_are_an_alarm_and_a_few_are_not() {
        let notes = |count: usize| vec![path_warning(b"x", VANISHED); count];
        for (entries, vanished, alarm) in [
            (3, 1, false),
            (0, 9, false),
            (100, 10, true),
            (100_000, 1_000, false),
            (10_000, 1_000, true),
        ] {
            let found = vanished_alarm(entries, &notes(vanished));
            assert_eq!(found.is_some(), alarm, "{entries} {vanished}");
        }
    }

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
        let gone = Remark::Note(path_warning(b"gone", VANISHED));
        assert_eq!(loaded.remarks, [gone]);
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
            let remark = loaded.remarks.first();
            assert!(
                loaded.entry.is_none() && matches!(remark, Some(Remark::Warning(_))),
                "{path}"
            );
            assert_eq!(buffer, b"before", "{path}");
        }
    }

    #[test]
    fn a_file_larger_than_allowed_is_cut_and_reported() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("grown"), vec![7; (1 << 20) + 5]).unwrap();
        let (loaded, buffer) = load(&directory, "grown");
        assert_eq!(buffer.len(), 6 + (1 << 20));
        let changed = path_warning(b"grown", "changed while it was read");
        assert_eq!(loaded.remarks, [Remark::Warning(changed)]);
        assert!(loaded.stamp.is_none());
    }

    #[test]
    fn a_file_that_settled_is_kept_with_its_stamp() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("plain");
        std::fs::write(&path, b"content").unwrap();
        let (loaded, buffer) = load(&directory, "plain");
        assert_eq!(buffer, b"beforecontent");
        assert!(loaded.remarks.is_empty());
        assert_eq!(loaded.entry.unwrap().size, 7);
    }
}
