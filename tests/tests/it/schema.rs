//! `docs/openapi.json` against a running server, by schemathesis.

use std::path::Path;

use spaceport_e2e::Site;

use crate::clients::user;
use crate::hostile::unharmed;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_is_answered() {
    let Some(mut site) = Site::start().await else { return };
    let stranger = user(&site, "stranger").await;
    let description = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let description = description.canonicalize().expect("the description is there").display().to_string();
    let script = site.script(include_str!("schema.py")).argument(description).argument(stranger);
    let said = script.limit_s(550).run().await;
    println!("{said}");
    assert!(said.contains("all is well"), "{said}");
    unharmed(&mut site).await;
}
