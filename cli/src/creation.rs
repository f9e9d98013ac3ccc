//! Creates repositories: shared by `init` and by policies that create theirs on first use.

use std::path::PathBuf;

use reprise_repository::backend::Backend;
use reprise_repository::{
    Config, InitOptions, Layout, Recipients, Repository, canonical_recipient, generate_identity,
    repository_exists, write_secret_file,
};

use crate::context::{Context, current_time};
use crate::failure::{Exit, Failure};

/// How to create a repository.
#[derive(Debug)]
pub(crate) struct CreateRepositoryOptions<'a> {
    pub(crate) recipients: &'a [String],
    pub(crate) generate_identities: &'a [PathBuf],
    pub(crate) single_recipient: bool,
}

/// A new repository and what was created with it.
#[derive(Debug)]
pub(crate) struct CreatedRepository {
    pub(crate) config: Config,
    /// Files of new recovery identities, with their recipients.
    pub(crate) identities: Vec<(PathBuf, String)>,
}

/// Creates a repository and the requested recovery identities. Nothing is overwritten.
pub(crate) fn create_repository(
    context: &Context,
    backend: &dyn Backend,
    creation: &CreateRepositoryOptions<'_>,
) -> Result<CreatedRepository, Failure> {
    let count = creation.recipients.len() + creation.generate_identities.len();
    if count == 0 || (count == 1 && !creation.single_recipient) {
        return Err(too_few_recipients(count));
    }
    Recipients::parse(creation.recipients)?;
    // Before any identity is written: a repository that exists must not leave a stray key behind.
    if repository_exists(backend)? {
        let location = backend.location();
        return Err(reprise_repository::Error::RepositoryExists { location }.into());
    }
    for file in creation.generate_identities {
        if file.symlink_metadata().is_ok() {
            let message = format!("{} already exists and is not overwritten", file.display());
            let hint = "choose another file, or give its public key with --recipient";
            return Err(Failure::new(Exit::Refused, message, hint));
        }
    }
    let mut identities = Vec::new();
    for file in creation.generate_identities {
        let identity = generate_identity(&current_time().to_rfc3339());
        write_secret_file(file, &identity.file_text)?;
        identities.push((file.clone(), identity.recipient));
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
        return Err(Failure::usage(
            "a recipient is given twice",
            "a second one must be another key",
        ));
    }
    let options = InitOptions {
        recipients,
        host_name: context.host_name.clone(),
        now: current_time(),
        layout: Layout::default(),
        keeper: context.global.keeper.clone(),
    };
    let config = Repository::init(backend, &context.host, &options)?;
    Ok(CreatedRepository { config, identities })
}

fn too_few_recipients(count: usize) -> Failure {
    let message = if count == 0 {
        "no recovery recipient is given: nobody could read the repository"
    } else {
        "only one recovery recipient is given: if its identity is lost, the repository cannot be read"
    };
    Failure::usage(
        message,
        "create two with --generate-identity FILE (twice), give public keys with --recipient KEY,\nor accept one with --single-recipient",
    )
}
