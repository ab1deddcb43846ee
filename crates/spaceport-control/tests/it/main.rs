//! The reconcilers as one: real SQLite, real repositories, a model of an engine, and apps that
//! answer real requests. Crashes of the server are simulated by ending its async runtime.

mod apps;
mod clock;
mod gate;
mod world;

mod builds;
mod crashes;
mod deploy;
mod failures;
mod lifecycle;
mod simulation;
