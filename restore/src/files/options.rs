//! Options of a restore into a directory.

use std::path::PathBuf;

use reprise_repository::RawText;

/// How existing files of the target are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverwriteMode {
    /// The target must be empty.
    Refuse,
    /// Files that differ are replaced; files that the snapshot does not have stay.
    Overwrite,
    /// An interrupted restore of the same snapshot is resumed: files that are right already are kept.
    Resume,
}

/// Whether devices, FIFOs and sockets are restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialFiles {
    /// They are.
    Restore,
    /// They are not.
    Skip,
}

/// Which attributes and kinds of entries are restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttributeSelection {
    /// Owner and group. Without the right to give files away they are left out, which is no loss by itself.
    pub owners: bool,
    /// Extended attributes, ACLs among them.
    pub xattrs: bool,
    /// Set-user-id and set-group-id bits of files.
    pub set_id_bits: bool,
    /// Devices, FIFOs and sockets.
    pub specials: SpecialFiles,
    /// Leave out what this process may not do, instead of trying: for rehearsals.
    pub only_possible: bool,
}

impl Default for AttributeSelection {
    fn default() -> Self {
        Self {
            owners: true,
            xattrs: true,
            set_id_bits: true,
            specials: SpecialFiles::Restore,
            only_possible: false,
        }
    }
}

/// What to restore, and where to.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// The directory. It is created if it does not exist.
    pub target: PathBuf,
    /// Only these paths, or what these patterns match, and what is below them; empty: everything.
    pub paths: Vec<RawText>,
    /// How existing files are treated.
    pub existing: OverwriteMode,
    /// Which attributes are restored.
    pub attributes: AttributeSelection,
}
