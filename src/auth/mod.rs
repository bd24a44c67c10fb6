//! Authorisation by the registry behind.
//!
//! regseal has no user database. Whatever it answers from its own store is preceded by the registry's decision for
//! this caller, repository and action; the decision becomes a [`Permit`], and the functions that read or write the
//! store ask for one. An answer that is not a clear yes is never a permit.

mod authorizer;
mod cache;
pub mod caller;
pub mod permit;

pub use authorizer::{AuthError, Authorizer, Config, Refusal};
pub use caller::Caller;
pub use permit::{Permit, Pull, Push};
