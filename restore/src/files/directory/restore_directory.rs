//! The target as a whole: refusal, lock, room, and the mark of a restore that is not finished.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use reprise_repository::ObjectId;
use reprise_snapshotters::confined_directory::ConfinedDirectory;
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, Stat, fstat, openat, unlinkat};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::files::directory::process_rights::ProcessRights;
use crate::files::options::OverwriteMode;

/// An open target. Nobody else restores into it while it is open.
#[derive(Debug)]
pub(crate) struct RestoreDirectory {
    path: PathBuf,
    directory: ConfinedDirectory,
    /// The snapshot's ID depends on all its entries, so no entry can have this name.
    marker: OsString,
    /// To whom this process's new files belong here.
    owner: u32,
    existing: OverwriteMode,
    overrides_modes: bool,
    temporaries: AtomicU64,
}

impl RestoreDirectory {
    /// Creates or opens the directory, refuses an unsuitable one, and marks it as being restored into. Where it refuses,
    /// nothing is changed.
    pub(crate) fn open(
        path: &Path,
        existing: OverwriteMode,
        snapshot: &ObjectId,
        rights: &ProcessRights,
    ) -> Result<Self> {
        fs::create_dir_all(path).map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists | ErrorKind::NotADirectory => Error::TargetNotDirectory {
                path: path.to_owned(),
            },
            _ => target_error("create", path, source),
        })?;
        let fail = |action| move |error: Errno| target_error(action, path, error.into());
        let directory = ConfinedDirectory::open(path).map_err(fail("open"))?;
        lock(&directory, path)?;
        let marker = OsString::from(format!(".reprise-restore-{}", snapshot));
        let names = list_names(&directory).map_err(fail("read"))?;
        let marked = names.contains(&marker);
        refuse_unsuitable(path, existing, names.is_empty(), marked, snapshot)?;
        if !rights.override_modes {
            allow_owner(&directory).map_err(fail("change the mode of"))?;
        }
        let owner = mark(&directory, &marker).map_err(fail("create a file in"))?;
        Ok(Self {
            path: path.to_owned(),
            directory,
            marker,
            owner,
            existing,
            overrides_modes: rights.override_modes,
            temporaries: AtomicU64::new(0),
        })
    }

    pub(crate) fn confined(&self) -> &ConfinedDirectory {
        &self.directory
    }

    /// Whether entries may exist that the restore replaces.
    pub(crate) fn may_have_entries(&self) -> bool {
        self.existing != OverwriteMode::Refuse
    }

    pub(super) fn overrides_modes(&self) -> bool {
        self.overrides_modes
    }

    /// Whether an inode belongs to whom this process's new files belong.
    pub(super) fn is_own(&self, stat: &Stat) -> bool {
        stat.st_uid == self.owner || stat.st_uid == rustix::process::geteuid().as_raw()
    }

    /// A name for an entry that is not complete.
    pub(super) fn temporary_name(&self) -> OsString {
        let number = self.temporaries.fetch_add(1, Ordering::Relaxed);
        let mut name = self.marker.clone();
        name.push(format!(".{number}"));
        name
    }

    /// Whether a name is that of an entry which a restore of this snapshot did not complete.
    pub(super) fn is_temporary_name(&self, name: &[u8]) -> bool {
        name.strip_prefix(self.marker.as_bytes())
            .is_some_and(|rest| rest.first() == Some(&b'.'))
    }

    /// Removes the mark, unless that was done: the restore is complete.
    pub(crate) fn remove_marker(&self) -> Result<()> {
        let directory = self.directory.directory();
        match unlinkat(directory, &self.marker, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => {
                let path = self.path.join(&self.marker);
                Err(target_error("remove", &path, error.into()))
            }
        }
    }
}

fn target_error(action: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::Target {
        action,
        path: path.display().to_string(),
        source,
    }
}

/// Two restores into one directory would remove each other's unfinished files.
fn lock(directory: &ConfinedDirectory, path: &Path) -> Result<()> {
    let operation = FlockOperation::NonBlockingLockExclusive;
    match rustix::fs::flock(directory.directory(), operation) {
        Err(Errno::WOULDBLOCK) => Err(Error::TargetInUse {
            path: path.to_owned(),
        }),
        // Some network file systems lock no directories.
        Ok(()) | Err(_) => Ok(()),
    }
}

fn list_names(directory: &ConfinedDirectory) -> rustix::io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for item in Dir::read_from(directory.directory())? {
        let item = item?;
        let name = item.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

fn refuse_unsuitable(
    path: &Path,
    existing: OverwriteMode,
    is_empty: bool,
    is_marked: bool,
    snapshot: &ObjectId,
) -> Result<()> {
    match existing {
        OverwriteMode::Refuse if !is_empty => Err(Error::TargetNotEmpty {
            path: path.to_owned(),
            resumable: is_marked,
        }),
        OverwriteMode::Resume if !is_empty && !is_marked => Err(Error::NothingToResume {
            path: path.to_owned(),
            snapshot: snapshot.short(),
        }),
        _ => Ok(()),
    }
}

/// The target's owner may have taken the right to write from himself; its mode is restored at the end.
fn allow_owner(directory: &ConfinedDirectory) -> rustix::io::Result<()> {
    let stat = fstat(directory.directory())?;
    let own = stat.st_uid == rustix::process::geteuid().as_raw();
    if own && stat.st_mode & 0o700 != 0o700 {
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777) | Mode::RWXU;
        rustix::fs::fchmod(directory.directory(), mode)?;
    }
    Ok(())
}

/// Marks the directory; returns to whom the mark belongs.
fn mark(directory: &ConfinedDirectory, marker: &OsStr) -> rustix::io::Result<u32> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let file = openat(directory.directory(), marker, flags, mode)?;
    Ok(fstat(&file)?.st_uid)
}

/// The bytes that are free where a directory is or will be.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let absolute = std::path::absolute(path).ok()?;
    let existing = absolute.ancestors().find(|ancestor| ancestor.exists())?;
    let stat = rustix::fs::statvfs(existing).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
