//! Spaces from the command line.

use spaceport_e2e::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_space_from_the_command_line() {
    let Some(site) = super::site().await else { return };
    let stranger = super::user(&site, "stranger").await;
    // Images are found by a tag that has the Space's name, so names differ between sites.
    let name = format!("client-{}", site.docker.installation);
    let script = site.script(include_str!("spaces.py"));
    super::tell(script.argument(name).argument(&site.base_image).argument(stranger)).await;
    until("the deleted Spaces leave no container", 60, async || match site.docker.apps() {
        apps if apps.is_empty() => Ok(()),
        apps => Err(format!("{apps:?}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_works_or_says_why_not() {
    let Some(site) = super::site().await else { return };
    super::tell(site.script(include_str!("commands.py"))).await;
}
