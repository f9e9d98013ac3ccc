//! The repositories that policies describe: where they are, and opening them as described.

use std::path::PathBuf;
use std::sync::Arc;

use reprise_policies::{
    Policy, PolicyCreation, PolicyLockMode, PolicyRepository, ProcessEnvironment,
};
use reprise_repository::backend::{Backend, ImmutabilityPolicy, LockMode};
use reprise_repository::{Passphrase, Repository, SignerId, repository_exists};

use super::creation::{CreateRepositoryOptions, CreatedRepository, create_repository};
use super::destination::{DestinationOptions, open_for_reading, open_for_writing};
use super::escrow::replace_escrow_key;
use crate::environment::JobEnvironment;
use crate::error::{JobError, JobResult};

/// A policy's options for a repository's destination.
pub fn destination_options(repository: &PolicyRepository) -> DestinationOptions {
    DestinationOptions {
        immutable: repository.immutable_days.map(|days| ImmutabilityPolicy {
            days,
            mode: match repository.lock_mode {
                PolicyLockMode::Governance => LockMode::Governance,
                PolicyLockMode::Compliance => LockMode::Compliance,
            },
        }),
        storage_class: repository.storage_class.clone(),
        path_style: repository.path_style,
        allow_http: repository.allow_http,
        limit_upload: repository.limit_upload,
        limit_download: repository.limit_download,
        retry_for: repository.retry_for,
    }
}

/// A policy's description of a repository.
pub fn find_repository<'a>(
    policy: &'a Policy,
    repository: &str,
) -> JobResult<&'a PolicyRepository> {
    policy
        .repositories
        .get(repository)
        .ok_or_else(|| JobError::Undefined {
            kind: "repository",
            name: repository.to_owned(),
            policy: policy.name.clone(),
        })
}

/// Opens a repository of a policy as it is, to read from it.
pub fn open_existing(
    environment: &JobEnvironment,
    repository: &PolicyRepository,
    identities: &[PathBuf],
) -> JobResult<Repository> {
    let backend = open_for_reading(
        environment,
        &repository.url,
        &destination_options(repository),
    )?;
    open_as_described(environment, repository, backend, identities)
}

/// Opens a repository of a policy, and creates it first if the policy says so.
pub fn open_repository(
    environment: &JobEnvironment,
    repository: &PolicyRepository,
    identities: &[PathBuf],
    on_created: &mut dyn FnMut(&str, &CreatedRepository),
) -> JobResult<Repository> {
    let backend = open_for_writing(
        environment,
        &repository.url,
        &destination_options(repository),
    )?;
    if let Some(creation) = &repository.create
        && !repository_exists(backend.as_ref())?
    {
        create_as_described(environment, repository, creation, &backend, on_created)?;
    }
    open_as_described(environment, repository, backend, identities)
}

/// Creates a repository, with its escrow key. A passphrase that cannot be used is known before anything is stored.
fn create_as_described(
    environment: &JobEnvironment,
    repository: &PolicyRepository,
    creation: &PolicyCreation,
    backend: &Arc<dyn Backend>,
    on_created: &mut dyn FnMut(&str, &CreatedRepository),
) -> JobResult<()> {
    let passphrase = match &creation.escrow {
        Some(secret) => {
            let text = secret.resolve(&ProcessEnvironment)?;
            let passphrase = Passphrase::new(text.expose().to_owned());
            passphrase.require_length()?;
            Some(passphrase)
        }
        None => None,
    };
    let keeper = creation.keeper.as_deref();
    let options = CreateRepositoryOptions {
        recipients: &repository.recipients,
        generate_identities: &creation.generate_identities,
        single_recipient: creation.single_recipient,
        keeper,
        has_escrow: passphrase.is_some(),
    };
    let created = create_repository(environment, backend.as_ref(), &options)?;
    on_created(&backend.location(), &created);
    if let Some(passphrase) = passphrase {
        let opened = environment.open_repository_at(Arc::clone(backend), &[], &[])?;
        let keeper = opened.load_keeper(created.keeper.as_deref(), "change keys")?;
        let reason = "the repository is new";
        replace_escrow_key(environment, &opened, &keeper, &passphrase, reason)?;
    }
    Ok(())
}

/// Opens a repository, which must be as the policy describes it.
fn open_as_described(
    environment: &JobEnvironment,
    repository: &PolicyRepository,
    backend: Arc<dyn Backend>,
    identities: &[PathBuf],
) -> JobResult<Repository> {
    let signers: Vec<SignerId> = repository
        .signers
        .iter()
        .map(|signer| signer.to_string().parse())
        .collect::<Result<_, String>>()
        .map_err(|reason| JobError::InvalidValue { reason })?;
    let opened = environment.open_repository_at(backend, identities, &signers)?;
    let recipients = &opened.config().recipients.data;
    let missing = repository
        .recipients
        .iter()
        .find(|recipient| !recipients.contains(recipient));
    match missing {
        None => Ok(opened),
        Some(missing) => Err(JobError::RecipientMissing {
            location: opened.location(),
            recipient: missing.clone(),
        }),
    }
}
