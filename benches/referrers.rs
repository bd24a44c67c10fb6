//! A referrers answer, from the request to the last byte of its body: the registry behind has decided, the index has
//! the records.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use regseal::app::{self, Stores};
use regseal::auth::relay::{self, Gates, Wrapping};
use regseal::auth::{self, Authorizer, Relay};
use regseal::body::{self, Room};
use regseal::clock::{Clock, SystemClock};
use regseal::config::{self, Environment, Flags};
use regseal::handlers::{self, CaptureMode, ForeignUploads, Handlers, Redirects, UploadSessions};
use regseal::oci::{Digest, Manifest, RepositoryName, media_type};
use regseal::route::Route;
use regseal::sealing::{Sealer, SealingKey};
use regseal::server::{self, Drain, Listener};
use regseal::store::{NewManifest, Source};
use regseal::upstream::{self, Upstream};
use rustls::RootCertStore;
use tokio::runtime::Runtime;
use tower::service_fn;

const SUBJECT: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

fn answer(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("referrers");
    for count in [1, 10, 100, 1000] {
        let directory = tempfile::tempdir().expect("a directory");
        let handlers = runtime.block_on(handlers(directory.path(), count));
        let path = format!("/v2/team/service/referrers/{SUBJECT}");
        let request = || {
            Request::get(&path)
                .body(body::empty())
                .expect("a valid request")
        };
        let route = Route::parse(&Method::GET, request().uri()).expect("a route");
        let ask = || async {
            let response = handlers.handle(&route, request()).await.expect("an answer");
            let body = response.into_body().collect().await.expect("a body");
            body.to_bytes().len()
        };
        let length = runtime.block_on(ask());
        assert!(length > 100 * count, "the answer lists every referrer");
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| runtime.block_on(ask()));
        });
    }
    group.finish();
}

/// Handlers before a registry that shows the subject to everybody, with `count` referrers in the store.
async fn handlers(directory: &Path, count: usize) -> Handlers {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let nothing: [(&str, &str); 0] = [];
    let environment = Environment::new(directory, nothing);
    let settings = config::load_for_stores(&Flags::default(), &environment).expect("the defaults");
    let stores = app::open_stores(&settings, &clock).await;
    let Stores { signatures, .. } = stores.expect("stores");
    signatures.rebuild_index(|_| ()).await.expect("an index");
    let repository: RepositoryName = "team/service".parse().expect("a name");
    let subject: Digest = SUBJECT.parse().expect("a digest");
    for number in 0..count {
        let bytes = Bytes::from(manifest(number));
        let manifest = Manifest::parse(&bytes, media_type::IMAGE_MANIFEST).expect("a manifest");
        let new = NewManifest {
            digest: Digest::sha256(&bytes),
            bytes,
            manifest: &manifest,
        };
        let added = signatures.add_referrer(&repository, &subject, new, Source::Forwarded);
        added.await.expect("a record");
    }
    signatures.repair_journal().await.expect("a journal");
    let upstream = Arc::new(Upstream::new(upstream_config(registry().await)));
    let auth = auth::Config {
        cache_ttl: Duration::from_secs(3600),
        hides_private_repositories: true,
    };
    let authorizer = Authorizer::new(Arc::clone(&upstream), &auth, Arc::clone(&clock));
    let authorizer = authorizer.expect("an authorizer");
    let config = handlers::Config {
        mode: CaptureMode::Store,
        artifact_types: Vec::new(),
        max_blob: 1 << 20,
        staging: 1 << 20,
        absorb_fallback_tags: true,
        absorb_cosign_tags: true,
        refresh: Duration::from_secs(60),
        on_subject_delete: regseal::store::OnSubjectDelete::Keep,
        mend_tag_delete: true,
        max_manifest: 4 << 20,
        room: Room::of(64 << 20),
        staging_room: Room::of(8 << 20),
        manifest_time: Duration::from_secs(60),
        public_authority: None,
        redirects: Redirects::Relay,
        namespaces: Vec::new(),
    };
    let sessions = UploadSessions::new(
        ForeignUploads::Relay,
        Arc::new(Sealer::new(Vec::new())),
        upstream.authority().clone(),
        Arc::clone(&clock),
    );
    let relay = Arc::new(relay(&upstream, clock));
    Handlers::new(
        config, upstream, authorizer, relay, signatures, sessions, None,
    )
}

/// A relay that has nothing to do.
fn relay(upstream: &Arc<Upstream>, clock: Arc<dyn Clock>) -> Relay {
    let config = relay::Config {
        allowed: false,
        realms: Vec::new(),
        public_url: None,
        body_time: Duration::from_secs(60),
    };
    let key = SealingKey::generate().expect("a key");
    let sealer = Arc::new(Sealer::new(vec![key]));
    let wrapping = Wrapping::new(sealer, upstream.authority().clone(), clock);
    Relay::new(config, Arc::clone(upstream), wrapping, Arc::new(Ungated))
}

#[derive(Debug)]
struct Ungated;

impl Gates for Ungated {
    fn any(&self) -> bool {
        false
    }

    fn covers(&self, _: &RepositoryName) -> bool {
        false
    }
}

fn manifest(number: usize) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","artifactType":"application/vnd.cncf.notary.signature",
        "config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{SUBJECT}","size":2}},"layers":[],
        "subject":{{"mediaType":"{}","digest":"{SUBJECT}","size":2}},
        "annotations":{{"io.cncf.notary.x509chain.thumbprint#S256":"[\"{number:064}\"]"}}}}"#,
        media_type::IMAGE_MANIFEST,
        media_type::IMAGE_MANIFEST
    )
}

/// A registry that says yes to `HEAD` and knows nothing else.
async fn registry() -> std::net::SocketAddr {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into())
        .await
        .expect("an address");
    let address = listener.local_addr();
    let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
        let status = if request.method() == Method::HEAD {
            StatusCode::OK
        } else {
            StatusCode::NOT_FOUND
        };
        let mut response = Response::new(Empty::<Bytes>::new());
        *response.status_mut() = status;
        let kind = HeaderValue::from_static(media_type::IMAGE_MANIFEST);
        response.headers_mut().insert(CONTENT_TYPE, kind);
        Ok::<_, Infallible>(response)
    });
    tokio::spawn(server::serve(
        listener,
        service,
        server::Config::default(),
        Drain::new(),
    ));
    address
}

fn upstream_config(address: std::net::SocketAddr) -> upstream::Config {
    upstream::Config {
        scheme: http::uri::Scheme::HTTP,
        authority: address.to_string().parse().expect("an authority"),
        tls: upstream::Tls {
            roots: RootCertStore::empty(),
            identity: None,
        },
        connect: Duration::from_secs(5),
        first_byte: Duration::from_secs(5),
        read: Duration::from_secs(5),
        idle: Duration::from_secs(5),
        propagate: |_| (),
        bounds: upstream::Bounds::default(),
        observe: Arc::new(|_, _, _| ()),
        note: Arc::new(|_| ()),
    }
}

criterion_group!(benches, answer);
criterion_main!(benches);
