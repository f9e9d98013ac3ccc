//! Changes of who can read and write.

use std::path::PathBuf;
use std::sync::Arc;

use reprise_repository::backend::memory::MemoryBackend;
use reprise_repository::{
    Error, HostDirectory, KeyChange, KnownSigner, ObjectId, OpenOptions, Progress,
    ReencryptOptions, ReencryptPlan, ReencryptReport, Repository, SignerId, SignerRole,
    generate_identity,
};

use super::{World, now};

pub(crate) fn change(world: &World, change: &KeyChange) -> ObjectId {
    let repository = world.repository();
    let keeper = repository.load_keeper(None, "change keys").unwrap();
    let changed = repository.change_keys(&keeper, change, now());
    changed.unwrap().record
}

/// A further host with keys of its own.
pub(crate) struct Host {
    pub(crate) directory: tempfile::TempDir,
}

impl Host {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        HostDirectory::new(directory.path())
            .load_or_create_keys("now")
            .unwrap();
        Self { directory }
    }

    pub(crate) fn signer(&self) -> SignerId {
        let keys = HostDirectory::new(self.directory.path())
            .load_keys()
            .unwrap()
            .unwrap();
        keys.signer.id()
    }

    pub(crate) fn addition(&self, name: &str) -> KeyChange {
        let keys = HostDirectory::new(self.directory.path())
            .load_keys()
            .unwrap()
            .unwrap();
        let mut change = KeyChange::default();
        change.add.signers = vec![KnownSigner {
            key: keys.signer.id(),
            roles: vec![SignerRole::Writer],
            name: name.to_owned(),
        }];
        change.add.recipients.writers = vec![keys.recipient];
        change
    }

    pub(crate) fn revocation(&self) -> KeyChange {
        KeyChange {
            revoke_signers: vec![(self.signer(), vec![SignerRole::Writer])],
            ..KeyChange::default()
        }
    }

    /// How it opens the repository.
    pub(crate) fn options(&self) -> OpenOptions {
        OpenOptions {
            host: HostDirectory::new(self.directory.path()),
            identity_files: Vec::new(),
            cache: None,
            memory: None,
            pinned_signers: Vec::new(),
        }
    }

    pub(crate) fn open(
        &self,
        storage: &MemoryBackend,
        cache: Option<PathBuf>,
    ) -> Result<Repository, Error> {
        let options = OpenOptions {
            cache,
            ..self.options()
        };
        Repository::open(Arc::new(storage.clone()), &options)
    }
}

/// Adds a recovery identity and removes all others.
pub(crate) fn switch(world: &World, name: &str) -> PathBuf {
    let identity = generate_identity("now");
    let file = world.host.path().join(name);
    std::fs::write(&file, &identity.file_text).unwrap();
    let old = world.repository().keyring().recipients().data.clone();
    let mut addition = KeyChange::default();
    addition.add.recipients.data = vec![identity.recipient];
    change(world, &addition);
    let mut removal = KeyChange::default();
    removal.revoke_recipients.data = old;
    change(world, &removal);
    file
}

/// Encrypts contents anew to whom they are for now.
pub(crate) fn reencrypt(
    repository: &Repository,
) -> Result<(ReencryptPlan, ReencryptReport), Error> {
    let options = ReencryptOptions {
        host: "host".to_owned(),
        by: "ada@host".to_owned(),
    };
    let keeper = repository.load_keeper(None, "replace packs")?;
    let mut plan = ReencryptPlan::default();
    let report = repository.reencrypt(&options, Some(&keeper), &Progress::default(), |shown| {
        plan = shown.clone();
    })?;
    Ok((plan, report))
}
