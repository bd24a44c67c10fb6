//! In and out: what the registry behind had before regseal is taken over ([`Import`]), and what only regseal holds is
//! written there again ([`Export`]), so that regseal can be put before a registry and taken away from it.
//!
//! Both work with regseal's own account, for an operator, and answer nothing to clients. Both can be ended at any moment
//! and begun again: an import goes on where it was, and an export finds what is there already.

mod export;
mod import;
mod jobs;
mod patience;
mod push;
mod registry;
mod report;

pub use export::{Export, ExportOptions};
pub use import::{Import, ImportOptions};
pub use jobs::{Asked, Busy, Jobs, State, Status};
pub use registry::Settings;
pub use report::{
    Counts, ExportReport, ImportReport, Inventory, Problem, Problems, Progress, Referrers,
};

use thiserror::Error;

use crate::store::StoreError;
use crate::upstream::UpstreamError;

/// Why a transfer ended before its end. Begun again, it goes on.
#[derive(Debug, Error)]
pub enum TransferError {
    /// The registry does not answer any more.
    #[error(transparent)]
    Unreachable(#[from] UpstreamError),
    /// The registry does not say what it has.
    #[error(
        "the registry does not list its repositories to regseal's account ({0}): name them with --repositories or --repository"
    )]
    NoCatalog(String),
    /// The stores failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another process is at the same work.
    #[error("another regseal is at an import of the same stores")]
    Elsewhere,
    /// A file cannot be written.
    #[error("cannot write {path}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
}
