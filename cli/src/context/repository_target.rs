//! The repository that a command works on: a location, or one that the policies describe.

use std::path::PathBuf;
use std::sync::Arc;

use reprise_policies::{Policy, PolicyRepository, PolicySet};
use reprise_repository::Repository;
use reprise_repository::backend::{Backend, RepositoryLocation};
use reprise_scheduler::repositories::{
    DestinationOptions, destination_options, find_repository, open_existing, open_for_reading,
    open_for_writing, open_repository, parse_location,
};
use reprise_scheduler::sources::identity_file;

use super::Context;
use crate::failure::{Exit, Failure};
use crate::output;

/// The repository that a command works on.
#[derive(Debug)]
pub(crate) struct RepositoryTarget {
    /// Where it is.
    pub(crate) location: RepositoryLocation,
    /// What a policy says of it.
    described: Option<PolicyRepository>,
}

impl RepositoryTarget {
    fn at(location: RepositoryLocation) -> Self {
        Self {
            location,
            described: None,
        }
    }

    fn described_by(repository: &PolicyRepository) -> Self {
        Self {
            location: repository.url.clone(),
            described: Some(repository.clone()),
        }
    }

    /// How its destination is reached.
    pub(crate) fn options(&self) -> DestinationOptions {
        let described = self.described.as_ref();
        described.map(destination_options).unwrap_or_default()
    }

    /// Opens it to read from it.
    pub(crate) fn open(&self, context: &Context) -> Result<Repository, Failure> {
        let environment = &context.environment;
        if let Some(described) = &self.described {
            let identities = policy_identity(context, described);
            return Ok(open_existing(environment, described, &identities)?);
        }
        let backend = open_for_reading(environment, &self.location, &self.options())?;
        Ok(environment.open_repository_at(backend, &[], &[])?)
    }

    /// Opens it to add to it. A repository that is missing is created if its policy says so.
    pub(crate) fn open_for_writing(&self, context: &Context) -> Result<Repository, Failure> {
        let environment = &context.environment;
        if let Some(described) = &self.described {
            let identities = policy_identity(context, described);
            let opened =
                open_repository(environment, described, &identities, &mut |at, created| {
                    context.print_created_repository(at, created);
                });
            return Ok(opened?);
        }
        let backend = self.open_backend(context)?;
        Ok(environment.open_repository_at(backend, &[], &[])?)
    }

    /// Its destination, probed, to add to it.
    pub(crate) fn open_backend(&self, context: &Context) -> Result<Arc<dyn Backend>, Failure> {
        let options = self.options();
        Ok(open_for_writing(
            &context.environment,
            &self.location,
            &options,
        )?)
    }
}

/// The identity of the policy, where it is at hand and the command line gives none.
fn policy_identity(context: &Context, described: &PolicyRepository) -> Vec<PathBuf> {
    if !context.environment.identity_files.is_empty() {
        return Vec::new();
    }
    let named = described.identity.as_ref();
    let file = named.and_then(|identity| identity_file(identity).ok());
    file.into_iter().filter(|file| file.exists()).collect()
}

/// Finds the repository of a command. `source` is what the command says of a snapshot or source, if anything.
pub(crate) fn find_target(
    context: &Context,
    source: Option<&str>,
) -> Result<RepositoryTarget, Failure> {
    let given = context.global.repository.as_deref();
    if context.global.policies.is_none() {
        let text = given.ok_or_else(missing_repository)?;
        return Ok(RepositoryTarget::at(parse_location(text)?));
    }
    match given {
        None => choose_target(&context.load_policies()?, source),
        Some(text) => match_target(context, text, source),
    }
}

fn missing_repository() -> Failure {
    Failure::usage(
        "no repository is given",
        "give -r/--repository URL or set REPRISE_REPOSITORY, or give the policies that name it with --policies",
    )
}

