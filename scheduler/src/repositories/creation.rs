//! Creates repositories: shared by `init` and by policies that create theirs on first use.

use std::path::{Path, PathBuf};

use reprise_repository::backend::Backend;
use reprise_repository::{
    Config, InitOptions, Layout, Recipients, Repository, canonical_recipient, generate_identity,
    repository_exists, write_secret_file,
};

use crate::environment::JobEnvironment;
use crate::error::{JobError, JobResult};

/// How to create a repository.
#[derive(Debug)]
pub struct CreateRepositoryOptions<'a> {
    /// Public keys of recovery identities.
    pub recipients: &'a [String],
    /// Files for recovery identities that are created with it.
    pub generate_identities: &'a [PathBuf],
    /// Accept a single recovery identity.
    pub single_recipient: bool,
    /// The file of a keeper's keys, created if it does not exist; without one, that of the environment.
    pub keeper: Option<&'a Path>,
    /// Whether the repository will keep a keeper's key: then no file for one is made beside the identities.
    pub has_escrow: bool,
}

/// A new repository and what was created with it.
#[derive(Debug)]
pub struct CreatedRepository {
    /// Its configuration.
    pub config: Config,
    /// Files of new recovery identities, with their recipients.
    pub identities: Vec<(PathBuf, String)>,
    /// The file with the keys of a keeper that is not this host.
    pub keeper: Option<PathBuf>,
    /// The new file with the keys of a second keeper, beside those of the recovery identities.
    pub spare_keeper: Option<PathBuf>,
}

/// Creates a repository and the requested recovery identities. Nothing is overwritten.
///
/// # Errors
/// When recipients are too few or not valid, or something exists already.
pub fn create_repository(
    environment: &JobEnvironment,
    backend: &dyn Backend,
    creation: &CreateRepositoryOptions<'_>,
) -> JobResult<CreatedRepository> {
    let count = creation.recipients.len() + creation.generate_identities.len();
    if count == 0 || (count == 1 && !creation.single_recipient) {
        return Err(JobError::TooFewRecipients { count });
    }
    Recipients::parse(creation.recipients)?;
    // Before any identity is written: a repository that exists must not leave a stray key behind.
    if repository_exists(backend)? {
        let location = backend.location();
        return Err(reprise_repository::Error::RepositoryExists { location }.into());
    }
    let keeper = creation.keeper.map(Path::to_owned);
    let keeper = keeper.or_else(|| environment.keeper_file.clone());
    let spare_keeper = match keeper {
        None if creation.has_escrow => None,
        None => spare_keeper_file(creation.generate_identities),
        Some(_) => None,
    };
    for file in creation.generate_identities.iter().chain(&spare_keeper) {
        refuse_existing_identity(file)?;
    }
    // Before any identity is written, too: where this host's keys cannot be kept, nothing else must be left behind.
    let now = (environment.clock)();
    environment.host.load_or_create_keys(&now.to_rfc3339())?;
    let mut identities = Vec::new();
    for file in creation.generate_identities {
        identities.push((file.clone(), create_identity(environment, file)?));
    }
    let generated = identities.iter().map(|(_, recipient)| recipient.clone());
    let recipients: Vec<_> = creation
        .recipients
        .iter()
        .cloned()
        .chain(generated)
        .collect();
    let canonical = recipients.iter().map(|text| canonical_recipient(text));
    let mut distinct: Vec<String> = canonical.collect();
    distinct.sort();
    distinct.dedup();
    if distinct.len() != recipients.len() {
        return Err(JobError::DuplicateRecipient);
    }
    let options = InitOptions {
        recipients,
        host_name: environment.host_name.clone(),
        now: (environment.clock)(),
        layout: Layout::default(),
        keeper: keeper.clone(),
        spare_keeper: spare_keeper.clone(),
    };
    let config = Repository::init(backend, &environment.host, &options)?;
    Ok(CreatedRepository {
        config,
        identities,
        keeper,
        spare_keeper,
    })
}

/// Beside the first new recovery identity: it is moved off the host together with it.
fn spare_keeper_file(identities: &[PathBuf]) -> Option<PathBuf> {
    let first = identities.first()?;
    Some(first.with_extension("keeper.txt"))
}

/// Writes a new recovery identity into a file that must not exist, and returns its public key.
///
/// # Errors
/// When something is there, or the file cannot be written.
pub fn create_identity(environment: &JobEnvironment, file: &Path) -> JobResult<String> {
    refuse_existing_identity(file)?;
    let identity = generate_identity(&(environment.clock)().to_rfc3339());
    write_secret_file(file, &identity.file_text)?;
    Ok(identity.recipient)
}

fn refuse_existing_identity(file: &Path) -> JobResult<()> {
    match file.symlink_metadata() {
        Ok(_) => Err(JobError::IdentityFileExists {
            path: file.to_owned(),
        }),
        Err(_) => Ok(()),
    }
}
