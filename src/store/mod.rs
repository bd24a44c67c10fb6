//! What regseal keeps: signature manifests, their blobs, and the records that make them referrers.
//!
//! The object store ([`blob`]) is the truth; the index ([`index`]) is a cache of it that may be lost at any time.
//! [`signatures::SignatureStore`] is the only way in: it keeps the write order (blobs, links, record, index) and goes
//! to the object store whenever the index cannot be trusted. Nothing is acknowledged before it is durable, and
//! everything is scoped by repository: content is served only where a link says so.
//!
//! Knows no HTTP and no upstream; whoever calls has authorised the caller.

pub mod blob;
pub mod collect;
pub mod error;
pub mod index;
pub mod layout;
pub mod records;
pub mod signatures;

mod adoption;
mod agreement;
mod aliases;
mod captured_tag;
mod content;
mod contents;
mod deletion;
mod derive;
mod heal;
mod import_log;
mod journal;
mod locks;
mod metrics;
mod owed;
mod passing;
mod policy;
mod rebuild;
mod referrers;
mod staging;
mod tag_versions;
mod union;
mod verify;

#[cfg(test)]
mod model;
#[cfg(test)]
mod testing;

pub use adoption::Adopted;
pub use captured_tag::ServedTag;
pub use collect::OnSubjectDelete;
pub use content::Content;
pub use contents::with_layers_of_both;
pub use error::StoreError;
pub use import_log::ImportRun;

pub use policy::Kept;
pub use rebuild::{Progress, Summary};
pub use records::{Inventory, Link, LinkKind, Mark, Referrer, Source, TagChange, TagVersion};
pub use signatures::{Health, IndexHealth, NewManifest, SignatureStore};
pub use verify::Difference;
