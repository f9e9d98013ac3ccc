//! Everything that a file system knows of a tree, to compare two of them without the program under test.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fmt::Debug;
use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, SeekFrom, Stat, fstat, lgetxattr, llistxattr,
    openat, readlinkat, seek, statat,
};
use rustix::io::Errno;

/// What is known of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryMetadata {
    /// `RegularFile`, `Directory`, and so on.
    pub kind: String,
    /// Permission bits, with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// When the content changed, as seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// Bytes of a file, holes included.
    pub size: u64,
    /// A hash of a file's content.
    pub content: u64,
    /// Where data lies in a file with holes: offset and length of each range of data.
    pub data: Vec<(u64, u64)>,
    /// Where a symbolic link points.
    pub target: Vec<u8>,
    /// Extended attributes, POSIX ACLs among them.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The numbers of a device.
    pub device: u64,
    /// The first path of the same inode, as the walk meets it.
    pub first_name: Vec<u8>,
}

/// A tree by its paths; the root has the empty one.
pub type MetadataTree = BTreeMap<Vec<u8>, EntryMetadata>;

/// Reads a tree of any depth.
#[must_use]
pub fn read_tree(root: &Path) -> MetadataTree {
    let directory = open_directory(CWD, root.as_os_str());
    let mut walk = TreeWalk::default();
    walk.add_entry(root, b"", &fstat(&directory).unwrap(), None);
    walk.add_directory(&directory, b"");
    walk.tree
}

/// Demands that two directories have the same trees.
///
/// # Panics
/// With every difference, when they have not.
#[track_caller]
pub fn assert_same(a: &Path, b: &Path) {
    assert_unchanged(&read_tree(a), &read_tree(b));
}

/// Demands that two trees are the same.
///
/// # Panics
/// With every difference, when they are not.
#[track_caller]
pub fn assert_unchanged(before: &MetadataTree, after: &MetadataTree) {
    assert_eq!(differences(before, after), [""; 0]);
}

/// One line for each field that differs.
fn differences(a: &MetadataTree, b: &MetadataTree) -> Vec<String> {
    let display_path = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    let mut found = Vec::new();
    for (path, left) in a {
        match b.get(path) {
            None => found.push(format!("{:?} is missing", display_path(path))),
            Some(right) => found.extend(
                differing_fields(left, right)
                    .into_iter()
                    .map(|field| format!("{:?}: {field}", display_path(path))),
            ),
        }
    }
    let added = b.keys().filter(|path| !a.contains_key(*path));
    found.extend(added.map(|path| format!("{:?} is new", display_path(path))));
    found
}

