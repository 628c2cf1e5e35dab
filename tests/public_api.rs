//! The public API, held against the listing in `tests/public_api.txt`: whoever changes one changes the
//! other, and sees in the diff what users will see.
//!
//! ```sh
//! UPDATE=1 cargo test --test public_api
//! ```

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use syn::{Attribute, ImplItem, Item, Type, UseTree, Visibility};

/// All items of the library, without those of its tests.
fn items() -> Vec<Item> {
    let mut items = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            if ["tests", "explored", "golden", "scene"].contains(&name) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                items.extend(syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap().items);
            }
        }
    }
    let mut within = Vec::new();
    for item in &items {
        if let Item::Mod(module) = item
            && let (Visibility::Public(_), Some((_, inner))) = (&module.vis, &module.content)
        {
            within.extend(inner.clone());
        }
    }
    items.extend(within);
    items.retain(|item| !is_for_tests(attributes(item)));
    items
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn condition(attributes: &[Attribute]) -> Option<String> {
    let cfg = attributes.iter().find(|attribute| attribute.path().is_ident("cfg"))?;
    Some(tokens(&cfg.meta))
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    condition(attributes).is_some_and(|cfg| cfg.contains("test") && !cfg.contains("testing"))
}

/// The names that `lib.rs` makes public: of itself, or by its public modules.
fn exported() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in ["src/lib.rs", "src/testing.rs"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        for item in syn::parse_file(&text).unwrap().items {
            if let Item::Use(item) = item
                && matches!(item.vis, Visibility::Public(_))
            {
                leaves(&item.tree, &mut names);
            }
        }
    }
    names
}

fn leaves(tree: &UseTree, names: &mut BTreeSet<String>) {
    match tree {
        UseTree::Path(path) => leaves(&path.tree, names),
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, names)),
        UseTree::Name(name) => drop(names.insert(name.ident.to_string())),
        UseTree::Rename(rename) => drop(names.insert(rename.rename.to_string())),
        UseTree::Glob(_) => panic!("a glob makes public what nobody decided on"),
    }
}

fn tokens(node: &impl quote::ToTokens) -> String {
    node.to_token_stream().to_string()
}

