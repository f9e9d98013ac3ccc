//! One file: what it defines, and which paths it names.

use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, UseTree};

use super::matches::{MatchCollector, OpenMatch};

/// A path that a file names, as segments; the first is `crate`, `self`, `super`, a module or another crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The segments of the path.
    pub segments: Vec<String>,
    /// The name under which a `use` makes it known; empty for a path in an expression or type.
    pub alias: String,
    /// How many modules inside the file it stands in.
    pub depth: usize,
}

/// A parsed file.
#[derive(Debug)]
pub struct SourceFile {
    /// Relative to the project's top directory.
    pub path: String,
    /// The module's path in its crate, without `crate`.
    pub module: Vec<String>,
    /// Its lines, with comments and tests.
    pub lines: usize,
    /// The names of all functions and methods, but those of the traits that it implements.
    pub functions: Vec<String>,
    /// The names of the methods of the traits that it implements.
    pub trait_methods: Vec<String>,
    /// The names of its test functions.
    pub tests: Vec<String>,
    /// The names of the types and traits that it defines.
    pub types: Vec<String>,
    /// What it imports or names.
    pub imports: Vec<Import>,
    /// The texts of its string literals, with those in macros and attributes but documentation.
    pub strings: Vec<String>,
    /// Its enumerations of errors.
    pub error_enums: Vec<String>,
    /// Its matches with an arm for whatever the others do not take.
    pub open_matches: Vec<OpenMatch>,
}

impl SourceFile {
    /// Parses a file of the crate in a directory.
    ///
    /// # Panics
    /// When it cannot be read or parsed.
    #[must_use]
    pub fn load(root: &Path, crate_directory: &str, path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let below = |base: &Path| path.strip_prefix(base).unwrap_or(path).to_owned();
        let mut matches = MatchCollector::default();
        matches.visit_file(&file);
        let mut parsed = Self {
            path: below(root).to_string_lossy().into_owned(),
            module: module_path(&below(&root.join(crate_directory).join("src"))),
            lines: text.lines().count(),
            functions: Vec::new(),
            trait_methods: Vec::new(),
            tests: Vec::new(),
            types: Vec::new(),
            imports: Vec::new(),
            strings: Vec::new(),
            error_enums: matches.error_enums,
            open_matches: matches.open_matches,
        };
        let mut collector = NameCollector {
            file: &mut parsed,
            depth: 0,
            in_trait_impl: false,
        };
        collector.visit_file(&file);
        parsed
    }
}

/// `a/b/mod.rs` and `a/b.rs` are both the module `a::b`; `lib.rs` and `main.rs` are the crate itself.
fn module_path(relative: &Path) -> Vec<String> {
    let mut parts: Vec<String> = relative
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    if parts
        .last()
        .is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str()))
    {
        parts.pop();
    }
    parts
}

/// Whether an item is compiled for tests alone.
pub(super) fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute
                    .parse_args::<syn::Ident>()
                    .is_ok_and(|condition| condition == "test")
    })
}

struct NameCollector<'a> {
    file: &'a mut SourceFile,
    depth: usize,
    in_trait_impl: bool,
}

impl NameCollector<'_> {
    fn add_use(&mut self, tree: &UseTree, prefix: &[String]) {
        let with = |name: String| [prefix, &[name]].concat();
        match tree {
            UseTree::Path(path) => self.add_use(&path.tree, &with(path.ident.to_string())),
            UseTree::Name(name) if name.ident == "self" => {
                let alias = prefix.last().cloned().unwrap_or_default();
                self.add_import(prefix.to_vec(), alias);
            }
            UseTree::Name(name) => {
                self.add_import(with(name.ident.to_string()), name.ident.to_string());
            }
            UseTree::Rename(rename) => {
                self.add_import(with(rename.ident.to_string()), rename.rename.to_string());
            }
            UseTree::Glob(_) => self.add_import(prefix.to_vec(), "*".to_owned()),
            UseTree::Group(group) => group
                .items
                .iter()
                .for_each(|tree| self.add_use(tree, prefix)),
        }
    }

    fn add_import(&mut self, segments: Vec<String>, alias: String) {
        self.file.imports.push(Import {
            segments,
            alias,
            depth: self.depth,
        });
    }

    fn add_function(&mut self, name: &syn::Ident) {
        let names = match self.in_trait_impl {
            true => &mut self.file.trait_methods,
            false => &mut self.file.functions,
        };
        names.push(name.to_string());
    }

    /// Macros are not parsed: paths and texts in them are found among their tokens.
    fn add_tokens(&mut self, tokens: proc_macro2::TokenStream) {
        let mut segments: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                proc_macro2::TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.end_path(&mut segments);
                    }
                    segments.push(ident.to_string());
                    colons = 0;
                }
                proc_macro2::TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                proc_macro2::TokenTree::Group(group) => {
                    self.end_path(&mut segments);
                    self.add_tokens(group.stream());
                }
                proc_macro2::TokenTree::Literal(literal) => {
                    self.end_path(&mut segments);
                    if let syn::Lit::Str(text) = syn::Lit::new(literal) {
                        self.file.strings.push(text.value());
                    }
                }
                proc_macro2::TokenTree::Punct(_) => self.end_path(&mut segments),
            }
        }
        self.end_path(&mut segments);
    }

    fn end_path(&mut self, segments: &mut Vec<String>) {
        if segments.len() > 1 {
            self.add_import(segments.clone(), String::new());
        }
        segments.clear();
    }
}

impl<'ast> Visit<'ast> for NameCollector<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let (attributes, name) = match item {
            Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            Item::Type(item) => (&item.attrs, Some(&item.ident)),
            Item::Fn(item) => (&item.attrs, None),
            Item::Mod(item) => (&item.attrs, None),
            Item::Use(item) => (&item.attrs, None),
            Item::Impl(item) => (&item.attrs, None),
            _ => return visit::visit_item(self, item),
        };
        if is_for_tests(attributes) {
            if let Item::Fn(test) = item {
                self.file.tests.push(test.sig.ident.to_string());
            }
            return;
        }
        if let Some(name) = name {
            self.file.types.push(name.to_string());
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.depth += 1;
        visit::visit_item_mod(self, item);
        self.depth -= 1;
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.add_use(&item.tree, &[]);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.file.functions.push(item.sig.ident.to_string());
        visit::visit_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let outer = self.in_trait_impl;
        self.in_trait_impl = item.trait_.is_some();
        visit::visit_item_impl(self, item);
        self.in_trait_impl = outer;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_for_tests(&item.attrs) {
            self.add_function(&item.sig.ident);
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.add_function(&item.sig.ident);
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        if segments.len() > 1 {
            self.add_import(segments, String::new());
        }
        visit::visit_path(self, path);
    }

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.file.strings.push(text.value());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.add_tokens(list.tokens.clone());
        }
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.add_tokens(item.tokens.clone());
    }
}
