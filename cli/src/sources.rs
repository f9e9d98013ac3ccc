//! From a policy's or the command line's words to a snapshot.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use reprise_policies::{
    IdentityRef, Policy, ProcessEnvironment, Repository as PolicyRepository, Source, SourceKind,
};
use reprise_repository::backend::{Backend, LocalBackend};
use reprise_repository::{Committed, Repository, SignerId, exists};
use reprise_snapshotters::command::CommandSource;
use reprise_snapshotters::volume::VolumeSource;
use reprise_snapshotters::{RunContext, ShrinkAlarm, command, tfstate, volume};
use serde_json::json;

use crate::context::{Context, now};
use crate::creation::{self, Creation};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::progress::Shown;

/// A source, ready to be read.
#[derive(Debug)]
pub(crate) enum Job {
    Volume(VolumeSource),
    Tfstate(PathBuf),
    Command(CommandSource),
}

/// What a snapshot is to be called.
#[derive(Debug)]
pub(crate) struct Name {
    pub(crate) source: String,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) shrink_alarm: ShrinkAlarm,
}

/// Takes a snapshot and shows its progress.
pub(crate) fn take(
    context: &Context,
    repository: &Repository,
    name: Name,
    job: Job,
) -> Result<Committed, Failure> {
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
    };
    Ok(committed?)
}

/// Reports a snapshot to people or as JSON.
pub(crate) fn report(context: &Context, committed: &Committed, repository: &Repository) -> Exit {
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
            "seconds": (root.finished - root.started).as_seconds_f64(),
        }));
    } else if !context.global.quiet {
        output::line(&format!(
            "snapshot {} of {}: {}, {} entries, {}, {} added, {}",
            snapshot.id.short(),
            root.source,
            root.outcome,
            root.counts.entries,
            output::bytes(root.counts.bytes),
            output::bytes(root.added.stored_bytes),
            output::seconds((root.finished - root.started).as_seconds_f64()),
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
        other => Err(Failure::usage(
            format!(
                "sources of kind {} cannot be read by this version",
                other.as_str()
            ),
            "use a newer version of reprise",
        )),
    }
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

/// Opens a repository of a policy, and makes it first if the policy says so.
pub(crate) fn open_repository(
    context: &Context,
    repository: &PolicyRepository,
    identities: &[PathBuf],
) -> Result<Repository, Failure> {
    let folder = repository.url.directory().ok_or_else(|| {
        Failure::usage(
            format!(
                "repository `{}` is at {}, which this version cannot reach",
                repository.name, repository.url
            ),
            "this version stores on local or mounted file systems only",
        )
    })?;
    let backend: Arc<dyn Backend> = Arc::new(LocalBackend::new(folder));
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
            "made repository {} at {}",
            created.config.repository,
            backend.location()
        ));
        for (file, _) in &created.identities {
            context.note(&format!(
                "made recovery identity {}: keep it away from this host",
                file.display()
            ));
        }
    }
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
                "repository {} does not encrypt to {missing}, which the policy demands",
                opened.location()
            ),
            "it was made with other recipients, or someone replaced it",
        )),
    }
}

/// The file of an identity that a policy names.
pub(crate) fn identity_file(identity: &IdentityRef) -> Result<PathBuf, Failure> {
    Ok(identity.path(&ProcessEnvironment)?)
}
