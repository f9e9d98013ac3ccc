//! From a policy's or the command line's words to a snapshot.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use reprise_policies::{
    IdentityRef, LockMode as PolicyLockMode, MysqlSource as PolicyServer, Policy,
    ProcessEnvironment, Repository as PolicyRepository, ScratchServer, SecretRef, Source,
    SourceKind,
};
use reprise_repository::backend::{Backend, Immutable, Location, LockMode};
use reprise_repository::{Committed, Repository, SignerId, exists};
use reprise_snapshotters::command::CommandSource;
use reprise_snapshotters::mysql::{Address, MysqlSource, Password};
use reprise_snapshotters::volume::VolumeSource;
use reprise_snapshotters::{RunContext, ShrinkAlarm, command, mysql, tfstate, volume};
use serde_json::json;

use crate::context::{Context, now};
use crate::creation::{self, Creation};
use crate::destination::{self, Wishes};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::Shown;

/// A source, ready to be read.
#[derive(Debug)]
pub(crate) enum Job {
    Volume(VolumeSource),
    Tfstate(PathBuf),
    Command(CommandSource),
    Mysql(Box<MysqlSource>),
}

/// What a snapshot is to be called.
#[derive(Debug)]
pub(crate) struct Name {
    pub(crate) source: String,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) shrink_alarm: ShrinkAlarm,
}

/// A snapshot that was taken, and how long it took until everything was stored.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) committed: Committed,
    pub(crate) seconds: f64,
}

/// Takes a snapshot and shows its progress.
pub(crate) fn take(
    context: &Context,
    repository: &Repository,
    name: Name,
    job: Job,
) -> Result<Taken, Failure> {
    let begun = Instant::now();
    let shown = Shown::start(context, &name.source);
    let run = RunContext {
        source: name.source,
        host: context.host_name.clone(),
        tags: name.tags,
        shrink_alarm: name.shrink_alarm,
        clock: now,
        progress: Arc::clone(&shown.progress),
    };
    let committed = match job {
        Job::Volume(source) => {
            let never = context.never_in_a_volume(&repository.location());
            volume::snapshot(repository, &VolumeSource { never, ..source }, &run)
        }
        Job::Tfstate(path) => tfstate::snapshot(repository, &path, &run),
        Job::Command(source) => command::snapshot(repository, &source, &run),
        Job::Mysql(source) => mysql::snapshot(repository, &source, &run),
    };
    Ok(Taken {
        committed: committed?,
        seconds: begun.elapsed().as_secs_f64(),
    })
}

/// Reports a snapshot to people or as JSON.
pub(crate) fn report(context: &Context, taken: &Taken, repository: &Repository) -> Exit {
    let committed = &taken.committed;
    let (snapshot, root) = (&committed.snapshot, &committed.snapshot.root);
    for warning in &committed.warnings {
        output::note(&format!("warning: {warning}"));
    }
    if context.global.json {
        output::json_line(&json!({
            "event": "snapshot",
            "snapshot": snapshot.id,
            "repository": repository.location(),
            "source": root.source,
            "kind": root.kind,
            "outcome": root.outcome,
            "data_time": root.data_time,
            "counts": root.counts,
            "added": root.added,
            "warnings": committed.warnings,
            "traffic": repository.traffic(),
            "seconds": taken.seconds,
        }));
    } else if !context.global.quiet {
        output::line(&format!(
            "snapshot {} of {}: {}, {}, {}, {} added, {}",
            snapshot.id.short(),
            root.source,
            root.outcome,
            output::format_count(root.counts.entries, "entry", "entries"),
            output::bytes(root.counts.bytes),
            output::bytes(root.added.stored_bytes),
            output::seconds(taken.seconds),
        ));
    }
    root.outcome.into()
}

/// The source of a policy, ready to be read. Secrets are resolved here and nowhere earlier.
pub(crate) fn job_of(policy: &Policy, source: &Source) -> Result<Job, Failure> {
    match &source.kind {
        SourceKind::Volume(volume) => Ok(Job::Volume(VolumeSource {
            path: volume.path.clone(),
            exclude: volume.exclude.clone(),
            exclude_files: volume.exclude_files.clone(),
            one_file_system: volume.one_file_system,
            never: Vec::new(),
        })),
        SourceKind::TfState(state) => Ok(Job::Tfstate(state.path.clone())),
        SourceKind::Command(command) => {
            let mut env = BTreeMap::new();
            for (name, secret) in &command.env {
                let value = secret.resolve(&ProcessEnvironment)?;
                env.insert(name.clone(), value.expose().to_owned());
            }
            Ok(Job::Command(CommandSource {
                argv: command.run.iter().map(Into::into).collect(),
                env,
                folder: Some(policy.base_dir.clone()),
                timeout: command.timeout,
            }))
        }
        SourceKind::Mysql(server) => Ok(Job::Mysql(Box::new(mysql_source(server)?))),
        other => Err(Failure::usage(
            format!(
                "sources of kind {} cannot be read by this version",
                other.as_str()
            ),
            "use a newer version of reprise",
        )),
    }
}

/// The address of a policy's server. Its secrets are resolved.
pub(crate) fn mysql_address(server: &PolicyServer) -> Result<Address, Failure> {
    let usage = |reason: String| Failure::usage(reason, "");
    let mut address = with_secret(&server.url, server.password.as_ref())?;
    if let Some(mode) = server.tls {
        address.tls = Some(mode.as_str().parse().map_err(usage)?);
    }
    address.tls_ca = server.tls_ca.clone().or(address.tls_ca);
    if let Some(file) = &server.defaults_file {
        address = address.or_option_file(file).map_err(usage)?;
    }
    Ok(crate::mysql::with_password(address))
}

