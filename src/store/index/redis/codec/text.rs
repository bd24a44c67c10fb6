//! Texts and digests: well-known texts as a number, hexadecimal digests as raw bytes, instants as seconds.

use jiff::Timestamp;

use super::bytes::{Reader, put_varint};
use crate::oci::Digest;

/// Texts that stand as their place in this list. To change the list is to change the schema, except at its end.
pub(super) const KNOWN: &[&str] = &[
    "",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.oci.empty.v1+json",
    "application/octet-stream",
    "application/json",
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.cncf.notary.signature",
    "application/jose+json",
    "application/cose",
    "io.cncf.notary.x509chain.thumbprint#S256",
    "org.opencontainers.image.created",
    "org.opencontainers.image.title",
    "org.opencontainers.image.description",
    "org.opencontainers.image.source",
    "org.opencontainers.image.revision",
    "org.opencontainers.image.version",
    "org.opencontainers.artifact.created",
    "org.opencontainers.artifact.description",
    "application/vnd.dev.cosign.simplesigning.v1+json",
    "application/vnd.dev.cosign.artifact.sig.v1+json",
    "application/vnd.dev.cosign.artifact.sbom.v1+json",
    "dev.cosignproject.cosign/signature",
    "dev.cosignproject.cosign/signedAttestation",
    "dev.sigstore.cosign/certificate",
    "dev.sigstore.cosign/chain",
    "dev.sigstore.cosign/bundle",
    "dev.sigstore.cosign/rfc3161timestamp",
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.1",
    "dev.sigstore.bundle.content",
    "dev.sigstore.bundle.predicateType",
    "dsse-envelope",
    "message-signature",
    "https://sigstore.dev/cosign/sign/v1",
    "https://slsa.dev/provenance/v0.2",
    "https://slsa.dev/provenance/v1",
    "https://spdx.dev/Document",
    "https://cyclonedx.org/bom",
    "https://in-toto.io/attestation/vulns",
    "https://cosign.sigstore.dev/attestation/vuln/v1",
    "application/vnd.in-toto+json",
    "application/vnd.dsse.envelope.v1+json",
    "in-toto.io/predicate-type",
    "predicateType",
    "application/spdx+json",
    "text/spdx+json",
    "text/spdx",
    "application/vnd.cyclonedx+json",
    "application/vnd.cyclonedx+xml",
    "application/sarif+json",
    "application/vnd.aquasec.trivy.report.sarif.v1",
    "application/vnd.goharbor.harbor.sbom.v1",
    "vnd.docker.reference.type",
    "vnd.docker.reference.digest",
    "attestation-manifest",
    "true",
    "false",
];

// What begins a text: below `HEX`, a place in the list.
const HEX: u64 = 96;
/// A JSON array of hexadecimal texts; their number follows.
const HEX_LIST: u64 = 97;
/// RFC 3339 in UTC with whole seconds.
const INSTANT: u64 = 98;
const SHA256: u64 = 99;
/// From here on: the length, and the bytes.
const LITERAL: u64 = 100;

const _: () = assert!(
    (KNOWN.len() as u64) < HEX,
    "the numbers below HEX are for the list"
);

/// The algorithms whose digests are raw bytes; any other digest is its text.
const RAW: [(&str, usize); 3] = [("sha256", 32), ("sha384", 48), ("sha512", 64)];
const TEXT: u8 = 0;

pub(super) fn put(out: &mut Vec<u8>, text: &str) {
    if let Some(place) = KNOWN.iter().position(|known| *known == text) {
        put_varint(out, place as u64);
    } else if let Some(raw) = raw::<32>(text) {
        put_varint(out, HEX);
        out.extend(raw);
    } else if let Some(raw) = text.strip_prefix("sha256:").and_then(raw::<32>) {
        put_varint(out, SHA256);
        out.extend(raw);
    } else if let Some(list) = hex_list(text) {
        put_varint(out, HEX_LIST);
        put_varint(out, list.len() as u64);
        out.extend(list.concat());
    } else if let Some(seconds) = instant(text) {
        put_varint(out, INSTANT);
        put_varint(out, seconds);
    } else {
        put_varint(out, LITERAL + text.len() as u64);
        out.extend(text.as_bytes());
    }
}

pub(super) fn text(reader: &mut Reader<'_>) -> Option<String> {
    let form = reader.varint()?;
    match form {
        HEX => Some(hex(reader.take(32)?)),
        SHA256 => Some(format!("sha256:{}", hex(reader.take(32)?))),
        HEX_LIST => {
            let mut parts = Vec::new();
            for _ in 0..reader.varint()? {
                parts.push(format!("\"{}\"", hex(reader.take(32)?)));
            }
            Some(format!("[{}]", parts.join(",")))
        }
        INSTANT => {
            let seconds = i64::try_from(reader.varint()?).ok()?;
            Some(Timestamp::from_second(seconds).ok()?.to_string())
        }
        LITERAL.. => {
            let length = usize::try_from(form - LITERAL).ok()?;
            String::from_utf8(reader.take(length)?.to_vec()).ok()
        }
        place => {
            let known = KNOWN.get(usize::try_from(place).ok()?)?;
            Some((*known).to_owned())
        }
    }
}

pub(super) fn put_digest(out: &mut Vec<u8>, digest: &Digest) {
    let encoded = digest.encoded();
    let raw = match digest.algorithm() {
        "sha256" => raw::<32>(encoded).map(|raw| (1, raw.to_vec())),
        "sha384" => raw::<48>(encoded).map(|raw| (2, raw.to_vec())),
        "sha512" => raw::<64>(encoded).map(|raw| (3, raw.to_vec())),
        _ => None,
    };
    if let Some((form, raw)) = raw {
        out.push(form);
        out.extend(raw);
    } else {
        let text = digest.as_str();
        out.push(TEXT);
        out.push(u8::try_from(text.len()).expect("a digest has at most 200 characters"));
        out.extend(text.as_bytes());
    }
}

pub(super) fn digest(reader: &mut Reader<'_>) -> Option<Digest> {
    let text = match reader.byte()? {
        TEXT => {
            let length = usize::from(reader.byte()?);
            String::from_utf8(reader.take(length)?.to_vec()).ok()?
        }
        form => {
            let (algorithm, length) = RAW.get(usize::from(form - 1))?;
            format!("{algorithm}:{}", hex(reader.take(*length)?))
        }
    };
    text.parse().ok()
}

/// Lower-case hexadecimal digits.
pub(in crate::store::index::redis) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|nibble| char::from_digit(u32::from(nibble), 16))
        .collect()
}

/// The bytes of a text that is `2 * N` lower-case hexadecimal digits.
fn raw<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut raw = [0; N];
    for (byte, pair) in raw.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else {
            return None;
        };
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(raw)
}

fn nibble(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

/// The elements of `["…","…"]`, as written without white space.
fn hex_list(text: &str) -> Option<Vec<[u8; 32]>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    inner
        .split(',')
        .map(|part| raw(part.strip_prefix('"')?.strip_suffix('"')?))
        .collect()
}

/// The seconds since the epoch of an instant that is written as we would write it.
fn instant(text: &str) -> Option<u64> {
    if text.len() != "0000-00-00T00:00:00Z".len() {
        return None;
    }
    let timestamp: Timestamp = text.parse().ok()?;
    let seconds = u64::try_from(timestamp.as_second()).ok()?;
    (timestamp.to_string() == text).then_some(seconds)
}
