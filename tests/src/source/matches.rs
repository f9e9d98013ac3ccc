//! Matches with an arm for "any other": which types their other arms name.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};
use syn::{Attribute, ExprMatch, Item, Pat};

use super::parse::is_for_tests;

/// A `match` that has an arm which takes whatever the others do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenMatch {
    /// The function that it stands in.
    pub function: String,
    /// The types whose variants its other arms name.
    pub types: BTreeSet<String>,
}

/// What a file has to do with enumerations of errors.
#[derive(Debug, Default)]
pub(super) struct MatchCollector {
    /// Its enumerations that derive an error.
    pub(super) error_enums: Vec<String>,
    pub(super) open_matches: Vec<OpenMatch>,
    function: String,
    self_type: String,
}

impl<'ast> Visit<'ast> for MatchCollector {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = match item {
            Item::Enum(item) => {
                if item.attrs.iter().any(derives_error) {
                    self.error_enums.push(item.ident.to_string());
                }
                &item.attrs
            }
            Item::Fn(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => &[],
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let outer = std::mem::replace(&mut self.function, item.sig.ident.to_string());
        visit::visit_item_fn(self, item);
        self.function = outer;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if is_for_tests(&item.attrs) {
            return;
        }
        let outer = std::mem::replace(&mut self.function, item.sig.ident.to_string());
        visit::visit_impl_item_fn(self, item);
        self.function = outer;
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let name = match item.self_ty.as_ref() {
            syn::Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
            _ => None,
        };
        let outer = std::mem::replace(&mut self.self_type, name.unwrap_or_default());
        visit::visit_item_impl(self, item);
        self.self_type = outer;
    }

    fn visit_expr_match(&mut self, item: &'ast ExprMatch) {
        let arms = item.arms.iter();
        if arms.clone().any(|arm| takes_anything(&arm.pat)) {
            let mut types = BTreeSet::new();
            arms.for_each(|arm| add_types(&arm.pat, &mut types));
            let types = types.into_iter().map(|name| match name.as_str() {
                "Self" => self.self_type.clone(),
                _ => name,
            });
            self.open_matches.push(OpenMatch {
                function: self.function.clone(),
                types: types.collect(),
            });
        }
        visit::visit_expr_match(self, item);
    }
}

/// `#[derive(…, thiserror::Error)]`.
fn derives_error(attribute: &Attribute) -> bool {
    let mut found = false;
    if attribute.path().is_ident("derive") {
        // What cannot be parsed does not compile either.
        _ = attribute.parse_nested_meta(|meta| {
            let last = meta.path.segments.last();
            found |= last.is_some_and(|last| last.ident == "Error");
            Ok(())
        });
    }
    found
}

/// `_` or the name of a variable, alone or among alternatives.
fn takes_anything(pattern: &Pat) -> bool {
    match pattern {
        Pat::Wild(_) => true,
        // A name in capitals is a constant or a variant that was imported.
        Pat::Ident(name) => {
            name.subpat.is_none() && !name.ident.to_string().starts_with(char::is_uppercase)
        }
        Pat::Or(or) => or.cases.iter().any(takes_anything),
        Pat::Paren(inner) => takes_anything(&inner.pat),
        Pat::Reference(inner) => takes_anything(&inner.pat),
        _ => false,
    }
}

/// Adds the types whose variants a pattern takes. What is inside a variant, such as the error of a `Result`, is not what
/// is matched: to handle one error and to pass on the rest is fine.
fn add_types(pattern: &Pat, types: &mut BTreeSet<String>) {
    let path = match pattern {
        Pat::Path(variant) => &variant.path,
        Pat::Struct(variant) => &variant.path,
        Pat::TupleStruct(variant) => &variant.path,
        Pat::Or(or) => return or.cases.iter().for_each(|case| add_types(case, types)),
        Pat::Paren(inner) => return add_types(&inner.pat, types),
        Pat::Reference(inner) => return add_types(&inner.pat, types),
        Pat::Ident(name) => {
            let inner = name.subpat.iter();
            return inner.for_each(|(_, inner)| add_types(inner, types));
        }
        _ => return,
    };
    let names: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
    if let [modules @ .., name, _] = names.as_slice()
        && !(name == "Error" && modules.first().is_some_and(|module| is_foreign(module)))
    {
        types.insert(name.clone());
    }
}

/// Whether the first segment of a path is another project's crate. Every crate calls its error `Error`.
fn is_foreign(module: &str) -> bool {
    !["crate", "self", "super"].contains(&module) && !module.starts_with("reprise_")
}
