//! What to exclude, with the rules of `.gitignore`.

use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::error::{Error, Result};

/// Exclude rules.
#[derive(Debug, Clone)]
pub struct ExcludeRules {
    rules: Gitignore,
}

impl ExcludeRules {
    /// Parses rules, first those of `lines`, then those of the files. Later rules win.
    ///
    /// # Errors
    /// [`Error::Exclude`] names the rule, [`Error::Unreadable`] the file.
    pub fn new(lines: &[String], files: &[PathBuf]) -> Result<Self> {
        let mut builder = GitignoreBuilder::new("");
        let fail = |rule: &str, reason: String| Error::Exclude {
            rule: rule.to_owned(),
            reason,
        };
        for line in lines {
            builder
                .add_line(None, &literal_braces(line))
                .map_err(|e| fail(line, e.to_string()))?;
        }
        for file in files {
            let text = std::fs::read_to_string(file).map_err(|source| Error::Unreadable {
                path: file.clone(),
                source,
            })?;
            for line in text.lines() {
                builder
                    .add_line(None, &literal_braces(line))
                    .map_err(|e| fail(line, e.to_string()))?;
            }
        }
        let rules = builder.build().map_err(|e| fail("", e.to_string()))?;
        Ok(Self { rules })
    }

    /// Whether a path, relative to the root, is excluded. Paths inside an excluded directory are never checked.
    #[must_use]
    pub fn is_excluded(&self, path: &Path, is_dir: bool) -> bool {
        self.rules.matched(path, is_dir).is_ignore()
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
        let excludes = ExcludeRules::new(&rules, &[]).unwrap();
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
        let excludes = ExcludeRules::new(&rules, &[]).unwrap();
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
    fn a_rule_that_cannot_be_understood_is_named() {
        let error = ExcludeRules::new(&["a[z-b]".to_owned()], &[]).unwrap_err();
        assert!(error.to_string().contains("a[z-b]"), "{error}");
    }
}
