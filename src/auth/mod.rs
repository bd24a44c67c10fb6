//! Authorisation by the registry behind.
//!
//! regseal has no user database. Whatever it answers from its own store is preceded by the registry's decision for
//! this caller, repository and action; the decision becomes a [`Permit`], and the functions that read or write the
//! store ask for one. An answer that is not a clear yes is never a permit. Who may see what is kept for those who may
//! push is told by the [`relay`], or by the same decisions.

mod authorizer;
mod cache;
pub mod caller;
mod flights;
pub mod permit;
mod pressure;
mod question;
pub mod relay;

pub use authorizer::{AuthError, Authorizer, Config};
pub use caller::Caller;
pub use permit::{Permit, Pull, Push};
pub use question::{Refusal, is_done};
pub use relay::Relay;
