//! What a browser or a script sees of a running Telereel: the status of a recorder, the controls of a replay, metrics
//! and health of both.
//!
//! No domain logic: it shows what others know, and hands on what is ordered.

mod body;
mod exposition;
mod guard;
mod health;
pub(crate) mod marks;
mod metrics;
pub mod replay;
pub mod status;

pub use status::routes;
