//! The directory that a source is, or that it is in: whether a link led there, and whether it is a mount point.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use reprise_repository::{Snapshot, Warning};
use serde_json::{Value, json};

use crate::run::source_warning;

/// The fact that a source was a mount point.
const MOUNT_POINT: &str = "mount_point";

/// Where a source is.
#[derive(Debug)]
pub(super) struct SourceRoot {
    /// The directory to walk.
    pub(super) directory: PathBuf,
    /// The one file in it when the source is a single file.
    pub(super) single: Option<OsString>,
    path: PathBuf,
    /// What a symbolic link at the path leads to.
    link: Option<PathBuf>,
    is_mount_point: bool,
}

impl SourceRoot {
    /// Finds the source at a path. A symbolic link is followed: what it leads to is meant.
    pub(super) fn locate(path: &Path) -> std::io::Result<Self> {
        let is_link = std::fs::symlink_metadata(path)?.is_symlink();
        let link = is_link.then(|| std::fs::canonicalize(path)).transpose()?;
        let found = link.as_deref().unwrap_or(path);
        let meta = std::fs::metadata(found)?;
        let (directory, single) = if meta.is_dir() {
            (found.to_owned(), None)
        } else {
            let absolute = std::path::absolute(found)?;
            let directory = absolute.parent().unwrap_or(Path::new("/")).to_owned();
            (directory, absolute.file_name().map(OsStr::to_owned))
        };
        let above = std::fs::metadata(directory.join("..")).ok();
        let is_mount_point =
            single.is_none() && above.is_some_and(|above| above.dev() != meta.dev());
        Ok(Self {
            directory,
            single,
            path: path.to_owned(),
            link,
            is_mount_point,
        })
    }

    /// What is worth knowing of it.
    pub(super) fn notes(&self) -> Option<String> {
        let target = self.link.as_ref()?;
        Some(format!(
            "{} is a symbolic link: what it leads to is stored, {}",
            self.path.display(),
            target.display()
        ))
    }

    /// The facts of the snapshot.
    pub(super) fn facts(&self) -> BTreeMap<String, Value> {
        let mut facts = BTreeMap::from([("consistency".to_owned(), json!("live"))]);
        if self.is_mount_point {
            facts.insert(MOUNT_POINT.to_owned(), json!(true));
        }
        facts
    }

    /// An alarm when the source was a mount point at the last snapshot and is none now.
    pub(super) fn unmounted_alarm(&self, parent: Option<&Snapshot>) -> Option<Warning> {
        let was =
            parent.and_then(|parent| parent.root.facts.get(MOUNT_POINT)) == Some(&json!(true));
        (was && !self.is_mount_point).then(|| {
            source_warning(
                "alarm: it was a mount point at the last snapshot and is none now: check that its file system is mounted",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_followed_to_a_file_or_a_directory_and_noted() {
        let sandbox = tempfile::tempdir().unwrap();
        let base = sandbox.path().canonicalize().unwrap();
        std::fs::write(base.join("real"), "x").unwrap();
        for (name, target) in [("file", "real"), ("directory", ".")] {
            std::os::unix::fs::symlink(target, base.join(name)).unwrap();
        }
        let file = SourceRoot::locate(&base.join("file")).unwrap();
        assert_eq!(
            (&file.directory, file.single.as_deref()),
            (&base, Some(OsStr::new("real")))
        );
        assert!(file.notes().unwrap().contains("symbolic link"));
        let directory = SourceRoot::locate(&base.join("directory")).unwrap();
        assert_eq!(
            (&directory.directory, directory.single.as_deref()),
            (&base, None)
        );
        assert!(directory.notes().is_some());
        assert!(SourceRoot::locate(&base).unwrap().notes().is_none());
    }

    #[test]
    fn a_mount_point_is_known_by_its_device() {
        assert!(
            SourceRoot::locate(Path::new("/proc"))
                .unwrap()
                .is_mount_point
        );
        let plain = tempfile::tempdir().unwrap();
        assert!(!SourceRoot::locate(plain.path()).unwrap().is_mount_point);
        assert!(!SourceRoot::locate(Path::new("/")).unwrap().is_mount_point);
    }
}
