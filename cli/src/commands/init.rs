//! `reprise init`: making a repository.

use reprise_repository::Role;
use serde_json::json;

use crate::args::InitArgs;
use crate::context::Context;
use crate::creation::{self, Creation};
use crate::destination::{self, Wishes};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::rights;

fn word(role: Role) -> &'static str {
    match role {
        Role::Writer => "writer",
        Role::Keeper => "keeper",
    }
}

pub(crate) fn run(context: &Context, args: &InitArgs) -> Result<Exit, Failure> {
    if let Some(kind) = args.print_policy {
        let location = context.global.repository.is_some();
        let location = location.then(|| context.location()).transpose()?;
        output::line(rights::print(kind, args.print_role, location.as_ref())?.trim_end());
        return Ok(Exit::Ok);
    }
    let location = context.location()?;
    let probed = destination::probe(context, &location, &Wishes::default())?;
    let backend = destination::writing(context, &location, &Wishes::default())?;
    let creation = Creation {
        recipients: &args.recipient,
        generate_identities: &args.generate_identity,
        single_recipient: args.single_recipient,
    };
    let created = creation::create(context, backend.as_ref(), &creation)?;
    // What cannot be opened now could not be opened at 3 a.m. either.
    context.open()?;
    let config = &created.config;
    if context.global.json {
        let files: Vec<_> = created.identities.iter().map(|(file, _)| file).collect();
        output::json_line(&json!({
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
    output::line(&format!(
        "repository {} at {}",
        config.repository,
        backend.location()
    ));
    output::line("recovery recipients (their identities read everything):");
    for recipient in &config.recipients.data {
        let made = created
            .identities
            .iter()
            .find(|(_, made)| made == recipient);
        let file = made.map_or_else(String::new, |(file, _)| format!("  in {}", file.display()));
        output::line(&format!("  {recipient}{file}"));
    }
    for signer in &config.signers {
        let roles: Vec<_> = signer.roles.iter().map(|role| word(*role)).collect();
        let (key, name, roles) = (signer.key, &signer.name, roles.join(" and "));
        output::line(&format!("signer {key} ({name}, {roles})"));
    }
    match &context.global.keeper {
        Some(file) => output::line(&format!(
            "The keeper's key, which may forget snapshots, is in {}: move it to the machine that runs `reprise forget`.",
            file.display()
        )),
        None => output::line(
            "This host is writer and keeper: an attacker on it can forget snapshots. `init --keeper FILE` puts the keeper's\nkey into a file that can be moved elsewhere.",
        ),
    }
    if location.folder().is_none() {
        output::line(&destination::line(&probed));
    }
    if !created.identities.is_empty() {
        output::line(
            "Move the identity files off this host now, to two places. Without them nobody can",
        );
        output::line("read the repository; with them on this host, an attacker on it can.");
    }
    Ok(Exit::Ok)
}
