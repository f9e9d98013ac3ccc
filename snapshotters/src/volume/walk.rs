//! The walk: every entry of a tree in order, each turned into an item for the snapshot.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use reprise_repository::{
    Chunker, Entry, EntryKind, FileStamp, KnownChunks, RawText, Remark, SnapshotItem,
    SnapshotWriter,
};
use rustix::fs::{OFlags, Stat};

use super::cache::{CacheReader, CachedFile};
use super::flags::flags_of_file;
use super::listing::{DirectoryListing, list_directory};
use super::metadata::{self, entry_kind, stamp_from_stat};
use super::read::{
    add_xattrs, load_small, may_have_holes, path_warning, stream_large, unreadable_remark,
};
use super::xattrs::{xattrs_of_file, xattrs_of_path};
use super::{ExcludeRules, VolumeSource, inode_identities};
use crate::confined_directory::ConfinedDirectory;
use crate::error::{Error, Result};

/// A small file that grows while it is read is truncated here; it is then reported as changed.
const GROWN_FILE_BYTES_MAX: u64 = 4 << 20;

pub(super) struct VolumeWalk<'a> {
    root: Arc<ConfinedDirectory>,
    source: &'a VolumeSource,
    excludes: ExcludeRules,
    cache: Option<CacheReader>,
    known_chunks: KnownChunks,
    writer: &'a mut SnapshotWriter,
    chunker: Chunker,
    whole_file_max: u64,
    always_excluded: Vec<(u64, u64)>,
    device: u64,
    /// First paths of files with several names, by device and inode.
    hard_links: HashMap<(u64, u64), RawText>,
}

impl<'a> VolumeWalk<'a> {
    pub(super) fn new(
        root: ConfinedDirectory,
        source: &'a VolumeSource,
        excludes: ExcludeRules,
        cache: Option<CacheReader>,
        writer: &'a mut SnapshotWriter,
        whole_file_max: u64,
    ) -> Self {
        Self {
            root: Arc::new(root),
            source,
            excludes,
            cache,
            known_chunks: writer.known_chunks(),
            chunker: writer.content_chunker(),
            writer,
            whole_file_max,
            always_excluded: inode_identities(&source.always_excluded),
            device: 0,
            hard_links: HashMap::new(),
        }
    }

    /// Walks the tree, or stores the single file that it is.
    pub(super) fn walk_tree(&mut self, single: Option<&OsStr>) -> Result<()> {
        let top = single
            .map(|name| name.as_bytes().to_vec())
            .unwrap_or_default();
        let fail = |error: rustix::io::Errno| super::read_error(&self.source.path, error.into());
        let stat = self.root.stat(&top).map_err(fail)?;
        self.device = stat.st_dev;
        let listing = match single {
            None => Some(list_directory(&self.root, b"").map_err(fail)?),
            Some(_) => None,
        };
        self.store_entry(&top, &stat)?;
        let paths = match listing {
            Some(listing) => self.take_listing(b"", listing)?,
            None => Vec::new(),
        };
        // A stack of pending paths, last first: a directory is finished before its siblings.
        let mut stack: Vec<Vec<u8>> = paths.into_iter().rev().collect();
        while let Some(path) = stack.pop() {
            for inside in self.visit_path(&path)?.into_iter().rev() {
                stack.push(inside);
            }
        }
        Ok(())
    }

    /// Stores an entry; returns the paths inside it, in order, if it is a directory to descend into.
    fn visit_path(&mut self, path: &[u8]) -> Result<Vec<Vec<u8>>> {
        let stat = match self.root.stat(path) {
            Ok(stat) => stat,
            Err(error) => {
                self.add_remark(unreadable_remark(path, error))?;
                return Ok(Vec::new());
            }
        };
        let is_dir = entry_kind(&stat) == Some(EntryKind::Directory);
        if self
            .excludes
            .is_excluded(Path::new(OsStr::from_bytes(path)), is_dir)
            || self.always_excluded.contains(&(stat.st_dev, stat.st_ino))
        {
            return Ok(Vec::new());
        }
        let kept = self.store_entry(path, &stat)?;
        let elsewhere = self.source.one_file_system && stat.st_dev != self.device;
        if !is_dir || !kept || elsewhere {
            return Ok(Vec::new());
        }
        match list_directory(&self.root, path) {
            Ok(listing) => self.take_listing(path, listing),
            Err(error) => {
                self.add_remark(unreadable_remark(path, error))?;
                Ok(Vec::new())
            }
        }
    }

    /// The paths of a listing; a listing that was not as it should be is noted.
    fn take_listing(&mut self, path: &[u8], listing: DirectoryListing) -> Result<Vec<Vec<u8>>> {
        if let Some(anomaly) = listing.anomaly {
            self.add_remark(Remark::Note(path_warning(path, anomaly)))?;
        }
        Ok(listing.paths)
    }

