//! What is kept for policy: what has named a manifest, marks on tags, manifests that were rejected, the inventory of what
//! was there before, and verdicts.
//!
//! All of it stands by itself. No link, referrer or tag needs it, the collector leaves it alone, and but for the
//! verdicts, which are nowhere else, no row of the index is made from it.

mod inventory;
mod kept;
mod marks;
mod names;
mod verdicts;

#[cfg(test)]
mod tests;

pub use kept::Kept;

#[cfg(test)]
pub(super) use tests::holds_over;
