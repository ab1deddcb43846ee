//! Spaces that get another name while they run, or are built.

use spaceport_core::SpaceId;
use spaceport_core::route::Target;
use spaceport_core::space::BuildState;

use crate::apps::{gradio, site};
use crate::world::World;

async fn move_to(world: &World, space: SpaceId, name: &str) {
    let repo = world.store.repo_by_id(space.into()).await.unwrap().unwrap();
    let moved = world.store.repo_move(&repo, &name.parse().unwrap(), repo.owner, world.clock.now()).await.unwrap();
    assert!(moved);
    world.parts().control.activate(space);
}

/// Whether the app answers at a host, as the proxy would look it up.
fn serves(world: &World, host: &str) -> bool {
    let table = world.parts().routes.current();
    let at = table.moved_to(host, "localhost:8080").unwrap_or_else(|| host.to_owned());
    let route = table.hosts.get(host).or_else(|| table.hosts.get(&at));
    matches!(route.map(|route| &route.target), Some(Target::Upstream { .. } | Target::Files { .. }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_answers_all_the_time_while_its_space_moves() {
    let world = World::new().await;
    let app = world.running("alice/demo", &gradio("one")).await;
    let files = world.running("alice/site", &site("two")).await;
    let (old, builds) = (world.container(app), world.fake.builds());
    for (space, name) in [(app, "alice/new"), (files, "alice/pages")] {
        move_to(&world, space, name).await;
    }
    let new_name = |seen: &spaceport_runtime::Container| {
        let env = world.env(seen);
        env.get("SPACE_ID").is_some_and(|id| id == "alice/new")
            && env.get("SPACE_HOST").is_some_and(|host| host == "alice-new.localhost:8080")
    };
    world
        .wait_for("an app that knows its name", || async {
            // Whichever table one looks at: the former host finds it.
            assert!(serves(&world, "alice-demo.localhost"));
            assert!(serves(&world, "alice-site.localhost"));
            let serving = world.target(app);
            let is_new = |target: &Option<Target>| match target {
                Some(Target::Upstream { instance, .. }) => *instance != old.instance.to_string(),
                _ => false,
            };
            is_new(&serving) && world.containers(app).iter().any(&new_name)
        })
        .await;
    for host in ["alice-demo", "alice-new", "alice-site", "alice-pages"] {
        assert!(serves(&world, &format!("{host}.localhost")), "{host}");
    }
    assert_eq!(world.fake.builds(), builds, "nothing is built");
    // One that goes away is not led to.
    world.delete(app).await;
    world.wait_gone(app).await;
    let table = world.parts().routes.current();
    assert_eq!(table.moved_to("alice-demo.localhost", "localhost:8080"), None);
    assert!(serves(&world, "alice-site.localhost"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_goes_on_while_its_space_moves() {
    let world = World::new().await;
    let space = world.space("alice/demo").await;
    world.push(space, &gradio("one")).await;
    move_to(&world, space, "alice/new").await;
    world.wait_visit(space, "one").await;
    let builds = world.builds(space).await;
    assert_eq!((builds.len(), builds[0].state), (1, BuildState::Succeeded), "{builds:?}");
    assert_eq!(world.env(&world.container(space)).get("SPACE_ID").map(String::as_str), Some("alice/new"));
}
