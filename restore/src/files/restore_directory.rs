//! The directory that is restored into: refusal, marking, and creation of entries without ever leaving it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use reprise_repository::{Entry, EntryKind, Snapshot};
use reprise_snapshotters::confined_directory::ConfinedDirectory;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, linkat, mkdirat, mknodat, symlinkat, unlinkat};
use rustix::io::Errno;

use super::options::OverwriteMode;
use crate::error::{Error, Result};

/// An open target.
#[derive(Debug)]
pub(super) struct RestoreDirectory {
    path: PathBuf,
    beneath: ConfinedDirectory,
    marker: PathBuf,
}

impl RestoreDirectory {
    /// Creates or opens the directory, refuses an unsuitable one, and marks it as being restored into.
    pub(super) fn open(path: &Path, existing: OverwriteMode, snapshot: &Snapshot) -> Result<Self> {
        let fail = |action| {
            move |source| Error::Target {
                action,
                path: path.display().to_string(),
                source,
            }
        };
        fs::create_dir_all(path).map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists | ErrorKind::NotADirectory => Error::TargetNotDirectory {
                path: path.to_owned(),
            },
            _ => fail("create")(source),
        })?;
        // The snapshot's ID depends on all its entries, so no entry can have this name.
        let marker = path.join(format!(".reprise-restore-{}", snapshot.id));
        let marked = marker.symlink_metadata().is_ok();
        let empty = fs::read_dir(path).map_err(fail("read"))?.next().is_none();
        match existing {
            OverwriteMode::Refuse if !empty => {
                return Err(Error::TargetNotEmpty {
                    path: path.to_owned(),
                    resumable: marked,
                });
            }
            OverwriteMode::Resume if !empty && !marked => {
                let snapshot = snapshot.id.short();
                return Err(Error::NothingToResume {
                    path: path.to_owned(),
                    snapshot,
                });
            }
            _ => {}
        }
        let beneath = ConfinedDirectory::open(path).map_err(|e| fail("open")(e.into()))?;
        if !marked {
            File::create_new(&marker).map_err(fail("create"))?;
        }
        Ok(Self {
            path: path.to_owned(),
            beneath,
            marker,
        })
    }

    pub(super) fn confined(&self) -> &ConfinedDirectory {
        &self.beneath
    }

    /// Fails early when the restore cannot fit.
    pub(super) fn require_space(&self, needed_bytes: u64) -> Result<()> {
        let free = rustix::fs::fstatvfs(self.beneath.directory())
            .map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        match free {
            Ok(free_bytes) if free_bytes < needed_bytes => Err(Error::NoSpace {
                path: self.path.clone(),
                free_bytes,
                needed_bytes,
            }),
            _ => Ok(()),
        }
    }

    /// Whether the mark still exists.
    pub(super) fn has_marker(&self) -> bool {
        self.marker.symlink_metadata().is_ok()
    }

    /// Removes the mark: the restore is complete.
    pub(super) fn remove_marker(&self) -> Result<()> {
        fs::remove_file(&self.marker).map_err(|source| Error::Target {
            action: "remove",
            path: self.marker.display().to_string(),
            source,
        })
    }

    /// Creates a directory, or keeps the existing one. Its own mode is set last, when it is filled.
    pub(super) fn make_directory(&self, path: &[u8]) -> rustix::io::Result<()> {
        if path.is_empty() {
            return Ok(());
        }
        let (parent, name) = self.beneath.open_parent(path)?;
        let name = OsStr::from_bytes(name);
        match mkdirat(&parent, name, Mode::RWXU) {
            Err(Errno::EXIST) => {
                let stat = self.beneath.stat(path)?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    return Ok(());
                }
                unlinkat(&parent, name, AtFlags::empty())?;
                mkdirat(&parent, name, Mode::RWXU)
            }
            made => made,
        }
    }

    /// Creates an empty file at an unused path.
    pub(super) fn create_file(&self, path: &[u8]) -> rustix::io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        self.beneath.open_with(path, flags, Mode::RUSR | Mode::WUSR)
    }

    /// Opens a file that [`Self::create_file`] created.
    pub(super) fn write_file(&self, path: &[u8]) -> rustix::io::Result<File> {
        self.beneath.open_with(path, OFlags::WRONLY, Mode::empty())
    }

    /// Removes the object at a path, unless it is a directory that is not empty.
    pub(super) fn remove_existing(&self, path: &[u8]) -> rustix::io::Result<()> {
        let (parent, name) = self.beneath.open_parent(path)?;
        let name = OsStr::from_bytes(name);
        match unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => unlinkat(&parent, name, AtFlags::REMOVEDIR),
            Err(error) => Err(error),
        }
    }

    /// Creates a link or special file at an unused path.
    pub(super) fn make_special(&self, entry: &Entry) -> rustix::io::Result<()> {
        let (parent, name) = self.beneath.open_parent(entry.path.as_bytes())?;
        let name = OsStr::from_bytes(name);
        let target = entry
            .target
            .as_ref()
            .map_or(b"".as_slice(), |target| target.as_bytes());
        let device = entry
            .device
            .map_or(0, |(major, minor)| rustix::fs::makedev(major, minor));
        let node = |kind| mknodat(&parent, name, kind, Mode::RUSR | Mode::WUSR, device);
        match entry.kind {
            EntryKind::Symlink => symlinkat(OsStr::from_bytes(target), &parent, name),
            EntryKind::Hardlink => {
                let (from, first) = self.beneath.open_parent(target)?;
                linkat(
                    &from,
                    OsStr::from_bytes(first),
                    &parent,
                    name,
                    AtFlags::empty(),
                )
            }
            EntryKind::Fifo => node(FileType::Fifo),
            EntryKind::Socket => node(FileType::Socket),
            EntryKind::CharDevice => node(FileType::CharacterDevice),
            EntryKind::BlockDevice => node(FileType::BlockDevice),
            EntryKind::File | EntryKind::Directory => Err(Errno::INVAL),
        }
    }
}
