//! Hints that a container of ours changed.

use bollard::Docker;
use bollard::query_parameters::EventsOptions;
use futures::StreamExt;
use futures::stream::BoxStream;
use spaceport_runtime::{ContainerEvent, RuntimeError};

use crate::client::{CALL_TIMEOUT, within};
use crate::{clock, labels};

/// What changes a state a caller can see. `exec_*` would report our own looks into a container.
const ACTIONS: [&str; 4] = ["start", "die", "oom", "destroy"];

pub(crate) async fn follow(
    docker: Docker,
    installation: &str,
) -> Result<BoxStream<'static, ContainerEvent>, RuntimeError> {
    // The request is only sent when the stream is polled, and the caller lists in between. The
    // engine repeats its last events, so it is asked for those from this moment on, by its clock.
    let info = within(CALL_TIMEOUT, "ask for the engine's time", docker.info()).await?;
    let mut filters = labels::filter(&[(labels::INSTALLATION, installation), (labels::ROLE, labels::ROLE_APP)]);
    filters.insert("type".to_owned(), vec!["container".to_owned()]);
    filters.insert("event".to_owned(), ACTIONS.map(str::to_owned).to_vec());
    let options = EventsOptions {
        since: info.system_time.as_deref().and_then(clock::since),
        filters: Some(filters),
        ..Default::default()
    };
    Ok(Box::pin(async_stream::stream! {
        let mut events = docker.events(Some(options));
        while let Some(Ok(event)) = events.next().await {
            let attributes = event.actor.and_then(|actor| actor.attributes).unwrap_or_default();
            yield ContainerEvent { space: attributes.get(labels::SPACE).and_then(|space| space.parse().ok()) };
        }
    }))
}
