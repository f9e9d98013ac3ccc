//! Puts files, links and special files where they belong. What is there already goes only when the new one is complete
//! beside it; where nothing is, the entry is created in its place, and removed if it stays incomplete.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use reprise_repository::{Entry, EntryKind};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, fstat, linkat, mknodat, openat, renameat, statat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;

use crate::files::directory::directories::{InodeId, open_path};
use crate::files::directory::failure::{EntryFailure, EntryResult};
use crate::files::directory::restore_directory::RestoreDirectory;

/// A new entry, complete or not.
#[derive(Debug)]
pub(crate) struct NewEntry {
    parent: OwnedFd,
    name: OsString,
    /// Its name until it is complete, where something else has the final one.
    temporary: Option<OsString>,
}

/// What is remembered of a file between two writes.
#[derive(Debug, Clone)]
pub(crate) struct UnfinishedFile {
    id: InodeId,
    temporary: Option<OsString>,
}

impl NewEntry {
    fn current_name(&self) -> &OsStr {
        self.temporary.as_deref().unwrap_or(&self.name)
    }

    /// Gives it its final name.
    pub(crate) fn place(&self) -> EntryResult<()> {
        let Some(temporary) = &self.temporary else {
            return Ok(());
        };
        let rename = || renameat(&self.parent, temporary, &self.parent, &self.name);
        match rename() {
            Err(Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) => {
                match unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR) {
                    Err(Errno::NOTEMPTY | Errno::EXIST) => return Err(EntryFailure::FullDirectory),
                    removed => removed?,
                }
                Ok(rename()?)
            }
            renamed => Ok(renamed?),
        }
    }

    /// Removes it: it is not complete.
    pub(crate) fn discard(&self, id: Option<InodeId>) {
        let name = self.current_name();
        let is_it = id.is_none_or(|id| {
            statat(&self.parent, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| InodeId::of(&stat) == id)
        });
        if is_it && let Err(error) = unlinkat(&self.parent, name, AtFlags::empty()) {
            tracing::debug!(%error, "an incomplete file is left");
        }
    }

    /// Places it if it was made and completed, and otherwise removes it.
    fn conclude<T>(self, completed: EntryResult<T>) -> EntryResult<T> {
        let placed = completed.and_then(|value| self.place().map(|()| value));
        if placed.is_err() {
            self.discard(None);
        }
        placed
    }
}

impl RestoreDirectory {
    fn new_entry(&self, path: &[u8], exists: bool) -> EntryResult<NewEntry> {
        let (parent, name) = self.confined().open_parent(path)?;
        Ok(NewEntry {
            parent,
            name: OsStr::from_bytes(name).to_owned(),
            temporary: exists.then(|| self.temporary_name()),
        })
    }

    /// Creates an empty file.
    pub(crate) fn create_file(&self, path: &[u8], exists: bool) -> EntryResult<(NewEntry, File)> {
        let new = self.new_entry(path, exists)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(
            &new.parent,
            new.current_name(),
            flags,
            Mode::RUSR | Mode::WUSR,
        )
        .map_err(name_failure)?;
        Ok((new, File::from(file)))
    }

    /// Creates a file that is written in several steps, with its holes.
    pub(crate) fn begin_file(
        &self,
        path: &[u8],
        exists: bool,
        size: u64,
    ) -> EntryResult<UnfinishedFile> {
        let (new, file) = self.create_file(path, exists)?;
        let id = rustix::fs::ftruncate(&file, size)
            .and_then(|()| fstat(&file))
            .map(|stat| InodeId::of(&stat));
        match id {
            Ok(id) => Ok(UnfinishedFile {
                id,
                temporary: new.temporary,
            }),
            Err(error) => {
                new.discard(None);
                Err(error.into())
            }
        }
    }

    fn unfinished_entry(&self, path: &[u8], file: &UnfinishedFile) -> EntryResult<NewEntry> {
        let entry = self.new_entry(path, false)?;
        Ok(NewEntry {
            temporary: file.temporary.clone(),
            ..entry
        })
    }