    fn add_remark(&mut self, remark: Remark) -> Result<()> {
        Ok(self.writer.add_item(SnapshotItem::Remark(remark))?)
    }

    /// Stores one entry. Returns whether it is in the snapshot.
    fn store_entry(&mut self, path: &[u8], stat: &Stat) -> Result<bool> {
        let Some(kind) = entry_kind(stat) else {
            let warning = path_warning(path, "has a file type that snapshots cannot store");
            self.add_remark(Remark::Warning(warning))?;
            return Ok(false);
        };
        let has_links = kind != EntryKind::Directory && stat.st_nlink > 1;
        let identity = (stat.st_dev, stat.st_ino);
        if has_links && let Some(first) = self.hard_links.get(&identity) {
            let entry = Entry {
                target: Some(first.clone()),
                size: 0,
                device: None,
                ..metadata::entry_from_stat(path, EntryKind::Hardlink, stat)
            };
            self.writer.add_item(SnapshotItem::Entry {
                entry,
                chunks: Vec::new(),
                stamp: None,
            })?;
            return Ok(true);
        }
        let kept = match kind {
            EntryKind::File => self.store_file(path, stat, has_links)?,
            kind => self.store_special(path, kind, stat)?,
        };
        // Only what is in the snapshot can be linked to.
        if kept && has_links {
            self.hard_links.insert(identity, RawText::new(path));
        }
        Ok(kept)
    }

    fn store_file(&mut self, path: &[u8], stat: &Stat, has_links: bool) -> Result<bool> {
        if let Some((remembered, stamp)) = self.find_unchanged(path, stat)? {
            let CachedFile {
                chunks,
                extents,
                xattrs,
                flags,
                ..
            } = remembered;
            let entry = Entry {
                extents,
                xattrs,
                flags,
                ..metadata::entry_from_stat(path, EntryKind::File, stat)
            };
            self.writer.add_item(SnapshotItem::Entry {
                entry,
                chunks,
                stamp: Some(stamp),
            })?;
            return Ok(true);
        }
        let size = metadata::file_size(stat);
        // A file with several names is read at once: a later name can only link to it if it was stored.
        if size > self.whole_file_max || has_links || may_have_holes(stat) {
            return stream_large(&self.root, path, self.writer, &mut self.chunker);
        }
        let (root, path) = (Arc::clone(&self.root), path.to_vec());
        let load =
            move |buffer: &mut Vec<u8>| load_small(&root, &path, GROWN_FILE_BYTES_MAX, buffer);
        self.writer.add_item(SnapshotItem::SmallFile {
            size_hint: size,
            load: Box::new(load),
        })?;
        Ok(true)
    }

    /// The cached data of a file that is unchanged and whose chunks are all stored.
    fn find_unchanged(
        &mut self,
        path: &[u8],
        stat: &Stat,
    ) -> Result<Option<(CachedFile, FileStamp)>> {
        let now = stamp_from_stat(stat);
        let remembered = self.cache.as_mut().and_then(|cache| cache.find_file(path));
        let Some(remembered) = remembered.filter(|remembered| remembered.stamp == now) else {
            return Ok(None);
        };
        let mut content = 0;
        for id in &remembered.chunks {
            match self.known_chunks.length_of(id).map_err(Error::from)? {
                Some(length) => content += u64::from(length),
                None => return Ok(None),
            }
        }
        let expected = match &remembered.extents {
            None => now.size,
            Some(extents) => extents.iter().map(|(_, length)| length).sum(),
        };
        Ok((content == expected).then_some((remembered, now)))
    }

    /// Directories, links and special files.
    fn store_special(&mut self, path: &[u8], kind: EntryKind, stat: &Stat) -> Result<bool> {
        match self.describe_entry(path, kind, stat) {
            Ok((entry, remarks)) => {
                for remark in remarks {
                    self.add_remark(remark)?;
                }
                self.writer.add_item(SnapshotItem::Entry {
                    entry,
                    chunks: Vec::new(),
                    stamp: None,
                })?;
                Ok(true)
            }
            Err(error) => {
                self.add_remark(unreadable_remark(path, error))?;
                Ok(false)
            }
        }
    }

    fn describe_entry(
        &self,
        path: &[u8],
        kind: EntryKind,
        stat: &Stat,
    ) -> rustix::io::Result<(Entry, Vec<Remark>)> {
        let mut entry = metadata::entry_from_stat(path, kind, stat);
        if kind == EntryKind::Symlink {
            entry.target = Some(RawText::new(self.root.read_link(path)?));
        }
        let read = match kind {
            EntryKind::Directory => {
                let directory = self.root.open_for_reading(path, OFlags::DIRECTORY)?;
                entry.flags = flags_of_file(&directory);
                xattrs_of_file(&directory)
            }
            _ => xattrs_of_path(self.root.reachable_path(path)?.path()),
        };
        let remarks = add_xattrs(&mut entry, read);
        Ok((entry, remarks))
    }
}