/// The repository that is given as a name of the policies, or as a location.
fn match_target(
    context: &Context,
    text: &str,
    source: Option<&str>,
) -> Result<RepositoryTarget, Failure> {
    let policies = match context.load_policies() {
        Ok(policies) => policies,
        // Policies that are broken tonight must not stand between a person and a repository that is named in full.
        Err(failure) if is_location(text) && !context.global.policies_on_command_line => {
            output::print_note(&format!(
                "warning: the policies are ignored: {}; the name of a source means the host that has used it first, whatever their \
                 `hosts:` say, and times are in {}",
                failure.message, context.zone.zone
            ));
            return Ok(RepositoryTarget::at(parse_location(text)?));
        }
        Err(failure) => return Err(failure),
    };
    let named = find_by_name(&policies, text);
    if let Some(found) = single_location(text, &named)? {
        return Ok(RepositoryTarget::described_by(found));
    }
    let location = parse_location(text)?;
    let mut described = policies.repositories();
    if let Some((_, found)) = described.find(|(_, one)| one.url == location) {
        return Ok(RepositoryTarget::described_by(found));
    }
    // The policies still say in which time zone a source is.
    let has_source = source.is_some_and(|name| policies.find_source(source_name(name)).is_ok());
    if context.global.policies_on_command_line && !has_source {
        return Err(Failure::usage(
            format!("{location} is not a repository of the given policies"),
            format!(
                "give one of them by name ({}), or leave out --policies",
                list_names(&policies)
            ),
        ));
    }
    Ok(RepositoryTarget::at(location))
}

/// Without -r: the first repository of the source, or the only one of the policies.
fn choose_target(policies: &PolicySet, source: Option<&str>) -> Result<RepositoryTarget, Failure> {
    if let Some((policy, found)) =
        source.and_then(|name| policies.find_source(source_name(name)).ok())
        && let Some(first) = found.repositories.first()
    {
        return Ok(RepositoryTarget::described_by(find_repository(
            policy, first,
        )?));
    }
    let all: Vec<_> = policies.repositories().collect();
    match single_location("the policies", &all) {
        Ok(Some(only)) => Ok(RepositoryTarget::described_by(only)),
        Ok(None) => Err(missing_repository()),
        Err(_) => Err(Failure::usage(
            "the policies have several repositories",
            format!("give one of them with -r: {}", list_names(policies)),
        )),
    }
}

/// The repositories with a name, written as NAME or POLICY/NAME.
fn find_by_name<'a>(
    policies: &'a PolicySet,
    text: &str,
) -> Vec<(&'a Policy, &'a PolicyRepository)> {
    policies
        .repositories()
        .filter(|(policy, repository)| {
            repository.name == text || format!("{}/{}", policy.name, repository.name) == text
        })
        .collect()
}

/// The first of these, if all are at the same location.
fn single_location<'a>(
    text: &str,
    found: &[(&Policy, &'a PolicyRepository)],
) -> Result<Option<&'a PolicyRepository>, Failure> {
    let Some((_, first)) = found.first() else {
        return Ok(None);
    };
    if found.iter().all(|(_, one)| one.url == first.url) {
        return Ok(Some(first));
    }
    let names: Vec<_> = found
        .iter()
        .map(|(policy, one)| format!("{}/{}", policy.name, one.name))
        .collect();
    Err(Failure::usage(
        format!("several policies have another repository `{text}`"),
        format!("give one of {}", names.join(", ")),
    ))
}

fn list_names(policies: &PolicySet) -> String {
    let names: Vec<_> = policies
        .repositories()
        .map(|(policy, one)| match policies.policies().len() {
            1 => one.name.clone(),
            _ => format!("{}/{}", policy.name, one.name),
        })
        .collect();
    names.join(", ")
}

/// Whether a text can only be a location, and no name of a policy.
fn is_location(text: &str) -> bool {
    text.contains("://") || text.starts_with(['/', '.'])
}

/// The source in `SOURCE`, `POLICY/SOURCE` or `SOURCE@latest`.
fn source_name(text: &str) -> &str {
    text.split_once('@').map_or(text, |(source, _)| source)
}

/// Refuses `--policies` for a command that has no use for it.
pub(crate) fn refuse_policies(context: &Context, command: &str) -> Result<(), Failure> {
    if !context.global.policies_on_command_line {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Usage,
        format!("`reprise {command}` does not use policies"),
        "leave out --policies",
    ))
}
