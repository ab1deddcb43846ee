//! The promises of the port `Runtime`, checked on both of its implementations, and what only
//! Docker can show (isolation, certificates, what is in an image).
//!
//! The Docker half needs an engine and the local image `spaceport-base:py3.11` (`cargo xtask
//! docker` provides both); without them each of its tests says so and passes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod contract;
mod devices;
mod docker;
mod dockerfile;
mod isolation;
mod world;

/// Runs each promise on both engines.
macro_rules! promises {
    ($($name:ident),+ $(,)?) => {
        mod fake_engine {
            $(
                #[tokio::test]
                async fn $name() {
                    crate::contract::$name(&crate::world::fake()).await;
                }
            )+
        }
        mod docker_engine {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    crate::world::on_docker(crate::contract::$name).await;
                }
            )+
        }
    };
}

promises!(
    images_are_found_by_reference_and_by_digest,
    an_unknown_image_cannot_be_pulled,
    a_step_prints_and_becomes_an_image,
    a_failing_step_is_an_outcome,
    a_step_out_of_memory_says_so,
    a_step_can_keep_an_archive,
    an_archive_may_be_too_large,
    the_size_of_a_volume_is_known,
    a_step_ends_with_its_time,
    a_step_ends_when_it_writes_too_much,
    a_canceled_step_is_canceled,
    a_layer_becomes_an_image,
    a_dockerfile_becomes_an_image,
    a_failing_dockerfile_is_an_outcome,
    a_dockerfile_ends_with_its_time,
    a_canceled_dockerfile_is_canceled,
    a_volume_is_filled_once_and_kept_while_it_is_used,
    starting_twice_starts_one,
    a_container_is_found_until_it_is_removed,
    an_app_that_ends_says_how,
    a_command_that_cannot_run_is_told_apart,
    an_image_that_is_gone_is_told_apart,
    a_stopped_app_was_asked_first,
    stopping_and_removing_what_is_absent_is_success,
    a_log_goes_on_where_it_was_left,
    a_log_is_live_until_the_app_ends,
    usage_is_known_while_it_runs,
    what_an_app_wrote_to_its_disk_is_known_while_it_runs,
    sockets_are_seen_where_they_listen,
    changes_are_hinted_at,
    a_lease_is_found_again_with_its_devices,
    a_device_the_engine_cannot_give_is_told_apart,
    an_image_in_use_is_not_removed,
    the_cpu_cap_can_be_set_and_lifted,
);
