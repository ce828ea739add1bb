//! What a browser or a script sees of a running Telereel: the status of a recorder, the controls of a replay.
//!
//! No domain logic: it shows what others know, and hands on what is ordered.

mod guard;
pub(crate) mod marks;
pub mod replay;
pub mod status;

pub use status::routes;
