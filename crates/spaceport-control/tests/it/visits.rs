//! Visits are counted once, whatever the database does.

use spaceport_control::{ControlHandle, LogStore, visits};
use spaceport_store::Store;

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visits_that_were_not_written_are_written_the_next_time() {
    let world = World::new().await;
    let space = world.space("alice/demo").await;
    let folder = tempfile::tempdir().unwrap();
    let clock = world.clock.clock();
    let control = ControlHandle::new(clock.clone(), LogStore::new(folder.path().join("logs"), clock));
    let away = Store::open(&format!("sqlite:{}", folder.path().join("away.db").display())).await.unwrap();
    away.close().await;
    control.visited(space, 2);
    visits::write(&away, &control).await;
    control.visited(space, 3);
    for _ in 0..2 {
        visits::write(&world.store, &control).await;
        let visits = world.store.repo_by_id(space.into()).await.unwrap().unwrap().visits;
        assert_eq!(visits, 5);
    }
}
