//! What to exclude, with the rules of `.gitignore`.

use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::error::{Error, Result};

/// Exclude rules.
#[derive(Debug, Clone)]
pub struct ExcludeRules {
    rules: Gitignore,
    /// Rules that begin at the root of the file system, as given, and the path that they exclude.
    absolute: Vec<String>,
    /// Rules that can never match, each with the reason. They exclude nothing, so the snapshot has too much, not too little.
    never_matching: Vec<String>,
}

impl ExcludeRules {
    /// Parses rules, first those of `lines`, then those of the files. Later rules win. Rules are relative to `source`;
    /// absolute paths below it are taken as well.
    ///
    /// # Errors
    /// [`Error::Exclude`] names the rule, [`Error::Unreadable`] the file.
    pub fn new(lines: &[String], files: &[PathBuf], source: &Path) -> Result<Self> {
        let mut rules: Vec<String> = lines.to_vec();
        for file in files {
            let text = std::fs::read_to_string(file).map_err(|source| Error::Unreadable {
                path: file.clone(),
                source,
            })?;
            // Editors on Windows write a byte order mark, which is not part of the first rule.
            let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
            rules.extend(text.lines().map(str::to_owned));
        }
        Self::parse(&rules, &source_names(source))
    }

    fn parse(rules: &[String], source_names: &[String]) -> Result<Self> {
        let mut builder = GitignoreBuilder::new("");
        let (mut absolute, mut never_matching) = (Vec::new(), Vec::new());
        let fail = |rule: &str, reason: String| Error::Exclude {
            rule: rule.to_owned(),
            reason,
        };
        for rule in rules {
            let rule = rule.strip_prefix('\u{feff}').unwrap_or(rule);
            let relative = match relative_rule(rule, source_names) {
                Ok(relative) => relative,
                Err(reason) => {
                    never_matching.push(format!("exclude rule `{rule}` can never match: {reason}"));
                    continue;
                }
            };
            if rule.starts_with('/') && relative == rule {
                absolute.push(rule.to_owned());
            }
            builder
                .add_line(None, &literal_braces(&relative))
                .map_err(|e| fail(rule, e.to_string()))?;
        }
        let rules = builder.build().map_err(|e| fail("", e.to_string()))?;
        Ok(Self {
            rules,
            absolute,
            never_matching,
        })
    }

    /// Warnings about rules that can never match.
    pub(super) fn never_matching(&self) -> &[String] {
        &self.never_matching
    }

    /// Notes about rules that look like paths of the machine: nothing in the source's directory begins like them.
    pub(super) fn idle_rules(&self, directory: &Path) -> Vec<String> {
        let first_part = |rule: &str| {
            let part = rule.trim_start_matches('/').split('/').next();
            part.unwrap_or_default().to_owned()
        };
        let is_idle = |rule: &&String| {
            let part = first_part(rule);
            rule.trim_end_matches('/').matches('/').count() > 1
                && !part.contains(['*', '?', '[', '\\'])
                && directory.join(part).symlink_metadata().is_err()
        };
        let idle = self.absolute.iter().filter(is_idle);
        idle.map(|rule| {
            format!("exclude rule `{rule}` matches nothing: rules are relative to the source")
        })
        .collect()
    }

    /// Whether a path, relative to the root, is excluded. Paths inside an excluded directory are never checked.
    #[must_use]
    pub fn is_excluded(&self, path: &Path, is_dir: bool) -> bool {
        self.rules.matched(path, is_dir).is_ignore()
    }
}

/// The absolute paths by which a source is known: as given, and without symbolic links.
fn source_names(source: &Path) -> Vec<String> {
    let paths = [
        std::path::absolute(source).ok(),
        std::fs::canonicalize(source).ok(),
    ];
    let names = paths.iter().flatten().filter_map(|path| path.to_str());
    let names = names.map(|name| name.trim_end_matches('/').to_owned());
    names.filter(|name| !name.is_empty()).collect()
}

/// A rule relative to the source, as `.gitignore` means it. Without this `./x`, and an absolute path below the source,
/// would never match.
fn relative_rule(rule: &str, source_names: &[String]) -> Result<String, String> {
    let (mark, path) = match rule.strip_prefix('!') {
        Some(path) => ("!", path),
        None => ("", rule),
    };
    if path.starts_with('#') || path.trim().is_empty() {
        return Ok(rule.to_owned());
    }
    if let Some(below) = path.strip_prefix("./") {
        return check_parts(rule, &format!("{mark}/{}", below.trim_start_matches('/')));
    }
    for name in source_names {
        match path.strip_prefix(name.as_str()) {
            Some("" | "/") => return Err("it is the source itself".to_owned()),
            Some(below) if below.starts_with('/') => {
                return check_parts(rule, &format!("{mark}{below}"));
            }
            _ => {}
        }
    }
    check_parts(rule, rule)
}

