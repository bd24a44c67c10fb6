//! The vocabulary of the image and distribution specifications, parsed once.
//!
//! Pure: no I/O, no clock. A value of one of these types has passed its grammar; nothing behind `route` handles
//! protocol values as plain strings.

pub mod companion_tag;
pub mod descriptor;
pub mod digest;
pub mod error_code;
pub mod image_index;
pub mod image_reference;
pub mod lookalike;
pub mod manifest;
pub mod media_type;
pub mod name;
pub mod reference;
pub mod signature_form;
pub mod strict_json;
pub mod tag;

pub use companion_tag::CompanionTag;
pub use descriptor::Descriptor;
pub use digest::{Digest, Hasher};
pub use error_code::ErrorCode;
pub use image_reference::{ImageReference, InvalidImageReference};
pub use manifest::{Manifest, ManifestError, ManifestKind};
pub use name::RepositoryName;
pub use reference::Reference;
pub use tag::Tag;
