//! Identifies a restore among others to the same target.

use reprise_repository::Snapshot;
use sha2::Digest as _;

use crate::mysql::load::selection::SelectedDatabase;

/// Identifies this restore: the snapshot, and which parts of it go where.
pub(crate) fn restore_fingerprint(snapshot: &Snapshot, selected: &[SelectedDatabase]) -> String {
    let mut names = String::new();
    for chosen in selected {
        names.push_str(&format!(
            "{} {} {}\n",
            chosen.database.name, chosen.target, chosen.whole
        ));
        for table in &chosen.database.tables {
            names.push_str(&format!("\t{}\n", table.name));
        }
    }
    format!("{} {}", snapshot.id, short_hash(&names))
}

/// The first half of a hash, in hexadecimal digits.
pub(crate) fn short_hash(text: &str) -> String {
    hex::encode(&sha2::Sha256::digest(text)[..8])
}
