//! Hardware by quota on the real engine. The devices are named in the configuration, and their nodes give zeros: what
//! is tested is who gets them, and that a container has what its lease says.

mod lab;
mod loss;
mod sharing;