fn differing_fields(a: &EntryMetadata, b: &EntryMetadata) -> Vec<String> {
    fn field<T: PartialEq + Debug>(name: &str, a: &T, b: &T) -> Option<String> {
        (a != b).then(|| format!("{name} was {a:?} and is {b:?}"))
    }
    [
        field("kind", &a.kind, &b.kind),
        field("mode", &a.mode, &b.mode),
        field("owner", &a.owner, &b.owner),
        field("mtime", &a.mtime, &b.mtime),
        field("size", &a.size, &b.size),
        field("content", &a.content, &b.content),
        field("data", &a.data, &b.data),
        field("target", &a.target, &b.target),
        field("xattrs", &a.xattrs, &b.xattrs),
        field("device", &a.device, &b.device),
        field("first name", &a.first_name, &b.first_name),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[derive(Default)]
struct TreeWalk {
    tree: MetadataTree,
    inodes: HashMap<(u64, u64), Vec<u8>>,
}

impl TreeWalk {
    fn add_directory(&mut self, directory: &OwnedFd, path: &[u8]) {
        let mut names: Vec<Vec<u8>> = Dir::read_from(directory)
            .unwrap()
            .map(|item| item.unwrap().file_name().to_bytes().to_vec())
            .filter(|name| name != b"." && name != b"..")
            .collect();
        names.sort();
        for name in names {
            let separator: &[u8] = if path.is_empty() { b"" } else { b"/" };
            let inside = [path, separator, &name].concat();
            let name = OsStr::from_bytes(&name);
            let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).unwrap();
            // A short path to the entry, however long its path is.
            let access_path =
                PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
            self.add_entry(&access_path, &inside, &stat, Some((directory, name)));
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                self.add_directory(&open_directory(directory, name), &inside);
            }
        }
    }

    fn add_entry(
        &mut self,
        access_path: &Path,
        path: &[u8],
        stat: &Stat,
        parent: Option<(&OwnedFd, &OsStr)>,
    ) {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut record = EntryMetadata {
            kind: format!("{kind:?}"),
            mode: stat.st_mode & 0o7777,
            owner: (stat.st_uid, stat.st_gid),
            mtime: (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap()),
            size: 0,
            content: 0,
            data: Vec::new(),
            target: Vec::new(),
            xattrs: read_xattrs(access_path),
            device: 0,
            first_name: path.to_vec(),
        };
        match (kind, parent) {
            (FileType::RegularFile, Some((directory, name))) => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
                let file = File::from(openat(directory, name, flags, Mode::empty()).unwrap());
                record.size = u64::try_from(stat.st_size).unwrap();
                record.data = data_ranges(&file, stat);
                record.content = if has_holes(stat) {
                    hash_ranges(&record.data, &file)
                } else {
                    hash_ranges(&[(0, record.size)], &file)
                };
            }
            (FileType::Symlink, Some((directory, name))) => {
                record.target = readlinkat(directory, name, Vec::new())
                    .unwrap()
                    .into_bytes();
            }
            (FileType::CharacterDevice | FileType::BlockDevice, _) => record.device = stat.st_rdev,
            _ => {}
        }
        if kind != FileType::Directory {
            let first = self.inodes.entry((stat.st_dev, stat.st_ino));
            record.first_name.clone_from(first.or_insert(path.to_vec()));
        }
        self.tree.insert(path.to_vec(), record);
    }
}

fn open_directory(at: impl rustix::fd::AsFd, name: &OsStr) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    openat(at, name, flags, Mode::empty()).unwrap()
}

/// Of the ranges of data alone: reading through a hole could take for ever.
fn hash_ranges(data_ranges: &[(u64, u64)], file: &File) -> u64 {
    let (mut hasher, mut buffer) = (DefaultHasher::new(), vec![0; 1 << 16]);
    for (offset, length) in data_ranges {
        let (mut position, end) = (*offset, offset + length);
        while position < end {
            let wanted = buffer.len().min(usize::try_from(end - position).unwrap());
            let got = file.read_at(&mut buffer[..wanted], position).unwrap();
            assert!(got > 0, "a file ended early");
            hasher.write(&buffer[..got]);
            position += got as u64;
        }
    }
    hasher.finish()
}

/// Whether a file takes less room than its size.
fn has_holes(stat: &Stat) -> bool {
    stat.st_blocks * 512 < stat.st_size
}

/// The data of a file that takes less room than its size; empty for any other file.
fn data_ranges(file: &File, stat: &Stat) -> Vec<(u64, u64)> {
    if !has_holes(stat) {
        return Vec::new();
    }
    let (mut found, mut position) = (Vec::new(), 0);
    loop {
        match seek(file, SeekFrom::Data(position)) {
            Ok(start) => {
                position = seek(file, SeekFrom::Hole(start)).unwrap();
                found.push((start, position - start));
            }
            Err(Errno::NXIO) => return found,
            Err(error) => panic!("holes cannot be asked for: {error}"),
        }
    }
}

fn read_xattrs(access_path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 1 << 16];
    let length = match llistxattr(access_path, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(error) => panic!("attributes of {}: {error}", access_path.display()),
    };
    let mut found = BTreeMap::new();
    for name in names[..length].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let mut value = vec![0; 1 << 16];
        let length = lgetxattr(access_path, OsStr::from_bytes(name), &mut value).unwrap();
        found.insert(name.to_vec(), value[..length].to_vec());
    }
    found
}
