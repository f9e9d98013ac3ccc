//! Compares a directory with a snapshot: everything that a snapshot stores of an entry.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use reprise_repository::{
    ChunkId, ContentReader, Entry, EntryKind, FileTime, Progress, RawText, Repository, Snapshot,
};
use reprise_snapshotters::confined_directory::ConfinedDirectory;
use reprise_snapshotters::volume::metadata;
use reprise_snapshotters::volume::xattrs::xattrs_of_path;
use rustix::fs::{Dir, FileType, OFlags, Stat};
use serde::Serialize;

use super::content::has_expected_content;
use super::parallel::run_in_parallel;
use super::path_selection::{PathMatch, PathSelection};
use crate::error::{Error, Result};

/// Entries compared together.
const WINDOW_ENTRIES_MAX: usize = 8192;

/// The difference reported for an entry that the snapshot does not have.
pub const NOT_IN_SNAPSHOT: &str = "is not in the snapshot";

/// An entry that differs from its saved state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The entry.
    pub path: String,
    /// What differs.
    #[serde(rename = "difference")]
    pub what: String,
}

/// The result of a comparison.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Comparison {
    /// Entries compared.
    pub entries: u64,
    /// Files whose bytes were hashed.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The differences.
    pub differences: Vec<Difference>,
}

/// Compares a directory with a snapshot: kinds, owners, modes, times, links, attributes, devices, sizes, every byte by
/// its chunk's ID, and that nothing else exists.
///
/// # Errors
/// When the snapshot cannot be read. Differences are in the comparison instead.
pub fn compare_directory(
    repository: &Repository,
    snapshot: &Snapshot,
    directory: &std::path::Path,
    paths: &[RawText],
    progress: &Progress,
) -> Result<Comparison> {
    let reader = repository.content_reader()?;
    let beneath = ConfinedDirectory::open(directory).map_err(|error| Error::Target {
        action: "open",
        path: directory.display().to_string(),
        source: error.into(),
    })?;
    let mut comparer = DirectoryComparer {
        repository,
        reader: &reader,
        beneath: &beneath,
        comparison: Comparison::default(),
        inodes: HashMap::new(),
        expected: BTreeSet::new(),
    };
    let mut selection = PathSelection::new(paths);
    let mut entries = reader.snapshot_reader(snapshot).entries();
    let mut window = Vec::new();
    while let Some((entry, chunks)) = entries.next_entry()? {
        let chosen = match selection.match_path(entry.path.as_bytes()) {
            PathMatch::Yes => true,
            PathMatch::Ancestor => entry.kind == EntryKind::Directory,
            PathMatch::No => false,
        };
        if chosen {
            window.push((entry, chunks));
        }
        if window.len() >= WINDOW_ENTRIES_MAX {
            progress.check_cancelled()?;
            comparer.compare_window(std::mem::take(&mut window))?;
        }
    }
    comparer.compare_window(window)?;
    comparer.find_extra_entries()?;
    Ok(comparer.comparison)
}

struct DirectoryComparer<'a> {
    repository: &'a Repository,
    reader: &'a ContentReader,
    beneath: &'a ConfinedDirectory,
    comparison: Comparison,
    /// Inodes of entries that have further names.
    inodes: HashMap<Vec<u8>, (u64, u64)>,
    /// Everything that may be in the directory.
    expected: BTreeSet<Vec<u8>>,
}

