//! The location of a repository in a policy: a plain path is relative to the policy file.

use std::path::Path;

use reprise_location::{LocationProblem, SCHEMES};

pub use reprise_location::RepositoryLocation;

use crate::values::{names, paths};

/// Reads a plain path (relative to `base`) or a URL.
pub(crate) fn parse(text: &str, base: &Path) -> Result<RepositoryLocation, LocationProblem> {
    let location = RepositoryLocation::parse(text).map_err(|error| error.problem)?;
    Ok(match location {
        RepositoryLocation::Directory(path) => {
            RepositoryLocation::Directory(paths::resolve(base, path))
        }
        other => other,
    })
}

/// What to write instead.
pub(crate) fn hint(problem: &LocationProblem) -> Option<String> {
    if let LocationProblem::UnknownScheme { scheme } = problem {
        return names::did_you_mean(scheme, SCHEMES);
    }
    Some(problem.hint().to_owned()).filter(|hint| !hint.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_are_relative_to_the_policy_file() {
        for (text, shown) in [
            ("./scratch/repository", "/base/scratch/repository"),
            ("/srv/x/../y/", "/srv/y"),
            ("file:///srv/a%20b/./c", "/srv/a b/c"),
            ("S3://bucket/a/b/", "s3://bucket/a/b"),
        ] {
            let location = parse(text, Path::new("/base")).unwrap();
            assert_eq!(location.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn a_mistyped_scheme_is_named() {
        let problem = parse("azur://a/b", Path::new("/")).unwrap_err();
        assert_eq!(hint(&problem).as_deref(), Some("did you mean `azure`?"));
    }
}
