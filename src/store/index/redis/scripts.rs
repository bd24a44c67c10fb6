//! The scripts, each of which does one operation on one repository as a whole.
//!
//! They are called by their SHA only, never sent along: the epoch is a constant in their text, so a server that was
//! started anew, or was told nothing of this epoch, answers NOSCRIPT instead of obeying. The keys that a script makes
//! of the incarnation are not in `KEYS`; they have the hash tag of the one that is, so they are on the same node. A
//! proxy that wants to see every key cannot be used.

use std::sync::Arc;

use aws_lc_rs::digest;

use super::codec;

/// Below this a number is exact in a script.
pub(super) const LARGEST: u64 = 1 << 53;

/// Changes: refuse when their caller has given up, and begin the repository if need be.
const CHANGE: [&str; 3] = [
    include_str!("lua/write.lua"),
    include_str!("lua/here.lua"),
    include_str!("lua/begun.lua"),
];
/// Changes of what must be there already.
const CHANGE_SEEN: [&str; 2] = [include_str!("lua/write.lua"), include_str!("lua/here.lua")];
const READ: [&str; 2] = [include_str!("lua/here.lua"), include_str!("lua/needed.lua")];
const SUBJECTS: &str = include_str!("lua/rows.lua");
const LINKS: &str = include_str!("lua/table.lua");

/// A script that is loaded at every handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Script {
    Begin,
    Complete,
    ChangeReferrer,
    Generation,
    ReplaceSubject,
    Referrers,
    PutLinks,
    RemoveLink,
    Link,
    PutTagVersion,
    TagVersions,
    PutVerdicts,
    Verdicts,
    WalkKeys,
    WalkBucket,
    Sweep,
    /// On the state instead of a repository.
    Note,
    /// On a lease instead of a repository.
    Lease,
}

impl Script {
    pub(super) const ALL: [Self; 18] = [
        Self::Begin,
        Self::Complete,
        Self::ChangeReferrer,
        Self::Generation,
        Self::ReplaceSubject,
        Self::Referrers,
        Self::PutLinks,
        Self::RemoveLink,
        Self::Link,
        Self::PutTagVersion,
        Self::TagVersions,
        Self::PutVerdicts,
        Self::Verdicts,
        Self::WalkKeys,
        Self::WalkBucket,
        Self::Sweep,
        Self::Note,
        Self::Lease,
    ];

    /// The text for an epoch. From version 7 on a server can be told to refuse a script as it would refuse a write,
    /// without looking at what it does: then a master that was made a replica answers no reads either.
    pub(super) fn text(self, epoch: u64, server_version: u64) -> String {
        let (parts, own): (Vec<&str>, &str) = match self {
            Self::Begin => (CHANGE.to_vec(), include_str!("lua/begin.lua")),
            Self::Complete => (CHANGE_SEEN.to_vec(), include_str!("lua/complete.lua")),
            Self::ChangeReferrer => (
                [&CHANGE[..], &[SUBJECTS]].concat(),
                include_str!("lua/change_referrer.lua"),
            ),
            Self::Generation => (
                [&CHANGE[..], &[SUBJECTS]].concat(),
                include_str!("lua/generation.lua"),
            ),
            Self::ReplaceSubject => (
                [&CHANGE_SEEN[..], &[SUBJECTS]].concat(),
                include_str!("lua/replace_subject.lua"),
            ),
            Self::Referrers => (READ.to_vec(), include_str!("lua/referrers.lua")),
            Self::PutLinks => (
                [&CHANGE[..], &[LINKS]].concat(),
                include_str!("lua/put_links.lua"),
            ),
            Self::RemoveLink => (
                [&CHANGE[..], &[LINKS]].concat(),
                include_str!("lua/remove_link.lua"),
            ),
            Self::Link => ([&READ[..], &[LINKS]].concat(), include_str!("lua/link.lua")),
            Self::PutTagVersion => (CHANGE.to_vec(), include_str!("lua/put_tag_version.lua")),
            Self::TagVersions => (READ.to_vec(), include_str!("lua/tag_versions.lua")),
            Self::PutVerdicts => (CHANGE.to_vec(), include_str!("lua/put_verdicts.lua")),
            Self::Verdicts => (READ.to_vec(), include_str!("lua/verdicts.lua")),
            Self::WalkKeys => (READ.to_vec(), include_str!("lua/walk_keys.lua")),
            Self::WalkBucket => (
                [&READ[..], &[LINKS]].concat(),
                include_str!("lua/walk_bucket.lua"),
            ),
            Self::Sweep => (CHANGE_SEEN.to_vec(), include_str!("lua/sweep.lua")),
            Self::Note => (vec![CHANGE[0]], include_str!("lua/note.lua")),
            Self::Lease => (vec![CHANGE[0]], include_str!("lua/lease.lua")),
        };
        let flags = if server_version >= 7 && !parts.contains(&CHANGE[0]) {
            "#!lua flags=allow-oom\n"
        } else {
            ""
        };
        let parts = parts.concat();
        format!("{flags}local EPOCH = '{epoch}'\n{parts}{own}")
    }
}

/// The SHAs of the scripts of an epoch, in their order.
pub(super) fn names(epoch: u64, server_version: u64) -> Arc<[String]> {
    Script::ALL
        .iter()
        .map(|script| {
            let text = script.text(epoch, server_version);
            // Not for security: it is what Redis calls a script by.
            let sha = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
            codec::hex(sha.as_ref())
        })
        .collect()
}

/// Begins an epoch: of no epoch itself.
pub(super) const BEGIN_EPOCH: &str = include_str!("lua/begin_epoch.lua");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_stand_at_their_own_place() {
        for (place, script) in Script::ALL.into_iter().enumerate() {
            assert_eq!(script as usize, place);
            assert_ne!(script.text(1, 7), script.text(2, 7), "{script:?}");
        }
    }
}
