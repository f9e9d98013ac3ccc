//! Entries: the items of a snapshot's tree, one JSON object per line.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::text::RawText;

/// Maximum length of an entry's line, in bytes. Paths, link targets and attributes are far below it.
pub(crate) const ENTRY_LINE_BYTES_MAX: usize = 32 << 20;

/// The type of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A hard link to an earlier entry.
    Hardlink,
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A Unix socket. Only its name and attributes are stored.
    Socket,
}

/// A time with nanoseconds, as `[seconds since 1970, nanoseconds]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct FileTime(pub i64, pub u32);

/// An extended attribute. POSIX ACLs are two of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Xattr {
    /// Its full name, such as `user.comment`.
    pub name: RawText,
    /// Its value.
    pub value: RawText,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Relative to the snapshot's root, parts separated by `/`; empty for the root itself.
    pub path: RawText,
    /// Its type.
    pub kind: EntryKind,
    /// Permission bits, with set-user-id, set-group-id and sticky.
    #[serde(default)]
    pub mode: u32,
    /// Owner.
    #[serde(default)]
    pub uid: u32,
    /// Group.
    #[serde(default)]
    pub gid: u32,
    /// When its content was last changed.
    #[serde(default)]
    pub mtime: FileTime,
    /// Size of a file in bytes, holes included.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: u64,
    /// How many IDs of the reference stream are this file's content.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub chunks: u64,
    /// The data extents of a file with holes: `[offset, length]` of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extents: Option<Vec<(u64, u64)>>,
    /// The target of a symbolic link, or the earlier path of a hard link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<RawText>,
    /// Major and minor number of a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<(u32, u32)>,
    /// Extended attributes, including POSIX ACLs, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<Xattr>,
    /// Flags that keep it from being changed: `immutable`, `append-only`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Entry {
    /// An entry without attributes.
    #[must_use]
    pub fn new(path: RawText, kind: EntryKind) -> Self {
        Self {
            path,
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: FileTime::default(),
            size: 0,
            chunks: 0,
            extents: None,
            target: None,
            device: None,
            xattrs: Vec::new(),
            flags: Vec::new(),
        }
    }

    /// A plain file without file system metadata, such as a command's output.
    #[must_use]
    pub fn generated_file(name: &str, mtime: FileTime) -> Self {
        Self {
            mode: 0o600,
            mtime,
            ..Self::new(RawText::from(name), EntryKind::File)
        }
    }

    /// Parses one line of the entry stream and rejects what no snapshot could contain.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        let entry = Self::decode(line)?;
        entry.validate()?;
        Ok(entry)
    }

    /// Decodes one line of the entry stream; what it says is not checked.
    pub(crate) fn decode(line: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|e| e.to_string())
    }

    pub(crate) fn validate(&self) -> Result<(), String> {
        check_path(self.path.as_bytes())?;
        if self.mtime.1 >= 1_000_000_000 {
            return Err(format!(
                "the modification time of {:?} has {} nanoseconds",
                self.path, self.mtime.1
            ));
        }
        match (self.kind, &self.target) {
            (EntryKind::Hardlink, Some(target)) => {
                check_path(target.as_bytes())?;
                if path_order(target.as_bytes(), self.path.as_bytes()) != Ordering::Less {
                    return Err(format!("{:?} is a hard link to a later entry", self.path));
                }
            }
            (EntryKind::Symlink, Some(target))
                if target.as_bytes().is_empty() || target.as_bytes().contains(&0) =>
            {
                return Err(format!("{:?} has an invalid link target", self.path));
            }
            (EntryKind::Hardlink | EntryKind::Symlink, None) => {
                return Err(format!("{:?} has no link target", self.path));
            }
            _ => {}
        }
        self.check_extents()
    }

    fn check_extents(&self) -> Result<(), String> {
        let mut end = 0_u64;
        for (offset, length) in self.extents.iter().flatten() {
            if *offset < end {
                return Err(format!("{:?} has overlapping extents", self.path));
            }
            end = offset
                .checked_add(*length)
                .filter(|end| *end <= self.size)
                .ok_or_else(|| format!("{:?} has an extent beyond its end", self.path))?;
        }
        Ok(())
    }

    /// Bytes of content in chunks: the size, or the sum of the extents of a file with holes.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        match &self.extents {
            None => self.size,
            Some(extents) => extents.iter().map(|(_, length)| length).sum(),
        }
    }

    /// Checks that chunks of this many bytes in all are its content.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub fn check_content_length(&self, chunk_bytes: u64) -> Result<(), String> {
        let expected = self.content_bytes();
        if chunk_bytes == expected {
            return Ok(());
        }
        Err(format!(
            "its chunks have {chunk_bytes} bytes instead of {expected}"
        ))
    }

    /// Serializes it as one line of the entry stream.
    ///
    /// # Errors
    /// Never in practice.
    pub fn write_line(&self, line: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(&mut *line, self)?;
        line.push(b'\n');
        Ok(())
    }
}

