//! Compares a directory with a snapshot: everything that a snapshot stores of an entry.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use reprise_repository::{
    ChunkId, ContentReader, Entry, EntryKind, FileTime, Progress, RawText, Repository, Snapshot,
    Xattr,
};
use reprise_snapshotters::confined_directory::ConfinedDirectory;
use reprise_snapshotters::volume::metadata;
use reprise_snapshotters::volume::xattrs::xattrs_of_descriptor;
use rustix::fs::{Dir, FileType, OFlags, Stat};
use rustix::io::Errno;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::files::content::has_expected_content;
use crate::files::directory::attribute_policy::{AttributePolicy, LeftOut, OwnerChange, has_owner};
use crate::files::directory::process_rights::ProcessRights;
use crate::files::options::AttributeSelection;
use crate::files::parallel::run_in_parallel;
use crate::files::path_selection::{PathMatch, PathSelection};
use crate::files::problems::{Aspect, KnownProblems, ProblemGroup};

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
    /// What was not compared, in sentences.
    pub not_compared: Vec<String>,
}

/// What is compared, and what a restore before it said already.
#[derive(Debug, Clone)]
pub struct ComparisonOptions<'a> {
    /// The directory.
    pub directory: &'a Path,
    /// Only these paths, or what these patterns match, and what is below them; empty: everything.
    pub paths: &'a [RawText],
    /// Which attributes were to be restored.
    pub attributes: AttributeSelection,
    /// What is known to differ. It is counted, and not named again.
    pub known: &'a [ProblemGroup],
}

/// Compares a directory with a snapshot: kinds, owners, modes, times, links, attributes, devices, sizes, every byte by
/// its chunk's ID, and that nothing else exists.
///
/// # Errors
/// When the snapshot cannot be read. Differences are in the comparison instead.
pub fn compare_directory(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &ComparisonOptions<'_>,
    progress: &Progress,
) -> Result<Comparison> {
    let reader = repository.content_reader()?;
    let directory = ConfinedDirectory::open(options.directory).map_err(|error| Error::Target {
        action: "open",
        path: options.directory.display().to_string(),
        source: error.into(),
    })?;
    let mut selection =
        PathSelection::resolve(&reader, snapshot, options.paths, progress)?.selection;
    let mut comparer = DirectoryComparer {
        repository,
        reader: &reader,
        directory: &directory,
        policy: AttributePolicy::new(options.attributes, ProcessRights::of_this_process()),
        known: KnownProblems::of(options.known),
        left_out: LeftOut::default(),
        comparison: Comparison::default(),
        inodes: HashMap::new(),
        expected: BTreeSet::new(),
    };
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
    Ok(comparer.into_comparison(options.known))
}

/// A file with the lengths of its chunks and its inode.
type ExpectedFile = (Entry, Vec<(ChunkId, u32)>, (u64, u64));

