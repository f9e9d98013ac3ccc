//! Objects as files of a local or mounted file system.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, RenameFlags, linkat, renameat_with};
use rustix::io::Errno;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::{
    Backend, BackendError, BackendResult, Capabilities, ConfigurationError, ObjectInfo, ObjectKey,
    WriteVerification,
};

/// The directory for temporary files; it is not part of the format and may be emptied when nothing runs.
const TEMP_DIRECTORY: &str = "tmp";

/// Temporary files older than this belong to no active run and are removed.
const TEMP_FILE_MAX_AGE: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 3600);

/// A backend over a directory.
#[derive(Debug)]
pub struct LocalBackend {
    root: PathBuf,
}

impl LocalBackend {
    /// Uses a directory, which may not exist yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        // An absolute path stays valid when a command changes its working directory.
        let root = std::path::absolute(&root).unwrap_or(root);
        Self { root }
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn object_path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// Removes temporary files that dead runs left long ago. Best effort: it only saves space.
    pub fn remove_stale_temp_files(&self) {
        let Ok(entries) = fs::read_dir(self.root.join(TEMP_DIRECTORY)) else {
            return;
        };
        for entry in entries.flatten() {
            let age = entry
                .metadata()
                .and_then(|meta| meta.modified())
                .map(|time| time.elapsed());
            if let Ok(Ok(age)) = age
                && age > TEMP_FILE_MAX_AGE
                && let Err(error) = fs::remove_file(entry.path())
            {
                tracing::debug!(path = %entry.path().display(), %error, "cannot remove a stale temporary file");
            }
        }
    }

    fn write_temp_file(&self, parts: &[Bytes]) -> std::io::Result<PathBuf> {
        let directory = self.root.join(TEMP_DIRECTORY);
        create_dir_durably(&directory)?;
        let mut name = [0; 16];
        getrandom::fill(&mut name).map_err(std::io::Error::other)?;
        let path = directory.join(hex::encode(name));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| {
                for part in parts {
                    file.write_all(part)?;
                }
                file.sync_all()
            });
        match written {
            Ok(()) => Ok(path),
            Err(error) => {
                remove_quietly(&path);
                Err(error)
            }
        }
    }

    fn has_same_bytes(&self, key: &ObjectKey, parts: &[Bytes]) -> BackendResult<bool> {
        let stored = self.get(key, None)?;
        let mut rest = stored.as_slice();
        for part in parts {
            match rest.strip_prefix(part.as_ref()) {
                Some(after) => rest = after,
                None => return Ok(false),
            }
        }
        Ok(rest.is_empty())
    }
}

