//! The README says what the repository holds.

use std::collections::BTreeSet;

const README: &str = include_str!("../README.md");

#[test]
fn the_program_in_the_readme_is_the_example() {
    let example = include_str!("../examples/quick_start.rs");
    let code = example.split_once("\n\n").expect("a comment comes first").1;

    let blocks: Vec<&str> = README
        .split("```rust,no_run\n")
        .skip(1)
        .map(|block| block.split("```").next().expect("a block ends"))
        .collect();

    assert_eq!(blocks, [code]);
}

#[test]
fn every_example_stands_in_the_readme() {
    let files =
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).expect("a folder");
    let examples: BTreeSet<String> = files
        .filter_map(|file| file.expect("an entry").file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".rs").map(str::to_string))
        .collect();

    let missing: Vec<&String> = examples
        .iter()
        .filter(|name| {
            !README.contains(&format!("`{name}`"))
                && !README.contains(&format!("examples/{name}.rs"))
        })
        .collect();

    assert!(examples.contains("quick_start"), "{examples:?}");
    assert!(missing.is_empty(), "{missing:?}");
}
