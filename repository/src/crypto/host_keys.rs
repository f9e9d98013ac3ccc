//! This host's own keys, and its pins of the repositories it has seen.
//!
//! The directory holds the writer identity (reads the catalog, never contents), the signing key, and pins.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::crypto::encryption::{SIGNING_KEY_PREFIX, generate_identity};
use crate::crypto::signing::{HostSigner, SignerId};
use crate::error::{Error, Result};
use crate::id::{ObjectId, RepositoryId};

const IDENTITY_FILE: &str = "writer-identity.txt";
const SIGNING_KEY_FILE: &str = "signing-key.txt";

/// The directory of the host's keys and pins.
#[derive(Debug, Clone)]
pub struct HostDirectory {
    path: PathBuf,
    expected_config: Option<ObjectId>,
}

/// The host's keys.
#[derive(Debug, Clone)]
pub struct HostKeys {
    /// The file of the age identity that reads the catalog.
    pub identity_file: PathBuf,
    /// That identity's public key.
    pub recipient: String,
    /// The signing key.
    pub signer: HostSigner,
}

/// The public keys of a keeper.
#[derive(Debug, Clone)]
pub struct KeeperKeys {
    /// The age recipient with which the keeper reads the catalog, if the file has such an identity.
    pub recipient: Option<String>,
    /// The signing key.
    pub signer: SignerId,
}

#[derive(Debug, Serialize, Deserialize)]
struct RepositoryPin {
    location: String,
    repository: RepositoryId,
    config: ObjectId,
}

impl HostDirectory {
    /// Uses a directory, which may not exist yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            expected_config: None,
        }
    }

    /// Opens no repository but the one with this hash of `reprise.json`.
    #[must_use]
    pub fn with_expected_config(self, hash: Option<ObjectId>) -> Self {
        Self {
            expected_config: hash,
            ..self
        }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The host's keys, or `None` when it has none.
    ///
    /// # Errors
    /// [`Error::HostKeys`] when they cannot be read, or others than their owner can read them.
    pub fn load_keys(&self) -> Result<Option<HostKeys>> {
        let (identity_file, signer_file) = (
            self.path.join(IDENTITY_FILE),
            self.path.join(SIGNING_KEY_FILE),
        );
        match (
            read_secret_file(&identity_file)?,
            read_secret_file(&signer_file)?,
        ) {
            (None, None) => Ok(None),
            (Some(identity), Some(signer)) => {
                let recipient = derive_recipient(&identity).ok_or_else(|| {
                    host_keys_error(&identity_file, "it contains no X25519 identity")
                })?;
                let signer = parse_signing_key(&signer)
                    .ok_or_else(|| host_keys_error(&signer_file, "it contains no signing key"))?;
                Ok(Some(HostKeys {
                    identity_file,
                    recipient,
                    signer,
                }))
            }
            (None, Some(_)) => Err(host_keys_error(
                &identity_file,
                "it is missing, but the signing key exists: restore both files from a backup",
            )),
            (Some(_), None) => Err(host_keys_error(
                &signer_file,
                "it is missing, but the identity exists: restore both files from a backup",
            )),
        }
    }

    /// The host's keys; creates them if there are none.
    ///
    /// # Errors
    /// [`Error::HostKeys`] as for [`Self::load_keys`], [`Error::LocalIo`] when they cannot be written.
    pub fn load_or_create_keys(&self, now: &str) -> Result<HostKeys> {
        if let Some(keys) = self.load_keys()? {
            return Ok(keys);
        }
        let (_, signer_text) = new_signing_key_text(now)?;
        write_secret_file(&self.path.join(SIGNING_KEY_FILE), &signer_text)?;
        write_secret_file(
            &self.path.join(IDENTITY_FILE),
            &generate_identity(now).file_text,
        )?;
        self.load_keys()?.ok_or_else(|| {
            host_keys_error(
                &self.path,
                "the keys that were just written cannot be found in it",
            )
        })
    }

    /// Compares a repository's `reprise.json` with what was pinned, and pins it on first use.
    ///
    /// # Errors
    /// [`Error::PinMismatch`] when it differs, [`Error::FingerprintMismatch`] when it is not the expected one.
    pub fn check_pin(
        &self,
        location: &str,
        repository: &RepositoryId,
        config: ObjectId,
    ) -> Result<()> {
        if let Some(expected) = self.expected_config.filter(|expected| *expected != config) {
            return Err(Error::FingerprintMismatch {
                location: location.to_owned(),
                expected,
                found: config,
            });
        }
        let pin_file = self.pin_path(repository);
        let mismatch = |reason: &str, pin_file: PathBuf| Error::PinMismatch {
            location: location.to_owned(),
            reason: reason.to_owned(),
            pin_file,
        };
        for (path, pin) in self.load_pins() {
            if pin.repository == *repository {
                return if pin.config == config {
                    Ok(())
                } else {
                    Err(mismatch(
                        "its reprise.json has changed since this host first used it",
                        path,
                    ))
                };
            }
            if pin.location == location {
                return Err(mismatch(
                    "this host has used a different repository at this location before",
                    path,
                ));
            }
        }
        let pin = RepositoryPin {
            location: location.to_owned(),
            repository: repository.clone(),
            config,
        };
        let text = serde_json::to_string_pretty(&pin).map_err(|e| {
            Error::Internal(format!("cannot serialize the pin of a repository: {e}"))
        })?;
        // A machine that only restores may have no directory for pins; that must not prevent a restore.
        if let Err(error) = write_secret_file(&pin_file, &(text + "\n")) {
            tracing::warn!(file = %pin_file.display(), %error, "cannot pin the repository on this host");
        }
        Ok(())
    }

    /// Whether this host has pinned a repository with this `reprise.json`.
    pub(crate) fn has_pin(&self, repository: &RepositoryId, config: ObjectId) -> bool {
        let mut pins = self.load_pins().into_iter();
        pins.any(|(_, pin)| pin.repository == *repository && pin.config == config)
    }

    /// Drops the pin of a location at which a new repository was just created.
    pub fn remove_pins_for(&self, location: &str) {
        for (path, pin) in self.load_pins() {
            if pin.location == location
                && let Err(error) = fs::remove_file(&path)
            {
                tracing::warn!(file = %path.display(), %error, "cannot delete an outdated pin");
            }
        }
    }

    fn pin_path(&self, repository: &RepositoryId) -> PathBuf {
        self.path.join("pins").join(format!("{repository}.json"))
    }

    fn load_pins(&self) -> Vec<(PathBuf, RepositoryPin)> {
        let entries = fs::read_dir(self.path.join("pins"));
        let read = |entry: fs::DirEntry| {
            let text = fs::read_to_string(entry.path()).ok()?;
            Some((entry.path(), serde_json::from_str(&text).ok()?))
        };
        entries
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(read)
            .collect()
    }
}

