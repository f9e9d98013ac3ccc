//! What policies give a schedule.

use reprise_policies::{CopyJob, Drill, Percent, Policy, PolicySet, PolicySource, Schedule};

/// Something with a schedule.
#[derive(Debug, Clone)]
pub struct ScheduledJob<'a> {
    /// Its name in the ledger: `POLICY/sources/NAME`, as the path in the policy.
    pub name: String,
    /// The policy.
    pub policy: &'a Policy,
    /// What is to be done.
    pub work: ScheduledWork<'a>,
    /// When.
    pub schedule: &'a Schedule,
    /// The hosts that do it; empty: whoever runs.
    pub hosts: &'a [String],
}

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub enum ScheduledWork<'a> {
    /// A snapshot of a source to each of its repositories.
    Snapshot(&'a PolicySource),
    /// A copy of a repository to another one.
    Copy(&'a CopyJob),
    /// A drill.
    Drill(&'a Drill),
    /// Forgetting what no rule keeps in a repository.
    Forget(&'a str),
    /// Deleting what nothing needs in a repository.
    Prune(&'a str),
    /// Verifying that everything is there in a repository.
    Verify(&'a str),
    /// Reading and verifying a share of a repository's data.
    ReadData(&'a str, Percent),
    /// Extending the locks in a repository.
    Locks(&'a str),
}

impl ScheduledJob<'_> {
    /// The source that it works on, as `POLICY/SOURCE`, if it can be paused with it.
    #[must_use]
    pub fn paused_with(&self) -> Option<String> {
        match self.work {
            ScheduledWork::Snapshot(source) => {
                Some(format!("{}/{}", self.policy.name, source.name))
            }
            ScheduledWork::Copy(_)
            | ScheduledWork::Drill(_)
            | ScheduledWork::Forget(_)
            | ScheduledWork::Prune(_)
            | ScheduledWork::Verify(_)
            | ScheduledWork::ReadData(..)
            | ScheduledWork::Locks(_) => None,
        }
    }

    /// Whether a host with one of these names in the policy does it.
    #[must_use]
    pub fn is_for(&self, hosts: &[String]) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|host| hosts.contains(host))
    }
}

/// Everything that has a schedule: snapshots first, then what works on them.
#[must_use]
pub fn list_scheduled_jobs(policies: &PolicySet) -> Vec<ScheduledJob<'_>> {
    let policies = policies.policies();
    let mut jobs: Vec<ScheduledJob<'_>> = policies.iter().flat_map(snapshot_jobs).collect();
    jobs.extend(policies.iter().flat_map(copy_jobs));
    jobs.extend(policies.iter().flat_map(maintenance_jobs));
    jobs.extend(policies.iter().flat_map(drill_jobs));
    jobs
}

fn snapshot_jobs(policy: &Policy) -> impl Iterator<Item = ScheduledJob<'_>> {
    policy.sources.values().filter_map(move |source| {
        let schedule = source.schedule.as_ref()?;
        let path = ["sources", &source.name];
        let work = ScheduledWork::Snapshot(source);
        Some(scheduled(policy, &path, work, schedule, &source.hosts))
    })
}

fn copy_jobs(policy: &Policy) -> impl Iterator<Item = ScheduledJob<'_>> {
    policy.copies.values().filter_map(move |copy| {
        let schedule = copy.schedule.as_ref()?;
        let path = ["copies", &copy.name];
        let work = ScheduledWork::Copy(copy);
        Some(scheduled(policy, &path, work, schedule, &copy.hosts))
    })
}

fn drill_jobs(policy: &Policy) -> impl Iterator<Item = ScheduledJob<'_>> {
    policy.drills.values().filter_map(move |drill| {
        let schedule = drill.schedule.as_ref()?;
        let path = ["drills", &drill.name];
        let work = ScheduledWork::Drill(drill);
        Some(scheduled(policy, &path, work, schedule, &drill.hosts))
    })
}

fn maintenance_jobs(policy: &Policy) -> impl Iterator<Item = ScheduledJob<'_>> {
    policy.maintenance.values().flat_map(move |maintenance| {
        let repository = maintenance.repository.as_str();
        let read_data = maintenance.read_data.as_ref();
        let planned = [
            (
                "forget",
                ScheduledWork::Forget(repository),
                maintenance.forget.as_ref(),
            ),
            (
                "prune",
                ScheduledWork::Prune(repository),
                maintenance.prune.as_ref(),
            ),
            (
                "locks",
                ScheduledWork::Locks(repository),
                maintenance.locks.as_ref(),
            ),
            (
                "verify",
                ScheduledWork::Verify(repository),
                maintenance.verify.as_ref(),
            ),
        ];
        let read_data = read_data.map(|(share, schedule)| {
            let work = ScheduledWork::ReadData(repository, *share);
            ("read_data", work, Some(schedule))
        });
        planned
            .into_iter()
            .chain(read_data)
            .filter_map(move |(key, work, schedule)| {
                let path = ["maintenance", repository, key];
                Some(scheduled(
                    policy,
                    &path,
                    work,
                    schedule?,
                    &maintenance.hosts,
                ))
            })
    })
}

fn scheduled<'a>(
    policy: &'a Policy,
    path: &[&str],
    work: ScheduledWork<'a>,
    schedule: &'a Schedule,
    hosts: &'a [String],
) -> ScheduledJob<'a> {
    ScheduledJob {
        name: format!("{}/{}", policy.name, path.join("/")),
        policy,
        work,
        schedule,
        hosts,
    }
}