struct DirectoryComparer<'a> {
    repository: &'a Repository,
    reader: &'a ContentReader,
    directory: &'a ConfinedDirectory,
    policy: AttributePolicy,
    known: KnownProblems<'a>,
    left_out: LeftOut,
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
            self.expected.insert(entry.path.as_bytes().to_vec());
            if self.known.contains(&entry.path, Aspect::Entry) {
                continue;
            }
            if !self.policy.restores_kind(entry.kind) {
                LeftOut::count(&self.left_out.specials);
                continue;
            }
            self.comparison.entries += 1;
            let opened = self.directory.open_entry(entry.path.as_bytes());
            let found = opened.and_then(|open| rustix::fs::fstat(&open).map(|stat| (open, stat)));
            match found {
                Err(Errno::ACCESS) if !self.policy.rights().override_modes => {
                    LeftOut::count(&self.left_out.unreadable);
                }
                Err(error) => {
                    let what = format!("is missing: {}", std::io::Error::from(error));
                    self.add_difference(&entry.path, what);
                }
                Ok((open, stat)) => {
                    self.compare_attributes(&entry, &open, &stat);
                    if entry.kind == EntryKind::File && has_kind(&stat, EntryKind::File) {
                        self.comparison.files += 1;
                        self.comparison.bytes += entry.content_bytes();
                        let inode = (stat.st_dev, stat.st_ino);
                        files.push((entry, self.chunk_lengths(chunks)?, inode));
                    }
                }
            }
        }
        self.compare_contents(&files)
    }

    fn compare_contents(&mut self, files: &[ExpectedFile]) -> Result<()> {
        let differing = Mutex::new(Vec::new());
        run_in_parallel(files.len(), |n, buffer| {
            let (entry, chunks, inode) = &files[n];
            let right = self.has_content(entry, chunks, *inode, buffer);
            let what = match right {
                Ok(true) => return Ok(()),
                Ok(false) => "has different content".to_owned(),
                Err(error)
                    if error.kind() == std::io::ErrorKind::PermissionDenied
                        && !self.policy.rights().override_modes =>
                {
                    LeftOut::count(&self.left_out.unreadable);
                    return Ok(());
                }
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

    /// Whether the file whose attributes were compared has the content.
    fn has_content(
        &self,
        entry: &Entry,
        chunks: &[(ChunkId, u32)],
        inode: (u64, u64),
        buffer: &mut Vec<u8>,
    ) -> std::io::Result<bool> {
        let path = entry.path.as_bytes();
        let file = self.directory.open_for_reading(path, OFlags::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        if (stat.st_dev, stat.st_ino) != inode {
            return Err(std::io::Error::other("it was replaced meanwhile"));
        }
        has_expected_content(&file, entry, chunks, self.repository.secrets(), buffer)
    }

    fn chunk_lengths(&self, chunks: Vec<ChunkId>) -> Result<Vec<(ChunkId, u32)>> {
        let length = |id| Ok((id, self.reader.chunk_length(&id, &"the comparison")?));
        chunks.into_iter().map(length).collect()
    }

    fn compare_attributes(&mut self, entry: &Entry, open: &OwnedFd, stat: &Stat) {
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
        self.compare_owner_and_mode(entry, stat);
        let mtime = metadata::mtime(stat);
        if mtime != entry.mtime && !self.known.contains(path, Aspect::Time) {
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
            let target = rustix::fs::readlinkat(open, "", Vec::new()).ok();
            let target = target.as_ref().map(|target| target.to_bytes());
            if target != entry.target.as_ref().map(RawText::as_bytes) {
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
        if !self.known.contains(path, Aspect::Xattrs) {
            self.compare_xattrs(entry, open);
        }
    }

    fn compare_owner_and_mode(&mut self, entry: &Entry, stat: &Stat) {
        let path = &entry.path;
        let owner_is_right = has_owner(stat, entry);
        if !owner_is_right && self.policy.owner_change() != OwnerChange::Set {
            LeftOut::count(&self.left_out.owners);
        } else if !owner_is_right && !self.known.contains(path, Aspect::Owner) {
            let what = format!(
                "belongs to {}:{} instead of {}:{}",
                stat.st_uid, stat.st_gid, entry.uid, entry.gid
            );
            self.add_difference(path, what);
        }
        let (mode, expected) = (
            stat.st_mode & 0o7777,
            self.policy.mode_of(entry, owner_is_right),
        );
        if entry.kind == EntryKind::Symlink || self.known.contains(path, Aspect::Mode) {
            return;
        }
        if mode != expected && mode != entry.mode {
            self.add_difference(
                path,
                format!("has mode {mode:04o} instead of {:04o}", entry.mode),
            );
        } else if mode != entry.mode {
            LeftOut::count(&self.left_out.set_id_bits);
        }
    }

    fn compare_xattrs(&mut self, entry: &Entry, open: &OwnedFd) {
        let is_compared = |xattr: &&Xattr| self.policy.restores_attribute(xattr.name.as_bytes());
        let expected: Vec<&Xattr> = entry.xattrs.iter().filter(is_compared).collect();
        if expected.len() < entry.xattrs.len() {
            LeftOut::count(&self.left_out.xattrs);
        }
        let read = xattrs_of_descriptor(open);
        let what = if read.problems.is_empty() {
            if read.xattrs.iter().filter(is_compared).eq(expected) {
                return;
            }
            "has different extended attributes".to_owned()
        } else {
            format!("cannot be compared without {}", read.problems.join("; "))
        };
        self.add_difference(&entry.path, what);
    }

    fn compare_hardlink(&mut self, entry: &Entry, stat: &Stat) {
        if self.known.contains(&entry.path, Aspect::Link) {
            return;
        }
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

    fn into_comparison(mut self, known: &[ProblemGroup]) -> Comparison {
        let mut not_compared = self.left_out.describe(&self.policy, "compared");
        let named: usize = known.iter().map(|group| group.paths.len()).sum();
        if named > 0 {
            let entries = if named == 1 { "entry" } else { "entries" };
            not_compared.push(format!(
                "not compared: what the restore has named of {named} {entries}"
            ));
        }
        self.comparison.not_compared = not_compared;
        self.comparison
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
            let open = match self
                .directory
                .open_for_reading(&directory, OFlags::DIRECTORY)
            {
                Err(Errno::ACCESS) if !self.policy.rights().override_modes => {
                    LeftOut::count(&self.left_out.unreadable);
                    continue;
                }
                opened => opened.map_err(fail)?,
            };
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
                    .directory
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
