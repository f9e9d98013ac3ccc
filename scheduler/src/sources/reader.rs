//! From a policy to what is read.

use std::collections::BTreeMap;
use std::path::PathBuf;

use reprise_policies::{IdentityRef, Policy, PolicySource, PolicySourceKind, ProcessEnvironment};
use reprise_snapshotters::ShrinkAlarm;
use reprise_snapshotters::command::CommandSource;
use reprise_snapshotters::mysql::MysqlSource;
use reprise_snapshotters::volume::VolumeSource;

use super::mysql_server::build_mysql_source;
use crate::environment::JobEnvironment;
use crate::error::{JobError, JobResult};

/// A source, ready to be read.
#[derive(Debug)]
pub enum SourceReader {
    /// A directory tree.
    Volume(VolumeSource),
    /// A Terraform state, or a directory of states.
    Tfstate(PathBuf),
    /// The output of a program.
    Command(CommandSource),
    /// A database server.
    Mysql(Box<MysqlSource>),
}

/// The name, tags and shrink alarm of a snapshot.
#[derive(Debug)]
pub struct SnapshotNaming {
    /// The source's name.
    pub source: String,
    /// Tags to store with it.
    pub tags: BTreeMap<String, String>,
    /// When to raise an alarm.
    pub shrink_alarm: ShrinkAlarm,
}

/// The source of a policy, ready to be read. Secrets are resolved here and nowhere earlier.
pub fn source_reader(
    environment: &JobEnvironment,
    policy: &Policy,
    source: &PolicySource,
) -> JobResult<SourceReader> {
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
                env_removed: policy.secret_variables(),
                directory: Some(policy.base_dir.clone()),
                timeout: command.timeout,
            }))
        }
        PolicySourceKind::Mysql(server) => Ok(SourceReader::Mysql(Box::new(build_mysql_source(
            environment,
            server,
        )?))),
        other => Err(JobError::UnknownSourceKind {
            kind: other.as_str(),
        }),
    }
}

/// The name, tags and shrink alarm of a policy's source.
pub fn snapshot_naming(source: &PolicySource) -> SnapshotNaming {
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

/// The identity file that a policy names.
pub fn identity_file(identity: &IdentityRef) -> JobResult<PathBuf> {
    Ok(identity.path(&ProcessEnvironment)?)
}