impl DirectoryComparer<'_> {
    fn compare_window(&mut self, window: Vec<(Entry, Vec<ChunkId>)>) -> Result<()> {
        let mut files = Vec::new();
        for (entry, chunks) in window {
            self.comparison.entries += 1;
            self.expected.insert(entry.path.as_bytes().to_vec());
            match self.beneath.stat(entry.path.as_bytes()) {
                Err(error) => {
                    let what = format!("is missing: {}", std::io::Error::from(error));
                    self.add_difference(&entry.path, what);
                }
                Ok(stat) => {
                    self.compare_attributes(&entry, &stat);
                    if entry.kind == EntryKind::File && has_kind(&stat, EntryKind::File) {
                        self.comparison.files += 1;
                        self.comparison.bytes += entry.content_bytes();
                        files.push((entry, self.chunk_lengths(chunks)?));
                    }
                }
            }
        }
        let differing = Mutex::new(Vec::new());
        run_in_parallel(files.len(), |n, buffer| {
            let (entry, chunks) = &files[n];
            let right = self
                .beneath
                .open_for_reading(entry.path.as_bytes(), OFlags::empty())
                .map_err(std::io::Error::from)
                .and_then(|file| {
                    has_expected_content(&file, entry, chunks, self.repository.secrets(), buffer)
                });
            let what = match right {
                Ok(true) => return Ok(()),
                Ok(false) => "has different content".to_owned(),
                Err(error) => format!("cannot be read: {error}"),
            };
            let difference = Difference {
                path: entry.path.display(),
                what,
            };
            differing
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(difference);
            Ok(())
        })?;
        self.comparison.differences.extend(
            differing
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
        );
        Ok(())
    }

    fn chunk_lengths(&self, chunks: Vec<ChunkId>) -> Result<Vec<(ChunkId, u32)>> {
        let length = |id| Ok((id, self.reader.chunk_length(&id, &"the comparison")?));
        chunks.into_iter().map(length).collect()
    }

    fn compare_attributes(&mut self, entry: &Entry, stat: &Stat) {
        let path = &entry.path;
        if entry.kind == EntryKind::Hardlink {
            return self.compare_hardlink(entry, stat);
        }
        if !has_kind(stat, entry.kind) {
            return self.add_difference(path, "has a different type".to_owned());
        }
        if stat.st_nlink > 1 && entry.kind != EntryKind::Directory {
            self.inodes
                .insert(path.as_bytes().to_vec(), (stat.st_dev, stat.st_ino));
        }
        if (stat.st_uid, stat.st_gid) != (entry.uid, entry.gid) {
            let what = format!(
                "belongs to {}:{} instead of {}:{}",
                stat.st_uid, stat.st_gid, entry.uid, entry.gid
            );
            self.add_difference(path, what);
        }
        let mode = stat.st_mode & 0o7777;
        if entry.kind != EntryKind::Symlink && mode != entry.mode {
            self.add_difference(
                path,
                format!("has mode {mode:04o} instead of {:04o}", entry.mode),
            );
        }
        let mtime = metadata::mtime(stat);
        if mtime != entry.mtime {
            self.add_difference(
                path,
                format!(
                    "has time {} instead of {}",
                    format_file_time(mtime),
                    format_file_time(entry.mtime)
                ),
            );
        }
        if entry.kind == EntryKind::Symlink {
            let target = self.beneath.read_link(path.as_bytes()).ok();
            if target.as_deref() != entry.target.as_ref().map(RawText::as_bytes) {
                self.add_difference(path, "points to a different target".to_owned());
            }
        }
        if let Some((major, minor)) = entry.device
            && (
                rustix::fs::major(stat.st_rdev),
                rustix::fs::minor(stat.st_rdev),
            ) != (major, minor)
        {
            self.add_difference(path, "is a different device".to_owned());
        }
        let xattrs = self
            .beneath
            .reachable_path(path.as_bytes())
            .map(|reachable| xattrs_of_path(reachable.path()));
        match xattrs {
            Ok(read) if !read.problems.is_empty() => {
                let what = format!("cannot be compared without {}", read.problems.join("; "));
                self.add_difference(path, what);
            }
            Ok(read) if read.xattrs == entry.xattrs => {}
            Ok(_) => self.add_difference(path, "has different extended attributes".to_owned()),
            Err(error) => {
                let what = format!(
                    "its extended attributes cannot be read: {}",
                    std::io::Error::from(error)
                );
                self.add_difference(path, what);
            }
        }
    }

    fn compare_hardlink(&mut self, entry: &Entry, stat: &Stat) {
        let first = entry
            .target
            .as_ref()
            .and_then(|first| self.inodes.get(first.as_bytes()));
        match first {
            Some(inode) if *inode == (stat.st_dev, stat.st_ino) => {}
            Some(_) => {
                self.add_difference(&entry.path, "is not a hard link to its file".to_owned())
            }
            // In a partial restore the first name may not be selected: then this is a file of its own.
            None => {}
        }
    }

    fn add_difference(&mut self, path: &RawText, what: String) {
        self.comparison.differences.push(Difference {
            path: path.display(),
            what,
        });
    }

    /// Looks for entries that the snapshot does not have.
    fn find_extra_entries(&mut self) -> Result<()> {
        let mut directories = vec![Vec::new()];
        while let Some(directory) = directories.pop() {
            let fail = |error: rustix::io::Errno| Error::Target {
                action: "list",
                path: RawText::new(directory.clone()).display(),
                source: error.into(),
            };
            let open = self
                .beneath
                .open_for_reading(&directory, OFlags::DIRECTORY)
                .map_err(fail)?;
            for item in Dir::new(open).map_err(fail)? {
                let item = item.map_err(fail)?;
                let name = item.file_name().to_bytes();
                if name == b"." || name == b".." {
                    continue;
                }
                let mut path = directory.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(name);
                if !self.expected.contains(&path) {
                    self.add_difference(&RawText::new(path), NOT_IN_SNAPSHOT.to_owned());
                } else if self
                    .beneath
                    .stat(&path)
                    .is_ok_and(|stat| has_kind(&stat, EntryKind::Directory))
                {
                    directories.push(path);
                }
            }
        }
        Ok(())
    }
}

fn has_kind(stat: &Stat, kind: EntryKind) -> bool {
    let expected = match kind {
        EntryKind::File | EntryKind::Hardlink => FileType::RegularFile,
        EntryKind::Directory => FileType::Directory,
        EntryKind::Symlink => FileType::Symlink,
        EntryKind::Fifo => FileType::Fifo,
        EntryKind::CharDevice => FileType::CharacterDevice,
        EntryKind::BlockDevice => FileType::BlockDevice,
        EntryKind::Socket => FileType::Socket,
    };
    FileType::from_raw_mode(stat.st_mode) == expected
}

fn format_file_time(time: FileTime) -> String {
    format!("{}.{:09}", time.0, time.1)
}
