//! The least rights that each role needs at a destination, as policies to hand to its owner.

use clap::ValueEnum;
use reprise_repository::backend::Location;

use crate::failure::Failure;

/// For which destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// An IAM policy for AWS.
    S3,
    /// A custom role for Azure.
    Azure,
}

/// For whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// A host that stores snapshots: may only add objects.
    Writer,
    /// `reprise prune`: may also delete objects.
    Sweeper,
    /// Restore and verify: may only read objects.
    Restore,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::S3 => "S3",
            Self::Azure => "Azure",
        }
    }
}

/// The policy for a role, with the names of the location in it. Without one it has words to replace.
pub(crate) fn print(
    kind: Kind,
    role: Role,
    location: Option<&Location>,
) -> Result<String, Failure> {
    let template = template(kind, role);
    match (kind, location) {
        (_, None) => Ok(filled(template, &placeholders(kind))),
        (Kind::S3, Some(Location::S3 { bucket, prefix })) => {
            let names = [("BUCKET", bucket.as_str()), ("PREFIX", prefix.as_str())];
            named(template, &names)
        }
        (
            Kind::Azure,
            Some(Location::Azure {
                account, container, ..
            }),
        ) => {
            let names = [
                ("ACCOUNT", account.as_str()),
                ("CONTAINER", container.as_str()),
            ];
            named(template, &names)
        }
        (_, Some(location)) => Err(other_kind(kind, location)),
    }
}

fn template(kind: Kind, role: Role) -> &'static str {
    match (kind, role) {
        (Kind::S3, Role::Writer) => include_str!("../../deploy/aws/writer.json"),
        (Kind::S3, Role::Sweeper) => include_str!("../../deploy/aws/sweeper.json"),
        (Kind::S3, Role::Restore) => include_str!("../../deploy/aws/restore.json"),
        (Kind::Azure, Role::Writer) => include_str!("../../deploy/azure/writer.json"),
        (Kind::Azure, Role::Sweeper) => include_str!("../../deploy/azure/sweeper.json"),
        (Kind::Azure, Role::Restore) => include_str!("../../deploy/azure/restore.json"),
    }
}

/// Bare words, because IAM reads `${…}` as a variable of its own.
fn placeholders(kind: Kind) -> [(&'static str, &'static str); 2] {
    match kind {
        Kind::S3 => [("BUCKET", "BUCKET"), ("PREFIX", "PREFIX")],
        Kind::Azure => [("ACCOUNT", "ACCOUNT"), ("CONTAINER", "CONTAINER")],
    }
}

fn named(template: &str, names: &[(&str, &str)]) -> Result<String, Failure> {
    for (_, name) in names {
        check(name)?;
    }
    Ok(filled(template, names))
}