    /// Opens an unfinished file, if it is still that one.
    pub(crate) fn reopen_file(
        &self,
        path: &[u8],
        unfinished: &UnfinishedFile,
    ) -> EntryResult<(NewEntry, File)> {
        let entry = self.unfinished_entry(path, unfinished)?;
        // Something that blocks may be in its place.
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&entry.parent, entry.current_name(), flags, Mode::empty()) {
            Err(Errno::LOOP | Errno::NXIO | Errno::NOENT | Errno::ISDIR) => {
                return Err(EntryFailure::Replaced);
            }
            opened => opened?,
        };
        if InodeId::of(&fstat(&file)?) == unfinished.id {
            Ok((entry, File::from(file)))
        } else {
            Err(EntryFailure::Replaced)
        }
    }

    /// Removes an unfinished file.
    pub(crate) fn discard_file(&self, path: &[u8], unfinished: &UnfinishedFile) {
        if let Ok(entry) = self.unfinished_entry(path, unfinished) {
            entry.discard(Some(unfinished.id));
        }
    }

    /// Creates a symbolic link or special file. `complete` sets its attributes by a descriptor that refers to the entry
    /// itself, which is checked to be the one that was made.
    pub(crate) fn make_special<T>(
        &self,
        entry: &Entry,
        exists: bool,
        complete: impl FnOnce(&OwnedFd) -> T,
    ) -> EntryResult<T> {
        let new = self.new_entry(entry.path.as_bytes(), exists)?;
        let name = new.current_name();
        let node = |kind| {
            let mode = Mode::RUSR | Mode::WUSR;
            mknodat(&new.parent, name, kind, mode, device_number(entry))
        };
        let made = match entry.kind {
            EntryKind::Symlink => {
                let target = entry.target.as_ref().map_or(&b""[..], |t| t.as_bytes());
                symlinkat(OsStr::from_bytes(target), &new.parent, name)
            }
            EntryKind::Fifo => node(FileType::Fifo),
            EntryKind::Socket => node(FileType::Socket),
            EntryKind::CharDevice => node(FileType::CharacterDevice),
            EntryKind::BlockDevice => node(FileType::BlockDevice),
            EntryKind::File | EntryKind::Directory | EntryKind::Hardlink => Err(Errno::INVAL),
        };
        made.map_err(name_failure)?;
        let handle = match open_path(&new.parent, name) {
            Ok(handle) if self.is_made_for(&fstat(&handle)?, entry) => handle,
            // Whatever it is now, it is not ours.
            Ok(_) | Err(Errno::NOENT) => return Err(EntryFailure::Replaced),
            Err(error) => return Err(error.into()),
        };
        let completed = Ok(complete(&handle));
        new.conclude(completed)
    }

    /// Whether an inode is one that was just made for an entry: of its kind, of this process, without another name.
    fn is_made_for(&self, stat: &Stat, entry: &Entry) -> bool {
        let kind = match entry.kind {
            EntryKind::Symlink => FileType::Symlink,
            EntryKind::Fifo => FileType::Fifo,
            EntryKind::Socket => FileType::Socket,
            EntryKind::CharDevice => FileType::CharacterDevice,
            EntryKind::BlockDevice => FileType::BlockDevice,
            EntryKind::File | EntryKind::Directory | EntryKind::Hardlink => return false,
        };
        FileType::from_raw_mode(stat.st_mode) == kind
            && self.is_own(stat)
            && stat.st_nlink <= 1
            && stat.st_rdev == device_number(entry)
    }

    /// Links an entry to another one that was restored before.
    pub(crate) fn make_hardlink(&self, first: &[u8], path: &[u8], exists: bool) -> EntryResult<()> {
        let new = self.new_entry(path, exists)?;
        let (from, first) = self.confined().open_parent(first)?;
        let first = OsStr::from_bytes(first);
        if exists {
            let id = |directory: &OwnedFd, name: &OsStr| {
                statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| InodeId::of(&stat))
            };
            // A rename from one name of a file to another does nothing.
            if id(&from, first)? == id(&new.parent, &new.name).or_else(absent_is(&new))? {
                return Ok(());
            }
        }
        linkat(
            &from,
            first,
            &new.parent,
            new.current_name(),
            AtFlags::empty(),
        )
        .map_err(name_failure)?;
        new.conclude(Ok(()))
    }
}

/// An existing name that vanished is like no other file.
fn absent_is(new: &NewEntry) -> impl FnOnce(Errno) -> rustix::io::Result<InodeId> {
    let parent = fstat(&new.parent).map(|stat| InodeId::of(&stat));
    move |error| match error {
        Errno::NOENT => parent,
        error => Err(error),
    }
}

/// A name that was not there and cannot be created is another spelling of one that is.
fn name_failure(error: Errno) -> EntryFailure {
    match error {
        Errno::EXIST => EntryFailure::SameName,
        error => error.into(),
    }
}

