//! `reprise key sheet`: a page for the safe, with what is needed to restore everything.

use reprise_repository::backend::{
    AzureBackend, AzureEndpoint, BackendResult, RepositoryLocation, mask_secrets,
};
use reprise_repository::{Error, Keyring, KnownSigner, Repository};

use crate::context::{Context, current_time, env_variable};
use crate::failure::{Exit, Failure};
use crate::output;

pub(crate) fn run(context: &Context) -> Result<Exit, Failure> {
    let target = context.target()?;
    let (repository, location) = (target.open(context)?, target.location);
    let settings = storage_settings(&location, &env_variable).map_err(|source| Error::Backend {
        location: location.to_string(),
        source,
    })?;
    for line in build_sheet(&repository, &settings) {
        output::print_line(&line);
    }
    Ok(Exit::Ok)
}

/// Without it, an endpoint with plain HTTP on another host is refused.
const ALLOW_HTTP: &str = "REPRISE_ALLOW_HTTP";

/// Variables without which the storage is not found, with this host's values. No secrets.
fn storage_settings(
    location: &RepositoryLocation,
    variable: &dyn Fn(&str) -> Option<String>,
) -> BackendResult<Vec<(&'static str, String)>> {
    let names: &[&'static str] = match location {
        RepositoryLocation::Directory(_) => &[],
        RepositoryLocation::S3 { .. } => &[
            "AWS_ENDPOINT_URL_S3",
            "AWS_ENDPOINT_URL",
            "AWS_REGION",
            "AWS_DEFAULT_REGION",
            ALLOW_HTTP,
        ],
        RepositoryLocation::Azure { account, .. } => return azure_settings(account, variable),
    };
    let set = names.iter().map(|name| (*name, variable(name)));
    let masked = set.filter_map(|(name, value)| Some((name, mask_secrets(&value?))));
    Ok(masked.collect())
}

