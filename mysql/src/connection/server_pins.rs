//! The public keys of servers, as this host saw them first: one small file for each server.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::connection::Address;

/// What is remembered of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerPin {
    /// `host:port`, for people.
    server: String,
    /// SHA-256 of the certificate's public key. `None`: its certificate was of a public authority, for this host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key_sha256: Option<String>,
}

/// Why a server's key is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PinProblem {
    /// It is another one than the remembered one.
    Changed { known: String, file: PathBuf },
    /// What is remembered cannot be read.
    Unreadable { file: PathBuf, reason: String },
}

impl ServerPin {
    /// A server that shows a certificate. `sha256`: of its public key; `verified`: a public authority vouches for it.
    pub(crate) fn new(address: &Address, sha256: &str, verified: bool) -> Self {
        Self {
            server: format!("{}:{}", address.host(), address.port()),
            public_key_sha256: (!verified).then(|| sha256.to_owned()),
        }
    }

    /// Compares with what is remembered in a directory; at first use it is remembered.
    pub(crate) fn check(&self, directory: &Path) -> Result<(), PinProblem> {
        let name = utf8_percent_encode(&self.server, NON_ALPHANUMERIC).to_string();
        let file = directory.join(format!("{name}.json"));
        match self.write_first(directory, &file) {
            Ok(()) => {
                self.tell_first_use(&file);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => self.compare(&file),
            Err(error) => {
                // A machine that only restores may have no directory that it can write to.
                tracing::warn!(file = %file.display(), %error, "cannot remember the public key of {}", self.server);
                Ok(())
            }
        }
    }

    fn compare(&self, file: &Path) -> Result<(), PinProblem> {
        let unreadable = |reason: String| PinProblem::Unreadable {
            file: file.to_owned(),
            reason,
        };
        let text = fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
        let known: Self =
            serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
        match (&self.public_key_sha256, known.public_key_sha256) {
            // A public authority vouches for it, whatever it was before.
            (None, _) => Ok(()),
            (Some(shown), Some(known)) if *shown == known => Ok(()),
            (Some(_), known) => Err(PinProblem::Changed {
                known: known.unwrap_or_else(|| "one of a public authority".to_owned()),
                file: file.to_owned(),
            }),
        }
    }

    /// Fails if there is such a file. It appears whole: others may read it at the same time.
    fn write_first(&self, directory: &Path, file: &Path) -> std::io::Result<()> {
        if file.symlink_metadata().is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        fs::create_dir_all(directory)?;
        let unfinished = file.with_extension(format!("{}.tmp", std::process::id()));
        let mut options = OpenOptions::new();
        let mut written = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        written.write_all(serde_json::to_string_pretty(self)?.as_bytes())?;
        written.sync_all()?;
        let linked = fs::hard_link(&unfinished, file);
        fs::remove_file(&unfinished)?;
        linked
    }

    fn tell_first_use(&self, file: &Path) {
        if let Some(sha256) = &self.public_key_sha256 {
            tracing::warn!(
                "first connection to {}: its certificate is of no known authority; its public key (SHA-256 {sha256}) is remembered in {} and must not change",
                self.server,
                file.display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_is_remembered_and_another_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let pins = directory.path().join("servers");
        let address = |url| Address::parse(url).unwrap();
        let pin = |url, key, verified| ServerPin::new(&address(url), key, verified).check(&pins);
        assert_eq!(pin("mysql://db/", "aa", false), Ok(()));
        assert_eq!(pin("mysql://db/", "aa", false), Ok(()));
        let Err(PinProblem::Changed { known, file }) = pin("mysql://db:3306/", "bb", false) else {
            panic!("another key was accepted");
        };
        assert_eq!(known, "aa");
        assert_eq!(pin("mysql://db:3307/", "bb", false), Ok(()));
        // Whoever deletes the file accepts the new key.
        fs::remove_file(file).unwrap();
        assert_eq!(pin("mysql://db/", "bb", false), Ok(()));
    }

    #[test]
    fn a_server_that_an_authority_vouched_for_does_not_go_without_one() {
        let directory = tempfile::tempdir().unwrap();
        let address = Address::parse("mysql://db.example/").unwrap();
        let pin = |key, verified| ServerPin::new(&address, key, verified).check(directory.path());
        assert_eq!(pin("aa", true), Ok(()));
        assert_eq!(pin("bb", true), Ok(()));
        assert!(matches!(pin("aa", false), Err(PinProblem::Changed { .. })));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_no_reason_to_trust() {
        let directory = tempfile::tempdir().unwrap();
        let address = Address::parse("mysql://db/").unwrap();
        let pin = ServerPin::new(&address, "aa", false);
        pin.check(directory.path()).unwrap();
        let file = fs::read_dir(directory.path())
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        fs::write(file.path(), "{").unwrap();
        let checked = pin.check(directory.path());
        assert!(matches!(checked, Err(PinProblem::Unreadable { .. })));
    }
}
