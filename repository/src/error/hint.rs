//! What to do about an error.

use super::Error;
use crate::backend::DestinationKind;
use crate::id::ObjectId;

/// What to do when objects are gone without explanation.
const WITHHELD_HINT: &str = "the storage may withhold them: look for older versions of the objects there, or restore them from another copy with \
     `reprise verify --repair --from COPY --yes`; if they were deleted on purpose, `reprise forget --unreadable ID` by a keeper \
     says so to everybody, and `reprise verify --accept-missing ID` to this machine";

/// What to do when records of keys are gone.
const KEYS_WITHHELD_HINT: &str = "restore them from the storage's older versions or another copy; if you have put back an older state yourself, \
     `reprise verify --accept-missing ID` accepts that on this machine";

const UNKNOWN_HOST_HINT: &str = "print this host's public keys with `reprise key show`, and let a keeper add them with\n`reprise key add --host`";

const UNREADABLE_MEMORY_HINT: &str = "restore the file from a backup, or delete it: the repository is then as new to this machine, and what the \
     storage withholds now is not noticed";

const NO_REPOSITORY_HINT: &str = "check -r/--repository, or create a repository with `reprise init`; if only its reprise.json is lost, restore it \
     from a repository copy with `reprise -r COPY copy --to`";

impl Error {
    /// What to do next, in a sentence; empty when the error needs no hint.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Backend { source, location } => {
                source.hint(DestinationKind::of_location(location)).to_owned()
            }
            Self::NoRepository { .. } => NO_REPOSITORY_HINT.to_owned(),
            Self::RepositoryExists { .. } => {
                "use it as it is, or choose an empty location for a new one".to_owned()
            }
            Self::MissingConfig { location, .. } => format!(
                "restore it from a repository copy with `reprise -r COPY copy --to {location}`; a new repository needs an empty location"
            ),
            Self::UnsupportedFormat { .. } => {
                "it is not damaged: use a newer version of reprise".to_owned()
            }
            Self::ObjectSwept { root: None, .. } => {
                "run it again: what was deleted is stored again; the lease of this run expired".to_owned()
            }
            Self::ObjectSwept { root: Some(root), .. } => format!(
                "run it again, and forget {root}: objects that it needs may have been deleted meanwhile"
            ),
            Self::Damaged { .. } | Self::Missing { .. } => {
                "run `reprise verify --read-data` to see what else is affected, and restore from a repository copy"
                    .to_owned()
            }
            Self::OtherRepository { .. } => {
                "choose an empty location for the copy; a copy is not merged with anything".to_owned()
            }
            Self::NoMatchingIdentity { readers, .. } => readers.hint(),
            Self::Identity { .. } => {
                "give an age identity file, or an SSH private key, with --identity FILE".to_owned()
            }
            Self::Recipient { .. } => {
                "a recipient looks like age1…, ssh-ed25519 … or age1plugin1…".to_owned()
            }
            Self::HostKeys { .. } => {
                "this directory contains the host's own keys; set REPRISE_CONFIG_DIR to use another one".to_owned()
            }
            Self::UnknownHost { .. } => UNKNOWN_HOST_HINT.to_owned(),
            Self::NotKeeper { .. } => {
                "give the keeper's key with --keeper FILE (or REPRISE_KEEPER): `reprise init --keeper FILE` created it"
                    .to_owned()
            }
            Self::KeyChange { .. } => "`reprise key list` lists the current keys".to_owned(),
            Self::Passphrase { .. } | Self::NoEscrow { .. } => self.escrow_hint().to_owned(),
            Self::SnapshotState { hint, .. } | Self::LogState { hint, .. } => (*hint).to_owned(),
            Self::PinMismatch { pin_file, .. } => format!(
                "if you replaced the repository yourself, remove {}; otherwise someone else has replaced it",
                pin_file.display()
            ),
            Self::FingerprintMismatch { .. } => {
                "compare the fingerprint with the recovery sheet: nothing was read from this repository, and nothing is trusted of it"
                    .to_owned()
            }
            Self::UnknownNeeds { snapshot, source } => unknown_needs_hint(snapshot, source),
            Self::Withheld { .. } | Self::PruneRefused { .. } => WITHHELD_HINT.to_owned(),
            Self::KeysWithheld { .. } => KEYS_WITHHELD_HINT.to_owned(),
            Self::ControlCharacter { .. } => "give it without line ends and escape characters".to_owned(),
            Self::NoSnapshot { hint, .. } => hint.clone(),
            Self::SeveralHosts { .. }
            | Self::NoHost { .. }
            | Self::AmbiguousHost { .. }
            | Self::AmbiguousSnapshot { .. }
            | Self::SourceOrSnapshot { .. } => self.name_hint(),
            Self::UnreadableMemory { .. } => UNREADABLE_MEMORY_HINT.to_owned(),
            Self::Location(invalid) => invalid.problem.hint().to_owned(),
            Self::LocalIo { source, .. } => local_io_hint(source).to_owned(),
            Self::AttemptSuperseded { .. } => "a later attempt does it instead".to_owned(),
            Self::Internal(_) | Self::Interrupted | Self::Source(_) => String::new(),
        }
    }
}

fn local_io_hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            "check owner and mode of the file and of the directories above it; REPRISE_CONFIG_DIR and REPRISE_CACHE_DIR (or HOME) \
             say where this user's keys and cache are"
        }
        _ => "",
    }
}

impl Error {
    /// What to do next about a name that means nothing, or several things.
    fn name_hint(&self) -> String {
        if let Self::NoHost { known, .. } = self {
            return format!("its hosts: {}", known.join(", "));
        }
        if let Self::SourceOrSnapshot { name, .. } = self {
            return format!("write {name}@latest for the source, or the whole ID of the snapshot");
        }
        let hint = if matches!(self, Self::SeveralHosts { .. }) {
            "choose one with --host"
        } else if matches!(self, Self::AmbiguousHost { .. }) {
            "give the beginning of a signer instead"
        } else {
            "give more digits of the snapshot ID"
        };
        hint.to_owned()
    }

    /// What to do next about an escrow key.
    fn escrow_hint(&self) -> &'static str {
        if let Self::NoEscrow { .. } = self {
            return "with a keeper's key, `reprise key escrow` makes one";
        }
        "give it in the variable REPRISE_ESCROW_PASSPHRASE, in a file with --passphrase-file, or at the terminal; nobody can recover it"
    }
}

fn unknown_needs_hint(snapshot: &ObjectId, reason: &Error) -> String {
    format!(
        "{}\nor, if nobody needs this snapshot, forget it by its full ID: `reprise forget --unreadable {snapshot}`",
        reason.hint()
    )
}
