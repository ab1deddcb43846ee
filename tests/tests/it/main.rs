//! End-to-end tests; what they need and share is in the library of this package.

mod sdks;
