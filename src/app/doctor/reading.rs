//! What an image that is there can tell: tags in pages, ranges, redirects, types, and who may read it.

use http::header::{ACCEPT, CONTENT_RANGE, LOCATION, RANGE};
use http::{StatusCode, Uri};
use serde_json::Value as Json;

use super::capability::{Capability, Findings, Value};
use super::registry::{Question, Registry, Reply, Silence, Who};
use crate::oci::{Digest, RepositoryName};

/// Why there is no image that can be read.
type Missing = String;

/// An image that can be read.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) repository: RepositoryName,
    /// The manifest of one image.
    manifest: Digest,
    /// One of its blobs, with its size.
    pub(super) blob: Option<(Digest, u64)>,
}

impl Sample {
    /// An image of a repository, that of its first tag; or why there is none.
    ///
    /// # Errors
    /// No answer.
    pub(super) async fn of(
        registry: &Registry,
        repository: &RepositoryName,
    ) -> Result<Result<Self, Missing>, Silence> {
        let path = format!("/v2/{repository}/tags/list?n=1");
        let question = Question::get(path).pulls(repository);
        let tags = registry.read(Who::Account, question).await?;
        let Some(tag) = tags
            .json()
            .pointer("/tags/0")
            .and_then(Json::as_str)
            .map(str::to_owned)
        else {
            return Ok(Err(missing(registry, repository, &tags)));
        };
        let mut reference = tag;
        // An index leads to an image; deeper ones are not followed.
        for _ in 0..2 {
            let question = Question::manifest(repository, &reference);
            let reply = registry.read(Who::Account, question).await?;
            let document = reply.json();
            if reply.status != StatusCode::OK {
                let remedy = registry.remedy(&reply);
                return Ok(Err(format!("not asked: {reply}{remedy}")));
            }
            if let Some(child) = document
                .pointer("/manifests/0/digest")
                .and_then(Json::as_str)
            {
                child.clone_into(&mut reference);
                continue;
            }
            return Ok(Ok(Self {
                repository: repository.clone(),
                manifest: Digest::sha256(&reply.body),
                blob: handy_blob(&document),
            }));
        }
        Ok(Err(format!(
            "not asked: the first tag of {repository} leads to no image"
        )))
    }

    /// An image of one of the first repositories that the catalog names; or why there is none.
    ///
    /// # Errors
    /// No answer.
    pub(super) async fn found(registry: &Registry) -> Result<Result<Self, Missing>, Silence> {
        let question = Question::get("/v2/_catalog?n=5").scoped("registry:catalog:*".to_owned());
        let reply = registry.read(Who::Account, question).await?;
        let catalog = reply.json();
        let names = catalog.get("repositories").and_then(Json::as_array);
        for name in names.into_iter().flatten().take(5) {
            let Some(name) = name.as_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if let Ok(sample) = Self::of(registry, &name).await? {
                return Ok(Ok(sample));
            }
        }
        let remedy = registry.remedy(&reply);
        Ok(Err(format!(
            "not asked: {reply}, and no image was found that way; name a repository with --repository{remedy}"
        )))
    }

    /// # Errors
    /// No answer.
    pub(super) async fn examine(
        &self,
        registry: &Registry,
        findings: &mut Findings,
    ) -> Result<(), Silence> {
        let name = &self.repository;
        let nobody = registry
            .read(Who::Anonymous, Question::manifest(name, &self.manifest))
            .await?;
        let value = match nobody.status {
            StatusCode::OK => Value::Yes,
            StatusCode::NOT_FOUND => Value::No,
            _ if nobody.is_refusal() => Value::No,
            _ => Value::Unknown,
        };
        findings.note(Capability::AnonymousPull, value, nobody);
        self.accept(registry, findings).await?;
        if let Some((blob, size)) = &self.blob {
            self.ranges(registry, blob, *size, findings).await?;
        }
        paging(registry, name, findings).await?;
        findings.without_image(&format!(
            "not asked: the image in {name} has no blob of 2 bytes to 1 MiB"
        ));
        Ok(())
    }

    async fn accept(&self, registry: &Registry, findings: &mut Findings) -> Result<(), Silence> {
        let name = &self.repository;
        let path = format!("/v2/{name}/manifests/{}", self.manifest);
        let bare = Question::get(path).with(ACCEPT, "*/*").pulls(name);
        let bare = registry.read(Who::Account, bare).await?;
        let full = Question::manifest(name, &self.manifest);
        let full = registry.read(Who::Account, full).await?;
        let value = match (bare.status == StatusCode::OK, full.status == StatusCode::OK) {
            (same, true) => Value::from(!same),
            (_, false) => Value::Unknown,
        };
        let how = format!(
            "with Accept: */* {bare}, with all types {}",
            full.status.as_u16()
        );
        findings.note(Capability::AcceptNeeded, value, how);
        Ok(())
    }

