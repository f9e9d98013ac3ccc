//! From a policy or the command line to a snapshot.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use reprise_mysql::{Address, Password};
use reprise_policies::{
    IdentityRef, Policy, PolicyLockMode, PolicyMysqlSource as PolicyServer, PolicyRepository,
    PolicySource, PolicySourceKind, ProcessEnvironment, ScratchServer, SecretRef,
};
use reprise_repository::backend::{Backend, ImmutabilityPolicy, LockMode, RepositoryLocation};
use reprise_repository::{CommittedSnapshot, Repository, SignerId, repository_exists};
use reprise_snapshotters::command::CommandSource;
use reprise_snapshotters::mysql::MysqlSource;
use reprise_snapshotters::volume::VolumeSource;
use reprise_snapshotters::{RunContext, ShrinkAlarm, command, mysql, tfstate, volume};
use serde_json::json;

use crate::context::{Context, current_time};
use crate::creation::{self, CreateRepositoryOptions};
use crate::destination::{self, DestinationOptions};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::ProgressDisplay;

/// A source, ready to be read.
#[derive(Debug)]
pub(crate) enum SourceReader {
    Volume(VolumeSource),
    Tfstate(PathBuf),
    Command(CommandSource),
    Mysql(Box<MysqlSource>),
}

/// The name, tags and shrink alarm of a snapshot.
#[derive(Debug)]
pub(crate) struct SnapshotNaming {
    pub(crate) source: String,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) shrink_alarm: ShrinkAlarm,
}

/// A completed snapshot, and how long it took until everything was stored.
#[derive(Debug)]
pub(crate) struct TakenSnapshot {
    pub(crate) committed: CommittedSnapshot,
    pub(crate) seconds: f64,
}

/// Takes a snapshot and shows its progress.
pub(crate) fn take_snapshot(
    context: &Context,
    repository: &Repository,
    name: SnapshotNaming,
    job: SourceReader,
) -> Result<TakenSnapshot, Failure> {
    let begun = Instant::now();
    let shown = ProgressDisplay::start(context, &name.source);
    let run = RunContext {
        source: name.source,
        host: context.host_name.clone(),
        tags: name.tags,
        shrink_alarm: name.shrink_alarm,
        clock: current_time,
        progress: Arc::clone(&shown.progress),
    };
    let committed = match job {
        SourceReader::Volume(source) => {
            let never = context.paths_excluded_from_volumes(&repository.location());
            volume::snapshot_tree(
                repository,
                &VolumeSource {
                    always_excluded: never,
                    ..source
                },
                &run,
            )
        }
        SourceReader::Tfstate(path) => tfstate::snapshot_states(repository, &path, &run),
        SourceReader::Command(source) => command::snapshot_output(repository, &source, &run),
        SourceReader::Mysql(source) => mysql::take_snapshot(repository, &source, &run),
    };
    Ok(TakenSnapshot {
        committed: committed?,
        seconds: begun.elapsed().as_secs_f64(),
    })
}