fn host_keys_error(path: &Path, reason: &str) -> Error {
    Error::HostKeys {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

fn read_secret_file(path: &Path) -> Result<Option<String>> {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(host_keys_error(path, &error.to_string())),
    };
    if meta.mode() & 0o077 != 0 {
        return Err(host_keys_error(
            path,
            "its permissions are too open, users other than its owner can access it: run `chmod 600` on it",
        ));
    }
    fs::read_to_string(path)
        .map(Some)
        .map_err(|error| host_keys_error(path, &error.to_string()))
}

/// Creates the signing key in a file that only its owner can read.
pub(crate) fn read_signing_key(path: &Path) -> Result<HostSigner> {
    let text = read_secret_file(path)?.ok_or_else(|| host_keys_error(path, "it does not exist"))?;
    parse_signing_key(&text).ok_or_else(|| host_keys_error(path, "it contains no signing key"))
}

/// A new signing key: its public key, and its secret digits.
fn generate_signing_key() -> Result<(SignerId, String)> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|e| {
        Error::Internal(format!(
            "cannot get random bytes from the operating system: {e}"
        ))
    })?;
    Ok((HostSigner::from_secret(&secret).id(), hex::encode(secret)))
}

/// The keeper's keys in a file that only its owner can read, created if it does not exist: a signing key, and an
/// age identity that reads the catalog. To age it is an identity file, so the signing key is in a comment.
pub(crate) fn load_or_create_keeper_keys(file: &Path, now: &str) -> Result<KeeperKeys> {
    if file.symlink_metadata().is_err() {
        let (public, secret) = generate_signing_key()?;
        let identity = generate_identity(now).file_text;
        let text = format!("{identity}# signer: {public}\n# {SIGNING_KEY_PREFIX}{secret}\n");
        write_secret_file(file, &text)?;
    }
    let signer = read_signing_key(file)?.id();
    let recipient = read_secret_file(file)?
        .as_deref()
        .and_then(derive_recipient);
    Ok(KeeperKeys { recipient, signer })
}