/// A connection string holds a secret: only its endpoint is printed.
fn azure_settings(
    account: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> BackendResult<Vec<(&'static str, String)>> {
    let line = match AzureBackend::resolve_endpoint(account, variable)? {
        AzureEndpoint::Public => return Ok(Vec::new()),
        AzureEndpoint::Emulator => (
            "AZURE_STORAGE_CONNECTION_STRING",
            "UseDevelopmentStorage=true".to_owned(),
        ),
        AzureEndpoint::Custom(url) => ("AZURE_STORAGE_SERVICE_ENDPOINT", mask_secrets(&url)),
    };
    let allowed = variable(ALLOW_HTTP).map(|value| (ALLOW_HTTP, value));
    Ok([line].into_iter().chain(allowed).collect())
}

/// Quotes a word for a shell.
fn shell_quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn build_sheet(repository: &Repository, settings: &[(&str, String)]) -> Vec<String> {
    let location = repository.location();
    let config = repository.config();
    let mut lines = vec![
        format!(
            "RECOVERY SHEET                                    printed {}",
            output::format_time(&current_time())
        ),
        String::new(),
        format!("Repository    {}", config.repository),
        format!("At            {location}"),
        format!("Created       {}", output::format_time(&config.created)),
        format!("Fingerprint   {}", repository.config_hash()),
        "              (BLAKE3 of reprise.json, which never changes: one with another hash is not this repository's)"
            .to_owned(),
        String::new(),
        "Any ONE of these identities reads everything that was stored while it was a recipient:"
            .to_owned(),
    ];
    let ring = repository.keyring();
    for recipient in &ring.recipients().data {
        lines.push(format!("  {recipient}"));
        lines.push(
            "    its identity (a file, a key or a card) is kept at: ______________________"
                .to_owned(),
        );
    }
    let removed = ring.removed_recipients();
    if !removed.is_empty() {
        lines.push(
            "Removed: new data is not encrypted to them. Their identities read what was stored before; keep them while"
                .to_owned(),
        );
        lines.push(
            "`reprise key rotate --reencrypt` finds packs to re-encrypt, or logs from that time are kept:".to_owned(),
        );
        lines.extend(removed.iter().map(|recipient| format!("  {recipient}")));
    }
    lines.push(String::new());
    lines.push("Trusted signers (everything signed by others is rejected):".to_owned());
    for signer in ring.trust().signers() {
        lines.push(format!(
            "  {}  {} ({})",
            signer.key,
            signer.name,
            crate::commands::keys::list::format_roles(&signer)
        ));
    }
    lines.extend(describe_keepers(ring));
    lines.push(
        "Credentials of the storage are kept at: ____________________________________".to_owned(),
    );
    lines.push(String::new());
    lines.extend(recovery_commands(repository, settings));
    lines
}

/// Where the keys are without which nobody can appoint a new host.
fn describe_keepers(ring: &Keyring) -> Vec<String> {
    let mut keepers = ring.separate_keepers();
    let escrow = ring.escrow();
    if escrow.is_some() && keepers.len() == 1 {
        return describe_escrow_key();
    }
    keepers.retain(|keeper| escrow.is_none_or(|escrow| escrow.signer != keeper.key));
    if keepers.is_empty() {
        return vec![
            "Every keeper is a host: if they are lost, nobody can appoint a new one. Restoring needs none.".to_owned(),
        ];
    }
    let line = |keeper: &KnownSigner| {
        format!(
            "The key of the keeper {} is kept at: ______________________________",
            keeper.name
        )
    };
    let lines = keepers.iter().map(line);
    lines
        .chain(escrow.map(|_| describe_escrow_key()).unwrap_or_default())
        .collect()
}

fn describe_escrow_key() -> Vec<String> {
    vec![
        "The passphrase of the escrow key is kept at (apart from the identities): ______________"
            .to_owned(),
    ]
}

fn recovery_commands(repository: &Repository, settings: &[(&str, String)]) -> Vec<String> {
    let version = env!("CARGO_PKG_VERSION");
    let location = shell_quote(&repository.location());
    let fingerprint = repository.config_hash();
    let exports = settings
        .iter()
        .map(|(name, value)| format!("  export {name}={}\n", shell_quote(value)));
    let exports: String = exports.collect();
    let text = format!(
        "On an empty machine, with `reprise` (this page: version {version}) and an identity in FILE:
{exports}  export REPRISE_REPOSITORY={location} REPRISE_IDENTITY=FILE
  reprise --expect {fingerprint} snapshots
                                                   the first command: list the snapshots, of no other repository
  reprise verify                                   check that everything is there
  reprise restore SOURCE --to /restored            files of the newest snapshot of SOURCE
  reprise restore SOURCE --to mysql://root@HOST/   a database server
  reprise restore SOURCE --to mysql://root@HOST/ --point-in-time 2026-01-31T12:00:00Z
If the host that took the snapshots is lost, on the new host, with the file of a keeper's key as KEEPER:
  reprise key show > new.keys
  reprise --keeper KEEPER key add --host new.keys --name NAME --replaces OLD
  reprise --keeper KEEPER key remove --host OLD    what it means; --yes carries it out
If no such file is at hand, the escrow key is one, if the repository has it: with an identity and its passphrase
  reprise key escrow --open KEEPER                 writes the file; replace the key afterwards (`reprise key escrow`)
`reprise --keeper KEEPER forget` and `prune` go on then; `key add --keeper-key` makes the new host a keeper itself.
Without --expect, the first use does not detect a replaced reprise.json; every later one does.

Without `reprise`, with age, zstd and jq: fetch the repository's objects as files, and follow \"The escape
hatch\" in docs/format.md. Every record outside keys/ opens with
  tail -n +2 OBJECT | age -d -i FILE | zstd -d
Of the objects under keys/, those that begin with `age-encryption.org/` open with `age -d -i FILE OBJECT`. The others, the
changes of keys, are not encrypted: tail -n +2 OBJECT | zstd -d"
    );
    text.lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(location: &str, variables: &[(&str, &str)]) -> Vec<(&'static str, String)> {
        let location = RepositoryLocation::parse(location).unwrap();
        let value = |name: &str| {
            let mut set = variables.iter().filter(|(known, _)| *known == name);
            set.next().map(|(_, value)| (*value).to_owned())
        };
        storage_settings(&location, &value).unwrap()
    }

    #[test]
    fn what_leads_to_the_storage_is_printed_and_no_secret() {
        let aws = [
            ("AWS_ENDPOINT_URL", "https://s3.example"),
            ("AWS_REGION", "eu-1"),
            ("AWS_SECRET_ACCESS_KEY", "hidden"),
        ];
        let expected = [
            ("AWS_ENDPOINT_URL", "https://s3.example".to_owned()),
            ("AWS_REGION", "eu-1".to_owned()),
        ];
        assert_eq!(found("s3://bucket/here", &aws), expected);
        assert_eq!(found("/a/directory", &aws), []);
        let azure = "azure://acc/container/here";
        let endpoint = |url: &str| vec![("AZURE_STORAGE_SERVICE_ENDPOINT", url.to_owned())];
        let connection = "AZURE_STORAGE_CONNECTION_STRING";
        for (text, expected) in [
            (
                "AccountName=acc;AccountKey=hidden;BlobEndpoint=http://127.0.0.1:1/acc",
                endpoint("http://127.0.0.1:1/acc"),
            ),
            (
                "AccountName=acc;AccountKey=hidden;EndpointSuffix=core.example",
                endpoint("https://acc.blob.core.example"),
            ),
            (
                "usedevelopmentstorage=true",
                vec![(connection, "UseDevelopmentStorage=true".to_owned())],
            ),
        ] {
            assert_eq!(found(azure, &[(connection, text)]), expected);
        }
        let alone = [("AZURE_STORAGE_SERVICE_ENDPOINT", "http://host/acc")];
        assert_eq!(found(azure, &alone), endpoint("http://host/acc"));
        let allowed = [alone[0], (ALLOW_HTTP, "true")];
        assert_eq!(found(azure, &allowed)[1], (ALLOW_HTTP, "true".to_owned()));
    }

    #[test]
    fn a_shell_gets_back_what_was_quoted() {
        for text in ["/plain", "/it's/here", "''", "/a b$c`d\"e\\"] {
            let command = format!("printf %s {}", shell_quote(text));
            let echoed = std::process::Command::new("sh")
                .args(["-c", &command])
                .output();
            assert_eq!(String::from_utf8(echoed.unwrap().stdout).unwrap(), text);
        }
    }
}