/// Reports a snapshot to people or as JSON.
pub(crate) fn report_snapshot(
    context: &Context,
    taken: &TakenSnapshot,
    repository: &Repository,
) -> Exit {
    let committed = &taken.committed;
    let (snapshot, root) = (&committed.snapshot, &committed.snapshot.root);
    for warning in &committed.warnings {
        output::print_note(&format!("warning: {warning}"));
    }
    if context.global.json {
        output::print_json(&json!({
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
        output::print_line(&format!(
            "snapshot {} of {}: {}, {}, {}, {} added, {}",
            snapshot.id.short(),
            root.source,
            root.outcome,
            output::format_count(root.counts.entries, "entry", "entries"),
            output::format_bytes(root.counts.bytes),
            output::format_bytes(root.added.stored_bytes),
            output::format_seconds(taken.seconds),
        ));
    }
    root.outcome.into()
}

/// The source of a policy, ready to be read. Secrets are resolved here and nowhere earlier.
pub(crate) fn source_reader(
    policy: &Policy,
    source: &PolicySource,
) -> Result<SourceReader, Failure> {
    match &source.kind {
        PolicySourceKind::Volume(volume) => Ok(SourceReader::Volume(VolumeSource {
            path: volume.path.clone(),
            exclude: volume.exclude.clone(),
            exclude_files: volume.exclude_files.clone(),
            one_file_system: volume.one_file_system,
            always_excluded: Vec::new(),
        })),
        PolicySourceKind::TfState(state) => Ok(SourceReader::Tfstate(state.path.clone())),
        PolicySourceKind::Command(command) => {
            let mut env = BTreeMap::new();
            for (name, secret) in &command.env {
                let value = secret.resolve(&ProcessEnvironment)?;
                env.insert(name.clone(), value.expose().to_owned());
            }
            Ok(SourceReader::Command(CommandSource {
                argv: command.run.iter().map(Into::into).collect(),
                env,
                directory: Some(policy.base_dir.clone()),
                timeout: command.timeout,
            }))
        }
        PolicySourceKind::Mysql(server) => {
            Ok(SourceReader::Mysql(Box::new(build_mysql_source(server)?)))
        }
        other => Err(Failure::usage(
            format!(
                "sources of kind {} cannot be read by this version",
                other.as_str()
            ),
            "use a newer version of reprise",
        )),
    }
}

/// The address of a policy's server, its secrets resolved.
pub(crate) fn mysql_address(server: &PolicyServer) -> Result<Address, Failure> {
    let usage = |reason: String| Failure::usage(reason, "");
    let mut address = parse_address_with_secret(&server.url, server.password.as_ref())?;
    if let Some(mode) = server.tls {
        address.tls = Some(mode.as_str().parse().map_err(usage)?);
    }
    address.tls_ca = server.tls_ca.clone().or(address.tls_ca);
    if let Some(file) = &server.defaults_file {
        address = address.with_defaults_file(file).map_err(usage)?;
    }
    Ok(crate::mysql::with_environment_password(address))
}

/// The address of the server into which a drill restores.
pub(crate) fn scratch_address(server: &ScratchServer) -> Result<Address, Failure> {
    let mut address = parse_address_with_secret(&server.url, server.password.as_ref())?;
    if let Some(file) = &server.defaults_file {
        address = address
            .with_defaults_file(file)
            .map_err(|reason| Failure::usage(reason, ""))?;
    }
    Ok(crate::mysql::with_environment_password(address))
}

fn parse_address_with_secret(url: &str, secret: Option<&SecretRef>) -> Result<Address, Failure> {
    let mut address = Address::parse(url).map_err(|reason| Failure::usage(reason, ""))?;
    if let Some(secret) = secret {
        let password = secret.resolve(&ProcessEnvironment)?;
        address.password = Some(Password::new(password.expose()));
    }
    Ok(address)
}

fn build_mysql_source(server: &PolicyServer) -> Result<MysqlSource, Failure> {
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
        filter: crate::mysql::build_filter(
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

/// The name, tags and shrink alarm of a policy's source.
pub(crate) fn snapshot_naming(source: &PolicySource) -> SnapshotNaming {
    let alarm = source
        .shrink_alarm
        .map_or_else(ShrinkAlarm::disabled, |percent| {
            ShrinkAlarm::above_percent(percent.get())
        });
    SnapshotNaming {
        source: source.name.clone(),
        tags: source.tags.clone(),
        shrink_alarm: alarm,
    }
}

/// The location of a policy's repository.
pub(crate) fn repository_location(
    repository: &PolicyRepository,
) -> Result<RepositoryLocation, Failure> {
    match repository.url.directory() {
        Some(folder) => Ok(RepositoryLocation::Local(folder.to_owned())),
        None => destination::parse_location(&repository.url.to_string()),
    }
}

/// A policy's options for a repository's destination.
pub(crate) fn destination_options(repository: &PolicyRepository) -> DestinationOptions {
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
        limit_upload: repository.limit_upload,
        limit_download: repository.limit_download,
        retry_for: repository.retry_for,
    }
}

/// A policy's description of a repository.
pub(crate) fn find_repository<'a>(
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
    let backend = destination::open_for_reading(
        context,
        &repository_location(repository)?,
        &destination_options(repository),
    )?;
    open_as_described(context, repository, backend, &[])
}

/// Opens a repository of a policy, and creates it first if the policy says so.
pub(crate) fn open_repository(
    context: &Context,
    repository: &PolicyRepository,
    identities: &[PathBuf],
) -> Result<Repository, Failure> {
    let backend = destination::open_for_writing(
        context,
        &repository_location(repository)?,
        &destination_options(repository),
    )?;
    if let Some(creation) = &repository.create
        && !repository_exists(backend.as_ref())?
    {
        let creation = CreateRepositoryOptions {
            recipients: &repository.recipients,
            generate_identities: &creation.generate_identities,
            single_recipient: creation.single_recipient,
        };
        let created = creation::create_repository(context, backend.as_ref(), &creation)?;
        context.print_note(&format!(
            "created repository {} at {}",
            created.config.repository,
            backend.location()
        ));
        for (file, _) in &created.identities {
            context.print_note(&format!(
                "created recovery identity {}: move it off this host",
                file.display()
            ));
        }
    }
    open_as_described(context, repository, backend, identities)
}

/// Opens a repository, which must be as the policy describes it.
fn open_as_described(
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
    let opened = context.open_repository_at(backend, identities, &signers)?;
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

/// The identity file that a policy names.
pub(crate) fn identity_file(identity: &IdentityRef) -> Result<PathBuf, Failure> {
    Ok(identity.path(&ProcessEnvironment)?)
}
