//! Giving an entry its owner, mode, attributes and times back.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use reprise_repository::{Entry, EntryKind, FileTime};
use reprise_snapshotters::beneath::Beneath;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

/// What could not be given back, as verbs' objects: `owner`, `mode`, `attribute user.x`.
pub(super) type Lost = Vec<String>;

/// Only content is written with an owner's rights, so order matters: owner (clears set-user-id), mode,
/// attributes (capabilities are cleared by a change of owner), times.
pub(super) fn apply_to_file(file: &File, entry: &Entry) -> Lost {
    let mut lost = Lost::new();
    let mut must = |what: &str, done: rustix::io::Result<()>| note(&mut lost, what, done);
    must(
        "owner",
        rustix::fs::fchown(file, owner(entry), group(entry)),
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
    must("time", rustix::fs::futimens(file, &times(entry.mtime)));
    lost
}

/// As [`apply_to_file`], for what cannot be opened: links and special files.
pub(super) fn apply_to_path(beneath: &Beneath, entry: &Entry) -> Lost {
    let mut lost = Lost::new();
    let (parent, name) = match beneath.parent(entry.path.as_bytes()) {
        Ok(found) => found,
        Err(error) => {
            note(&mut lost, "owner, mode and times", Err(error));
            return lost;
        }
    };
    let name = OsStr::from_bytes(name);
    let mut must = |what: &str, done: rustix::io::Result<()>| note(&mut lost, what, done);
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
            .reachable(entry.path.as_bytes())
            .and_then(|reachable| {
                let value = xattr.value.as_bytes();
                rustix::fs::lsetxattr(reachable.path(), key, value, XattrFlags::empty())
            });
        must(&format!("attribute {}", xattr.name.display()), set);
    }
    must(
        "time",
        rustix::fs::utimensat(&parent, name, &times(entry.mtime), nofollow),
    );
    lost
}

/// As [`apply_to_file`], for a folder, once everything in it is done.
pub(super) fn apply_to_folder(beneath: &Beneath, entry: &Entry) -> Lost {
    match beneath.read(entry.path.as_bytes(), OFlags::DIRECTORY) {
        Ok(folder) => apply_to_file(&folder, entry),
        Err(error) => {
            let mut lost = Lost::new();
            note(&mut lost, "owner, mode and times", Err(error));
            lost
        }
    }
}

fn note(lost: &mut Lost, what: &str, done: rustix::io::Result<()>) {
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

fn owner(entry: &Entry) -> Option<Uid> {
    Some(owner_id(entry))
}

fn group(entry: &Entry) -> Option<Gid> {
    Some(group_id(entry))
}

fn times(mtime: FileTime) -> Timestamps {
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

/// Removes the extended attributes that a kept file has but its entry has not.
pub(super) fn drop_foreign_attributes(file: impl AsFd, entry: &Entry) -> rustix::io::Result<()> {
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
