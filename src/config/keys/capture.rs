//! Keys of what is captured, and of what is removed again.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::MIB;
use crate::config::kind::{Choice, Flag, MediaTypes, Size, Span};
use crate::config::section::Section;
use crate::config::settings::{Capture, CaptureMode, Gc};
use crate::store::OnSubjectDelete;

const TIB: u64 = 1 << 40;

/// Up to a year.
const AGE: Span = Span(RangeInclusive::new(
    Duration::from_millis(1),
    Duration::from_hours(366 * 24),
));

/// Up to an hour: whoever writes at the registry's own address waits for it.
const REFRESH: Span = Span(RangeInclusive::new(
    Duration::from_millis(1),
    Duration::from_hours(1),
));

pub(super) fn capture(keys: &mut Section<'_>) -> Capture {
    Capture {
        mode: keys.value(
            "mode",
            "Where captured manifests go: into the store, into both store and registry, or (auto) into both where the \
             registry has the Referrers API, else into the store.",
            &Choice(&[
                ("auto", Some(CaptureMode::Auto)),
                ("store", Some(CaptureMode::Store)),
                ("both", Some(CaptureMode::Both)),
            ]),
            CaptureMode::Auto,
        ),
        artifact_types: keys.value(
            "artifact_types",
            "The artifact types that are signatures. A list replaces the default.",
            &MediaTypes,
            [
                "application/vnd.cncf.notary.signature",
                "application/vnd.dev.sigstore.bundle.v0.3+json",
                "application/vnd.dev.cosign.artifact.sig.v1+json",
                "application/vnd.dev.cosign.artifact.att.v1+json",
            ]
            .map(str::to_owned)
            .to_vec(),
        ),
        max_blob: keys.value(
            "max_blob",
            "The largest blob of a captured manifest.",
            &Size(1..=TIB),
            256 * MIB,
        ),
        staging: keys.value(
            "staging",
            "The largest upload that is kept while it passes, for the manifest that may name it; 0 keeps none.",
            &Size(0..=1024 * MIB),
            MIB,
        ),
        absorb_fallback_tags: keys.value(
            "absorb_fallback_tags",
            "Whether referrers tags (sha256-<hex>) are merged into the referrers, not sent to the registry and not shown in \
             its tag lists.",
            &Flag,
            true,
        ),
        absorb_cosign_tags: keys.value(
            "absorb_cosign_tags",
            "Whether the tags of cosign 2 and older (sha256-<hex>.sig, .att, .sbom) are captured.",
            &Flag,
            true,
        ),
        refresh: keys.value(
            "refresh",
            "How long what the registry lists itself (its Referrers API, referrers tags, tags of cosign) is believed before \
             it is looked for again.",
            &REFRESH,
            Duration::from_secs(60),
        ),
        on_subject_delete: keys.value(
            "on_subject_delete",
            "What happens to signatures when their subject is deleted: they are kept, deleted after subject_grace unless \
             the subject came back, or deleted at once.",
            &Choice(&[
                ("keep", Some(OnSubjectDelete::Keep)),
                ("grace", Some(OnSubjectDelete::Grace)),
                ("delete", Some(OnSubjectDelete::Delete)),
            ]),
            OnSubjectDelete::Keep,
        ),
        subject_grace: keys.value(
            "subject_grace",
            "How long on_subject_delete: grace waits.",
            &AGE,
            Duration::from_hours(24),
        ),
    }
}

pub(super) fn gc(keys: &mut Section<'_>) -> Gc {
    Gc {
        between_scans: keys.value(
            "between_scans",
            "How far apart the two scans are that must both find an object unreferenced. Below 1h is for tests: a push \
             that takes longer loses its blobs.",
            &AGE,
            Duration::from_hours(1),
        ),
        untouched: keys.value(
            "untouched",
            "How long an object must not have been written before it is deleted. Below 24h is for tests.",
            &AGE,
            Duration::from_hours(24),
        ),
    }
}