/// One line of Rust, formatted.
fn line(item: Item) -> String {
    let file = syn::File { shebang: None, attrs: Vec::new(), items: vec![item] };
    let text = prettyplease::unparse(&file);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Keeps what users see: no documentation, and no attributes that only the compiler reads.
fn keep(attributes: &mut Vec<Attribute>) {
    let kept = ["non_exhaustive", "must_use", "derive", "cfg"];
    attributes.retain(|one| kept.iter().any(|name| one.path().is_ident(name)));
}

/// What an item shows of itself.
fn shown(item: &Item) -> Option<String> {
    let mut item = item.clone();
    match &mut item {
        Item::Struct(one) => {
            keep(&mut one.attrs);
            let is_public =
                one.fields.iter().any(|field| matches!(field.vis, Visibility::Public(_)));
            let mut lines = Vec::new();
            for field in
                one.fields.iter().filter(|field| matches!(field.vis, Visibility::Public(_)))
            {
                let name = field.ident.as_ref().map_or("0".into(), ToString::to_string);
                lines.push(format!("    pub {name}: {}", tokens(&field.ty)));
            }
            let attributes: Vec<String> = one.attrs.iter().map(tokens).collect();
            let fields = if is_public { lines.join("\n") + "\n" } else { String::new() };
            Some(format!("{}\nstruct {}\n{fields}", attributes.join("\n"), one.ident))
        }
        Item::Enum(one) => {
            keep(&mut one.attrs);
            let mut text: String =
                one.attrs.iter().map(|attribute| tokens(attribute) + "\n").collect();
            writeln!(text, "enum {}", one.ident).unwrap();
            for variant in &mut one.variants {
                variant.attrs.clear();
                variant.fields.iter_mut().for_each(|field| field.attrs.clear());
                writeln!(text, "    {}", tokens(variant)).unwrap();
            }
            Some(text)
        }
        Item::Trait(one) => {
            keep(&mut one.attrs);
            let mut text = format!("trait {} : {}\n", one.ident, tokens(&one.supertraits));
            for inner in &mut one.items {
                if let syn::TraitItem::Fn(method) = inner {
                    let default = if method.default.is_some() { " { .. }" } else { "" };
                    writeln!(text, "    {}{default}", tokens(&method.sig)).unwrap();
                }
            }
            Some(text)
        }
        Item::Type(one) => Some(format!("type {} = {}\n", one.ident, tokens(&one.ty))),
        Item::Const(one) => Some(format!("const {}: {}\n", one.ident, tokens(&one.ty))),
        Item::Mod(one) => {
            let mut text = format!("mod {}\n", one.ident);
            for inner in one.content.iter().flat_map(|(_, items)| items) {
                if let Item::Const(inner) = inner {
                    writeln!(text, "    const {}: {}", inner.ident, tokens(&inner.ty)).unwrap();
                }
            }
            Some(text)
        }
        _ => None,
    }
}

fn name(item: &Item) -> Option<String> {
    let (ident, vis) = match item {
        Item::Struct(item) => (&item.ident, &item.vis),
        Item::Enum(item) => (&item.ident, &item.vis),
        Item::Trait(item) => (&item.ident, &item.vis),
        Item::Type(item) => (&item.ident, &item.vis),
        Item::Const(item) => (&item.ident, &item.vis),
        Item::Mod(item) => (&item.ident, &item.vis),
        _ => return None,
    };
    matches!(vis, Visibility::Public(_)).then(|| ident.to_string())
}

fn implemented_for(ty: &Type) -> Option<String> {
    let Type::Path(path) = ty else { return None };
    path.path.segments.last().map(|segment| segment.ident.to_string())
}

/// The methods and traits of a type.
fn implementations(items: &[Item], of: &str) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for item in items {
        let Item::Impl(block) = item else { continue };
        if implemented_for(&block.self_ty).as_deref() != Some(of) {
            continue;
        }
        if let Some((_, path, _)) = &block.trait_ {
            let path = tokens(path).replace(' ', "");
            // Private traits, which nobody outside can name.
            if !["Encode", "Decode", "Row", "Complete"].contains(&path.as_str()) {
                let generics = tokens(&block.generics.params);
                let generics = if generics.is_empty() { generics } else { format!("<{generics}>") };
                lines.insert(format!("    impl{generics} {path}"));
            }
            continue;
        }
        for inner in &block.items {
            let (attributes, text) = match inner {
                ImplItem::Fn(method) if matches!(method.vis, Visibility::Public(_)) => {
                    let function = syn::ItemFn {
                        attrs: Vec::new(),
                        vis: method.vis.clone(),
                        sig: method.sig.clone(),
                        block: syn::parse_quote!({}),
                    };
                    (&method.attrs, line(Item::Fn(function)).trim_end_matches(" {}").to_string())
                }
                ImplItem::Const(one) if matches!(one.vis, Visibility::Public(_)) => {
                    (&one.attrs, format!("pub const {}: {}", one.ident, tokens(&one.ty)))
                }
                _ => continue,
            };
            if !is_for_tests(attributes) {
                let condition = condition(attributes).map(|cfg| format!(" [{cfg}]"));
                lines.insert(format!("    {text}{}", condition.unwrap_or_default()));
            }
        }
    }
    lines
}

fn listing() -> String {
    let items = items();
    let mut text = String::from(
        "The public API of milepost. What macros make stands at the end, as the call of the macro.\n",
    );
    for exported in exported() {
        for item in items.iter().filter(|item| name(item).as_deref() == Some(&exported)) {
            let Some(shown) = shown(item) else { continue };
            writeln!(text, "\n{}", shown.trim()).unwrap();
            for line in implementations(&items, &exported) {
                writeln!(text, "{line}").unwrap();
            }
        }
    }
    for item in &items {
        if let Item::Macro(call) = item
            && call.ident.is_none()
            && (call.mac.path.is_ident("number") || call.mac.path.is_ident("serde_as_text"))
        {
            let tokens = call.mac.tokens.to_string();
            let without_docs = tokens.split("# [doc").last().unwrap_or_default();
            let call_of = without_docs.rsplit(']').next().unwrap_or_default().trim().to_string();
            writeln!(text, "\n{}! {call_of}", call.mac.path.segments[0].ident).unwrap();
        }
    }
    text
}

#[test]
fn the_public_api_is_the_one_that_is_listed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/public_api.txt");
    let listing = listing();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &listing).unwrap();
    }
    let listed = fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");

    let new: Vec<&str> = listing.lines().filter(|line| !listed.contains(line)).collect();
    let gone: Vec<&str> = listed.lines().filter(|line| !listing.contains(line)).collect();
    assert!(
        listing == listed,
        "the public API has changed; if that is meant, run it with UPDATE=1 and commit the listing\n\
         new: {new:#?}\ngone: {gone:#?}"
    );
}

#[test]
fn the_listing_has_types_methods_and_traits() {
    let listing = listing();
    for part in [
        "struct Store",
        "    pub fn close(&self) -> Result<()>",
        "enum LeaseOutcome",
        "    impl fmt::Display",
        "mod limits",
        "trait Clock",
        "number! JobId",
    ] {
        assert!(listing.contains(part), "{part:?} is missing");
    }
}
