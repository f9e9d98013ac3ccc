//! A directory tree as a source: owners, modes, times, links, holes, attributes, special files.

mod cache;
mod exclude;
mod flags;
mod listing;
pub mod metadata;
mod read;
mod source_root;
mod walk;
pub mod xattrs;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reprise_repository::{
    CommittedSnapshot, RawText, Remark, Repository, SnapshotItem, SnapshotSummary, SourceKind,
};

use crate::error::{Error, Result};
use crate::run::{RunContext, source_warning};

use crate::confined_directory::ConfinedDirectory;
use cache::{CacheReader, CacheWriter};
pub use exclude::ExcludeRules;
use read::vanished_alarm;
use source_root::SourceRoot;
use walk::VolumeWalk;

/// A directory tree to store.
#[derive(Debug, Clone, Default)]
pub struct VolumeSource {
    /// Its path. A single file is a tree of one entry.
    pub path: PathBuf,
    /// Exclude rules, as lines of a `.gitignore`.
    pub exclude: Vec<String>,
    /// Files with such rules.
    pub exclude_files: Vec<PathBuf>,
    /// Stay on the path's file system.
    pub one_file_system: bool,
    /// Directories that are always excluded, whatever the rules: the repository itself, the local cache.
    pub always_excluded: Vec<PathBuf>,
}

/// Stores a directory tree. Files that are unchanged since the last snapshot are not read again.
///
/// # Errors
/// [`Error::SourceNotFound`], [`Error::Unreadable`] for the root itself, or errors of storing. Anything else that
/// cannot be read is named in the snapshot's warnings.
pub fn snapshot_tree(
    repository: &Repository,
    source: &VolumeSource,
    run: &RunContext,
) -> Result<CommittedSnapshot> {
    let place = SourceRoot::locate(&source.path).map_err(|e| read_error(&source.path, e))?;
    let root = ConfinedDirectory::open(&place.directory)
        .map_err(|e| read_error(&source.path, e.into()))?;
    let excludes = ExcludeRules::new(&source.exclude, &source.exclude_files, &source.path)?;
    let (parent, options) = run.prepare_snapshot(repository, SourceKind::Volume)?;
    let started = options.started;
    let key = cache_key(repository, source, run);
    let cache_file = repository
        .cache_dir()
        .map(|directory| directory.join("files").join(&key));
    let reader = cache_file
        .as_deref()
        .and_then(|file| CacheReader::open(file, &key));
    let writer = cache_file
        .as_deref()
        .and_then(|file| CacheWriter::create(file, &key));
    let observer =
        writer.map(|writer| Box::new(writer) as Box<dyn reprise_repository::EntryObserver>);
    let mut writer = repository.begin_snapshot(options, Arc::clone(&run.progress), observer)?;
    for note in place
        .notes()
        .into_iter()
        .chain(excludes.idle_rules(&place.directory))
    {
        writer.add_item(SnapshotItem::Remark(Remark::Note(source_warning(note))))?;
    }
    for named in excludes.never_matching() {
        let warning = source_warning(named.as_str());
        writer.add_item(SnapshotItem::Remark(Remark::Warning(warning)))?;
    }
    let whole_file_max = u64::from(repository.config().layout.whole_file_max);
    VolumeWalk::new(root, source, excludes, reader, &mut writer, whole_file_max)
        .walk_tree(place.single.as_deref())?;
    let committed = writer.finish(|counts, notes| {
        let mut warnings = run.shrink_alarms(parent.as_ref(), counts);
        warnings.extend(vanished_alarm(counts.entries, notes));
        warnings.extend(place.unmounted_alarm(parent.as_ref()));
        warnings.extend(run.emptied_alarm(repository, parent.as_ref(), counts)?);
        Ok(SnapshotSummary {
            data_time: started,
            finished: (run.clock)(),
            facts: place.facts(),
            location: RawText::from(source.path.as_os_str()),
            warnings,
        })
    })?;
    Ok(committed)
}

/// The cache key of one source in one repository. Another path has another cache.
fn cache_key(repository: &Repository, source: &VolumeSource, run: &RunContext) -> String {
    let path = std::fs::canonicalize(&source.path).unwrap_or_else(|_| source.path.clone());
    let mut hasher = blake3::Hasher::new();
    for part in [
        repository.config().repository.as_str().as_bytes(),
        run.source.as_bytes(),
        path.as_os_str().as_encoded_bytes(),
    ] {
        hasher
            .update(&(part.len() as u64).to_le_bytes())
            .update(part);
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

/// Device and inode of directories, to recognise them under any path.
fn inode_identities(directories: &[PathBuf]) -> Vec<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let identity = |directory: &PathBuf| {
        let meta = std::fs::metadata(directory).ok()?;
        Some((meta.dev(), meta.ino()))
    };
    directories.iter().filter_map(identity).collect()
}

fn read_error(path: &Path, source: std::io::Error) -> Error {
    match source.kind() {
        std::io::ErrorKind::NotFound => Error::SourceNotFound {
            path: path.to_owned(),
        },
        _ => Error::Unreadable {
            path: path.to_owned(),
            source,
        },
    }
}
