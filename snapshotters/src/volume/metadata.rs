//! From a file's attributes to an entry.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use reprise_repository::{Entry, EntryKind, FileStamp, FileTime, RawText};
use rustix::fs::{FileType, Stat};

/// The bits of a mode that are restored: permissions, set-user-id, set-group-id, sticky.
const MODE_BITS: u32 = 0o7777;

/// The kind of an entry with these attributes; `None` for kinds unknown to Unix file systems.
pub(super) fn entry_kind(stat: &Stat) -> Option<EntryKind> {
    Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink,
        FileType::Fifo => EntryKind::Fifo,
        FileType::Socket => EntryKind::Socket,
        FileType::CharacterDevice => EntryKind::CharDevice,
        FileType::BlockDevice => EntryKind::BlockDevice,
        FileType::Unknown => return None,
    })
}

fn file_time(seconds: i64, nanoseconds: u64) -> FileTime {
    FileTime(seconds, u32::try_from(nanoseconds).unwrap_or(0))
}

/// When the content was last modified.
pub fn mtime(stat: &Stat) -> FileTime {
    #[expect(
        clippy::useless_conversion,
        reason = "the types differ between architectures"
    )]
    file_time(
        i64::try_from(stat.st_mtime).unwrap_or(0),
        stat.st_mtime_nsec.into(),
    )
}

fn ctime(stat: &Stat) -> FileTime {
    #[expect(
        clippy::useless_conversion,
        reason = "the types differ between architectures"
    )]
    file_time(
        i64::try_from(stat.st_ctime).unwrap_or(0),
        stat.st_ctime_nsec.into(),
    )
}

pub(super) fn file_size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// An entry with the attributes from `stat`; the rest is filled in later.
pub(super) fn entry_from_stat(path: &[u8], kind: EntryKind, stat: &Stat) -> Entry {
    let is_device = matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice);
    let device = is_device.then(|| {
        (
            rustix::fs::major(stat.st_rdev),
            rustix::fs::minor(stat.st_rdev),
        )
    });
    Entry {
        mode: stat.st_mode & MODE_BITS,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: mtime(stat),
        size: if kind == EntryKind::File {
            file_size(stat)
        } else {
            0
        },
        device,
        ..Entry::new(RawText::new(path), kind)
    }
}

/// An entry for a file that was reached by its own path.
#[must_use]
pub fn entry_from_metadata(path: RawText, meta: &Metadata) -> Entry {
    let file_type = meta.file_type();
    let kind = match () {
        () if file_type.is_dir() => EntryKind::Directory,
        () if file_type.is_symlink() => EntryKind::Symlink,
        () if file_type.is_fifo() => EntryKind::Fifo,
        () if file_type.is_socket() => EntryKind::Socket,
        () if file_type.is_char_device() => EntryKind::CharDevice,
        () if file_type.is_block_device() => EntryKind::BlockDevice,
        () => EntryKind::File,
    };
    Entry {
        mode: meta.mode() & MODE_BITS,
        uid: meta.uid(),
        gid: meta.gid(),
        mtime: file_time(meta.mtime(), u64::try_from(meta.mtime_nsec()).unwrap_or(0)),
        size: meta.len(),
        ..Entry::new(path, kind)
    }
}

/// The file stamp: inode, size, times.
pub(super) fn stamp_from_stat(stat: &Stat) -> FileStamp {
    FileStamp {
        inode: stat.st_ino,
        size: file_size(stat),
        mtime: mtime(stat),
        ctime: ctime(stat),
    }
}

/// A stamp proves nothing if the file may change again within the clock tick that set it.
///
/// `read_began` is the time just before reading. File systems whose times have no nanoseconds may tick every
/// two seconds; others tick with the kernel, every 10 ms at most.
pub(super) fn is_settled(stamp: &FileStamp, read_began: std::time::SystemTime) -> bool {
    let tick = if stamp.ctime.1 == 0 {
        2_000_000_000
    } else {
        10_000_000
    };
    let began = read_began
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let changed = i128::from(stamp.ctime.0) * 1_000_000_000 + i128::from(stamp.ctime.1);
    i128::try_from(began).is_ok_and(|began| changed + tick < began)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    /// The stamp of a file that was changed at this time since 1970.
    fn changed_at(seconds: i64, nanoseconds: u32) -> FileStamp {
        FileStamp {
            inode: 1,
            size: 1,
            mtime: FileTime(seconds, nanoseconds),
            ctime: FileTime(seconds, nanoseconds),
        }
    }

    #[test]
    fn a_stamp_within_the_tick_of_its_file_system_proves_nothing() {
        let read_at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        for (stamp, began, settled) in [
            // Whole seconds: a change until two seconds later may have the same time.
            (changed_at(100, 0), 100_900, false),
            (changed_at(100, 0), 101_999, false),
            (changed_at(100, 0), 102_001, true),
            // Nanoseconds: until the next tick of the kernel.
            (changed_at(100, 500_000_000), 100_505, false),
            (changed_at(100, 500_000_000), 100_511, true),
            // A clock that was set back.
            (changed_at(100, 1), 99_000, false),
        ] {
            assert_eq!(
                is_settled(&stamp, read_at(began)),
                settled,
                "{stamp:?} {began}"
            );
        }
    }
}
