//! The API as its clients see it.

mod accounts;
mod bad_input;
mod builds;
mod git;
mod openapi;
mod repositories;
mod rights;
mod settings;
mod site;
mod streams;