impl Backend for LocalBackend {
    fn location(&self) -> String {
        self.root.display().to_string()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            refuses_overwrite: true,
            cheap_listing: true,
            parallel_reads: 2,
            parallel_puts: 2,
            reads_may_be_corrupted: false,
            protected_in_transit: true,
        }
    }

    fn put(&self, key: &ObjectKey, parts: &[Bytes]) -> BackendResult<WriteVerification> {
        let fail = |source| BackendError::from_io("write", key.as_str(), source);
        let path = self.object_path(key);
        let directory = path.parent().unwrap_or(&self.root).to_owned();
        create_dir_durably(&directory).map_err(fail)?;
        let unfinished = self.write_temp_file(parts).map_err(fail)?;
        match rename_into_place(&unfinished, &path, key) {
            Ok(()) => sync_dir(&directory)
                .map_err(fail)
                .map(|()| WriteVerification::Unverified),
            Err(error) => {
                remove_quietly(&unfinished);
                let exists = matches!(error, BackendError::AlreadyExists { .. });
                if !exists || !self.has_same_bytes(key, parts)? {
                    return Err(error);
                }
                // The process that wrote it may not have reached its own sync yet.
                sync_dir(&directory)
                    .map_err(fail)
                    .map(|()| WriteVerification::Unverified)
            }
        }
    }

    fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> BackendResult<Vec<u8>> {
        let fail = |source| BackendError::from_io("read", key.as_str(), source);
        let mut file = File::open(self.object_path(key)).map_err(fail)?;
        let size_bytes = file.metadata().map_err(fail)?.len();
        let Range { start, end } = range.unwrap_or(0..size_bytes);
        if start > end || end > size_bytes {
            return Err(BackendError::OutOfRange {
                key: key.to_string(),
                size_bytes,
                start,
                end,
            });
        }
        if start > 0 {
            file.seek(SeekFrom::Start(start)).map_err(fail)?;
        }
        let length = usize::try_from(end - start).map_err(|e| fail(std::io::Error::other(e)))?;
        let mut bytes = Vec::with_capacity(length);
        file.take(end - start)
            .read_to_end(&mut bytes)
            .map_err(fail)?;
        if bytes.len() != length {
            return Err(BackendError::OutOfRange {
                key: key.to_string(),
                size_bytes,
                start,
                end,
            });
        }
        Ok(bytes)
    }

    fn size(&self, key: &ObjectKey) -> BackendResult<u64> {
        let meta = fs::metadata(self.object_path(key))
            .map_err(|source| BackendError::from_io("look up", key.as_str(), source))?;
        Ok(meta.len())
    }

    fn received(&self, key: &ObjectKey) -> BackendResult<Option<DateTime<Utc>>> {
        match fs::metadata(self.object_path(key)) {
            Ok(meta) => Ok(meta.modified().ok().map(Into::into)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(BackendError::from_io("look up", key.as_str(), source)),
        }
    }

    fn list(&self, directory: &str) -> BackendResult<Vec<ObjectInfo>> {
        let mut found = Vec::new();
        let mut directories = vec![directory.to_owned()];
        while let Some(directory) = directories.pop() {
            let fail = |source| BackendError::from_io("list", &directory, source);
            let entries = match fs::read_dir(self.root.join(&directory)) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(fail(error)),
            };
            for entry in entries {
                let entry = entry.map_err(fail)?;
                let meta = match entry.metadata() {
                    Ok(meta) => meta,
                    // Deleted since its name was read.
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    Err(error) => return Err(fail(error)),
                };
                let name = format!("{directory}/{}", entry.file_name().to_string_lossy());
                // Foreign files (lost+found, editor backups) have names that are not valid keys.
                let Some(key) = ObjectKey::new(name) else {
                    continue;
                };
                if meta.is_dir() {
                    directories.push(key.as_str().to_owned());
                } else if meta.is_file() {
                    found.push(ObjectInfo {
                        key,
                        size_bytes: meta.len(),
                        received: meta.modified().ok().map(Into::into),
                    });
                }
            }
        }
        Ok(found)
    }

    fn delete(&self, key: &ObjectKey) -> BackendResult<()> {
        let fail = |source| BackendError::from_io("delete", key.as_str(), source);
        let path = self.object_path(key);
        match fs::remove_file(&path) {
            Ok(()) => sync_dir(path.parent().unwrap_or(&self.root)).map_err(fail),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(fail(error)),
        }
    }
}

/// Renames a finished file to its final name, never replacing another one.
fn rename_into_place(unfinished: &Path, path: &Path, key: &ObjectKey) -> BackendResult<()> {
    let fail = |error| BackendError::from_io("write", key.as_str(), error);
    match renameat_with(CWD, unfinished, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(already_exists(key)),
        // Some network file systems cannot rename without replacing; a hard link never replaces.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            let linked = linkat(CWD, unfinished, CWD, path, AtFlags::empty());
            linked.map_err(|error| link_error(error, unfinished, key))?;
            fs::remove_file(unfinished).map_err(fail)
        }
        Err(error) => Err(fail(error.into())),
    }
}

fn link_error(error: Errno, unfinished: &Path, key: &ObjectKey) -> BackendError {
    match error {
        Errno::EXIST => already_exists(key),
        Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP | Errno::MLINK => {
            let directory = unfinished.parent().unwrap_or(unfinished);
            BackendError::Configuration {
                problem: ConfigurationError::NoExclusiveNames {
                    directory: directory.display().to_string(),
                },
                source: std::io::Error::from(error).into(),
            }
        }
        error => BackendError::from_io("write", key.as_str(), error.into()),
    }
}

