//! Makes directories, opens them for the restore, and finds them again at its end.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, chmodat, fstat, mkdirat, openat, renameat,
    unlinkat,
};
use rustix::io::Errno;

use crate::files::directory::failure::{EntryFailure, EntryResult};
use crate::files::directory::restore_directory::RestoreDirectory;

/// What identifies an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InodeId {
    device: u64,
    inode: u64,
}

impl InodeId {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }
}

/// A directory that entries can be restored into.
#[derive(Debug)]
pub(crate) struct MadeDirectory {
    pub(crate) id: InodeId,
    /// The names that were in it before.
    pub(crate) names: HashSet<Vec<u8>>,
    /// The file system took its name for that of another directory, which it is now a part of.
    pub(crate) is_merged: bool,
}

impl RestoreDirectory {
    /// Creates a directory, or keeps the existing one. Its own mode is set last, when it is filled.
    pub(crate) fn make_directory(&self, path: &[u8], exists: bool) -> EntryResult<MadeDirectory> {
        if path.is_empty() {
            return self.reuse_directory(self.confined().directory(), OsStr::new("."));
        }
        let (parent, name) = self.confined().open_parent(path)?;
        let name = OsStr::from_bytes(name);
        if exists {
            return self.reuse_or_replace(&parent, name);
        }
        match mkdirat(&parent, name, Mode::RWXU) {
            Ok(()) => self.check_new_directory(&parent, name),
            Err(Errno::EXIST) => {
                let open = open_path(&parent, name)?;
                let stat = fstat(&open)?;
                if !is_directory(&stat) {
                    return Err(EntryFailure::SameName);
                }
                Ok(MadeDirectory {
                    id: InodeId::of(&stat),
                    names: HashSet::new(),
                    is_merged: true,
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Between its creation and now somebody may have put another one in its place.
    fn check_new_directory(&self, parent: &OwnedFd, name: &OsStr) -> EntryResult<MadeDirectory> {
        let stat = fstat(&open_path(parent, name)?)?;
        if !is_directory(&stat) || !self.is_own(&stat) {
            return Err(EntryFailure::Replaced);
        }
        Ok(MadeDirectory {
            id: InodeId::of(&stat),
            names: HashSet::new(),
            is_merged: false,
        })
    }

    fn reuse_or_replace(&self, parent: &OwnedFd, name: &OsStr) -> EntryResult<MadeDirectory> {
        let stat = match open_path(parent, name) {
            Ok(open) => fstat(&open)?,
            // It vanished since it was listed.
            Err(Errno::NOENT) => {
                mkdirat(parent, name, Mode::RWXU)?;
                return self.check_new_directory(parent, name);
            }
            Err(error) => return Err(error.into()),
        };
        if is_directory(&stat) {
            return self.reuse_directory(parent, name);
        }
        // What is there goes only when the directory is there.
        let aside = self.temporary_name();
        renameat(parent, name, parent, &aside)?;
        let made = mkdirat(parent, name, Mode::RWXU)
            .map_err(EntryFailure::from)
            .and_then(|()| self.check_new_directory(parent, name));
        match made {
            Ok(made) => {
                unlinkat(parent, &aside, AtFlags::empty())?;
                Ok(made)
            }
            Err(failure) => {
                renameat(parent, &aside, parent, name)?;
                Err(failure)
            }
        }
    }

    fn reuse_directory(&self, parent: &OwnedFd, name: &OsStr) -> EntryResult<MadeDirectory> {
        let open = open_for_restore(parent, name, self.overrides_modes())?;
        let id = InodeId::of(&fstat(&open)?);
        let names = if self.may_have_entries() {
            self.list_names(&open)?
        } else {
            HashSet::new()
        };
        Ok(MadeDirectory {
            id,
            names,
            is_merged: false,
        })
    }

    /// Lists a directory, and removes what an earlier run of this same restore left unfinished there.
    fn list_names(&self, directory: &OwnedFd) -> EntryResult<HashSet<Vec<u8>>> {
        let mut names = HashSet::new();
        for item in Dir::read_from(directory)? {
            let item = item?;
            let name = item.file_name().to_bytes();
            if self.is_temporary_name(name) {
                unlinkat(directory, OsStr::from_bytes(name), AtFlags::empty())?;
            } else if name != b"." && name != b".." {
                names.insert(name.to_vec());
            }
        }
        Ok(names)
    }

    /// Opens a directory that was made or kept, if it is still that one.
    pub(crate) fn reopen_directory(&self, path: &[u8], id: InodeId) -> EntryResult<File> {
        let open = self.confined().open_for_reading(path, OFlags::DIRECTORY)?;
        if InodeId::of(&fstat(&open)?) == id {
            Ok(open)
        } else {
            Err(EntryFailure::Replaced)
        }
    }
}

pub(super) fn open_path(parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Opens a directory for listing and writing: its owner may have taken the right to from himself.
pub(super) fn open_for_restore(
    parent: impl AsFd,
    name: &OsStr,
    overrides_modes: bool,
) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if !overrides_modes {
        let handle = openat(&parent, name, flags | OFlags::PATH, Mode::empty())?;
        let stat = fstat(&handle)?;
        let own = stat.st_uid == rustix::process::geteuid().as_raw();
        if own && stat.st_mode & 0o700 != 0o700 {
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777) | Mode::RWXU;
            chmodat(CWD, descriptor_path(&handle), mode, AtFlags::empty())?;
        }
        // The descriptor, not the name, is opened again.
        return openat(&handle, ".", flags | OFlags::RDONLY, Mode::empty());
    }
    openat(&parent, name, flags | OFlags::RDONLY, Mode::empty())
}

/// A path by which calls that take none reach an open descriptor.
pub(super) fn descriptor_path(descriptor: impl AsFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd())
}
