//! `reprise init`: creates a repository.

use reprise_repository::SignerRole;
use serde_json::json;

use crate::access_policy;
use crate::args::InitArgs;
use crate::context::Context;
use crate::creation::{self, CreateRepositoryOptions, CreatedRepository};
use crate::destination::{self, DestinationOptions};
use crate::failure::{Exit, Failure};
use crate::output;

fn role_name(role: SignerRole) -> &'static str {
    match role {
        SignerRole::Writer => "writer",
        SignerRole::Keeper => "keeper",
    }
}

/// Prints who reads, writes and keeps the new repository.
fn print_created(context: &Context, created: &CreatedRepository, location: &str) {
    output::print_line(&format!(
        "repository {} at {}",
        created.config.repository, location
    ));
    output::print_line("recovery recipients (their identities read everything):");
    for recipient in &created.config.recipients.data {
        let made = created
            .identities
            .iter()
            .find(|(_, made)| made == recipient);
        let file = made.map_or_else(String::new, |(file, _)| format!("  in {}", file.display()));
        output::print_line(&format!("  {recipient}{file}"));
    }
    for signer in &created.config.signers {
        let roles: Vec<_> = signer.roles.iter().map(|role| role_name(*role)).collect();
        let (key, name, roles) = (signer.key, &signer.name, roles.join(" and "));
        output::print_line(&format!("signer {key} ({name}, {roles})"));
    }
    match &context.global.keeper {
        Some(file) => output::print_line(&format!(
            "The keeper's key, which may forget snapshots, is in {}: move it to the machine that runs `reprise forget`.",
            file.display()
        )),
        None => output::print_line(
            "This host is writer and keeper: an attacker on it can forget snapshots. `init --keeper FILE` puts the keeper's\nkey into a file that can be moved elsewhere.",
        ),
    }
}

pub(crate) fn run(context: &Context, args: &InitArgs) -> Result<Exit, Failure> {
    if let Some(kind) = args.print_policy {
        let location = context.global.repository.is_some();
        let location = location.then(|| context.location()).transpose()?;
        output::print_line(
            access_policy::render_policy(kind, args.print_role, location.as_ref())?.trim_end(),
        );
        return Ok(Exit::Ok);
    }
    let location = context.location()?;
    let probed =
        destination::probe_destination(context, &location, &DestinationOptions::default())?;
    let backend =
        destination::open_for_writing(context, &location, &DestinationOptions::default())?;
    let creation = CreateRepositoryOptions {
        recipients: &args.recipient,
        generate_identities: &args.generate_identity,
        single_recipient: args.single_recipient,
    };
    let created = creation::create_repository(context, backend.as_ref(), &creation)?;
    // An identity that cannot be opened now could not be opened at 3 a.m. either.
    context.open_repository()?;
    let config = &created.config;
    if context.global.json {
        let files: Vec<_> = created.identities.iter().map(|(file, _)| file).collect();
        output::print_json(&json!({
            "repository": config.repository,
            "location": backend.location(),
            "recipients": config.recipients.data,
            "writers": config.recipients.writers,
            "signers": config.signers,
            "generated_identities": files,
            "keeper": context.global.keeper,
            "destination": probed,
        }));
        return Ok(Exit::Ok);
    }
    print_created(context, &created, &backend.location());
    if location.directory().is_none() {
        output::print_line(&destination::describe_capabilities(&probed));
    }
    if !created.identities.is_empty() {
        output::print_line(
            "Move the identity files off this host now, to two places. Without them nobody can",
        );
        output::print_line("read the repository; with them on this host, an attacker on it can.");
    }
    Ok(Exit::Ok)
}