/// The address of the server into which a drill restores.
pub(crate) fn scratch_address(server: &ScratchServer) -> Result<Address, Failure> {
    let mut address = with_secret(&server.url, server.password.as_ref())?;
    if let Some(file) = &server.defaults_file {
        address = address
            .or_option_file(file)
            .map_err(|reason| Failure::usage(reason, ""))?;
    }
    Ok(crate::mysql::with_password(address))
}

fn with_secret(url: &str, secret: Option<&SecretRef>) -> Result<Address, Failure> {
    let mut address = Address::parse(url).map_err(|reason| Failure::usage(reason, ""))?;
    if let Some(secret) = secret {
        let password = secret.resolve(&ProcessEnvironment)?;
        address.password = Some(Password::new(password.expose()));
    }
    Ok(address)
}

fn mysql_source(server: &PolicyServer) -> Result<MysqlSource, Failure> {
    let address = mysql_address(server)?;
    let mut databases = server.databases.clone();
    databases.extend(
        address
            .database
            .clone()
            .filter(|_| server.databases.is_empty()),
    );
    Ok(MysqlSource {
        address,
        filter: crate::mysql::filter(
            &databases,
            &server.exclude_databases,
            &server.tables,
            &server.exclude_tables,
        )?,
        connections: server.threads as usize,
        accounts: server.users,
        hold_nontransactional: server.hold_nontransactional,
    })
}

/// What a policy's source is called.
pub(crate) fn name_of(source: &Source) -> Name {
    let alarm = source
        .shrink_alarm
        .map_or_else(ShrinkAlarm::off, |percent| {
            ShrinkAlarm::above(percent.get())
        });
    Name {
        source: source.name.clone(),
        tags: source.tags.clone(),
        shrink_alarm: alarm,
    }
}

/// Where a repository of a policy is.
pub(crate) fn location_of(repository: &PolicyRepository) -> Result<Location, Failure> {
    match repository.url.directory() {
        Some(folder) => Ok(Location::Local(folder.to_owned())),
        None => Ok(Location::parse(&repository.url.to_string())?),
    }
}

/// How a policy wants a repository's destination to be treated.
pub(crate) fn wishes_of(repository: &PolicyRepository) -> Wishes {
    Wishes {
        immutable: repository.immutable_days.map(|days| Immutable {
            days,
            mode: match repository.lock_mode {
                PolicyLockMode::Governance => LockMode::Governance,
                PolicyLockMode::Compliance => LockMode::Compliance,
            },
        }),
        storage_class: repository.storage_class.clone(),
        path_style: repository.path_style,
        limit_upload: repository.limit_upload,
        limit_download: repository.limit_download,
        retry_for: repository.retry_for,
    }
}

/// How a policy describes a repository.
pub(crate) fn described<'a>(
    policy: &'a Policy,
    repository: &str,
) -> Result<&'a PolicyRepository, Failure> {
    policy.repositories.get(repository).ok_or_else(|| {
        let name = &policy.name;
        let message = format!("repository `{repository}` is not defined in policy {name}");
        Failure::usage(message, "")
    })
}

/// Opens a repository of a policy as it is, to read from it.
pub(crate) fn open_existing(
    context: &Context,
    repository: &PolicyRepository,
) -> Result<Repository, Failure> {
    let backend = destination::reading(context, &location_of(repository)?, &wishes_of(repository))?;
    opened(context, repository, backend, &[])
}

/// Opens a repository of a policy, and makes it first if the policy says so.
pub(crate) fn open_repository(
    context: &Context,
    repository: &PolicyRepository,
    identities: &[PathBuf],
) -> Result<Repository, Failure> {
    let backend = destination::writing(context, &location_of(repository)?, &wishes_of(repository))?;
    if let Some(creation) = &repository.create
        && !exists(backend.as_ref())?
    {
        let creation = Creation {
            recipients: &repository.recipients,
            generate_identities: &creation.generate_identities,
            single_recipient: creation.single_recipient,
        };
        let created = creation::create(context, backend.as_ref(), &creation)?;
        context.note(&format!(
            "created repository {} at {}",
            created.config.repository,
            backend.location()
        ));
        for (file, _) in &created.identities {
            context.note(&format!(
                "created recovery identity {}: move it off this host",
                file.display()
            ));
        }
    }
    opened(context, repository, backend, identities)
}

/// Opens a repository, which must be as the policy describes it.
fn opened(
    context: &Context,
    repository: &PolicyRepository,
    backend: Arc<dyn Backend>,
    identities: &[PathBuf],
) -> Result<Repository, Failure> {
    let signers: Vec<SignerId> = repository
        .signers
        .iter()
        .map(|signer| signer.to_string().parse())
        .collect::<Result<_, String>>()
        .map_err(|reason| Failure::usage(reason, ""))?;
    let opened = context.open_at(backend, identities, &signers)?;
    let recipients = &opened.config().recipients.data;
    let missing = repository
        .recipients
        .iter()
        .find(|recipient| !recipients.contains(recipient));
    match missing {
        None => Ok(opened),
        Some(missing) => Err(Failure::new(
            Exit::Refused,
            format!(
                "repository {} does not encrypt to {missing}, which the policy requires",
                opened.location()
            ),
            "it was created with other recipients, or it was replaced",
        )),
    }
}

/// The file of an identity that a policy names.
pub(crate) fn identity_file(identity: &IdentityRef) -> Result<PathBuf, Failure> {
    Ok(identity.path(&ProcessEnvironment)?)
}