/// No path of a snapshot has such parts, so the rule would match nothing.
fn check_parts(given: &str, relative: &str) -> Result<String, String> {
    let path = relative.trim_start_matches(['!', '/']).trim_end();
    let path = path.strip_suffix('/').unwrap_or(path);
    match path
        .split('/')
        .find(|part| matches!(*part, "" | "." | ".."))
    {
        Some(part) if !path.is_empty() => {
            Err(format!("no path in a snapshot has the part `{part}`"))
        }
        _ if path.is_empty() && given != "/" => Err("it excludes nothing".to_owned()),
        _ => Ok(relative.to_owned()),
    }
}

/// The library treats braces as alternatives; in `.gitignore` they are literal.
fn literal_braces(rule: &str) -> String {
    let mut literal = String::with_capacity(rule.len());
    let (mut escaped, mut in_class) = (false, false);
    for letter in rule.chars() {
        if matches!(letter, '{' | '}' | ',') && !escaped && !in_class {
            literal.push('\\');
        }
        literal.push(letter);
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => in_class = true,
            ']' => in_class = false,
            _ => {}
        }
    }
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_letters() {
        let rules = ["{a,b}", "x[{]", "\\{c"].map(str::to_owned);
        let excludes = ExcludeRules::parse(&rules, &[]).unwrap();
        for (path, expected) in [
            ("{a,b}", true),
            ("a", false),
            ("b", false),
            ("x{", true),
            ("x\\", false),
            ("{c", true),
        ] {
            assert_eq!(
                excludes.is_excluded(Path::new(path), false),
                expected,
                "{path}"
            );
        }
    }

    #[test]
    fn rules_mean_what_they_mean_in_gitignore() {
        let rules = ["*.tmp", "/cache/", "!keep.tmp", "logs/**/old"].map(str::to_owned);
        let excludes = ExcludeRules::parse(&rules, &[]).unwrap();
        let cases = [
            ("a.tmp", false, true),
            ("deep/a.tmp", false, true),
            ("keep.tmp", false, false),
            ("cache", true, true),
            ("cache", false, false),
            ("deep/cache", true, false),
            ("logs/a/b/old", false, true),
        ];
        for (path, is_dir, expected) in cases {
            assert_eq!(
                excludes.is_excluded(Path::new(path), is_dir),
                expected,
                "{path}"
            );
        }
    }

    #[test]
    fn rules_may_begin_with_a_dot_or_with_the_path_of_the_source() {
        let names = ["/srv/data".to_owned()];
        let rules = ["./a", "/srv/data/b/*.log", "!/srv/data/b/keep.log", "/c"];
        let excludes = ExcludeRules::parse(&rules.map(str::to_owned), &names).unwrap();
        for (path, expected) in [
            ("a", true),
            ("deep/a", false),
            ("b/x.log", true),
            ("b/keep.log", false),
            ("c", true),
            ("srv/data/b/x.log", false),
        ] {
            assert_eq!(
                excludes.is_excluded(Path::new(path), false),
                expected,
                "{path}"
            );
        }
    }

    #[test]
    fn a_file_may_have_a_byte_order_mark_and_the_line_ends_of_windows() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("rules");
        std::fs::write(&file, "\u{feff}*.log\r\n*.tmp\r\n").unwrap();
        let excludes = ExcludeRules::new(&[], &[file], directory.path()).unwrap();
        for path in ["a.log", "a.tmp"] {
            assert!(excludes.is_excluded(Path::new(path), false), "{path}");
        }
    }

    #[test]
    fn a_rule_that_can_never_match_is_named() {
        let names = ["/srv/data".to_owned()];
        for rule in [
            "../x",
            "a/../b",
            "a//b",
            "./",
            "a/./b",
            "/srv/data",
            "/srv/data/",
        ] {
            let rules = ["*.log".to_owned(), rule.to_owned()];
            let excludes = ExcludeRules::parse(&rules, &names).unwrap();
            let named = excludes.never_matching().join("\n");
            assert!(named.contains(&format!("`{rule}`")), "{named}");
            assert!(excludes.is_excluded(Path::new("a.log"), false), "{rule}");
        }
    }

    #[test]
    fn a_path_of_the_machine_that_is_not_in_the_source_is_noted() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("here")).unwrap();
        let rules = ["/var/cache", "/here/x", "/single", "/*/y"].map(str::to_owned);
        let excludes = ExcludeRules::parse(&rules, &[]).unwrap();
        let notes = excludes.idle_rules(directory.path());
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(notes[0].contains("`/var/cache`"), "{notes:?}");
    }

    #[test]
    fn a_rule_that_cannot_be_understood_is_named() {
        let error = ExcludeRules::parse(&["a[z-b]".to_owned()], &[]).unwrap_err();
        assert!(error.to_string().contains("a[z-b]"), "{error}");
    }
}
