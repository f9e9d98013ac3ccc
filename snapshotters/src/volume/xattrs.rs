//! Extended attributes, which a file system may list and then not give.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use reprise_repository::{RawText, Xattr};
use rustix::io::{Errno, Result};

/// A longer value or list does not exist on Linux.
const BYTES_MAX: usize = 1 << 20;

/// The extended attributes of an entry, as far as they can be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ReadXattrs {
    /// The attributes, by name.
    pub xattrs: Vec<Xattr>,
    /// What cannot be read, each with its name and the reason.
    pub problems: Vec<String>,
}

/// Reads all extended attributes of an open file or directory.
pub(super) fn xattrs_of_file(file: &File) -> ReadXattrs {
    read_xattrs(
        |buffer| rustix::fs::flistxattr(file, buffer),
        |name, buffer| rustix::fs::fgetxattr(file, name, buffer),
    )
}

/// Reads all extended attributes of an entry that cannot be opened, links not followed.
#[must_use]
pub fn xattrs_of_path(path: &Path) -> ReadXattrs {
    read_xattrs(
        |buffer| rustix::fs::llistxattr(path, buffer),
        |name, buffer| rustix::fs::lgetxattr(path, name, buffer),
    )
}

/// Reads all extended attributes of what a descriptor refers to, even if it was opened without reading it.
#[must_use]
pub fn xattrs_of_descriptor(descriptor: impl AsFd) -> ReadXattrs {
    let path = format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd());
    read_xattrs(
        |buffer| rustix::fs::listxattr(path.as_str(), buffer),
        |name, buffer| rustix::fs::getxattr(path.as_str(), name, buffer),
    )
}

fn read_xattrs(
    list: impl FnMut(&mut [u8]) -> Result<usize>,
    get: impl Fn(&OsStr, &mut [u8]) -> Result<usize>,
) -> ReadXattrs {
    let mut read = ReadXattrs::default();
    let names = match read_growing(list) {
        Ok(names) => names,
        // File systems without attributes have none.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return read,
        Err(error) => {
            let reason = std::io::Error::from(error);
            let problem = format!("its extended attributes: they cannot be listed: {reason}");
            read.problems.push(problem);
            return read;
        }
    };
    for name in names.split(|b| *b == 0).filter(|name| !name.is_empty()) {
        match read_growing(|buffer| get(OsStr::from_bytes(name), buffer)) {
            Ok(value) => read.xattrs.push(Xattr {
                name: RawText::new(name),
                value: RawText::new(value),
            }),
            // Removed since it was listed, or listed although the file system does not keep it.
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(error) => read.problems.push(format!(
                "its extended attribute {}: {}",
                RawText::new(name).display(),
                std::io::Error::from(error)
            )),
        }
    }
    read.xattrs.sort_by(|a, b| a.name.cmp(&b.name));
    read
}

/// Retries with a larger buffer until the result fits.
fn read_growing(mut call: impl FnMut(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let mut buffer = vec![0; 256];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < BYTES_MAX => buffer.resize(buffer.len() * 4, 0),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with the attributes `user.a` and `user.b`, of which the first answers with an error.
    fn read_with(error: Errno) -> ReadXattrs {
        let fill = |bytes: &'static [u8], buffer: &mut [u8]| {
            buffer[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        };
        read_xattrs(
            |buffer| fill(b"user.b\0user.a\0", buffer),
            |name, buffer| match name.as_bytes() {
                b"user.a" => Err(error),
                _ => fill(b"value", buffer),
            },
        )
    }

    #[test]
    fn an_attribute_without_a_value_is_left_out_and_one_that_cannot_be_read_is_named() {
        for (error, problems) in [
            (Errno::OPNOTSUPP, 0),
            (Errno::NODATA, 0),
            (Errno::ACCESS, 1),
            (Errno::TOOBIG, 1),
            (Errno::IO, 1),
        ] {
            let read = read_with(error);
            let names: Vec<_> = read.xattrs.iter().map(|one| one.name.display()).collect();
            assert_eq!(names, ["user.b"], "{error}");
            assert_eq!(read.problems.len(), problems, "{error}");
            assert!(read.problems.iter().all(|named| named.contains("user.a")));
        }
    }

    #[test]
    fn attributes_that_cannot_be_listed_are_named_unless_there_are_none() {
        let none = |_: &OsStr, _: &mut [u8]| Err(Errno::IO);
        assert_eq!(
            read_xattrs(|_| Err(Errno::OPNOTSUPP), none),
            ReadXattrs::default()
        );
        let read = read_xattrs(|_| Err(Errno::TOOBIG), none);
        assert_eq!((read.xattrs.len(), read.problems.len()), (0, 1));
    }
}