fn device_number(entry: &Entry) -> u64 {
    entry
        .device
        .filter(|_| matches!(entry.kind, EntryKind::CharDevice | EntryKind::BlockDevice))
        .map_or(0, |(major, minor)| rustix::fs::makedev(major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::directory::process_rights::ProcessRights;
    use crate::files::options::OverwriteMode;
    use reprise_repository::{ObjectId, RawText};
    use std::fs;
    use std::os::unix::fs::symlink;

    fn open_target(path: &std::path::Path) -> RestoreDirectory {
        let id: ObjectId = "1".repeat(64).parse().unwrap();
        let rights = ProcessRights::of_this_process();
        RestoreDirectory::open(path, OverwriteMode::Overwrite, &id, &rights).unwrap()
    }

    #[test]
    fn a_name_that_was_not_listed_but_exists_is_never_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let target = open_target(directory.path());
        // As on a file system for which `README` is `readme`.
        fs::write(directory.path().join("readme"), b"first").unwrap();
        let made = target.create_file(b"readme", false);
        assert_eq!(made.unwrap_err(), EntryFailure::SameName);
        let link = Entry {
            target: Some(RawText::from("anywhere")),
            ..Entry::new(RawText::from("readme"), EntryKind::Symlink)
        };
        let made = target.make_special(&link, false, |_| ());
        assert_eq!(made.unwrap_err(), EntryFailure::SameName);
        assert_eq!(
            target.make_directory(b"readme", false).unwrap_err(),
            EntryFailure::SameName
        );
        let content = fs::read(directory.path().join("readme")).unwrap();
        assert_eq!(content, b"first");
    }

    #[test]
    fn what_is_replaced_stays_until_the_new_file_is_complete() {
        let directory = tempfile::tempdir().unwrap();
        let target = open_target(directory.path());
        let old = directory.path().join("f");
        fs::write(&old, b"old").unwrap();
        let (new, file) = target.create_file(b"f", true).unwrap();
        fs::write(
            crate::files::directory::directories::descriptor_path(&file),
            b"new",
        )
        .unwrap();
        assert_eq!(fs::read(&old).unwrap(), b"old");
        new.place().unwrap();
        assert_eq!(fs::read(&old).unwrap(), b"new");
        let (new, _file) = target.create_file(b"f", true).unwrap();
        new.discard(None);
        assert_eq!(fs::read(&old).unwrap(), b"new");
        // The file, and the mark of the restore.
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_file_that_was_swapped_between_two_writes_is_not_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let target = open_target(directory.path());
        let outside = directory.path().join("outside");
        fs::write(&outside, b"precious").unwrap();
        let path = directory.path().join("f");
        let swaps: [&dyn Fn(); 3] = [
            &|| symlink(&outside, &path).unwrap(),
            &|| fs::hard_link(&outside, &path).unwrap(),
            &|| {
                let mode = Mode::RUSR | Mode::WUSR;
                mknodat(rustix::fs::CWD, &path, FileType::Fifo, mode, 0).unwrap();
            },
        ];
        for swap in swaps {
            let unfinished = target.begin_file(b"f", false, 10).unwrap();
            fs::remove_file(&path).unwrap();
            swap();
            let reopened = target.reopen_file(b"f", &unfinished);
            assert_eq!(reopened.unwrap_err(), EntryFailure::Replaced);
            target.discard_file(b"f", &unfinished);
            // A new file may get the number of the inode that was removed; then it is gone already.
            drop(fs::remove_file(&path));
        }
        assert_eq!(fs::read(&outside).unwrap(), b"precious");
    }

    #[test]
    fn a_link_in_the_place_of_a_new_fifo_is_told_from_it() {
        let directory = tempfile::tempdir().unwrap();
        let target = open_target(directory.path());
        let path = directory.path().join("p");
        let fifo = Entry::new(RawText::from("p"), EntryKind::Fifo);
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(rustix::fs::CWD, &path, FileType::Fifo, mode, 0).unwrap();
        let stat =
            |path: &std::path::Path| statat(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW);
        assert!(target.is_made_for(&stat(&path).unwrap(), &fifo));
        // A fifo that has another name too may be one from elsewhere.
        fs::hard_link(&path, directory.path().join("elsewhere")).unwrap();
        assert!(!target.is_made_for(&stat(&path).unwrap(), &fifo));
        fs::remove_file(&path).unwrap();
        symlink("elsewhere", &path).unwrap();
        assert!(!target.is_made_for(&stat(&path).unwrap(), &fifo));
    }
}
