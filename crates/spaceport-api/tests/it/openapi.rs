//! The checked-in description of the API is the one the code has.

#[test]
fn the_checked_in_document_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        checked_in.trim() == spaceport_api::openapi_json().trim(),
        "docs/openapi.json is out of date; run `cargo run -p spaceport-api --example openapi > docs/openapi.json`"
    );
}
