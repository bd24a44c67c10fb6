//! Uploads: where sessions are, what goes at once, in pieces and out of order, mounts, and the other hash.

use http::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION};
use http::{Method, StatusCode, Uri};

use super::capability::{Capability, Findings, Value};
use super::reading::Sample;
use super::registry::{Reply, Silence, Who};
use super::scratch::Scratch;
use super::sha512;
use crate::oci::Digest;

/// Whether anything can be uploaded at all; then where sessions are, and that they can be given up.
pub(super) async fn sessions(
    scratch: &mut Scratch<'_>,
    findings: &mut Findings,
) -> Result<bool, Silence> {
    let (opened, session) = scratch.open(Who::Account).await?;
    if opened.status != StatusCode::ACCEPTED {
        findings.without_scratch(&format!(
            "not asked, since nothing can be uploaded: {opened}{}",
            scratch.registry.remedy(&opened)
        ));
        return Ok(false);
    }
    let location: Option<Uri> = opened.header(LOCATION).parse().ok();
    let value = match (&session, location.as_ref().and_then(Uri::host)) {
        (Some(_), None) => Value::from("relative"),
        (Some(_), Some(_)) => Value::from("absolute"),
        (None, Some(host)) => Value::Text(format!("foreign: {host}")),
        (None, None) => Value::Unknown,
    };
    findings.note(Capability::UploadLocation, value, &opened);
    let Some(session) = session else {
        findings.without_scratch(&format!("not asked, since uploads go elsewhere: {opened}"));
        return Ok(false);
    };
    let cancelled = scratch.cancel(Who::Account, &session).await?;
    let is_cancelled = cancelled.status == StatusCode::NO_CONTENT;
    findings.note(Capability::CancelUpload, is_cancelled, cancelled);
    let (nobody, session) = scratch.open(Who::Anonymous).await?;
    let may = match nobody.status {
        StatusCode::ACCEPTED => Value::Yes,
        status if status.is_client_error() => Value::No,
        _ => Value::Unknown,
    };
    findings.note(Capability::AnonymousPush, may, nobody);
    if let Some(session) = session {
        scratch.cancel(Who::Anonymous, &session).await?;
    }
    Ok(true)
}

/// The ways in which a blob comes. `other` is an image that can be read, perhaps of another repository.
pub(super) async fn blobs(
    scratch: &mut Scratch<'_>,
    other: Option<&Sample>,
    findings: &mut Findings,
) -> Result<(), Silence> {
    let content = scratch.fresh();
    let digest = Digest::sha256(content.as_bytes());
    let posted = scratch
        .post(&format!("digest={digest}"), &digest, content, None)
        .await?;
    let at_once = posted.status == StatusCode::CREATED;
    findings.note(Capability::MonolithicPost, at_once, posted);
    chunks(scratch, findings).await?;
    order(scratch, findings).await?;
    mounts(scratch, other, findings).await?;
    let content = scratch.fresh();
    let digest = sha512(content.as_bytes());
    let stored = scratch.upload(&digest, content).await?;
    let read = scratch.blob(&digest).await?;
    let value = Value::from(stored.status == StatusCode::CREATED && names(&read, &digest));
    findings.note(
        Capability::BlobSha512,
        value,
        format!("{stored}; {read}{}", wrong_name(&read, &digest)),
    );
    Ok(())
}

/// Two pieces in order.
async fn chunks(scratch: &mut Scratch<'_>, findings: &mut Findings) -> Result<(), Silence> {
    let content = scratch.fresh();
    let (first, second) = content.split_at(content.len() / 2);
    let (opened, session) = scratch.open(Who::Account).await?;
    let mut latest = opened;
    let mut session = session;
    let mut start = 0;
    for chunk in [first, second] {
        let Some(path) = session.take() else { break };
        latest = piece(scratch, &path, start, chunk).await?;
        session = scratch.session(&latest);
        start += chunk.len();
    }
    if let Some(path) = session {
        latest = scratch
            .finish(&path, &Digest::sha256(content.as_bytes()), "")
            .await?;
    }
    let in_pieces = latest.status == StatusCode::CREATED;
    findings.note(
        Capability::ChunkedUpload,
        in_pieces,
        format!("two pieces: {latest}"),
    );
    Ok(())
}

/// A piece that leaves a hole before it.
async fn order(scratch: &mut Scratch<'_>, findings: &mut Findings) -> Result<(), Silence> {
    let content = scratch.fresh();
    let (opened, session) = scratch.open(Who::Account).await?;
    let Some(session) = session else {
        findings.note(Capability::ChunkOrder, Value::Unknown, opened);
        return Ok(());
    };
    let reply = piece(scratch, &session, 5, &content).await?;
    let is_refused = reply.status == StatusCode::RANGE_NOT_SATISFIABLE;
    findings.note(
        Capability::ChunkOrder,
        is_refused,
        format!("a first piece that begins at 5: {reply}"),
    );
    let latest = scratch.session(&reply).unwrap_or(session);
    scratch.cancel(Who::Account, &latest).await?;
    scratch.forget_sessions();
    Ok(())
}

async fn piece(
    scratch: &Scratch<'_>,
    session: &str,
    start: usize,
    chunk: &str,
) -> Result<Reply, Silence> {
    let range = format!("{start}-{}", (start + chunk.len()).saturating_sub(1));
    let headers = [
        (CONTENT_TYPE, "application/octet-stream"),
        (CONTENT_RANGE, range.as_str()),
    ];
    scratch
        .send(
            Who::Account,
            Method::PATCH,
            session,
            &headers,
            chunk.to_owned(),
        )
        .await
}

async fn mounts(
    scratch: &mut Scratch<'_>,
    other: Option<&Sample>,
    findings: &mut Findings,
) -> Result<(), Silence> {
    let content = scratch.fresh();
    let own = Digest::sha256(content.as_bytes());
    scratch.upload(&own, content).await?;
    let other = other.filter(|sample| sample.repository != *scratch.name());
    let mut from = (scratch.name().clone(), own.clone());
    if let Some((blob, _)) = other.and_then(|sample| sample.blob.as_ref())
        && scratch.blob(blob).await?.status == StatusCode::NOT_FOUND
    {
        let repository = other.map(|sample| sample.repository.clone());
        from = (repository.unwrap_or(from.0), blob.clone());
    }
    let (repository, blob) = from;
    let query = format!("mount={blob}&from={repository}");
    let mounted = scratch.post(&query, &blob, "", Some(&repository)).await?;
    let how = format!("{mounted}, a blob of {repository}");
    findings.note(
        Capability::Mount,
        mounted.status == StatusCode::CREATED,
        how,
    );
    let anonymous = scratch
        .post(&format!("mount={own}"), &own, "", None)
        .await?;
    let is_mounted = anonymous.status == StatusCode::CREATED;
    findings.note(Capability::AnonymousMount, is_mounted, anonymous);
    Ok(())
}

/// Whether an answer has what was asked for, under the digest it was asked by.
pub(super) fn names(reply: &Reply, digest: &Digest) -> bool {
    reply.status == StatusCode::OK && wrong_name(reply, digest).is_empty()
}

pub(super) fn wrong_name(reply: &Reply, digest: &Digest) -> &'static str {
    let named = reply.header("docker-content-digest");
    if named.is_empty() || named == digest.as_str() {
        ""
    } else {
        " under another digest"
    }
}
