//! Snapshots of the past, taken through the library at chosen times, and policies that are applied to them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::SystemTime;

use chrono::{DateTime, TimeDelta, Timelike as _, Utc};
use reprise_repository::backend::LocalBackend;
use reprise_repository::testing::small_file;
use reprise_repository::{
    HostDirectory, ObjectId, OpenOptions, Progress, RawText, Repository, SnapshotOptions,
    SnapshotSummary, SourceKind, Warning,
};
use serde_json::Value;

use super::{RunOutput, Sandbox, incompressible_bytes, ran};

/// A snapshot of the past.
pub(crate) struct PastSnapshot {
    pub(crate) source: &'static str,
    pub(crate) data_time: DateTime<Utc>,
    pub(crate) received: DateTime<Utc>,
    pub(crate) good: bool,
    pub(crate) hold: Option<&'static str>,
    /// Names, in order, and contents.
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

pub(crate) fn past(source: &'static str, data_time: DateTime<Utc>) -> PastSnapshot {
    let seed = data_time.timestamp().unsigned_abs() ^ source.len() as u64;
    PastSnapshot {
        source,
        data_time,
        received: data_time + TimeDelta::minutes(10),
        good: true,
        hold: None,
        files: vec![("file".to_owned(), incompressible_bytes(2000, seed))],
    }
}

/// About two in the morning, so many days ago; at least an hour more, and less than a day.
pub(crate) fn night(days: i64) -> DateTime<Utc> {
    let now = Utc::now();
    let hour = if now.hour() == 2 { 1 } else { 2 };
    let today = (now - TimeDelta::hours(2)).date_naive();
    let night = today.and_hms_opt(hour, 0, 0).unwrap().and_utc();
    night - TimeDelta::days(days)
}

pub(crate) fn open(sandbox: &Sandbox) -> Repository {
    open_by(sandbox, "config")
}

/// The repository, as the host with these keys opens it.
pub(crate) fn open_by(sandbox: &Sandbox, config: &str) -> Repository {
    let options = OpenOptions {
        host: HostDirectory::new(sandbox.path(config)),
        identity_files: Vec::new(),
        cache: Some(sandbox.path("cache")),
        memory: None,
        pinned_signers: Vec::new(),
    };
    let backend = LocalBackend::new(sandbox.path("repository"));
    Repository::open(Arc::new(backend), &options).unwrap()
}

/// Takes a snapshot that says it is from `past.data_time`, and that the disk says was received at `past.received`.
pub(crate) fn take(sandbox: &Sandbox, repository: &Repository, past: &PastSnapshot) -> ObjectId {
    let hold = past.hold.map(|text| ("hold".to_owned(), text.to_owned()));
    let options = SnapshotOptions {
        source: past.source.to_owned(),
        kind: SourceKind::Volume,
        host: "host".to_owned(),
        tags: hold.into_iter().collect(),
        started: past.data_time,
        run: None,
        parent: None,
        alarms: repository.source_history(past.source).unwrap().alarms,
    };
    let progress = Arc::new(Progress::default());
    let mut writer = repository.begin_snapshot(options, progress, None).unwrap();
    for (name, content) in &past.files {
        writer.add_item(small_file(name, content.clone())).unwrap();
    }
    let warning = Warning {
        path: RawText::from(""),
        message: "a test".to_owned(),
    };
    let summary = SnapshotSummary {
        data_time: past.data_time,
        finished: past.data_time,
        facts: BTreeMap::new(),
        location: RawText::from("a test"),
        warnings: if past.good { Vec::new() } else { vec![warning] },
    };
    let committed = writer.finish(|_, _| Ok(summary)).unwrap();
    let id = committed.snapshot.id;
    let root = sandbox.path("repository").join(format!("snapshots/{id}"));
    let root = fs::File::options().append(true).open(root).unwrap();
    root.set_modified(SystemTime::from(past.received)).unwrap();
    id
}

/// Daily snapshots of `tree`, oldest first, until so many nights ago.
pub(crate) fn days(sandbox: &Sandbox, count: i64, until: i64) -> Vec<ObjectId> {
    let repository = open(sandbox);
    let days = (until..until + count).rev();
    days.map(|day| take(sandbox, &repository, &past("tree", night(day))))
        .collect()
}

pub(crate) fn policy(sandbox: &Sandbox, name: &str, retention: &str) {
    let text = format!(
        "version: 1
name: p
repositories:
  main: {{url: ./repository}}
sources:
  tree:
    volume: {{path: tree}}
    retention: {retention}
"
    );
    fs::write(sandbox.path(name), text).unwrap();
}

pub(crate) fn forget(sandbox: &Sandbox, args: &[&str]) -> RunOutput {
    let fixed = ["--json", "--policies", "p.yaml", "forget"];
    sandbox.run([&fixed[..], args].concat())
}

/// What a plan says of its only source: how many are kept, how many go.
pub(crate) fn counts(plan: &Value) -> (u64, u64) {
    let source = &plan["sources"][0];
    let number = |key: &str| source[key].as_u64().unwrap();
    (number("kept"), number("forgotten"))
}

pub(crate) fn listed(sandbox: &Sandbox, args: &[&str]) -> usize {
    let ran = sandbox.run([&["--json", "snapshots"], args].concat());
    ran.exits(0).json()["snapshots"].as_array().unwrap().len()
}

pub(crate) fn git(directory: &Path, args: &[&str]) -> String {
    let who = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"];
    let mut command = Command::new("git");
    command.arg("-C").arg(directory).args(who).args(args);
    ran(&mut command).exits(0).stdout.trim().to_owned()
}
