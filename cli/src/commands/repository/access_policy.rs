//! The least permissions that each role needs at a destination, as policies for its owner.

use clap::ValueEnum;
use reprise_repository::backend::RepositoryLocation;

use crate::failure::Failure;

/// The kind of destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccessPolicyKind {
    /// An IAM policy for AWS.
    S3,
    /// A custom role for Azure.
    Azure,
}

/// The role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccessRole {
    /// A host that stores snapshots: may only add objects.
    Writer,
    /// `reprise prune`: may also delete objects.
    Sweeper,
    /// Restore and verify: may only read objects.
    Restore,
}

impl AccessPolicyKind {
    fn name(self) -> &'static str {
        match self {
            Self::S3 => "S3",
            Self::Azure => "Azure",
        }
    }
}

/// The policy for a role, with the names of the location in it. Without one it has placeholders.
pub(crate) fn render_policy(
    kind: AccessPolicyKind,
    role: AccessRole,
    location: Option<&RepositoryLocation>,
) -> Result<String, Failure> {
    let template = policy_template(kind, role);
    match (kind, location) {
        (_, None) => Ok(fill_template(template, &placeholder_names(kind))),
        (AccessPolicyKind::S3, Some(RepositoryLocation::S3 { bucket, prefix })) => {
            let names = [("BUCKET", bucket.as_str()), ("PREFIX", prefix.as_str())];
            fill_with_checked_names(template, &names)
        }
        (
            AccessPolicyKind::Azure,
            Some(RepositoryLocation::Azure {
                account, container, ..
            }),
        ) => {
            let names = [
                ("ACCOUNT", account.as_str()),
                ("CONTAINER", container.as_str()),
            ];
            fill_with_checked_names(template, &names)
        }
        (_, Some(location)) => Err(wrong_destination_kind(kind, location)),
    }
}

fn policy_template(kind: AccessPolicyKind, role: AccessRole) -> &'static str {
    match (kind, role) {
        (AccessPolicyKind::S3, AccessRole::Writer) => {
            include_str!("../../../../deploy/aws/writer.json")
        }
        (AccessPolicyKind::S3, AccessRole::Sweeper) => {
            include_str!("../../../../deploy/aws/sweeper.json")
        }
        (AccessPolicyKind::S3, AccessRole::Restore) => {
            include_str!("../../../../deploy/aws/restore.json")
        }
        (AccessPolicyKind::Azure, AccessRole::Writer) => {
            include_str!("../../../../deploy/azure/writer.json")
        }
        (AccessPolicyKind::Azure, AccessRole::Sweeper) => {
            include_str!("../../../../deploy/azure/sweeper.json")
        }
        (AccessPolicyKind::Azure, AccessRole::Restore) => {
            include_str!("../../../../deploy/azure/restore.json")
        }
    }
}

/// Plain words, because IAM reads `${…}` as a variable of its own.
fn placeholder_names(kind: AccessPolicyKind) -> [(&'static str, &'static str); 2] {
    match kind {
        AccessPolicyKind::S3 => [("BUCKET", "BUCKET"), ("PREFIX", "PREFIX")],
        AccessPolicyKind::Azure => [("ACCOUNT", "ACCOUNT"), ("CONTAINER", "CONTAINER")],
    }
}

fn fill_with_checked_names(template: &str, names: &[(&str, &str)]) -> Result<String, Failure> {
    for (_, name) in names {
        check_name(name)?;
    }
    Ok(fill_template(template, names))
}

/// A wildcard in a name would widen the policy; a quote would end the string around it.
fn check_name(name: &str) -> Result<(), Failure> {
    let special = |c: char| matches!(c, '*' | '?' | '$' | '"' | '\\') || c.is_control();
    match name.chars().find(|c| special(*c)) {
        None => Ok(()),
        Some(found) => {
            let message = format!(
                "{name:?} contains {found:?}, which has a special meaning in an access policy"
            );
            let hint = "print the policy without a repository, and fill in the names by hand";
            Err(Failure::usage(message, hint))
        }
    }
}

fn fill_template(template: &str, names: &[(&str, &str)]) -> String {
    let mut text = template.to_owned();
    for (placeholder, name) in names {
        // Without a prefix its slash is removed too: `bucket//*` would match nothing.
        if name.is_empty() {
            text = text.replace(&format!("${{{placeholder}}}/"), "");
        }
        text = text.replace(&format!("${{{placeholder}}}"), name);
    }
    text
}

