//! Restores an entry's owner, mode, attributes and times.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use reprise_repository::{Entry, EntryKind, FileTime};
use reprise_snapshotters::confined_directory::ConfinedDirectory;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

/// What could not be restored, as verbs' objects: `owner`, `mode`, `attribute user.x`.
pub(super) type FailedAttributes = Vec<String>;

/// Only content is written with an owner's permissions, so order matters: owner (clears set-user-id), mode, attributes
/// (capabilities are cleared by a change of owner), times.
pub(super) fn apply_to_file(file: &File, entry: &Entry) -> FailedAttributes {
    let mut lost = FailedAttributes::new();
    let mut must = |what: &str, done: rustix::io::Result<()>| record_failure(&mut lost, what, done);
    must(
        "owner",
        rustix::fs::fchown(file, owner_to_set(entry), group_to_set(entry)),
    );
    must(
        "mode",
        rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode)),
    );
    for xattr in &entry.xattrs {
        let name = OsStr::from_bytes(xattr.name.as_bytes());
        let set = rustix::fs::fsetxattr(file, name, xattr.value.as_bytes(), XattrFlags::empty());
        must(&format!("attribute {}", xattr.name.display()), set);
    }
    must(
        "time",
        rustix::fs::futimens(file, &timestamps_for(entry.mtime)),
    );
    lost
}

/// As [`apply_to_file`], for what cannot be opened: links and special files.
pub(super) fn apply_to_path(beneath: &ConfinedDirectory, entry: &Entry) -> FailedAttributes {
    let mut lost = FailedAttributes::new();
    let (parent, name) = match beneath.open_parent(entry.path.as_bytes()) {
        Ok(found) => found,
        Err(error) => {
            record_failure(&mut lost, "owner, mode and times", Err(error));
            return lost;
        }
    };
    let name = OsStr::from_bytes(name);
    let mut must = |what: &str, done: rustix::io::Result<()>| record_failure(&mut lost, what, done);
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    must(
        "owner",
        rustix::fs::chownat(
            &parent,
            name,
            Some(owner_id(entry)),
            Some(group_id(entry)),
            nofollow,
        ),
    );
    if entry.kind != EntryKind::Symlink {
        must(
            "mode",
            rustix::fs::chmodat(
                &parent,
                name,
                Mode::from_raw_mode(entry.mode),
                AtFlags::empty(),
            ),
        );
    }
    for xattr in &entry.xattrs {
        let key = OsStr::from_bytes(xattr.name.as_bytes());
        let set = beneath
            .reachable_path(entry.path.as_bytes())
            .and_then(|reachable| {
                let value = xattr.value.as_bytes();
                rustix::fs::lsetxattr(reachable.path(), key, value, XattrFlags::empty())
            });
        must(&format!("attribute {}", xattr.name.display()), set);
    }
    must(
        "time",
        rustix::fs::utimensat(&parent, name, &timestamps_for(entry.mtime), nofollow),
    );
    lost
}

/// As [`apply_to_file`], for a directory, once everything in it is done.
pub(super) fn apply_to_directory(beneath: &ConfinedDirectory, entry: &Entry) -> FailedAttributes {
    match beneath.open_for_reading(entry.path.as_bytes(), OFlags::DIRECTORY) {
        Ok(directory) => apply_to_file(&directory, entry),
        Err(error) => {
            let mut lost = FailedAttributes::new();
            record_failure(&mut lost, "owner, mode and times", Err(error));
            lost
        }
    }
}

fn record_failure(lost: &mut FailedAttributes, what: &str, done: rustix::io::Result<()>) {
    if let Err(error) = done {
        lost.push(format!("{what} ({})", std::io::Error::from(error)));
    }
}

fn owner_id(entry: &Entry) -> Uid {
    Uid::from_raw(entry.uid)
}

fn group_id(entry: &Entry) -> Gid {
    Gid::from_raw(entry.gid)
}

fn owner_to_set(entry: &Entry) -> Option<Uid> {
    Some(owner_id(entry))
}

fn group_to_set(entry: &Entry) -> Option<Gid> {
    Some(group_id(entry))
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

/// Removes the extended attributes of a kept file that its entry does not have.
pub(super) fn remove_extra_attributes(file: impl AsFd, entry: &Entry) -> rustix::io::Result<()> {
    let mut names = vec![0; 64 << 10];
    let length = match rustix::fs::flistxattr(&file, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error),
    };
    for name in names[..length]
        .split(|b| *b == 0)
        .filter(|name| !name.is_empty())
    {
        if !entry
            .xattrs
            .iter()
            .any(|xattr| xattr.name.as_bytes() == name)
        {
            rustix::fs::fremovexattr(&file, OsStr::from_bytes(name))?;
        }
    }
    Ok(())
}
