//! From the paths that a file names to the files that define what they lead to.

use std::collections::HashMap;

use super::parse::{Import, SourceFile};

/// A chain of re-exports is not longer.
const REEXPORTS_MAX: usize = 8;

/// Which files a file uses, by their indices.
pub(super) struct Resolver<'a> {
    files: &'a [SourceFile],
    modules: HashMap<&'a [String], usize>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(files: &'a [SourceFile]) -> Self {
        let modules = files.iter().enumerate();
        Self {
            files,
            modules: modules
                .map(|(index, file)| (file.module.as_slice(), index))
                .collect(),
        }
    }

    /// The file that defines what a path leads to; `None` for what is outside the crate or in the file itself.
    pub(super) fn target(&self, from: usize, import: &Import) -> Option<usize> {
        let target = self.resolve(from, import, REEXPORTS_MAX)?;
        (target != from).then_some(target)
    }

    fn resolve(&self, from: usize, import: &Import, left: usize) -> Option<usize> {
        let file = &self.files[from];
        let mut base = file.module.clone();
        let mut depth = import.depth;
        let mut rest = import.segments.as_slice();
        let mut relative = true;
        while let Some((first, after)) = rest.split_first() {
            match first.as_str() {
                "crate" => base.clear(),
                "self" => {}
                "super" if depth > 0 => depth -= 1,
                "super" => _ = base.pop(),
                _ => break,
            }
            relative = false;
            rest = after;
        }
        if relative && depth == 0 {
            // A child module, or what a `use` of this file has brought in.
            let child = [base.as_slice(), &rest[..1]].concat();
            if !self.modules.contains_key(child.as_slice()) {
                return self.through_use(from, import, left);
            }
        }
        if depth > 0 {
            return Some(from);
        }
        self.descend(base, rest, left)
    }

    /// Follows modules as far as there are any, then a re-export of the name behind them.
    fn descend(&self, mut module: Vec<String>, mut rest: &[String], left: usize) -> Option<usize> {
        while let Some((first, after)) = rest.split_first() {
            module.push(first.clone());
            if !self.modules.contains_key(module.as_slice()) {
                module.pop();
                break;
            }
            rest = after;
        }
        let found = *self.modules.get(module.as_slice())?;
        let Some(name) = rest.first() else {
            return Some(found);
        };
        Some(self.reexported(found, name, left).unwrap_or(found))
    }

    fn reexported(&self, module: usize, name: &str, left: usize) -> Option<usize> {
        if left == 0 {
            return None;
        }
        let uses = self.files[module].imports.iter();
        uses.filter(|import| import.alias == name && import.depth == 0)
            .find_map(|import| self.resolve(module, import, left - 1))
    }

    /// A path whose first segment a `use` of the same file has made known is counted there.
    fn through_use(&self, from: usize, import: &Import, left: usize) -> Option<usize> {
        if left == 0 || !import.alias.is_empty() && import.segments.len() == 1 {
            return None;
        }
        let first = import.segments.first()?;
        let brought = self.files[from]
            .imports
            .iter()
            .find(|other| &other.alias == first && *other != import)?;
        let base = match brought.segments.first()?.as_str() {
            "crate" | "self" | "super" => brought,
            _ => return None,
        };
        let mut whole = base.clone();
        whole.segments.extend_from_slice(&import.segments[1..]);
        self.resolve(from, &whole, left - 1)
    }
}