/// A path inside a snapshot has no empty, `.` or `..` parts and no NUL, so it cannot leave the target.
fn check_path(path: &[u8]) -> Result<(), String> {
    let shown = || RawText::new(path).display();
    if path.is_empty() {
        return Ok(());
    }
    if path.contains(&0) {
        return Err(format!("path `{}` contains a NUL byte", shown()));
    }
    match path
        .split(|b| *b == b'/')
        .find(|part| matches!(*part, b"" | b"." | b".."))
    {
        Some(_) => Err(format!(
            "path `{}` would lead outside the target directory",
            shown()
        )),
        None => Ok(()),
    }
}

/// The order of a snapshot's entries: a directory before its contents, names by their bytes.
#[must_use]
pub fn path_order(a: &[u8], b: &[u8]) -> Ordering {
    // `/` sorts before every byte that a name can contain.
    let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    a.iter().map(key).cmp(b.iter().map(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(path: &str) -> Entry {
        Entry::new(RawText::from(path), EntryKind::File)
    }

    #[test]
    fn a_directory_comes_before_its_contents_and_those_before_its_neighbours() {
        let mut paths = ["a-b", "a/b", "a", "", "a/b/c", "a.b", "ab"];
        paths.sort_by(|a, b| path_order(a.as_bytes(), b.as_bytes()));
        assert_eq!(paths, ["", "a", "a/b", "a/b/c", "a-b", "a.b", "ab"]);
    }

    #[test]
    fn no_path_leads_outside() {
        for bad in [
            "..", "../x", "a/../b", "/etc", "a//b", "a/", ".", "./a", "a\0b",
        ] {
            let mut line = Vec::new();
            file(bad).write_line(&mut line).unwrap();
            assert!(Entry::parse(&line).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn impossible_links_and_extents_are_refused() {
        let link = |kind, target: Option<&str>| Entry {
            kind,
            target: target.map(RawText::from),
            ..file("b")
        };
        let holes = |size, extents| Entry {
            size,
            extents: Some(extents),
            ..file("b")
        };
        let bad = [
            link(EntryKind::Hardlink, None),
            link(EntryKind::Hardlink, Some("b")),
            link(EntryKind::Hardlink, Some("c")),
            link(EntryKind::Hardlink, Some("../a")),
            link(EntryKind::Symlink, None),
            link(EntryKind::Symlink, Some("")),
            holes(10, vec![(0, 11)]),
            holes(10, vec![(5, 2), (4, 1)]),
            holes(10, vec![(u64::MAX, 2)]),
        ];
        for entry in bad {
            assert!(entry.validate().is_err(), "{entry:?}");
        }
        assert!(link(EntryKind::Hardlink, Some("a")).validate().is_ok());
        assert!(holes(10, vec![(0, 2), (2, 8)]).validate().is_ok());
    }

    proptest! {
        #[test]
        fn parsing_any_line_never_panics(line: Vec<u8>) {
            let _ = Entry::parse(&line).is_ok();
        }

        #[test]
        fn an_entry_survives_its_line(path in "[a-z]{1,8}(/[a-z]{1,8}){0,3}", raw: Vec<u8>, mode: u32, size: u64, sec: i64, ns in 0_u32..1_000_000_000) {
            let entry = Entry {
                mode, size, mtime: FileTime(sec, ns),
                xattrs: vec![Xattr { name: RawText::from("user.a"), value: RawText::new(raw) }],
                flags: vec!["immutable".to_owned()],
                ..file(&path)
            };
            let mut line = Vec::new();
            entry.write_line(&mut line).unwrap();
            prop_assert_eq!(Entry::parse(&line).unwrap(), entry);
        }
    }
}
