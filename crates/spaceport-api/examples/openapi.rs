//! Prints the OpenAPI document: `cargo run -p spaceport-api --example openapi > docs/openapi.json`.

fn main() {
    println!("{}", spaceport_api::openapi_json());
}