/// The text of a new file with a keeper's signing key alone, and its public key.
pub(crate) fn new_signing_key_text(now: &str) -> Result<(SignerId, Zeroizing<String>)> {
    let (public, secret) = generate_signing_key()?;
    let text = format!("# created: {now}\n# public key: {public}\n{SIGNING_KEY_PREFIX}{secret}\n");
    Ok((public, Zeroizing::new(text)))
}

/// The public key of the signing key in a text.
pub(crate) fn signer_of_text(text: &str) -> Option<SignerId> {
    parse_signing_key(text).map(|signer| signer.id())
}

/// Whether a file with secrets contains an age identity. A missing file contains none.
///
/// # Errors
/// [`Error::HostKeys`] when it cannot be read, or others than its owner can read it.
pub fn has_age_identity(file: &Path) -> Result<bool> {
    Ok(read_secret_file(file)?
        .as_deref()
        .and_then(derive_recipient)
        .is_some())
}

fn derive_recipient(identity: &str) -> Option<String> {
    let secret = identity
        .lines()
        .find(|line| line.starts_with("AGE-SECRET-KEY-1"))?;
    let identity: age::x25519::Identity = secret.trim().parse().ok()?;
    Some(identity.to_public().to_string())
}

fn parse_signing_key(text: &str) -> Option<HostSigner> {
    let digits = text
        .lines()
        .map(|line| line.strip_prefix("# ").unwrap_or(line))
        .find_map(|line| line.strip_prefix(SIGNING_KEY_PREFIX))?;
    let mut secret = [0; 32];
    hex::decode_to_slice(digits.trim(), &mut secret).ok()?;
    Some(HostSigner::from_secret(&secret))
}

/// Writes a new file that only its owner can read, durably, with the directories it needs.
///
/// # Errors
/// [`Error::LocalIo`], also when the file exists.
pub fn write_secret_file(path: &Path, text: &str) -> Result<()> {
    let fail = |source| Error::LocalIo {
        action: "write",
        path: path.to_owned(),
        source,
    };
    let directory = path
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty());
    if let Some(directory) = directory {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(fail)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(fail)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(fail)?;
    match directory {
        Some(directory) => fs::File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(fail),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_are_made_once_and_only_the_owner_can_read_them() {
        let directory = tempfile::tempdir().unwrap();
        let host = HostDirectory::new(directory.path().join("a/b"));
        assert!(host.load_keys().unwrap().is_none());
        let made = host.load_or_create_keys("now").unwrap();
        let again = host.load_or_create_keys("later").unwrap();
        assert_eq!(
            (made.signer.id(), made.recipient),
            (again.signer.id(), again.recipient)
        );
        for file in [IDENTITY_FILE, SIGNING_KEY_FILE] {
            let path = host.path().join(file);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            assert!(matches!(host.load_keys(), Err(Error::HostKeys { .. })));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    #[test]
    fn a_lost_half_of_the_keys_is_an_error_and_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let host = HostDirectory::new(directory.path());
        host.load_or_create_keys("now").unwrap();
        fs::remove_file(directory.path().join(SIGNING_KEY_FILE)).unwrap();
        assert!(matches!(
            host.load_or_create_keys("now"),
            Err(Error::HostKeys { .. })
        ));
    }

    #[test]
    fn another_repository_at_a_pinned_place_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let host = HostDirectory::new(directory.path());
        let (a, b) = (
            RepositoryId::random().unwrap(),
            RepositoryId::random().unwrap(),
        );
        let (config, other) = (ObjectId::from_content(b"1"), ObjectId::from_content(b"2"));
        host.check_pin("/r", &a, config).unwrap();
        host.check_pin("/r", &a, config).unwrap();
        host.check_pin("/moved", &a, config).unwrap();
        assert!(matches!(
            host.check_pin("/r", &a, other),
            Err(Error::PinMismatch { .. })
        ));
        assert!(matches!(
            host.check_pin("/r", &b, config),
            Err(Error::PinMismatch { .. })
        ));
        host.remove_pins_for("/r");
        host.check_pin("/r", &b, config).unwrap();
    }
}
