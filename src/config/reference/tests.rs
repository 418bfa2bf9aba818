use std::path::PathBuf;

use super::*;

/// The page in the repository is the page that the code writes. `UPDATE_DOCS=1` writes it.
#[test]
fn the_page_in_docs_is_up_to_date() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = reference_page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/configuration.md is out of date: UPDATE_DOCS=1 cargo test --lib config::reference"
    );
}

#[test]
fn every_setting_and_every_code_is_on_the_page() {
    let page = reference_page();
    let schema = super::super::schema();
    for (_, shape) in schema["definitions"].as_object().unwrap() {
        for (key, _) in shape["properties"].as_object().into_iter().flatten() {
            assert!(page.contains(&format!("| `{key}` |")), "{key} is missing");
        }
    }
    for entry in &CODES {
        assert!(
            page.contains(&format!("| {} |", entry.id)),
            "{} is missing",
            entry.id
        );
    }
}