fn wrong_destination_kind(kind: AccessPolicyKind, location: &RepositoryLocation) -> Failure {
    let place = match location {
        RepositoryLocation::Directory(_) => "a local directory",
        RepositoryLocation::S3 { .. } => AccessPolicyKind::S3.name(),
        RepositoryLocation::Azure { .. } => AccessPolicyKind::Azure.name(),
    };
    let wanted = kind.name();
    let message =
        format!("the access policy is for {wanted}, but the repository {location} is in {place}");
    let hint = match location {
        RepositoryLocation::Directory(_) => {
            "a local directory has no access policy: use file permissions"
        }
        RepositoryLocation::S3 { .. } => {
            "use `--print-policy s3`, or give a repository in Azure with -r"
        }
        RepositoryLocation::Azure { .. } => {
            "use `--print-policy azure`, or give a repository in S3 with -r"
        }
    };
    Failure::usage(message, hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const ROLES: [AccessRole; 3] = [AccessRole::Writer, AccessRole::Sweeper, AccessRole::Restore];

    fn printed(kind: AccessPolicyKind, role: AccessRole, location: &str) -> String {
        let location = RepositoryLocation::parse(location).unwrap();
        let text = render_policy(kind, role, Some(&location)).unwrap();
        serde_json::from_str::<Value>(&text).unwrap();
        text
    }

    fn refused(kind: AccessPolicyKind, location: &str) -> Failure {
        let location = RepositoryLocation::parse(location).unwrap();
        render_policy(kind, AccessRole::Writer, Some(&location)).unwrap_err()
    }

    /// The actions that a policy grants, of S3 and of Azure.
    fn granted(text: &str) -> Vec<String> {
        fn texts(value: &Value) -> Vec<String> {
            match value {
                Value::String(text) => vec![text.clone()],
                Value::Array(values) => values.iter().flat_map(texts).collect(),
                _ => Vec::new(),
            }
        }
        let policy: Value = serde_json::from_str(text).unwrap();
        let statements = policy["Statement"].as_array().cloned().unwrap_or_default();
        let allowed = statements.iter().filter(|s| s["Effect"] == "Allow");
        allowed
            .flat_map(|statement| texts(&statement["Action"]))
            .chain(texts(&policy["DataActions"]))
            .collect()
    }

    #[test]
    fn a_policy_has_the_names_of_the_repository() {
        for role in ROLES {
            let text = printed(AccessPolicyKind::S3, role, "s3://attic/web/1");
            assert!(text.contains("\"arn:aws:s3:::attic/web/1/"), "{text}");
            assert!(
                text.contains("\"web/1/*\"") && !text.contains("${"),
                "{text}"
            );
            let text = printed(AccessPolicyKind::Azure, role, "azure://acc/box/web");
            let scope = "storageAccounts/acc/blobServices/default/containers/box\"";
            assert!(text.contains(scope), "{text}");
            assert!(!text.contains("${ACCOUNT}") && !text.contains("${CONTAINER}"));
            assert!(text.contains("${SUBSCRIPTION}"), "{text}");
        }
    }

    #[test]
    fn without_a_prefix_the_resources_are_still_right() {
        for role in ROLES {
            let text = printed(AccessPolicyKind::S3, role, "s3://attic");
            assert!(text.contains("\"arn:aws:s3:::attic/*\""), "{text}");
            assert!(text.contains("\"s3:prefix\": \"*\""), "{text}");
            assert!(!text.contains("//") && !text.contains("${"), "{text}");
        }
    }

    #[test]
    fn without_a_repository_words_stand_for_the_names() {
        for role in ROLES {
            let text = render_policy(AccessPolicyKind::S3, role, None).unwrap();
            assert!(text.contains("arn:aws:s3:::BUCKET/PREFIX/*"), "{text}");
            let text = render_policy(AccessPolicyKind::Azure, role, None).unwrap();
            assert!(
                text.contains("/ACCOUNT/") && text.contains("/CONTAINER\""),
                "{text}"
            );
        }
    }

    #[test]
    fn only_the_sweeper_deletes_and_nobody_lifts_locks() {
        for (kind, place) in [
            (AccessPolicyKind::S3, "s3://b/p"),
            (AccessPolicyKind::Azure, "azure://a/c"),
        ] {
            for role in ROLES {
                let granted = granted(&printed(kind, role, place)).join(" ");
                let deletes = granted.to_lowercase().contains("delete");
                assert_eq!(deletes, role == AccessRole::Sweeper, "{role:?} {granted}");
                assert!(!granted.contains("Bypass") && !granted.contains("runAsSuperUser"));
                let writes = ["Put", "write", "add", "Delete"];
                let changes = writes.iter().any(|word| granted.contains(word));
                assert_eq!(changes, role != AccessRole::Restore, "{role:?} {granted}");
            }
        }
    }

    #[test]
    fn whoever_writes_to_s3_may_not_overwrite() {
        for role in [AccessRole::Writer, AccessRole::Sweeper] {
            let text = printed(AccessPolicyKind::S3, role, "s3://b/p");
            let policy: Value = serde_json::from_str(&text).unwrap();
            let statements = policy["Statement"].as_array().unwrap();
            let one = |sid: &str| statements.iter().find(|s| s["Sid"] == sid).unwrap();
            let (add, never) = (one("AddObjects"), one("NeverOverwrite"));
            assert_eq!(never["Effect"], "Deny");
            assert_eq!(never["Condition"]["Null"]["s3:if-none-match"], "true");
            // The probe overwrites its own objects to see what happens; all others are protected.
            let mut protected = never["Resource"].as_array().unwrap().clone();
            protected.push("arn:aws:s3:::b/p/probes/*".into());
            assert_eq!(add["Resource"].as_array(), Some(&protected));
        }
    }

    #[test]
    fn a_repository_of_the_other_kind_is_refused_by_name() {
        for (kind, place, words) in [
            (
                AccessPolicyKind::S3,
                "azure://a/c/p",
                ["S3", "azure://a/c/p"],
            ),
            (AccessPolicyKind::Azure, "s3://b/p", ["Azure", "s3://b/p"]),
            (
                AccessPolicyKind::S3,
                "/srv/backup",
                ["S3", "local directory"],
            ),
        ] {
            let failure = refused(kind, place);
            assert_eq!(failure.exit, crate::failure::Exit::Usage);
            for word in words {
                assert!(failure.message.contains(word), "{}", failure.message);
            }
        }
    }

    #[test]
    fn a_name_that_would_widen_the_policy_is_refused() {
        for place in ["s3://b/p*", "s3://b/${x}", "s3://b/a\"b"] {
            let failure = refused(AccessPolicyKind::S3, place);
            assert_eq!(failure.exit, crate::failure::Exit::Usage, "{place}");
        }
    }
}
