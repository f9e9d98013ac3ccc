//! Restores an entry's owner, mode, attributes and times, through a descriptor of the entry itself.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use reprise_repository::{Entry, EntryKind, FileTime};
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, fstat,
};
use rustix::io::Errno;

use crate::files::directory::attribute_policy::{AttributePolicy, LeftOut, OwnerChange, has_owner};
use crate::files::directory::directories::descriptor_path;
use crate::files::problems::Aspect;

/// What could not be restored, and why.
pub(crate) type FailedAttributes = Vec<(Aspect, String)>;

/// A descriptor of the entry itself.
#[derive(Debug, Clone, Copy)]
enum Handle<'a> {
    /// Of a file or directory.
    Open(BorrowedFd<'a>),
    /// Of what is not opened: links and special files.
    Path(BorrowedFd<'a>),
}

/// Sets attributes as far as a policy says.
#[derive(Debug)]
pub(crate) struct AttributeSetter<'a> {
    pub(crate) policy: &'a AttributePolicy,
    pub(crate) left_out: &'a LeftOut,
}

impl AttributeSetter<'_> {
    /// Those of an open file or directory.
    pub(crate) fn set_on_file(&self, file: &File, entry: &Entry) -> FailedAttributes {
        self.set_all(Handle::Open(file.as_fd()), entry)
    }

    /// Those of a link or special file.
    pub(crate) fn set_on_handle(&self, handle: &OwnedFd, entry: &Entry) -> FailedAttributes {
        self.set_all(Handle::Path(handle.as_fd()), entry)
    }

    /// Only content is written with an owner's permissions, so order matters: owner (clears set-user-id), mode,
    /// attributes (capabilities are cleared by a change of owner), times.
    fn set_all(&self, handle: Handle<'_>, entry: &Entry) -> FailedAttributes {
        let mut failed = FailedAttributes::new();
        let owner_is_right = self.set_owner(handle, entry, &mut failed);
        if entry.kind != EntryKind::Symlink {
            let mode = self.policy.mode_of(entry, owner_is_right);
            if mode != entry.mode {
                LeftOut::count(&self.left_out.set_id_bits);
            }
            let set = handle.set_mode(mode);
            if let Err(error) = set
                && !handle.has(|stat| stat.st_mode & 0o7777 == mode)
            {
                failed.push((Aspect::Mode, describe("mode", error)));
            }
        }
        self.set_xattrs(handle, entry, &mut failed);
        if let Err(error) = handle.set_time(entry.mtime)
            && !handle
                .has(|stat| reprise_snapshotters::volume::metadata::mtime(stat) == entry.mtime)
        {
            failed.push((Aspect::Time, describe("time", error)));
        }
        failed
    }

    /// Whether the entry has its owner then.
    fn set_owner(&self, handle: Handle<'_>, entry: &Entry, failed: &mut FailedAttributes) -> bool {
        let group = Some(Gid::from_raw(entry.gid));
        let set = match self.policy.owner_change() {
            OwnerChange::Set => handle.set_owner(Some(Uid::from_raw(entry.uid)), group),
            OwnerChange::TryGroup => handle.set_owner(None, group),
            OwnerChange::Leave => Err(Errno::PERM),
        };
        let is_set = set.is_ok() && self.policy.owner_change() == OwnerChange::Set;
        if is_set || handle.has(|stat| has_owner(stat, entry)) {
            return true;
        }
        match (self.policy.owner_change(), set) {
            (OwnerChange::Set, Err(error)) => {
                failed.push((Aspect::Owner, describe("owner", error)));
            }
            _ => LeftOut::count(&self.left_out.owners),
        }
        false
    }

    fn set_xattrs(&self, handle: Handle<'_>, entry: &Entry, failed: &mut FailedAttributes) {
        let mut left_out = false;
        for xattr in &entry.xattrs {
            let name = xattr.name.as_bytes();
            if !self.policy.restores_attribute(name) {
                left_out = true;
                continue;
            }
            if let Err(error) = handle.set_xattr(OsStr::from_bytes(name), xattr.value.as_bytes()) {
                let what = format!("attribute {}", xattr.name.display());
                failed.push((Aspect::Xattrs, describe(&what, error)));
            }
        }
        if left_out {
            LeftOut::count(&self.left_out.xattrs);
        }
    }

    /// Removes the extended attributes of a kept file that its entry does not have.
    pub(crate) fn remove_extra_attributes(
        &self,
        file: &File,
        entry: &Entry,
    ) -> rustix::io::Result<()> {
        let mut names = vec![0; 64 << 10];
        let length = match rustix::fs::flistxattr(file, &mut names[..]) {
            Ok(length) => length,
            Err(Errno::OPNOTSUPP) => return Ok(()),
            Err(error) => return Err(error),
        };
        let is_extra = |name: &&[u8]| {
            let known = |xattr: &reprise_repository::Xattr| xattr.name.as_bytes() == *name;
            !name.is_empty()
                && self.policy.restores_attribute(name)
                && !entry.xattrs.iter().any(known)
        };
        for name in names[..length].split(|b| *b == 0).filter(is_extra) {
            rustix::fs::fremovexattr(file, OsStr::from_bytes(name))?;
        }
        Ok(())
    }
}

impl Handle<'_> {
    fn descriptor(&self) -> BorrowedFd<'_> {
        let (Self::Open(descriptor) | Self::Path(descriptor)) = self;
        *descriptor
    }

    /// Whether the entry's state is already what could not be set.
    fn has(self, expected: impl FnOnce(&Stat) -> bool) -> bool {
        fstat(self.descriptor()).is_ok_and(|stat| expected(&stat))
    }

    fn set_owner(self, user: Option<Uid>, group: Option<Gid>) -> rustix::io::Result<()> {
        match self {
            Self::Open(file) => rustix::fs::fchown(file, user, group),
            Self::Path(handle) => rustix::fs::chownat(handle, "", user, group, AtFlags::EMPTY_PATH),
        }
    }

    fn set_mode(self, mode: u32) -> rustix::io::Result<()> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Open(file) => rustix::fs::fchmod(file, mode),
            Self::Path(handle) => {
                rustix::fs::chmodat(CWD, descriptor_path(handle), mode, AtFlags::empty())
            }
        }
    }

    fn set_xattr(self, name: &OsStr, value: &[u8]) -> rustix::io::Result<()> {
        let flags = XattrFlags::empty();
        match self {
            Self::Open(file) => rustix::fs::fsetxattr(file, name, value, flags),
            Self::Path(handle) => rustix::fs::setxattr(descriptor_path(handle), name, value, flags),
        }
    }

    fn set_time(self, mtime: FileTime) -> rustix::io::Result<()> {
        let times = timestamps_for(mtime);
        match self {
            Self::Open(file) => rustix::fs::futimens(file, &times),
            Self::Path(handle) => {
                match rustix::fs::utimensat(handle, "", &times, AtFlags::EMPTY_PATH) {
                    // Kernels before 5.8.
                    Err(Errno::INVAL) => rustix::fs::utimensat(
                        CWD,
                        descriptor_path(handle),
                        &times,
                        AtFlags::empty(),
                    ),
                    set => set,
                }
            }
        }
    }
}

fn describe(what: &str, error: Errno) -> String {
    format!(
        "its {what} could not be set: {}",
        std::io::Error::from(error)
    )
}

fn timestamps_for(mtime: FileTime) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime.0,
            tv_nsec: mtime.1.into(),
        },
    }
}