/// A wildcard in a name would widen the policy; a quote would end the text that it stands in.
fn check(name: &str) -> Result<(), Failure> {
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

fn filled(template: &str, names: &[(&str, &str)]) -> String {
    let mut text = template.to_owned();
    for (placeholder, name) in names {
        // Without a prefix its slash goes too: `bucket//*` would match nothing.
        if name.is_empty() {
            text = text.replace(&format!("${{{placeholder}}}/"), "");
        }
        text = text.replace(&format!("${{{placeholder}}}"), name);
    }
    text
}

fn other_kind(kind: Kind, location: &Location) -> Failure {
    let place = match location {
        Location::Local(_) => "a local directory",
        Location::S3 { .. } => Kind::S3.name(),
        Location::Azure { .. } => Kind::Azure.name(),
    };
    let wanted = kind.name();
    let message =
        format!("the access policy is for {wanted}, but the repository {location} is in {place}");
    let hint = match location {
        Location::Local(_) => "a local directory has no access policy: use file permissions",
        Location::S3 { .. } => "use `--print-policy s3`, or give a repository in Azure with -r",
        Location::Azure { .. } => "use `--print-policy azure`, or give a repository in S3 with -r",
    };
    Failure::usage(message, hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const ROLES: [Role; 3] = [Role::Writer, Role::Sweeper, Role::Restore];

    fn printed(kind: Kind, role: Role, location: &str) -> String {
        let location = Location::parse(location).unwrap();
        let text = print(kind, role, Some(&location)).unwrap();
        serde_json::from_str::<Value>(&text).unwrap();
        text
    }

    fn refused(kind: Kind, location: &str) -> Failure {
        let location = Location::parse(location).unwrap();
        print(kind, Role::Writer, Some(&location)).unwrap_err()
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
            let text = printed(Kind::S3, role, "s3://attic/web/1");
            assert!(text.contains("\"arn:aws:s3:::attic/web/1/"), "{text}");
            assert!(
                text.contains("\"web/1/*\"") && !text.contains("${"),
                "{text}"
            );
            let text = printed(Kind::Azure, role, "azure://acc/box/web");
            let scope = "storageAccounts/acc/blobServices/default/containers/box\"";
            assert!(text.contains(scope), "{text}");
            assert!(!text.contains("${ACCOUNT}") && !text.contains("${CONTAINER}"));
            assert!(text.contains("${SUBSCRIPTION}"), "{text}");
        }
    }

    #[test]
    fn without_a_prefix_the_resources_are_still_right() {
        for role in ROLES {
            let text = printed(Kind::S3, role, "s3://attic");
            assert!(text.contains("\"arn:aws:s3:::attic/*\""), "{text}");
            assert!(text.contains("\"s3:prefix\": \"*\""), "{text}");
            assert!(!text.contains("//") && !text.contains("${"), "{text}");
        }
    }

    #[test]
    fn without_a_repository_words_stand_for_the_names() {
        for role in ROLES {
            let text = print(Kind::S3, role, None).unwrap();
            assert!(text.contains("arn:aws:s3:::BUCKET/PREFIX/*"), "{text}");
            let text = print(Kind::Azure, role, None).unwrap();
            assert!(
                text.contains("/ACCOUNT/") && text.contains("/CONTAINER\""),
                "{text}"
            );
        }
    }

    #[test]
    fn only_the_sweeper_deletes_and_nobody_lifts_locks() {
        for (kind, place) in [(Kind::S3, "s3://b/p"), (Kind::Azure, "azure://a/c")] {
            for role in ROLES {
                let granted = granted(&printed(kind, role, place)).join(" ");
                let deletes = granted.to_lowercase().contains("delete");
                assert_eq!(deletes, role == Role::Sweeper, "{role:?} {granted}");
                assert!(!granted.contains("Bypass") && !granted.contains("runAsSuperUser"));
                let writes = ["Put", "write", "add", "Delete"];
                let changes = writes.iter().any(|word| granted.contains(word));
                assert_eq!(changes, role != Role::Restore, "{role:?} {granted}");
            }
        }
    }

    #[test]
    fn whoever_writes_to_s3_may_not_overwrite() {
        for role in [Role::Writer, Role::Sweeper] {
            let text = printed(Kind::S3, role, "s3://b/p");
            let policy: Value = serde_json::from_str(&text).unwrap();
            let statements = policy["Statement"].as_array().unwrap();
            let one = |sid: &str| statements.iter().find(|s| s["Sid"] == sid).unwrap();
            let (add, never) = (one("AddObjects"), one("NeverOverwrite"));
            assert_eq!(never["Effect"], "Deny");
            assert_eq!(never["Condition"]["Null"]["s3:if-none-match"], "true");
            // The probe overwrites its own objects, to see what happens; all others are protected.
            let mut protected = never["Resource"].as_array().unwrap().clone();
            protected.push("arn:aws:s3:::b/p/probes/*".into());
            assert_eq!(add["Resource"].as_array(), Some(&protected));
        }
    }

    #[test]
    fn a_repository_of_the_other_kind_is_refused_by_name() {
        for (kind, place, words) in [
            (Kind::S3, "azure://a/c/p", ["S3", "azure://a/c/p"]),
            (Kind::Azure, "s3://b/p", ["Azure", "s3://b/p"]),
            (Kind::S3, "/srv/backup", ["S3", "local directory"]),
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
        for place in ["s3://b/p*", "s3://b/${x}", "s3://b*/p", "s3://b/a\"b"] {
            let failure = refused(Kind::S3, place);
            assert_eq!(failure.exit, crate::failure::Exit::Usage, "{place}");
        }
    }
}
