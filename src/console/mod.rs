//! What a browser or a script sees of a running Telereel: so far, the status of a recorder.
//!
//! No domain logic: it shows what others know.

pub mod status;

pub use status::routes;
