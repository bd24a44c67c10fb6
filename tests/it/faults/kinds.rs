//! Every kind of request there is, ready to be sent.

use std::sync::Mutex;

use bytes::Bytes;

use crate::support::images::{ACCEPT, NOTATION, SBOM, index_of};
use crate::support::{Content, Reply, Repository};

/// Requests of every kind, on things that are there.
pub struct Kinds<'a> {
    repository: &'a Repository,
    requests: Vec<Kind>,
}

struct Kind {
    what: &'static str,
    method: &'static str,
    path: String,
    media_type: String,
    body: Bytes,
}

impl<'a> Kinds<'a> {
    pub fn in_repository(repository: &'a Repository) -> Self {
        let image = repository.push_image("v1");
        let doomed = repository.push_image("doomed");
        let signature = repository.attach(NOTATION, &image);
        let removed = repository.attach(NOTATION, &image);
        let unsent = repository.artifact(NOTATION, Some(&image));
        let sbom = repository.artifact(SBOM, Some(&image));
        let [other, another] = [(); 2].map(|()| repository.image());
        let blob = Content::random("application/octet-stream");
        repository.push_blob(&blob);
        let fallback = index_of([&signature]);
        let manifest = |reference: &str| repository.path(&format!("manifests/{reference}"));
        let layer = repository.path(&format!("blobs/{}", blob.digest()));
        let started = || {
            let path = repository.path("blobs/uploads/");
            let session = repository.http.request("POST", &path, &[], "").expect(202);
            session.header("location").to_owned()
        };
        // Old registries write the link of a blob anew when it comes again, and find it empty meanwhile.
        let fresh = Content::random("application/octet-stream");
        let finished = format!("{}&digest={}", started(), fresh.digest());
        let read = |what, path| Kind::new(what, "GET", path);
        let requests = vec![
            read("ping", "/v2/".to_owned()),
            read("manifest by tag", manifest("v1")),
            read("manifest by digest", manifest(&image.digest())),
            Kind::new("head of a manifest", "HEAD", manifest("v1")),
            Kind::new("head of a manifest", "HEAD", manifest(&image.digest())),
            Kind::new("push by tag", "PUT", manifest("v2")).with(&other),
            Kind::new("push by digest", "PUT", manifest(&another.digest())).with(&another),
            Kind::new("push of a referrer", "PUT", manifest(&sbom.digest())).with(&sbom),
            Kind::new("push of a signature", "PUT", manifest(&unsent.digest())).with(&unsent),
            Kind::new("deletion", "DELETE", manifest(&doomed.digest())),
            Kind::new(
                "deletion of a signature",
                "DELETE",
                manifest(&removed.digest()),
            ),
            read("signature", manifest(&signature.digest())),
            read("blob", layer.clone()),
            Kind::new("head of a blob", "HEAD", layer),
            Kind::new("upload begins", "POST", repository.path("blobs/uploads/")),
            Kind::new("chunk", "PATCH", started()).with(&blob),
            Kind::new("upload ends", "PUT", finished).with(&fresh),
            read("state of an upload", started()),
            Kind::new("upload is cancelled", "DELETE", started()),
            read("tags", repository.path("tags/list")),
            read("page of tags", repository.path("tags/list?n=1")),
            read(
                "referrers",
                repository.path(&format!("referrers/{}", image.digest())),
            ),
            read("fallback tag", manifest(&image.companion_tag(""))),
            Kind::new(
                "push of a fallback tag",
                "PUT",
                manifest(&image.companion_tag("")),
            )
            .with(&fallback),
        ];
        Self {
            repository,
            requests,
        }
    }

    /// Sends all of them at once, and says what came of each.
    pub fn ask_all(&self) -> Vec<(String, Result<Reply, String>)> {
        let replies = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for kind in &self.requests {
                let replies = &replies;
                scope.spawn(move || {
                    let replied = self.ask(kind);
                    replies.lock().unwrap().push(replied);
                });
            }
        });
        replies.into_inner().unwrap()
    }

    /// As [`Self::ask_all`], one after another: an old registry that writes the link of a tag fails whoever reads it
    /// meanwhile.
    pub fn ask_each(&self) -> Vec<(String, Result<Reply, String>)> {
        let replies = self.requests.iter().map(|kind| self.ask(kind));
        replies.collect()
    }

    fn ask(&self, kind: &Kind) -> (String, Result<Reply, String>) {
        let headers = [("Content-Type", kind.media_type.as_str()), ACCEPT];
        let body = kind.body.clone();
        let asked = &self.repository.http;
        let reply = asked.try_request(kind.method, &kind.path, &headers, body);
        let what = format!("{}: {} {}", kind.what, kind.method, kind.path);
        (what, reply)
    }
}

impl Kind {
    fn new(what: &'static str, method: &'static str, path: String) -> Self {
        Self {
            what,
            method,
            path,
            media_type: "application/octet-stream".to_owned(),
            body: Bytes::new(),
        }
    }

    fn with(mut self, content: &Content) -> Self {
        self.media_type.clone_from(&content.media_type);
        self.body = content.bytes.clone();
        self
    }
}
