//! A directory below which entries are reached by paths of any length, and never through a symbolic link.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Stat, openat, openat2, statat};
use rustix::io::Errno;

/// A path that reaches an entry while this value lives.
#[derive(Debug)]
pub struct ReachablePath {
    path: PathBuf,
    _directory: OwnedFd,
}

impl ReachablePath {
    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// An open directory.
#[derive(Debug)]
pub struct ConfinedDirectory {
    directory: OwnedFd,
}

impl ConfinedDirectory {
    /// Opens a directory. Symbolic links in the path of the directory itself are followed.
    ///
    /// # Errors
    /// The system's error.
    pub fn open(folder: &Path) -> rustix::io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            directory: openat(CWD, folder, flags, Mode::empty())?,
        })
    }

    /// The directory itself.
    #[must_use]
    pub fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    /// Attributes of a path itself; links are not followed.
    ///
    /// # Errors
    /// The system's error.
    pub fn stat(&self, path: &[u8]) -> rustix::io::Result<Stat> {
        if path.is_empty() {
            return rustix::fs::fstat(&self.directory);
        }
        match statat(
            &self.directory,
            OsStr::from_bytes(path),
            AtFlags::SYMLINK_NOFOLLOW,
        ) {
            Err(Errno::NAMETOOLONG) => {
                let (folder, name) = self.open_parent(path)?;
                statat(&folder, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW)
            }
            stat => stat,
        }
    }

    /// Opens a file or directory for reading.
    ///
    /// # Errors
    /// The system's error; `ELOOP` when a part of the path is a symbolic link.
    pub fn open_for_reading(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<File> {
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let name = if path.is_empty() { b"." } else { path };
        match open_without_links(&self.directory, name, flags | OFlags::NOATIME) {
            // Only a file's owner may read it without updating its access time.
            Err(Errno::PERM) => open_without_links(&self.directory, name, flags),
            Err(Errno::NAMETOOLONG) => {
                let (folder, name) = self.open_parent(if path.is_empty() { b"." } else { path })?;
                openat(&folder, OsStr::from_bytes(name), flags, Mode::empty())
            }
            opened => opened,
        }
        .map(File::from)
    }

    /// A descriptor of the entry itself, of whatever kind, that reads nothing: links are not followed.
    ///
    /// # Errors
    /// The system's error; `ELOOP` when a part of the path before the last is a symbolic link.
    pub fn open_entry(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = if path.is_empty() { b"." } else { path };
        match open_without_links(&self.directory, name, flags) {
            Err(Errno::NAMETOOLONG) => {
                let (folder, name) = self.open_parent(name)?;
                openat(&folder, OsStr::from_bytes(name), flags, Mode::empty())
            }
            opened => opened,
        }
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// The system's error.
    pub fn read_link(&self, path: &[u8]) -> rustix::io::Result<Vec<u8>> {
        let read =
            match rustix::fs::readlinkat(&self.directory, OsStr::from_bytes(path), Vec::new()) {
                Err(Errno::NAMETOOLONG) => {
                    let (folder, name) = self.open_parent(path)?;
                    rustix::fs::readlinkat(&folder, OsStr::from_bytes(name), Vec::new())
                }
                read => read,
            };
        read.map(std::ffi::CString::into_bytes)
    }

    /// A path by which system calls without a directory argument reach an entry, however deep it is.
    ///
    /// # Errors
    /// Errors of opening its directory.
    pub fn reachable_path(&self, path: &[u8]) -> rustix::io::Result<ReachablePath> {
        let (directory, name) = self.open_parent(path)?;
        let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
        Ok(ReachablePath {
            path: Path::new(&path).join(OsStr::from_bytes(name)),
            _directory: directory,
        })
    }

    /// Opens a file or directory with any flags, creating it with `mode` if they say so.
    ///
    /// # Errors
    /// The system's error; `ELOOP` when a part of the path is a symbolic link.
    pub fn open_with(&self, path: &[u8], flags: OFlags, mode: Mode) -> rustix::io::Result<File> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let (directory, name) = self.open_parent(path)?;
        openat(&directory, OsStr::from_bytes(name), flags, mode).map(File::from)
    }

    /// Opens the directory that holds a path; returns it with the path's last part.
    ///
    /// # Errors
    /// The system's error; `ELOOP` or `ENOTDIR` when a part of the path is a symbolic link.
    pub fn open_parent<'p>(&self, path: &'p [u8]) -> rustix::io::Result<(OwnedFd, &'p [u8])> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Some(slash) = path.iter().rposition(|b| *b == b'/') else {
            return Ok((rustix::io::fcntl_dupfd_cloexec(&self.directory, 0)?, path));
        };
        let (folder, name) = (&path[..slash], &path[slash + 1..]);
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match openat2(
            &self.directory,
            OsStr::from_bytes(folder),
            flags,
            Mode::empty(),
            resolve,
        ) {
            Ok(folder) => Ok((folder, name)),
            // Kernels before 5.6, and paths longer than a system call accepts: part by part.
            Err(Errno::NOSYS | Errno::NAMETOOLONG) => {
                let mut open = rustix::io::fcntl_dupfd_cloexec(&self.directory, 0)?;
                for part in folder.split(|b| *b == b'/') {
                    open = openat(&open, OsStr::from_bytes(part), flags, Mode::empty())?;
                }
                Ok((open, name))
            }
            Err(error) => Err(error),
        }
    }
}

fn open_without_links(
    directory: impl AsFd,
    path: &[u8],
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let path = OsStr::from_bytes(path);
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match openat2(&directory, path, flags, Mode::empty(), resolve) {
        // The caller continues part by part.
        Err(Errno::NOSYS) => Err(Errno::NAMETOOLONG),
        opened => opened,
    }
}
