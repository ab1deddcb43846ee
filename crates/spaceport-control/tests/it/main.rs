//! The reconcilers as one: real SQLite, real repositories, a model of an engine, and apps that
//! answer real requests. Crashes of the server are simulated by ending its async runtime.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as loudly as a test does")]

mod apps;
mod clock;
mod gate;
mod visits;
mod volumes;
mod world;

mod builds;
mod crashes;
mod deploy;
mod environments;
mod failures;
mod faults;
mod garbage;
mod gpu_day;
mod hardware;
mod large_files;
mod lifecycle;
mod limits;
mod moves;
mod preloads;
mod simulation;