    async fn ranges(
        &self,
        registry: &Registry,
        blob: &Digest,
        size: u64,
        findings: &mut Findings,
    ) -> Result<(), Silence> {
        let name = &self.repository;
        let ask = async |range: Option<String>| {
            let question = Question::get(format!("/v2/{name}/blobs/{blob}")).pulls(name);
            let question = match &range {
                Some(range) => question.with(RANGE, range),
                None => question,
            };
            registry.read(Who::Account, question).await
        };
        let whole = ask(None).await?;
        findings.note(Capability::Redirects, redirect(&whole), &whole);
        let part = ask(Some("bytes=1-1".to_owned())).await?;
        let value = match part.status {
            StatusCode::PARTIAL_CONTENT => Value::from(
                part.body.len() == 1 && part.header(CONTENT_RANGE).starts_with("bytes 1-1/"),
            ),
            status if status.is_redirection() => Value::Unknown,
            _ => Value::No,
        };
        findings.note(
            Capability::RangeRequests,
            value,
            format!("bytes 1-1: {part}"),
        );
        let beyond = ask(Some(format!("bytes={size}-"))).await?;
        let expected = format!("bytes */{size}");
        let (value, why) = match beyond.status {
            StatusCode::RANGE_NOT_SATISFIABLE if !beyond.is_whole => {
                (Value::No, " with a body that breaks off")
            }
            StatusCode::RANGE_NOT_SATISFIABLE if beyond.header(CONTENT_RANGE) == expected => {
                (Value::Yes, "")
            }
            StatusCode::RANGE_NOT_SATISFIABLE => (Value::No, " without the size in Content-Range"),
            status if status.is_redirection() => (Value::Unknown, ""),
            _ => (Value::No, ""),
        };
        let how = format!("a range behind the end: {beyond}{why}");
        findings.note(Capability::RangeUnsatisfiable, value, how);
        Ok(())
    }
}

/// Why nothing is listed, by the answer to a request for tags.
fn missing(registry: &Registry, repository: &RepositoryName, tags: &Reply) -> Missing {
    let why = match tags.status {
        StatusCode::OK => "has no tags",
        StatusCode::NOT_FOUND => "does not exist, or is hidden from this caller",
        _ => "cannot be read",
    };
    let remedy = registry.remedy(tags);
    format!("not asked: {repository} {why}: {tags}{remedy}")
}

fn redirect(reply: &Reply) -> Value {
    if !reply.status.is_redirection() {
        return Value::No;
    }
    let location: Option<Uri> = reply.header(LOCATION).parse().ok();
    let host = location.as_ref().and_then(Uri::host);
    Value::from(host.unwrap_or("the same host"))
}

/// The smallest blob that is longer than an error text, of at most 1 MiB; else the largest of the shorter ones, if it has
/// parts.
fn handy_blob(manifest: &Json) -> Option<(Digest, u64)> {
    let layers = manifest.get("layers").and_then(Json::as_array);
    let descriptors = layers.into_iter().flatten().chain(manifest.get("config"));
    let blobs = descriptors.filter_map(|descriptor| {
        let digest = descriptor.get("digest")?.as_str()?.parse().ok()?;
        let size = descriptor.get("size")?.as_u64()?;
        (2..=1 << 20).contains(&size).then_some((digest, size))
    });
    let (short, long): (Vec<_>, Vec<_>) = blobs.partition(|(_, size)| *size < 512);
    let smallest = long.into_iter().min_by_key(|(_, size)| *size);
    smallest.or_else(|| short.into_iter().max_by_key(|(_, size)| *size))
}

/// Whether the list of tags comes in pages: as many as asked for, from where it is asked, with a link to the next.
async fn paging(
    registry: &Registry,
    repository: &RepositoryName,
    findings: &mut Findings,
) -> Result<(), Silence> {
    let ask = async |query: &str| {
        let path = format!("/v2/{repository}/tags/list{query}");
        let reply = registry
            .read(Who::Account, Question::get(path).pulls(repository))
            .await?;
        let tags: Vec<String> = reply
            .json()
            .get("tags")
            .and_then(|tags| serde_json::from_value(tags.clone()).ok())
            .unwrap_or_default();
        Ok::<_, Silence>((reply, tags))
    };
    let (all, tags) = ask("").await?;
    let [first, _, ..] = tags.as_slice() else {
        let how = format!("{all}: two tags are needed to tell");
        findings.note(Capability::TagPaging, Value::Unknown, how);
        return Ok(());
    };
    let (page, of_page) = ask("?n=1").await?;
    let next = form_urlencoded::byte_serialize(first.as_bytes()).collect::<String>();
    let (_, behind) = ask(&format!("?n=1&last={next}")).await?;
    let honoured = [
        ("n", of_page.len() == 1),
        ("last", !behind.is_empty() && !behind.contains(first)),
        ("Link", !page.header("link").is_empty()),
    ];
    let kept: Vec<&str> = honoured
        .iter()
        .filter(|(_, is)| *is)
        .map(|(name, _)| *name)
        .collect();
    let value = match kept.len() {
        0 => Value::No,
        3 => Value::Yes,
        _ => Value::Text(kept.join(", ")),
    };
    let how = format!(
        "{page}: {} of {} tags, honoured: {}",
        of_page.len(),
        tags.len(),
        match kept.len() {
            0 => "neither n nor last nor Link".to_owned(),
            _ => kept.join(", "),
        }
    );
    findings.note(Capability::TagPaging, value, how);
    Ok(())
}