fn already_exists(key: &ObjectKey) -> BackendError {
    BackendError::AlreadyExists {
        key: key.to_string(),
    }
}

/// Creates a directory and its missing parents, and makes their names durable.
fn create_dir_durably(directory: &Path) -> std::io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent()
        && !parent.as_os_str().is_empty()
    {
        create_dir_durably(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => Ok(()),
    }
}

fn sync_dir(directory: &Path) -> std::io::Result<()> {
    let synced = rustix::fs::fsync(File::open(directory)?);
    synced.or_else(accept_unsynced_directory)
}

/// Some network and FUSE file systems cannot sync a directory, and say so in different ways. The contents of its files are
/// synced all the same.
fn accept_unsynced_directory(error: Errno) -> std::io::Result<()> {
    match error {
        Errno::INVAL
        | Errno::NOSYS
        | Errno::OPNOTSUPP
        | Errno::NOENT
        | Errno::BADF
        | Errno::NOTTY => {
            tracing::debug!(%error, "this file system cannot sync a directory");
            Ok(())
        }
        error => Err(error.into()),
    }
}

fn remove_quietly(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(path = %path.display(), %error, "cannot remove a temporary file");
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance;
    use super::*;
    use crate::error::{Error, ErrorClass, format_error_chain};

    #[test]
    fn it_conforms() {
        conformance::check_conformance(&|| {
            let directory = tempfile::tempdir().unwrap();
            let backend = LocalBackend::new(directory.path().join("deep/er"));
            (Box::new(backend), Box::new(directory))
        });
    }

    #[test]
    fn foreign_and_unfinished_files_are_not_listed() {
        let directory = tempfile::tempdir().unwrap();
        let backend = LocalBackend::new(directory.path());
        backend
            .put(&ObjectKey::new("index/ab").unwrap(), &[Bytes::from("x")])
            .unwrap();
        fs::write(directory.path().join("index/.nfs0001"), b"x").unwrap();
        fs::write(directory.path().join("index/README~"), b"x").unwrap();
        fs::write(directory.path().join("tmp/00"), b"x").unwrap();
        assert_eq!(backend.list("index").unwrap().len(), 1);
    }

    #[test]
    fn a_put_that_loses_against_other_bytes_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let backend = LocalBackend::new(directory.path());
        let key = ObjectKey::new("index/ab").unwrap();
        backend.put(&key, &[Bytes::from("first")]).unwrap();
        let error = backend.put(&key, &[Bytes::from("second")]).unwrap_err();
        assert!(
            matches!(error, BackendError::AlreadyExists { .. }),
            "{error}"
        );
        assert_eq!(backend.get(&key, None).unwrap(), b"first");
        assert_eq!(
            fs::read_dir(directory.path().join("tmp")).unwrap().count(),
            0
        );
    }

    #[test]
    fn a_file_system_that_cannot_sync_directories_is_used_all_the_same() {
        for error in [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOENT] {
            accept_unsynced_directory(error).unwrap();
        }
        for error in [Errno::IO, Errno::NOSPC, Errno::DQUOT] {
            assert!(accept_unsynced_directory(error).is_err(), "{error}");
        }
    }

    #[test]
    fn a_file_system_without_links_is_refused_by_name() {
        let key = ObjectKey::from_trusted("packs/1".to_owned());
        let told = |error| link_error(error, Path::new("/mnt/bucket/tmp/1"), &key);
        for error in [Errno::PERM, Errno::NOSYS, Errno::OPNOTSUPP] {
            let refused = Error::Backend {
                location: "/mnt/bucket".to_owned(),
                source: told(error),
            };
            let text = format_error_chain(&refused);
            assert_eq!(refused.class(), ErrorClass::Refused, "{text}");
            assert!(
                text.contains("/mnt/bucket") && text.contains("hard links"),
                "{text}"
            );
        }
        let exists = told(Errno::EXIST);
        assert!(matches!(exists, BackendError::AlreadyExists { .. }));
    }
}
