//! What a job tells while it runs.

use reprise_repository::{Error, ForeignSeries, PrunePlan};
use reprise_snapshotters::mysql::archive::ArchiveEvent;

use crate::repositories::CreatedRepository;
use crate::retention::RepositoryPlan;

/// Something that people should know before a job has ended, or although it fails.
#[derive(Debug)]
pub enum JobEvent<'a> {
    /// A repository did not exist and was created, as its policy demands.
    RepositoryCreated {
        /// Where.
        location: &'a str,
        /// What was created with it.
        created: &'a CreatedRepository,
    },
    /// What no longer is kept, before anything is forgotten.
    ForgetPlanned {
        /// The plans, repository by repository.
        plans: &'a [RepositoryPlan<'a>],
    },
    /// Snapshots of a source were forgotten.
    SnapshotsForgotten {
        /// `POLICY/SOURCE`
        series: &'a str,
        /// How many.
        count: usize,
    },
    /// A root cannot be read.
    UnreadableRoot {
        /// Its object.
        object: &'a str,
        /// Why.
        error: &'a Error,
    },
    /// A host has stored snapshots under a name that means another one.
    ForeignSeries {
        /// Whose.
        found: &'a ForeignSeries,
    },
    /// A prune is about to do this.
    PrunePlanned {
        /// The repository.
        location: &'a str,
        /// What it will condemn, repack and delete.
        plan: &'a PrunePlan,
    },
    /// An archiver of a log reports.
    Archive {
        /// The source's name.
        source: &'a str,
        /// What.
        event: ArchiveEvent,
    },
}

/// Receives the events of a job.
pub type JobObserver<'a> = &'a mut dyn FnMut(JobEvent<'_>);

/// Tells an observer of new repositories.
pub(super) fn tell_created(observe: JobObserver<'_>) -> impl FnMut(&str, &CreatedRepository) + '_ {
    |location, created| observe(JobEvent::RepositoryCreated { location, created })
}
